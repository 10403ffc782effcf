"""Runs a batch of texts of mixed lengths in chunks of like length, so that little padding is computed."""

from collections.abc import Callable, Mapping
from typing import Any

import tensorflow as tf

# W rows, R rows a chunk, T length

ROWS = 32
"""Rows of a chunk: enough to keep the cores busy, few enough that neighbours by length are alike."""

FEWEST = 8
"""Rows of a chunk where there are few in all, as in a server's batch: cut finer, they compute a fifth less (MiniLM, 32
movie-review snippets, a CPU)."""


def by_length(
    tokens: Mapping[str, tf.Tensor | tf.RaggedTensor],
    run: Callable[[dict, tf.Tensor], Any],
    specs: Any,
    *,
    rows: int | None = None,
) -> Any:
    """Sorts rows by length, runs them a chunk at a time, each padded to its own longest row, and restores the order.

    A row's result is the same as if all rows were run at once, to rounding.

    Args:
        tokens: ragged ``[W, None]`` and dense ``[W, ...]`` values; ``token_ids`` gives the lengths.
        run: from the tokens of a chunk and its length (scalar int32) to a tensor ``[R, ...]`` or a structure of them.
            A tensor whose second axis is None in ``specs`` has one value a token, ``[R, T, ...]``, and is padded with
            zeros.
        specs: the structure of ``run``'s result, with the ``shape`` and ``dtype`` of each.
        rows: rows of a chunk; by default a quarter of all, within ``FEWEST`` and ``ROWS``.

    Returns:
        The structure of tensors ``[W, ...]``.
    """
    lengths = tf.cast(tokens["token_ids"].row_lengths(), tf.int32)  # [W]
    order = tf.argsort(lengths, stable=True)
    longest = tf.maximum(tf.reduce_max(lengths), 1)
    size = tf.size(lengths)
    rows = tf.clip_by_value(size // 4, FEWEST, ROWS) if rows is None else rows
    num_chunks = tf.maximum((size + rows - 1) // rows, 1)  # an empty batch runs once, for its shapes
    arrays = [
        tf.TensorArray(spec.dtype, num_chunks, infer_shape=False, element_shape=[None, *spec.shape[1:]])
        for spec in tf.nest.flatten(specs)
    ]

    def body(index, arrays):
        these = order[index * rows : (index + 1) * rows]
        length = tf.maximum(tf.reduce_max(tf.gather(lengths, these)), 1)
        outputs = run({name: tf.gather(value, these) for name, value in tokens.items()}, length)
        triples = zip(arrays, tf.nest.flatten(outputs), tf.nest.flatten(specs), strict=True)
        return index + 1, [array.write(index, _widen(one, spec, longest)) for array, one, spec in triples]

    _, arrays = tf.while_loop(
        lambda index, _: index < num_chunks, body, (tf.constant(0), arrays), parallel_iterations=1
    )
    back = tf.math.invert_permutation(order)
    return tf.nest.pack_sequence_as(specs, [tf.gather(array.concat(), back) for array in arrays])


def _widen(output: tf.Tensor, spec, longest) -> tf.Tensor:
    return output if len(spec.shape) < 2 or spec.shape[1] is not None else widened(output, longest)


def widened(output: tf.Tensor, length) -> tf.Tensor:
    """Values of tokens ``[R, T, ...]`` with zeros behind them, ``[R, length, ...]``."""
    missing = length - tf.shape(output)[1]
    return tf.pad(output, [[0, 0], [0, missing]] + [[0, 0]] * (output.shape.rank - 2))
