"""Tokens and sequences of tokens that a request forbids or favours."""

from typing import NamedTuple

import tensorflow as tf

# B rows, V vocabulary, K entries, W tokens of the longest entry, R = W - 1 tokens back

NOTHING = -1
"""An id that no token has: fills what is not used."""


class Bias(NamedTuple):
    """What is added to the scores of single tokens.

    Attributes:
        ids: int32 ``[B, K]``; ids that no token has do not count.
        values: float32 ``[B, K]``.
    """

    ids: tf.Tensor
    values: tf.Tensor


def add_bias(scores, bias: Bias) -> tf.Tensor:
    """Adds the bias to scores ``[B, V]``; of one token given twice both count."""
    size = tf.shape(scores)[1]
    rows = tf.broadcast_to(tf.range(tf.shape(scores)[0])[:, None], tf.shape(bias.ids))
    real = (bias.ids >= 0) & (bias.ids < size)
    places = tf.stack([rows, tf.where(real, bias.ids, 0)], axis=-1)
    return tf.tensor_scatter_nd_add(scores, places, tf.where(real, bias.values, 0.0))


def block(scores, recent, sequences) -> tf.Tensor:
    """Rules out each token that would complete a blocked sequence.

    Args:
        scores: float32 ``[B, V]``.
        recent: int32 ``[B, R]``, the last tokens of each row; ``NOTHING`` before its first.
        sequences: int32 ``[B, K, W]``, ``NOTHING`` before their first token; all of it: an entry that is not used.

    Returns:
        The scores, minus infinity for what is ruled out; see ``transformers``' ``NoBadWordsLogitsProcessor``.
    """
    before, last = sequences[:, :, :-1], sequences[:, :, -1]  # [B, K, R], [B, K]
    matches = tf.reduce_all((before == NOTHING) | (before == recent[:, None, :]), axis=-1) & (last >= 0)
    rows = tf.broadcast_to(tf.range(tf.shape(scores)[0])[:, None], tf.shape(last))
    ruled_out = tf.scatter_nd(
        tf.stack([rows, tf.maximum(last, 0)], axis=-1), tf.cast(matches, tf.int32), tf.shape(scores)
    )
    return tf.where(ruled_out > 0, -float("inf"), scores)


def last_tokens(prompt_ids, prompt_lengths, count) -> tf.Tensor:
    """The last ``count`` tokens of prompts ``[B, P]`` padded on the right: int32 ``[B, R]``."""
    places = prompt_lengths[:, None] - count + tf.range(count)[None, :]  # [B, R]
    found = tf.gather(prompt_ids, tf.maximum(places, 0), batch_dims=1)
    return tf.where(places >= 0, found, NOTHING)


def aligned_right(ragged: tf.RaggedTensor) -> tf.Tensor:
    """Sequences ragged ``[B, K, None]`` to ``[B, K, W]`` with ``NOTHING`` before them; W is 1 at least."""
    lengths = ragged.row_lengths(axis=2).to_tensor(0)  # [B, K]
    dense = ragged.to_tensor(NOTHING)  # [B, K, W]
    dense = tf.pad(dense, [[0, 0], [0, 0], [0, tf.maximum(1 - tf.shape(dense)[2], 0)]], constant_values=NOTHING)
    width = tf.shape(dense, out_type=tf.int64)[2]
    places = tf.range(width)[None, None, :] - (width - lengths[:, :, None])  # [B, K, W]
    found = tf.gather(dense, tf.maximum(places, 0), batch_dims=2)
    return tf.where(places >= 0, found, NOTHING)
