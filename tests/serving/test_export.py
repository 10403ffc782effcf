"""What an export is: the task's own answers, from text, without kzoo; whole or not there; nothing of training in it."""

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.serving import saved_model
from kzoo.serving.export import export
from tests.serving.small_task import SmallTask

TEXTS = ["A good film.", "bad", "", "naïve café 👩‍👩‍👧 \x00 end", "the film was not good at all " * 20]

ASK = """
import glob, json, os, sys
for name in ("kzoo", "keras", "keras_hub", "tf_keras"):
    sys.modules[name] = None  # importing it fails
import tensorflow as tf

for name in ("kzoo", "keras"):
    try:
        __import__(name)
        sys.exit(f"{name} can be imported: the test would prove nothing")
    except ImportError:
        pass
site = os.path.dirname(os.path.dirname(tf.__file__))
for library in glob.glob(os.path.join(site, "tensorflow_text", "**", "*.so"), recursive=True):
    tf.load_op_library(library)  # what the server links; the package itself imports keras


def plain(array):
    if array.dtype == object:
        return [value.decode() for value in array.reshape(-1)]
    return array.reshape(-1).tolist()


answers = {}
for path, questions in json.load(sys.stdin).items():
    # as the server does: a session, the graph, feeds and fetches by the names of the signature
    with tf.compat.v1.Session(graph=tf.Graph()) as session:
        graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
        for key, (signature, inputs) in questions.items():
            entry = graph.signature_def[signature]
            feeds = {entry.inputs[name].name: values for name, values in inputs.items()}
            for name, value in entry.defaults.items():
                feeds.setdefault(entry.inputs[name].name, tf.make_ndarray(value))
            fetches = {name: tensor.name for name, tensor in entry.outputs.items()}
            answers[key] = {name: plain(array) for name, array in session.run(fetches, feeds).items()}
json.dump(answers, sys.stdout)
"""


def test_it_answers_in_a_process_without_kzoo_and_keras(classify, generate):
    knobs = {"max_new_tokens": [3], "temperature": [0.7], "top_k": [5], "top_p": [0.9], "seed": [11]}
    questions = {
        str(classify.path): {"classify": ("serving_default", {"text": TEXTS})},
        str(generate.path): {
            "generate": ("serving_default", {"prompt": TEXTS}),
            "defaults": ("generate", {"prompt": TEXTS}),
            "knobs": ("generate", {"prompt": TEXTS} | {name: value * len(TEXTS) for name, value in knobs.items()}),
        },
    }
    asked = subprocess.run(
        [sys.executable, "-c", ASK], input=json.dumps(questions), capture_output=True, text=True, cwd="/"
    )
    assert asked.returncode == 0, asked.stderr[-3000:]
    answers = json.loads(asked.stdout)

    expected = classify.task.predict(TEXTS)
    assert answers["classify"]["label"] == [one["label"] for one in expected]
    scores = np.reshape(answers["classify"]["scores"], [len(TEXTS), 2])
    np.testing.assert_allclose(scores, [one["scores"] for one in expected], atol=1e-5)
    assert answers["generate"]["text"] == [one["text"] for one in generate.task.predict(TEXTS)]
    assert answers["defaults"]["text"] == answers["generate"]["text"]
    sampled = generate.task.generate(TEXTS, **{key: value[0] for key, value in knobs.items()})
    assert answers["knobs"]["text"] == sampled


