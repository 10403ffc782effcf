"""Signatures for TensorFlow Serving's Classify and Regress APIs, whose requests are ``tf.Example`` messages.

Their one input, ``inputs``, is a vector of serialized examples; each of the task's own inputs is a feature of that name
in every example. Over REST such a request is ``POST .../NAME:classify`` with ``{"examples": [{"text": "..."}]}``.
"""

# B examples

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

from kzoo.tasks.signature import Signature

INPUT = "inputs"


def signature(
    method: str,
    inputs: Mapping[str, tf.TensorSpec],
    answer: Callable[[Mapping[str, tf.Tensor]], dict[str, tf.Tensor]],
) -> Signature:
    """A signature that reads ``inputs`` from serialized examples and answers as ``answer`` does.

    Args:
        method: ``classify``, whose answers are ``classes`` and ``scores`` ``[B, C]``, or ``regress``, whose answer is
            ``outputs`` ``[B]``.
        inputs: name and dtype of each feature; all are required.
        answer: from the inputs ``[B]`` by name to the outputs.
    """
    features = {name: tf.io.FixedLenFeature([], spec.dtype) for name, spec in inputs.items()}
    return Signature(
        lambda inputs: answer(tf.io.parse_example(inputs, features)),
        {INPUT: tf.TensorSpec([None], tf.string, name=INPUT)},
        request=lambda rows: {INPUT: serialized(rows)},
        method=method,
    )


def serialized(rows: Mapping[str, list]) -> list[bytes]:
    """Each row of texts as a serialized ``tf.Example``."""

    def feature(value: Any) -> tf.train.Feature:
        text = value.encode() if isinstance(value, str) else value
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[text]))

    return [
        tf.train.Example(
            features=tf.train.Features(feature={name: feature(one) for name, one in zip(rows, row, strict=True)})
        ).SerializeToString(deterministic=True)
        for row in zip(*rows.values(), strict=True)
    ]
