"""Parts of texts by their offsets, and flat values as rows of a batch: how answers about tokens leave a model."""

from collections.abc import Mapping

import tensorflow as tf

from kzoo.tokenizers.characters import decode, encode

# B texts, P parts of all texts, S parts of the text that has most


def parts_of(texts: tf.Tensor, row, start, end) -> tf.Tensor:
    """Parts of texts ``[B]`` as strings ``[P]``, valid UTF-8, from rows and offsets in code points ``[P]``."""
    characters = decode(texts)
    offset = tf.cast(tf.gather(characters.row_splits, row), tf.int32)
    places = tf.ragged.range(offset + start, offset + end, row_splits_dtype=tf.int64)
    return encode(tf.gather(characters.code_points, places.flat_values), places.row_splits)


def dense_rows(row, number, columns: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
    """Values ``[P, ...]`` as rows ``[number, S, ...]``, at least one wide, with ``count`` int32 ``[number]``.

    Args:
        row: which row each value is of, ascending int32 ``[P]``.
        number: of rows.
        columns: the values by name.
    """
    count = tf.math.unsorted_segment_sum(tf.ones_like(row), row, number)
    most = tf.maximum(tf.reduce_max(tf.concat([count, [1]], 0)), 1)
    rows = {}
    for name, values in columns.items():
        ragged = tf.RaggedTensor.from_row_lengths(values, tf.cast(count, tf.int64))
        rows[name] = ragged.to_tensor(shape=tf.concat([[number, most], tf.shape(values)[1:]], 0))
    return rows | {"count": count}