TRAIN = """
import sys
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
from kzoo.serving import saved_model
from kzoo.serving.export import export
from tests.serving.small_task import SmallTask

with strategy.scope():
    task = SmallTask()
    optimizer = keras.optimizers.Adam(0.01)
    optimizer.build(task.model.trainable_variables)
before = task.model.get_weights()

@tf.function
def step():
    with tf.GradientTape() as tape:
        outputs = task.model({"token_ids": tf.constant([[1, 2, 3, 4], [1, 2, 3, 5]])}, training=True)
        losses = keras.losses.sparse_categorical_crossentropy(tf.constant([0, 1]), outputs, from_logits=True)
        loss = tf.reduce_mean(losses)
    optimizer.apply(tape.gradient(loss, task.model.trainable_variables), task.model.trainable_variables)

strategy.run(step)
assert any(np.abs(old - new).max() > 1e-3 for old, new in zip(before, task.model.get_weights())), "nothing was trained"
assert type(task.model.weights[0].value).__name__ == "MirroredVariable"
path = export(task, sys.argv[1])
texts = tf.constant(["the film was good", "not bad at all", ""])
scores = tf.saved_model.load(str(path)).signatures["serving_default"](texts)["scores"].numpy()
np.testing.assert_allclose(scores, task.serve({"text": texts})["scores"], atol=1e-5)
devices = {node.device for one in saved_model.read(path).graph_def.library.function for node in one.node_def}
assert devices <= {"", "/device:CPU:0", "/device:CPU:*"}, devices  # no name of this machine's second device
"""


def test_a_model_trained_on_two_devices_is_exported_like_any_other(tmp_path):
    command = [sys.executable, "-c", TRAIN, str(tmp_path / "model")]
    trained = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert trained.returncode == 0, trained.stderr[-3000:]
    names = [name for name, _ in tf.train.list_variables(str(tmp_path / "model" / "variables" / "variables"))]
    assert not [name for name in names if "adam" in name.lower() or "seed" in name.lower()]


def test_it_holds_the_weights_and_nothing_of_training(classify):
    variables = tf.train.list_variables(str(classify.path / "variables" / "variables"))
    names = [name for name, _ in variables if name != "_CHECKPOINTABLE_OBJECT_GRAPH"]
    assert all(name.startswith("weights/") for name in names)
    shapes = sorted(shape for name, shape in variables if name in names)
    assert shapes == sorted(list(weight.shape) for weight in classify.task.model.weights)
    graph = saved_model.read(classify.path)
    assert set(graph.signature_def) == {"serving_default", "classify", saved_model.INITIALIZER}
    # one function a signature, its wrapper, the tokenizer's; the others are parts of these or the loader's
    whole = [
        one.signature.name for one in graph.graph_def.library.function if "__inference_serving" in one.signature.name
    ]
    assert len(whole) == 1


def test_it_says_what_it_is(classify, generate):
    description = saved_model.description(generate.path)
    assert description["task"] == "generate" and list(description["signatures"]) == [
        "serving_default",
        "generate",
        "generate_tokens",
        "score",
    ]
    assert description["signatures"]["generate"]["defaults"]["max_new_tokens"] == [4]
    example = description["examples"]["serving_default"]
    assert example["outputs"]["text"] == [generate.task.predict(example["inputs"]["prompt"])[0]["text"]]
    provenance = json.loads((classify.path / saved_model.EXTRA / saved_model.PROVENANCE).read_text())
    assert provenance["options"]["labels"] == ["négatif", "positive"]
    assert provenance["precision"] == "float32" and provenance["tensorflow"].startswith("2.")
    card = (classify.path / saved_model.EXTRA / saved_model.CARD).read_text()
    assert "| `serving_default` | `text` | `classes`, `label`, `scores` |" in card


def test_card_provenance_and_version_are_the_callers(tmp_path):
    said, folder = [], tmp_path / "model"
    options = dict(version=3, card="# Mine\n", provenance={"run": "runs/7"}, say=said.append)
    path = export(SmallTask(), folder, warm_up=None, **options)
    assert path == folder / "3"
    assert (path / saved_model.EXTRA / saved_model.CARD).read_text() == "# Mine\n"
    provenance = json.loads((path / saved_model.EXTRA / saved_model.PROVENANCE).read_text())
    assert provenance["run"] == "runs/7" and provenance["source"] == "words"  # no path of this machine
    assert not (path / saved_model.EXTRA / saved_model.WARMUP).exists()
    assert said[0].startswith("Loaded again, it answers as the task does: numbers differ by ")
    assert saved_model.description(path)["largest_difference"] <= 1e-5
    with pytest.raises(UserError, match="model/3 exists and is not empty"):
        export(SmallTask(), folder, version=3)


