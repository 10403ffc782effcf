"""The signature ``from_token_ids``: a task's answers from tokens that were made elsewhere.

For callers who keep a tokenizer of their own (many models behind one, or texts that were tokenized once). Its inputs
are what the task's ``pack`` makes: ``token_ids`` and ``padding_mask`` int32 ``[B, T]`` and, where the model reads them,
``segment_ids`` and others. Special tokens are the caller's to put; padding stands behind the tokens.
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


def signature(task: "Task") -> Signature:
    """The signature of a task, traced through its own ``tokenize`` and ``pack`` for the names of its inputs."""

    def packed(inputs: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        tokens = task.tokenize(inputs)
        return task.pack(tokens, tf.cast(tokens["token_ids"].bounding_shape(1), tf.int32))

    specs = {name: tf.TensorSpec(spec.shape, spec.dtype, name) for name, spec in task.inputs.items()}
    pack = tf.function(packed, input_signature=[specs], autograph=False)
    made = pack.get_concrete_function().structured_outputs

    def request(rows: Mapping[str, list]) -> dict[str, np.ndarray]:
        outputs = pack({name: tf.constant(values, specs[name].dtype) for name, values in rows.items()})
        return {name: value.numpy() for name, value in outputs.items()}

    def answer(**features: tf.Tensor) -> dict[str, tf.Tensor]:
        return task.answer_tokens(_rows(features, task.most_tokens), tf.shape(features[_MASK])[1])

    inputs = {name: tf.TensorSpec([None, None], spec.dtype, name=name) for name, spec in made.items()}
    return Signature(answer, inputs, request=request)


def _rows(features: Mapping[str, tf.Tensor], most: int) -> dict[str, tf.Tensor | tf.RaggedTensor]:
    """As ``Task.tokenize`` gives them: ragged rows without their padding."""
    mask = features[_MASK]
    lengths = tf.reduce_sum(mask, axis=1)  # [B]
    is_prefix = tf.reduce_all(mask == tf.sequence_mask(lengths, tf.shape(mask)[1], mask.dtype))
    fits = tf.reduce_all((lengths >= 1) & (lengths <= most))
    checks = [
        tf.debugging.Assert(is_prefix, ["padding_mask must be 1 for the tokens of a row, then 0"]),
        tf.debugging.Assert(fits, [f"a row must have 1 to {most} tokens. Received", lengths]),
    ]
    with tf.control_dependencies(checks):
        lengths = tf.identity(lengths)
    ragged = {
        name: tf.RaggedTensor.from_tensor(value, lengths=tf.cast(lengths, tf.int64))
        for name, value in features.items()
        if name != _MASK
    }
    return ragged | {"row": tf.range(tf.size(lengths))}
