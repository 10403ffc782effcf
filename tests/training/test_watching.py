"""What TensorBoard is given beside the curves: of real tasks on tiny models."""

import io
import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins import projector
from tensorboard.plugins.hparams import metadata as hparams

import kzoo
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.metrics import confusion_matrix, precision_recall
from kzoo.metrics.confusion import label_counts
from kzoo.training.config import LoggingConfig
from kzoo.training.config_file import check
from kzoo.training.interrupt import Interrupted
from kzoo.training.watching.drawing import confusion, of_labels
from kzoo.training.watching.hyperparameters import flat
from kzoo.training.watching.peaks import PEAKS, peak_teraflops
from kzoo.training.watching.tally import THRESHOLDS, Tally
from kzoo.training.watching.tally import precision_recall as curves_of
from tests import tiny
from tests.training.event_reading import points, tensors
from tests.training.letters_run import SignalAfter

ALL = {
    "progress": "none",
    "every": 2,
    "guesses": {"texts": 2, "every": 3},
    "projector": {"points": 20, "each_epoch": True},
    "histograms": 3,
    "profile": [2, 3],
    "graph": True,
    "peak_teraflops": 0.5,
}


def reviews(count=24):
    texts = [f"{'a good film' if number % 3 else 'bad'} {'x' * (number % 5)}" for number in range(count)]
    return Examples({"text": texts, "label": ["good" if number % 3 else "bad" for number in range(count)]})


def classifier(dropout=0.1, **options):
    keras.utils.set_random_seed(0)  # of the fresh head
    return kzoo.Classify(tiny.bert(num_layers=1), labels=["bad", "good"], dropout=dropout, **options)


def run(folder, task=None, *, logging=None, train=None, validation=None, **arguments):
    settings = dict(epochs=2, batch_size=8, learning_rate=1e-3, deterministic=True, say=lambda text: None)
    train = reviews() if train is None else train
    validation = reviews(11) if validation is None else validation
    settings |= {"run_folder": folder, "logging": ALL if logging is None else logging} | arguments
    return kzoo.fit(task or classifier(), train, validation, **settings)


def weights(task):
    return [np.asarray(weight) for weight in task.model.trainable_weights]


def test_a_classifier_shows_all_and_the_weights_are_those_of_a_run_that_shows_nothing(tmp_path):
    plain = run(tmp_path / "plain", logging={"progress": "none", "tensorboard": False}).task
    result = run(tmp_path / "seen")
    for one, other in zip(weights(result.task), weights(plain), strict=True):
        np.testing.assert_array_equal(one, other)
    train, validation = result.tensorboard / "train", result.tensorboard / "validation"
    written = points(train)
    kernel = next(tag for tag in written if tag.endswith("attention/query/kernel"))
    assert written[kernel] == [3, 6] and kernel.startswith("weights/")
    for name in ("teraflops", "teraflops_with_padding", "model_flop_utilisation", "memory_gigabytes"):
        assert written[name] == [2, 4, 6]
    done, share = tensors(train, "teraflops")[4], tensors(train, "model_flop_utilisation")[4]
    assert share == pytest.approx(done / 0.5) and 0 < done < tensors(train, "teraflops_with_padding")[4]
    assert set(points(validation)) == {
        "loss", "accuracy", "confusion_matrix", "precision_recall/bad", "precision_recall/good",
    }  # fmt: skip
    check_pictures(validation, result.task)
    check_projector(train, result.task)
    assert list((train / "plugins" / "profile").glob("*/*.xplane.pb"))
    check_session(result.tensorboard, "seen")


def check_pictures(validation, task):
    """What was counted during the validation is what the task answers."""
    held_out = reviews(11)
    scores = np.array([answer["scores"] for answer in task.predict(held_out["text"].tolist())])
    given = [task.labels[place] for place in scores.argmax(-1)]
    matrix = confusion_matrix(held_out["label"].tolist(), given, task.labels)
    written = tensors(validation, "confusion_matrix")
    assert list(written) == [3, 6]
    image = np.asarray(Image.open(io.BytesIO(written[6][2])))
    np.testing.assert_array_equal(image, confusion(matrix.astype(np.float32), task.labels))
    curve = tensors(validation, "precision_recall/good")[6]
    is_good = held_out["label"] == "good"
    for place in (0, 60, 100, 140, 200):
        reached = scores[:, 1] >= place / (THRESHOLDS - 1) - 1e-6
        expected = [(reached & is_good).sum(), (reached & ~is_good).sum(), (~reached & ~is_good).sum()]
        assert curve[:3, place].tolist() == expected, place


