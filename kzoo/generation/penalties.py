"""Scores changed by what a row holds already: repetition, presence and frequency penalties."""

from typing import NamedTuple

import tensorflow as tf

# B rows, P prompt length, V vocabulary


class Seen(NamedTuple):
    """Which tokens a row holds. V is 0 where nobody asks.

    Attributes:
        prompt: bool ``[B, V]``, those of the prompt.
        counts: int32 ``[B, V]``, how often each was written.
    """

    prompt: tf.Tensor
    counts: tf.Tensor


def look(prompt_ids, prompt_lengths, vocabulary_size) -> Seen:
    """What stands in prompts ``[B, P]``, padded on the right, so long as ``[B]`` says; nothing was written yet."""
    batch_size, length = tf.shape(prompt_ids)[0], tf.shape(prompt_ids)[1]
    if isinstance(vocabulary_size, int) and vocabulary_size == 0:
        return Seen(prompt=tf.zeros([batch_size, 0], tf.bool), counts=tf.zeros([batch_size, 0], tf.int32))
    real = tf.range(length)[None, :] < prompt_lengths[:, None]  # [B, P]
    real &= prompt_ids < vocabulary_size
    rows = tf.broadcast_to(tf.range(batch_size)[:, None], tf.shape(prompt_ids))
    shape = tf.stack([batch_size, vocabulary_size])
    if isinstance(vocabulary_size, int):  # every shape is known, as XLA wants
        places = tf.stack([rows, tf.where(real, prompt_ids, 0)], axis=-1)
        found = tf.scatter_nd(places, tf.cast(real, tf.int32), shape) > 0
    else:
        places = tf.boolean_mask(tf.stack([rows, prompt_ids], axis=-1), real)
        found = tf.scatter_nd(places, tf.ones_like(places[:, 0]), shape) > 0
    return Seen(prompt=found, counts=tf.zeros(shape, tf.int32))


def note(seen: Seen, tokens) -> Seen:
    """What is seen once these tokens ``[B]`` were written."""
    if seen.counts.shape[1] == 0:
        return seen
    size = tf.shape(seen.counts)[1]
    rows = tf.range(tf.shape(tokens)[0])
    places = tf.stack([rows, tf.minimum(tokens, tf.maximum(size - 1, 0))], axis=-1)

    def add():
        return tf.tensor_scatter_nd_add(seen.counts, places, tf.ones_like(tokens))

    return seen._replace(counts=tf.cond(size > 0, add, lambda: seen.counts))


def penalize_repetition(scores, seen: Seen, penalty) -> tf.Tensor:
    """Divides the positive scores of tokens seen anywhere by the penalty, multiplies the negative ones by it.

    Keskar et al. 2019, section 4.1, with the correction for negative scores that ``transformers`` brought.

    Args:
        scores: float32 ``[B, V]``.
        seen: what the rows hold.
        penalty: float32 ``[B]``; 1 changes nothing, above 1 repels, below 1 attracts.
    """
    penalty = penalty[:, None]
    changed = tf.where(scores < 0, scores * penalty, scores / penalty)
    return tf.where(seen.prompt | (seen.counts > 0), changed, scores)


def penalize_presence_and_frequency(scores, seen: Seen, presence, frequency) -> tf.Tensor:
    """Subtracts ``presence`` once, and ``frequency`` each time, for every token that was written.

    Those of the prompt do not count, as in OpenAI's interface.

    Args:
        scores: float32 ``[B, V]``.
        seen: what the rows hold.
        presence: float32 ``[B]``; None or 0 changes nothing.
        frequency: float32 ``[B]``; None or 0 changes nothing.
    """
    if presence is not None:
        scores -= presence[:, None] * tf.cast(seen.counts > 0, tf.float32)
    if frequency is not None:
        scores -= frequency[:, None] * tf.cast(seen.counts, tf.float32)
    return scores
