"""The signature ``from_token_ids``: a task's answers from tokens that were made elsewhere.

For callers who keep a tokenizer of their own (many models behind one, or texts that were tokenized once). Its inputs
are ``token_ids`` int32 ``[B, T]``, ``length`` int32 ``[B]`` (tokens of each row) and, where the model reads them,
``segment_ids`` and others ``[B, T]``. Special tokens are the caller's to put. What stands behind a row's tokens is not
read, so that a server may pad rows of several requests to one length with whatever it likes (TensorFlow Serving takes a
request's first element), which a mask would not survive.
"""

# B rows, T length

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import tensorflow as tf

from kzoo.tasks.signature import Signature

if TYPE_CHECKING:
    from kzoo.tasks.task import Task

NAME = "from_token_ids"
_MASK = "padding_mask"
_LENGTH = "length"


def signature(task: "Task") -> Signature:
    """The signature of a task, traced through its own ``tokenize`` and ``pack`` for the names of its inputs."""

    def packed(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        tokens = task.tokenize(inputs)
        features = task.pack(tokens, tf.cast(tokens["token_ids"].bounding_shape(1), tf.int32))
        length = tf.reduce_sum(features.pop(_MASK), axis=1)
        return {"token_ids": features.pop("token_ids"), _LENGTH: length, **features}

    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in task.inputs.items()}
    pack = tf.function(packed, input_signature=[specs], autograph=False)
    made = pack.get_concrete_function().structured_outputs

    def request(rows: Mapping[str, list]) -> dict[str, np.ndarray]:
        outputs = pack({name: tf.constant(values, specs[name].dtype) for name, values in rows.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    def answer(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        rows = _rows(features, task.most_tokens)
        return task.answer_tokens(rows, tf.shape(features["token_ids"])[1])

    inputs = {
        name: tf.TensorSpec([None] if name == _LENGTH else [None, None], spec.dtype, name=name)
        for name, spec in made.items()
    }
    return Signature(answer, inputs, request=request)


def _rows(features: Mapping[str, tf.Tensor], most: int) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """As ``Task.tokenize`` gives them: ragged rows without their padding."""
    lengths = features[_LENGTH]  # [B]
    width = tf.shape(features["token_ids"])[1]
    fits = tf.reduce_all((lengths >= 1) & (lengths <= most))
    are_there = tf.reduce_all(lengths <= width)
    checks = [
        tf.debugging.Assert(fits, [f"length must lie between 1 and {most}, the tokens that fit. Received", lengths]),
        tf.debugging.Assert(are_there, ["length must not exceed the width of token_ids", width, ". Received", lengths]),
    ]
    with tf.control_dependencies(checks):
        lengths = tf.cast(lengths, tf.int64)
    ragged = {
        name: tf.RaggedTensor.from_tensor(value, lengths=lengths) for name, value in features.items() if name != _LENGTH
    }
    return ragged | {"row": tf.range(tf.size(lengths))}
