import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.checkpoints.huggingface import load_directory
from kzoo.errors import UserError
from kzoo.tasks.classify import LastToken
from kzoo.tasks.load import load_task
from tests import tiny
from tests.round_trip import array

LABELS = ["bad", "so so", "good"]


@pytest.fixture(scope="module", params=["bert", "gpt2"])
def task(request):
    return classifier(request.param)


def classifier(kind, labels=LABELS, **options):
    task = kzoo.Classify(tiny.pretrained(kind, num_layers=1), labels=labels, **options)
    task.head.kernel.assign(np.random.default_rng(0).normal(size=(16, len(labels))))
    if task.head.bias is not None:
        task.head.bias.assign(np.linspace(-1, 1, len(labels)))
    return task


def by_hand(task, text):
    """Token ids one text at a time, the backbone without padding, the head in numpy."""
    tokenizer = task.tokenizer
    ids = tokenizer.tokenize([text]).ids[0].numpy().tolist()
    if not task.pretrained.is_decoder:
        ids = [tokenizer.id_of("[CLS]"), *ids, tokenizer.id_of("[SEP]")]
    outputs = task.backbone({"token_ids": np.array([ids], "int32"), "padding_mask": np.ones((1, len(ids)), bool)})
    vector = outputs["sequence_output"][0, -1] if task.pretrained.is_decoder else outputs["pooled_output"][0]
    logits = vector.numpy() @ task.head.kernel.numpy()
    if task.head.bias is not None:
        logits += task.head.bias.numpy()
    weights = np.exp(logits - logits.max())
    return weights / weights.sum()


def test_predict_is_the_computation_by_hand(task):
    for text, answer in zip(tiny.TEXTS, task.predict(tiny.TEXTS), strict=True):
        expected = by_hand(task, text)
        np.testing.assert_allclose(answer["scores"], expected, atol=1e-5)
        assert answer["label"] == LABELS[int(expected.argmax())]
        assert answer["classes"] == LABELS


def test_the_empty_text_means_the_same_in_every_batch(task):
    alone = task.predict("")[0]["scores"]
    np.testing.assert_allclose(task.predict(["", tiny.TEXTS[1]])[0]["scores"], alone, atol=1e-6)


def test_saved_and_loaded(task, tmp_path):
    task.save(tmp_path / "model")
    loaded = load_task(tmp_path / "model")
    assert isinstance(loaded, kzoo.Classify) and loaded.options() == task.options()
    texts = {"text": tf.constant(tiny.TEXTS)}
    np.testing.assert_array_equal(loaded.serve(texts)["scores"], task.serve(texts)["scores"])
    assert json.loads((tmp_path / "model" / "kzoo.json").read_text())["task"] == "classify"
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    assert config["id2label"] == {"0": "bad", "1": "so so", "2": "good"}
    assert config["label2id"] == {"bad": 0, "so so": 1, "good": 2}
    assert config["architectures"] == [task.pretrained.family.HEADS["classify"].architecture]


def test_a_head_found_beside_the_backbone_is_used_for_as_many_labels(task, tmp_path):
    task.save(tmp_path)
    pretrained = load_directory(tmp_path)
    assert kzoo.Classify(pretrained).labels == LABELS
    renamed = kzoo.Classify(pretrained, labels=["x", "y", "z"])
    np.testing.assert_array_equal(renamed.head.kernel, task.head.kernel)
    fewer = kzoo.Classify(pretrained, labels=["x", "y"])
    assert fewer.head.kernel.shape == (16, 2) and abs(fewer.head.kernel.numpy()).max() < 0.05


def test_a_head_without_names_has_numbered_labels(task, tmp_path):
    """As transformers writes it: two classes with its default names are not in config.json."""
    two = kzoo.Classify(task.pretrained, labels=["a", "b"])
    two.save(tmp_path)
    (tmp_path / "kzoo.json").unlink()
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["id2label"], config["label2id"]
    path.write_text(json.dumps(config))
    assert load_task(tmp_path).labels == ["LABEL_0", "LABEL_1"]
    for wrong in ({"0": "a"}, {"x": "a", "y": "b"}, ["a", "b", "c"]):
        path.write_text(json.dumps(config | {"id2label": wrong}))
        with pytest.raises(UserError, match=r"id2label in config.json of .* must name the 2 classes of its head"):
            load_task(tmp_path)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_head_keeps_the_dtype_it_came_in(tmp_path, dtype):
    import safetensors.numpy

    classifier("bert").save(tmp_path / "model")
    path = tmp_path / "model" / "model.safetensors"
    tensors = {name: tensor.astype(dtype) for name, tensor in safetensors.numpy.load_file(path).items()}
    safetensors.numpy.save_file(tensors, path)
    load_task(tmp_path / "model").save(tmp_path / "again")
    again = safetensors.numpy.load_file(tmp_path / "again" / "model.safetensors")
    assert set(again) == set(tensors)
    assert all(again[name].tobytes() == tensor.tobytes() for name, tensor in tensors.items())