def check_projector(train, task):
    config = text_format.Parse((train / "projector_config.pbtxt").read_text(), projector.ProjectorConfig())
    assert [one.tensor_name for one in config.embeddings] == ["step-000006", "step-000003"]
    vectors = np.loadtxt(train / config.embeddings[0].tensor_path, delimiter="\t")
    lines = (train / config.embeddings[0].metadata_path).read_text().splitlines()
    assert vectors.shape == (11, 16) and lines[0] == "text\tlabel\tanswered" and len(lines) == 12
    answers = task.predict([line.split("\t")[0] for line in lines[1:]])
    assert [line.split("\t")[2] for line in lines[1:]] == [answer["label"] for answer in answers]
    logits = vectors @ np.asarray(task.head.kernel) + np.asarray(task.head.bias)
    shares = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    np.testing.assert_allclose(shares, [answer["scores"] for answer in answers], atol=1e-4)


def session(folder):
    found = {}
    (path,) = (folder / "validation").glob("events.out.tfevents.*.session")
    for event in tf.compat.v1.train.summary_iterator(str(path)):
        for value in event.summary.value:
            found.setdefault(value.tag, []).append(value.metadata.plugin_data.content)
    return found


def check_session(folder, name):
    """One begin and one end, with what was said to the run."""
    found = session(folder)
    assert {tag: len(contents) for tag, contents in found.items()} == {
        hparams.SESSION_START_INFO_TAG: 1,
        hparams.SESSION_END_INFO_TAG: 1,
    }
    begun = hparams.parse_session_start_info_plugin_data(found[hparams.SESSION_START_INFO_TAG][0])
    assert begun.group_name == name
    assert begun.hparams["training.learning_rate"].number_value == 1e-3
    assert begun.hparams["task.name"].string_value == "classify"
    assert not {"training.ema", "training.device", "logging.every"} & set(begun.hparams)


def test_after_an_interruption_nothing_stands_twice_and_nothing_is_missing(tmp_path):
    def language_model():
        return kzoo.FillMask(tiny.bert(num_layers=1), max_length=32)

    examples = {"text": [f"{'it was a good film ' * 3}{'at all ' * (number % 3)}" for number in range(24)]}
    given = dict(train=Examples(examples), validation=Examples({"text": examples["text"][:8]}), checkpoint_every=2)
    whole = run(tmp_path / "whole", language_model(), **given)
    with pytest.raises(Interrupted):
        run(tmp_path / "cut", language_model(), callbacks=[SignalAfter("SIGINT", 4)], **given)
    (tmp_path / "cut" / "tensorboard" / "train" / "projector" / "step-000099").mkdir()  # of one that came further
    result = run(tmp_path / "cut", language_model(), **given)
    for one, other in zip(weights(result.task), weights(whole.task), strict=True):
        np.testing.assert_array_equal(one, other)
    for part in ("train", "validation"):
        expected, found = points(whole.tensorboard / part), points(result.tensorboard / part)
        assert {tag: steps for tag, steps in found.items() if tag != "input_wait"} == {
            tag: steps for tag, steps in expected.items() if tag != "input_wait"
        }
    assert points(result.tensorboard / "train")["guesses"] == [3, 6]
    assert sorted(path.name for path in (result.tensorboard / "train" / "projector").iterdir()) == [
        "step-000003", "step-000006",
    ]  # fmt: skip
    assert len(session(result.tensorboard)[hparams.SESSION_START_INFO_TAG]) == 1
    check_guesses(result)


def check_guesses(result):
    """The text with numbered places, and for each the likeliest words, the right one among them in bold."""
    first, second = (text.decode() for text in tensors(result.tensorboard / "train", "guesses")[6])
    text, _, table = first.partition("\n\n")
    lines = table.splitlines()
    assert "**⟦1⟧**" in text and "film" in text and text != second.partition("\n\n")[0]
    assert lines[0] == "| place | the model reads | right | guesses |"
    assert text.count("⟦") == len(lines) - 2
    for line in lines[2:]:
        _, _, right, guesses, _ = (cell.strip() for cell in line.split(" |"))
        words = guesses.split(" · ")
        shares = [float(word.strip("*").split()[-1]) for word in words]
        assert len(words) == 3 and shares == sorted(shares, reverse=True) and sum(shares) <= 1.01
        for word in words:
            assert word.startswith("**") == (word.strip("*").rsplit(" ", 1)[0] == right)
    lines = (result.tensorboard / "train" / "projector" / "step-000006" / "metadata.tsv").read_text().splitlines()
    assert lines[0] == "token\toccurs" and not any("[" in line for line in lines)
    counts = [int(line.split("\t")[1]) for line in lines[1:]]
    assert counts == sorted(counts, reverse=True) and {"good", "film"} <= {line.split("\t")[0] for line in lines}


