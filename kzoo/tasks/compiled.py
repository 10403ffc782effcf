"""The dense part of an answer as programs that XLA compiles: one for each shape, and few shapes.

XLA knows no strings, and makes a program for each shape that it meets, which takes seconds. So text is tokenized
outside, and rows and lengths are padded to the next of a few sizes; what was padded is cut away again. A stock server
runs such functions only when it was started with its XLA flag, so they stand in signatures of their own, beside the
plain ones.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tasks.signature import Signature

# W rows, T length

SUFFIX = "_xla"
"""Behind the name of a signature: the same, compiled."""
ROWS = (1, 8, 32)
"""Rows of a program; the last is that of a chunk."""
LENGTHS = tuple(32 * 4**power for power in range(8))
"""Tokens of its rows, up to those that a model reads."""


def lengths_up_to(most: int) -> tuple[int, ...]:
    """The lengths of the programs of a model that reads so many tokens."""
    return (*(length for length in LENGTHS if length < most), most)


def shapes(rows: Sequence[int], most: int) -> tuple[tuple[int, int], ...]:
    """Rows and length of each program."""
    return tuple((number, length) for length in lengths_up_to(most) for number in rows)


def next_of(sizes: Sequence[int], size) -> tf.Tensor:
    """The least of the sizes, in ascending order, that is not below a scalar; the last when all are."""
    steps = tf.constant(sizes, tf.int32)
    return tf.reduce_min(tf.where(steps >= size, steps, steps[-1]))


class CompiledModel:
    """A model, compiled: takes features ``[W, T]`` as it does, and gives the outputs of those rows and tokens.

    Args:
        model: a functional ``keras.Model`` of features ``[W, T]``.
        most: tokens of a row that it reads.
    """

    def __init__(self, model: Any, most: int):
        self.output = model.output
        self._lengths = lengths_up_to(most)
        self._run = tf.function(lambda features: model(features, training=False), jit_compile=True, autograph=False)

    def __call__(self, features: Mapping[str, tf.Tensor], training: bool = False) -> Any:
        """What the model gives; padding is masked in the rows that are real, and cut away."""
        rows, length = tf.unstack(tf.shape(features["token_ids"]))
        missing = [[0, next_of(ROWS, rows) - rows], [0, next_of(self._lengths, length) - length]]
        outputs = self._run({name: tf.pad(value, missing) for name, value in features.items()})

        def cut(output, spec):
            has_tokens = len(spec.shape) > 1 and spec.shape[1] is None
            return output[:rows, :length] if has_tokens else output[:rows]

        return tf.nest.map_structure(cut, outputs, self.output)


def signatures(task: Any) -> dict[str, Signature]:
    """The compiled form of a task's plain answer, where one function of its model makes it.

    Raises:
        UserError: it has several shapes of features.
    """
    if not task.can_be_compiled:
        raise UserError(f"The task {task.name} has no compiled form. Export it without compiled=True (--compiled).")
    twin = copy.copy(task)
    twin.model = CompiledModel(task.model, task.most_tokens)
    entry = Signature(lambda **inputs: twin.serve(inputs), task.inputs, shapes=shapes(ROWS, task.most_tokens))
    return {f"serving_default{SUFFIX}": entry}
