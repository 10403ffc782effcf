"""A task's signature as the server sees it: names, batch dimension, defaults, valid UTF-8."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.serving import saved_model, signatures
from kzoo.tasks.task import Signature

TEXT = {"text": tf.TensorSpec([None], tf.string)}
BIAS = {"bias": tf.TensorSpec([None], tf.float32)}


def shift(text, bias):
    return {"shifted": tf.cast(tf.strings.length(text), tf.float32) + bias}


def save(function, directory):
    tf.saved_model.save(tf.Module(), str(directory), signatures={"serving_default": function})
    return saved_model.describe_signatures(saved_model.read(directory))["serving_default"]


def test_inputs_and_outputs_keep_their_names_and_defaults(tmp_path):
    signature = Signature(shift, BIAS | TEXT, {"bias": np.array([0.5], "float32")})
    assert save(signatures.trace("serving_default", signature), tmp_path) == {
        "inputs": {"bias": {"dtype": "float32", "shape": [None]}, "text": {"dtype": "string", "shape": [None]}},
        "outputs": {"shifted": {"dtype": "float32", "shape": [None]}},
        "defaults": {"bias": [0.5]},
    }


def test_a_scalar_default_is_one_row():
    traced = signatures.trace("s", Signature(shift, TEXT | BIAS, {"bias": 2.0}))
    assert traced(tf.constant(["abc"]))["shifted"].numpy().tolist() == [5.0]


def test_a_knob_of_one_row_holds_for_every_row():
    traced = signatures.trace("s", Signature(shift, TEXT | BIAS, {"bias": 0.0}))
    texts = tf.constant(["a", "bb", "ccc"])
    assert traced(texts, tf.constant([10.0]))["shifted"].numpy().tolist() == [11, 12, 13]
    assert traced(texts, tf.constant([10.0, 20.0, 30.0]))["shifted"].numpy().tolist() == [11, 22, 33]


def test_a_knob_of_another_number_of_rows_is_refused():
    traced = signatures.trace("s", Signature(shift, TEXT | BIAS, {"bias": 0.0}))
    with pytest.raises(tf.errors.InvalidArgumentError, match="bias must have one row, or as many as text"):
        traced(tf.constant(["a", "bb", "ccc"]), tf.constant([1.0, 2.0]))


def test_what_is_not_utf8_leaves_as_replacement_characters():
    raw = tf.constant([b"caf\xc3", b"\xed\xa0\x80", "naïve 👩\x00".encode()])

    def answers(text):
        return {"text": text, "text_bytes": text}

    outputs = signatures.trace("s", Signature(answers, TEXT))(raw)
    assert [text.decode() for text in outputs["text"].numpy()] == ["caf\ufffd", "\ufffd\ufffd\ufffd", "naïve 👩\x00"]
    assert outputs["text_bytes"].numpy().tolist() == raw.numpy().tolist()


@pytest.mark.parametrize(
    ("function", "inputs", "defaults", "message"),
    [
        (shift, TEXT | {"bias": tf.TensorSpec([], tf.float32)}, {}, "Input 'bias' of signature 's' has shape \\(\\)"),
        (shift, TEXT | {"bias": tf.TensorSpec([4], tf.float32)}, {}, "the first dimension is the batch"),
        (shift, TEXT, {"bias": 0.0}, "Every default must belong to an input. Signature 's' lacks \\['bias'\\]"),
        (shift, TEXT | BIAS, {"bias": [1.0, 2.0]}, "must be one row"),
        (shift, TEXT | BIAS, {"text": "a", "bias": 0.0}, "at least must have no default"),
        (lambda text: {"count": tf.size(text)}, TEXT, {}, "Output 'count' of signature 's' has shape \\(\\)"),
        (lambda text: {"first": text[:1]}, TEXT, {}, None),
        (lambda text: {"fixed": tf.zeros([3])}, TEXT, {}, "Output 'fixed' of signature 's' has shape \\(3,\\)"),
        (lambda text: {"words": tf.strings.split(text)}, TEXT, {}, "must be a dense tensor. Output 'words'"),
        (lambda text: {}, TEXT, {}, "must have an output"),
        (lambda **inputs: {"x": inputs["a-b"]}, {"a-b": tf.TensorSpec([None], tf.string)}, {}, "Python identifier"),
    ],
)
def test_what_the_server_could_not_batch_is_refused(function, inputs, defaults, message):
    signature = Signature(function, inputs, defaults)
    if message is None:
        signatures.trace("s", signature)
        return
    with pytest.raises(ValueError, match=message):
        signatures.trace("s", signature)
