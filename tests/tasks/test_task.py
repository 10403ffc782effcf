"""What all tasks share, seen on a classifier."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.errors import UserError
from kzoo.tasks.task import Task
from tests import tiny


@pytest.fixture(scope="module")
def task():
    task = kzoo.Classify(tiny.bert(num_layers=1), labels=["bad", "so so", "good"])
    task.head.kernel.assign(np.random.default_rng(0).normal(size=(16, 3)))
    return task


def scores(answers):
    return np.array([answer["scores"] for answer in answers])


def served(task):
    return task.serve({"text": tf.constant(tiny.TEXTS)})["scores"].numpy()


def test_answers_come_in_the_order_given(task):
    texts = [tiny.TEXTS[number % 4] + " a" * (number * 7 % 13) for number in range(40)]
    together = scores(task.predict(texts, batch_size=7))
    backwards = scores(task.predict(texts[::-1], batch_size=16))
    np.testing.assert_allclose(together, backwards[::-1], atol=1e-6)
    for number in (0, 13, 39):
        np.testing.assert_allclose(scores(task.predict(texts[number])), together[number : number + 1], atol=1e-6)
    assert len(np.unique(together.round(5), axis=0)) > 20


def test_a_text_a_list_an_array_a_generator_and_bytes_are_the_same(task):
    texts = ["a good film", "bad"]
    expected = task.predict(texts)
    assert task.predict("a good film")[0] == task.predict(["a good film"])[0]
    for same in (tuple(texts), np.array(texts), (text for text in texts), [text.encode() for text in texts]):
        assert task.predict(same) == expected
    assert task.predict({"text": texts}) == expected
    assert task.predict({"text": "bad"}) == task.predict("bad")
    assert task.predict(["a good film", b"bad"]) == expected


def test_answers_are_python_objects(task):
    answer = task.predict("a good film")[0]
    assert json.loads(json.dumps(answer)) == answer
    assert isinstance(answer["label"], str) and isinstance(answer["scores"][0], float)


def test_nothing_asked_nothing_answered(task):
    assert task.predict([]) == []


def test_the_empty_text_is_a_text(task):
    alone = task.predict("")[0]
    assert alone["label"] in task.labels
    np.testing.assert_allclose(
        task.predict(["the film was not good at all", ""])[1]["scores"], alone["scores"], atol=1e-6
    )


def test_a_text_of_100000_characters_is_cut(task):
    short = scores(task.predict("good " * 30))  # 32 tokens with [CLS] and [SEP], all that the tokenizer allows
    np.testing.assert_allclose(scores(task.predict("good " * 20000)), short, atol=1e-6)
    assert task.predict("x" * 100_000)[0]["label"] in task.labels


def test_what_is_not_utf8_is_read_as_replacement_characters(task):
    expected = task.predict("\ufffd\ufffd good")
    assert task.predict([b"\xff\xfe good"]) == expected
    assert task.predict(["\ud83d good"])[0]["label"] in task.labels  # half of a surrogate pair


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (3, "text must be a text or a list of texts. Received 3."),
        (None, "text must be a text or a list of texts. Received None."),
        (["a", None], "text must hold texts. Received None."),
        (["a", 3.5], "text must hold texts. Received 3.5."),
        ([["a"], ["b"]], "text must hold texts. Received ['a']."),
        ({"texts": ["a"]}, "classify needs text. Received texts."),
        ({}, "classify needs text. Received nothing."),
        ({"text": ["a"], "prompt": ["b"]}, "classify needs text. Received text, prompt."),
    ],
)
def test_what_is_not_text_is_refused(task, texts, message):
    with pytest.raises(UserError) as caught:
        task.predict(texts)
    assert str(caught.value) == message


def test_serve_in_a_graph_of_unknown_batch_size(task):
    graph = tf.function(
        lambda text: task.serve({"text": text}), input_signature=[tf.TensorSpec([None], tf.string)], autograph=False
    )
    assert {name: shape.rank for name, shape in graph.get_concrete_function().output_shapes.items()} == {
        "label": 1,
        "scores": 2,
        "classes": 2,
    }
    for number in (4, 1, 0):
        answers = graph(tf.constant(tiny.TEXTS[:number], tf.string))
        assert answers["scores"].shape == (number, 3) and answers["label"].shape == (number,)
        np.testing.assert_allclose(
            answers["scores"], scores(task.predict(tiny.TEXTS)[:number]).reshape(-1, 3), atol=1e-6
        )


def test_pack_pads_to_the_length_given(task):
    tokens = task.tokenize({"text": tf.constant(["good", "a good film"])})
    features = task.pack(tokens, 8)
    assert {name: (value.dtype, value.shape.as_list()) for name, value in features.items()} == {
        "token_ids": (tf.int32, [2, 8]),
        "padding_mask": (tf.int32, [2, 8]),
    }
    assert features["padding_mask"].numpy().sum(1).tolist() == [3, 5]
    np.testing.assert_array_equal(task.pack(tokens, tf.constant(8))["token_ids"], features["token_ids"])


def test_a_batch_padded_longer_gives_the_same_answer(task):
    tokens = task.tokenize({"text": tf.constant(tiny.TEXTS)})
    outputs = [task.model(task.pack(tokens, length), training=False) for length in (14, 20, 32)]
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
    np.testing.assert_allclose(outputs[0], outputs[2], atol=1e-5)


def test_the_plain_signature_comes_first(task):
    signatures = task.signatures()
    assert list(signatures) == ["serving_default", "classify"]
    signature = signatures["serving_default"]
    assert {name: (spec.shape.as_list(), spec.dtype) for name, spec in signature.inputs.items()} == {
        "text": ([None], tf.string)
    }
    assert signature.defaults == {}
    answers = signature.function(**{name: tf.constant(values) for name, values in task.example_inputs().items()})
    assert set(answers) == {"label", "scores", "classes"}


@pytest.mark.parametrize("max_length", [0, 2, 41, -1])
def test_a_length_that_cannot_be(max_length):
    with pytest.raises(UserError, match=f"max_length must lie between 3 and the model's 40 .* Received {max_length}"):
        kzoo.Embed(tiny.bert(), max_length=max_length)


def test_the_longest_text_is_what_model_and_tokenizer_allow():
    assert kzoo.Embed(tiny.bert()).max_length == 32  # the tokenizer's; the model has 40 positions
    assert kzoo.Embed(tiny.bert(num_positions=20)).max_length == 20
    assert kzoo.Embed(tiny.bert(), max_length=40).max_length == 40


def test_rebuild_answers_the_same_with_weights_of_its_own(task):
    other = task.rebuild()
    expected = served(task)
    np.testing.assert_array_equal(served(other), expected)
    assert other.options() == task.options() and other.tokenizer is task.tokenizer
    other.head.kernel.assign(-other.head.kernel)
    other.backbone.token_embedding.embeddings.assign(-other.backbone.token_embedding.embeddings)
    assert not np.allclose(served(other), expected, atol=1e-3)
    np.testing.assert_array_equal(served(task), expected)


def test_rebuild_takes_the_policy_in_force(task):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        other = task.rebuild()
    finally:
        keras.config.set_dtype_policy("float32")
    assert other.backbone.compute_dtype == "bfloat16" and other.head.compute_dtype == "float32"
    np.testing.assert_allclose(served(other), served(task), atol=0.1)


def test_the_model_is_an_ordinary_keras_model(task, tmp_path):
    assert isinstance(task.model, keras.Model)
    features = task.pack(task.tokenize({"text": tf.constant(tiny.TEXTS)}), 16)
    task.model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(features), task.model(features))
    lines = []
    task.model.summary(print_fn=lines.append)
    assert "backbone" in "\n".join(lines) and "head" in "\n".join(lines)


def test_a_description_for_people(task):
    assert repr(task) == "Classify(fresh bert)"


def test_an_undefined_task_cannot_be_trained(task):
    class Idle(Task):
        name = "idle"

        def build(self, backbone):
            return backbone

    idle = Idle(tiny.bert())
    for call in (idle.loss, lambda: idle.targets({}, {})):
        with pytest.raises(UserError, match="The task idle cannot be trained yet."):
            call()


def test_a_head_that_the_directory_cannot_hold_is_not_lost_in_silence(tmp_path):
    class Other(kzoo.Classify):
        name = "other"

    task = Other(tiny.bert(), labels=["a", "b"])
    with pytest.raises(UserError, match="A bert directory has no place for the head of other. Save task.model"):
        task.save(tmp_path / "model")
    assert not (tmp_path / "model").exists()