@pytest.mark.parametrize("threshold", [None, 0.4])
def test_a_tally_is_what_the_metrics_count(threshold):
    draws = np.random.default_rng(0)
    logits, real = draws.normal(size=(50, 3)).astype("float32"), np.arange(50) < 43
    several = draws.integers(0, 2, (50, 3)) if threshold else draws.integers(0, 3, 50)
    tally = Tally(3, threshold=threshold)
    for part in (slice(0, 20), slice(20, 50)):
        tally.update_state(several[part], logits[part], sample_weight=(real * 2.5)[part])
    if threshold is None:
        scores = tf.nn.softmax(logits).numpy()[real]
        expected = confusion_matrix(several[real].tolist(), scores.argmax(-1).tolist(), range(3))
        is_of = np.eye(3)[several[real]]
    else:
        scores, is_of = tf.nn.sigmoid(logits).numpy()[real], several[real]
        expected = label_counts(is_of, scores >= threshold)
    np.testing.assert_array_equal(np.asarray(tally.matrix), expected)
    curves = curves_of(np.asarray(tally.scores))
    assert curves.shape == (3, 6, THRESHOLDS)
    for label in range(3):
        exact = precision_recall(is_of[:, label], scores[:, label])
        for precision, recall in zip(*curves[label, 4:, :150:10], strict=True):
            assert np.abs(exact.recall - recall).min() < 1e-6
            assert recall == 0 or np.abs(exact.precision[np.abs(exact.recall - recall) < 1e-6] - precision).min() < 0.06


def test_pictures_show_numbers_and_names():
    one = confusion(np.array([[3.0, 1.0], [0.0, 4.0]]), ["a", "a very long name of a class"])
    other = of_labels(np.array([[[3.0, 1.0], [0.0, 4.0]]]), ["любовь"])
    for image in (one, other):
        assert image.dtype == np.uint8 and image.shape[2] == 3 and image.min() < 60 and image.max() == 255
    blue = (one[:, :, 2].astype(int) - one[:, :, 0]) > 60  # right answers
    assert blue.any() and not blue[: one.shape[0] // 3].all()


def test_peaks_of_gpus_by_the_names_that_drivers_give():
    expected = {
        "NVIDIA H200": 989.5, "NVIDIA H100 80GB HBM3": 989.5, "NVIDIA H100 PCIe": 756.5, "NVIDIA H100 NVL": 835.5,
        "NVIDIA A100-SXM4-40GB": 312.0, "NVIDIA A100 80GB PCIe": 312.0, "NVIDIA A10": 125.0, "NVIDIA A10G": None,
        "NVIDIA L4": 121.0, "NVIDIA L40S": 362.0, "Tesla T4": None, "Tesla V100-SXM2-16GB": None,
        "NVIDIA GH200 480GB": 989.5, "NVIDIA GeForce RTX 3090": 71.0,
    }  # fmt: skip
    assert {name: peak_teraflops(name, "mixed_bfloat16") for name in expected} == expected
    assert peak_teraflops("Tesla T4", "mixed_float16") == 65.0
    assert peak_teraflops("NVIDIA H200", "float32") == 494.5
    assert peak_teraflops("NVIDIA H200", "float32", tensor_float=False) == 67.0
    assert peak_teraflops("Tesla V100-PCIE-16GB", "float32") == 14.0
    assert all(peak.source and peak.half >= (peak.tensor_float or peak.single) for peak in PEAKS.values())


def test_a_session_holds_what_shapes_the_result():
    config = {
        "model": {"name": "tiny", "family": None, "sizes": {}},
        "task": {"name": "classify", "labels": ["a", "b"], "options": {"dropout": 0.1, "long": "x" * 200}},
        "training": {"batch_size": 8, "jit": False, "freeze": [], "device": "cpu", "optimizer": {"name": "lion"}},
        "data": {"train": "a.csv", "held_out": 0.2, "document": "line", "encoding": "utf-8"},
        "logging": {"every": 3},
        "output": "runs/x",
    }
    assert flat(config) == {
        "model.name": "tiny",
        "task.name": "classify",
        "task.labels": json.dumps(["a", "b"]),
        "task.options.dropout": 0.1,
        "task.options.long": "x" * 119 + "…",
        "data.train": "a.csv",
        "data.held_out": 0.2,
        "training.batch_size": 8,
        "training.jit": False,
        "training.optimizer.name": "lion",
    }


def test_logging_takes_short_forms_and_refuses_what_means_nothing():
    made = check({"projector": 30, "histograms": True, "profile": 5}, LoggingConfig, where="logging")
    assert made.projector.points == 30 and made.histograms is True and made.profile == 5
    for wrong in ({"profile": [5, 3]}, {"profile": 0}, {"histograms": -1}, {"projector": 1}, {"peak_teraflops": 0}):
        with pytest.raises(UserError, match=next(iter(wrong))):
            check(wrong, LoggingConfig, where="logging")
