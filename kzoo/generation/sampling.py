"""Choosing the next token: a chain of pure functions over candidates sorted by their scores.

Every knob is a vector with one value a row, so that a server may join requests with different settings, and every row's
choice depends on that row alone: its seed gives the same text at any place in any batch.
"""

from typing import NamedTuple

import tensorflow as tf

# B batch, V vocabulary


class Candidates(NamedTuple):
    """Next tokens from the likeliest to the least.

    Attributes:
        logits: float32 ``[B, V]``, descending; minus infinity for what has been ruled out.
        ids: int32 ``[B, V]``, their tokens.
    """

    logits: tf.Tensor
    ids: tf.Tensor


def candidates(logits) -> Candidates:
    """Sorts the scores ``[B, V]`` of all tokens."""
    return Candidates(*tf.math.top_k(logits, k=tf.shape(logits)[-1]))


def scale_by_temperature(these: Candidates, temperature) -> Candidates:
    """Divides the scores by the temperature ``[B]``: below 1 sharpens, above 1 flattens."""
    return these._replace(logits=these.logits / tf.maximum(temperature, 1e-6)[:, None])


def keep_top_k(these: Candidates, top_k) -> Candidates:
    """Keeps the ``top_k`` ``[B]`` likeliest tokens; 0 keeps all (Fan et al. 2018)."""
    rank = tf.range(tf.shape(these.ids)[-1])[None, :]  # [1, V]
    return _keep(these, (rank < top_k[:, None]) | (top_k[:, None] <= 0))


def keep_top_p(these: Candidates, top_p) -> Candidates:
    """Keeps the fewest likeliest tokens whose probabilities reach ``top_p`` ``[B]`` (Holtzman et al. 2020).

    The likeliest token always stays; 1 keeps all.
    """
    probability = tf.nn.softmax(these.logits)
    before = tf.cumsum(probability, axis=-1, exclusive=True)  # what likelier tokens add up to
    rank = tf.range(tf.shape(these.ids)[-1])[None, :]
    return _keep(these, (before < top_p[:, None]) | (top_p[:, None] >= 1.0) | (rank == 0))


def keep_min_p(these: Candidates, min_p) -> Candidates:
    """Keeps the tokens with ``min_p`` ``[B]`` of the likeliest one's probability; 0 keeps all (Nguyen et al. 2024)."""
    lowest = these.logits[:, :1] + tf.math.log(tf.maximum(min_p, 0.0))[:, None]  # log(0) lets all pass
    return _keep(these, these.logits >= tf.minimum(lowest, these.logits[:, :1]))


def draw(these: Candidates, uniform) -> tf.Tensor:
    """Draws one token a row, each with its probability.

    Args:
        these: the candidates left.
        uniform: float32 ``[B]`` in [0, 1), one number a row: the draw inverts the cumulative distribution.

    Returns:
        Token ids int32 ``[B]``.
    """
    cumulative = tf.cumsum(tf.nn.softmax(these.logits), axis=-1)  # [B, V]
    left = tf.math.count_nonzero(these.logits > -float("inf"), axis=-1, dtype=tf.int32)
    reached = uniform[:, None] * cumulative[:, -1:]
    rank = tf.math.count_nonzero(cumulative <= reached, axis=-1, dtype=tf.int32)
    rank = tf.minimum(rank, left - 1)  # rounding never steps past the last one left
    return tf.gather(these.ids, rank, batch_dims=1)


def uniform(seed, step):
    """One number in [0, 1) a row, from the row's seed and the number of the step alone.

    SplitMix64 (Steele et al. 2014, figure 13) over the two, the top 24 bits as float32.

    Args:
        seed: int32 or int64 ``[B]``.
        step: scalar integer.

    Returns:
        float32 ``[B]``.
    """

    def word(number):
        return tf.constant(number, tf.uint64)

    def mix(state):
        state = tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, word(30))) * word(0xBF58476D1CE4E5B9)
        state = tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, word(27))) * word(0x94D049BB133111EB)
        return tf.bitwise.bitwise_xor(state, tf.bitwise.right_shift(state, word(31)))

    golden = word(0x9E3779B97F4A7C15)
    state = mix(tf.cast(tf.cast(seed, tf.int64), tf.uint64) + golden)
    state = mix(state + golden * tf.cast(step + 1, tf.uint64))
    return tf.cast(tf.bitwise.right_shift(state, word(40)), tf.float32) * 2.0**-24


def choose(logits, step, *, temperature, top_k, top_p, min_p, seed) -> tf.Tensor:
    """The next token of each row: the likeliest where the temperature is 0, else drawn.

    Args:
        logits: float32 ``[B, V]``.
        step: scalar integer, the number of the token.
        temperature: float32 ``[B]``.
        top_k: int32 ``[B]``.
        top_p: float32 ``[B]``.
        min_p: float32 ``[B]``.
        seed: int32 or int64 ``[B]``.

    Returns:
        Token ids int32 ``[B]``.
    """
    greedy = tf.argmax(logits, axis=-1, output_type=tf.int32)

    def sample():
        left = scale_by_temperature(candidates(logits), temperature)
        left = keep_min_p(keep_top_p(keep_top_k(left, top_k), top_p), min_p)
        return tf.where(temperature > 0, draw(left, uniform(seed, step)), greedy)

    return tf.cond(tf.reduce_any(temperature > 0), sample, lambda: greedy)


def _keep(these: Candidates, kept) -> Candidates:
    return these._replace(logits=tf.where(kept, these.logits, -float("inf")))