@pytest.mark.parametrize("labels", [[], ["one"], ["a", "b", "a"], [1, "1"]])
def test_labels_that_cannot_be(labels):
    with pytest.raises(UserError, match="labels must name two or more different classes. Received"):
        kzoo.Classify(tiny.bert(), labels=labels)


def test_labels_must_be_named_where_the_checkpoint_has_none():
    with pytest.raises(UserError, match="fresh bert has no classifier of its own: name the classes in labels."):
        kzoo.Classify(tiny.bert())


def test_labels_need_not_be_strings():
    assert kzoo.Classify(tiny.bert(), labels=[0, 1]).labels == ["0", "1"]


def test_targets_are_numbers_of_labels(task):
    targets, weights = task.targets({"label": np.array(["good", "bad", "good"])}, {})
    assert targets.dtype == tf.int32 and targets.numpy().tolist() == [2, 0, 2]
    assert weights.numpy().tolist() == [1.0, 1.0, 1.0]
    numbers = kzoo.Classify(task.pretrained, labels=["0", "1"])
    assert numbers.targets({"label": np.array([1, 0])}, {})[0].numpy().tolist() == [1, 0]
    assert task.targets({"label": np.array([b"bad"])}, {})[0].numpy().tolist() == [0]


def test_labels_of_the_examples_that_the_task_does_not_know(task):
    with pytest.raises(UserError) as caught:
        task.targets({"label": ["good", "great", "Bad"]}, {})
    assert "labels that the task does not know: 'Bad', 'great'" in str(caught.value)
    assert "it knows 'bad', 'so so', 'good'" in str(caught.value)


def test_plain_keras_fit_learns(task):
    """compile and fit on any tf.data, without kzoo's runner: the loss falls and the training texts are told apart."""
    keras.utils.set_random_seed(0)
    task = classifier("gpt2" if task.pretrained.is_decoder else "bert", labels=["no", "yes"])
    features = task.pack(task.tokenize({"text": tf.constant(tiny.TEXTS)}), 16)
    targets, weights = task.targets({"label": ["yes", "no", "no", "yes"]}, {})
    data = tf.data.Dataset.from_tensors((features, targets, weights))
    task.model.compile(
        optimizer=keras.optimizers.Adam(0.01), loss=task.loss(), weighted_metrics=task.metrics(), jit_compile=False
    )
    history = task.model.fit(data.repeat(25), epochs=2, verbose=0).history
    assert history["loss"][1] < 0.6 * history["loss"][0] and history["accuracy"][1] > 0.9
    answers = task.serve({"text": tf.constant(tiny.TEXTS)})
    assert answers["label"].numpy().tolist() == [b"yes", b"no", b"no", b"yes"]


def test_the_loss_is_that_of_real_targets():
    logits, targets = array(4, 3), np.array([0, 2, 1, 1])
    task = classifier("bert")
    each = -np.log(np.exp(logits) / np.exp(logits).sum(-1, keepdims=True))[range(4), targets]
    np.testing.assert_allclose(task.loss()(targets, logits, [1.0, 1.0, 0.0, 0.0]), each[:2].mean(), rtol=1e-5)


def test_last_token_takes_the_last_real_one():
    x, mask = array(3, 4, 2), np.array([[1, 1, 1, 1], [1, 1, 0, 0], [0, 0, 0, 0]])
    for kind in ("int32", "bool"):
        np.testing.assert_array_equal(LastToken()(x, mask.astype(kind)), [x[0, 3], x[1, 1], x[2, 0]])


def test_dropout_is_for_training_only():
    task = classifier("bert", dropout=0.5)
    features = task.pack(task.tokenize({"text": tf.constant(tiny.TEXTS)}), 16)
    np.testing.assert_array_equal(task.model(features), classifier("bert").model(features))
    assert not np.allclose(task.model(features, training=True), task.model(features), atol=1e-3)


def test_it_may_abstain(task):
    scores = [max(answer["scores"]) for answer in task.predict(tiny.TEXTS)]
    edge = sorted(scores)[1]
    options = task.options() | {"abstain_below": edge, "abstain_label": "unsure"}
    careful = kzoo.Classify(task.pretrained, **options)
    careful.model.set_weights(task.model.get_weights())
    for answer, plain in zip(careful.predict(tiny.TEXTS), task.predict(tiny.TEXTS), strict=True):
        assert answer["scores"] == plain["scores"]
        assert answer["label"] == (plain["label"] if max(plain["scores"]) >= edge else "unsure")
    assert careful.options() == options


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"abstain_below": 0}, "must lie above 0"),
        ({"abstain_below": 0.5, "abstain_label": "bad"}, "must not be one of the labels"),
        ({"abstain_below": 0.5, "multi_label": True}, "one label a text"),
    ],
)
def test_abstention_that_makes_no_sense(options, message):
    with pytest.raises(UserError, match=message):
        classifier("bert", **options)