def test_tables_and_knobs_travel_along(tmp_path):
    task = SmallTask()
    path = export(task, tmp_path / "model")
    loaded = tf.saved_model.load(str(path))
    texts = tf.constant(["the film was good", "bad"])
    expected = task.serve({"text": texts})["scores"].numpy()
    answers = loaded.signatures["weighed"](text=texts, weight=tf.constant([3.0]))
    np.testing.assert_allclose(answers["scores"], expected * 3, atol=1e-5)
    assert saved_model.description(path)["signatures"]["weighed"]["defaults"] == {"weight": [2.0]}


def test_half_precision_halves_the_weights_and_keeps_the_answers_near(tmp_path):
    task = SmallTask()
    path = export(task, tmp_path / "model", precision="bfloat16")
    dtypes = tf.train.load_checkpoint(str(path / "variables" / "variables")).get_variable_to_dtype_map()
    assert {name.partition("/.A")[0]: dtype.name for name, dtype in dtypes.items() if name.startswith("weights")} == {
        "weights/embedding.Sembeddings": "bfloat16",
        "weights/head.Skernel": "float32",
        "weights/head.Sbias": "float32",
    }
    texts = tf.constant(["the film was good", "bad"])
    scores = tf.saved_model.load(str(path)).signatures["serving_default"](texts)["scores"].numpy()
    expected = task.serve({"text": texts})["scores"].numpy()
    np.testing.assert_allclose(scores, expected, atol=0.02)
    assert np.abs(scores - expected).max() > 0
    assert task.backbone.dtype_policy.name == "float32"  # the task is as it was


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"precision": "int4"}, "precision must be one of float32, bfloat16, float16. Received 'int4'"),
        ({"version": 0}, "A version must be a whole number from 1. Received 0"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(tmp_path, arguments, message):
    with pytest.raises(UserError, match=message):
        export(SmallTask(), tmp_path / "model", **arguments)
    assert not list(tmp_path.iterdir())


class Broken(SmallTask):
    """Its answers go through Python, which no server has."""

    def serve(self, inputs):
        scores = tf.numpy_function(lambda values: values, [super().serve(inputs)["scores"]], tf.float32)
        return {"scores": tf.ensure_shape(scores, [None, 2])}

    def signatures(self):
        return {"serving_default": super().signatures()["serving_default"]}


def test_a_model_that_the_server_cannot_run_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(UserError, match="stock TensorFlow Serving 2.19:\n.*serving_default: PyFunc .*runs Python code"):
        export(Broken(), tmp_path / "model")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.ENOSPC, "No space left on device"),
        tf.errors.ResourceExhaustedError(None, None, "model/variables; No space left on device"),
    ],
)
def test_a_full_disk_leaves_the_old_export(tmp_path, monkeypatch, error):
    def full(root, path, **_):
        os.makedirs(os.path.join(path, "variables"))
        raise error

    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "saved_model.pb").write_text("the old one")
    monkeypatch.setattr(tf.saved_model, "save", full)
    with pytest.raises(UserError, match="No space is left to write .*model"):
        export(SmallTask(), tmp_path / "model", overwrite=True)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "saved_model.pb").read_text() == "the old one"


def test_an_export_that_answers_otherwise_is_not_written(tmp_path, monkeypatch):
    task, save = SmallTask(), tf.saved_model.save

    def damaged(*arguments, **options):
        kernel = task.model.get_layer("head").kernel
        kernel.assign(kernel + 1e-3 * np.array([1.0, -1.0]))
        save(*arguments, **options)
        kernel.assign(kernel - 1e-3 * np.array([1.0, -1.0]))

    monkeypatch.setattr(tf.saved_model, "save", damaged)
    with pytest.raises(RuntimeError, match="must answer as the task does. Output scores of signature serving_default"):
        export(task, tmp_path / "model", warm_up=None)
    assert not list(tmp_path.iterdir())
