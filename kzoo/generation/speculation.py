"""Speculative decoding by prompt lookup: where the last tokens stood before, what followed them is read ahead.

A decoder reads a few tokens in hardly more time than one, for it is the weights that take the time. So it reads the
last token together with a draft of those to come (Leviathan et al. 2023; the draft from the text itself: Saxena 2023,
"Prompt Lookup Decoding"). The loop then chooses token for token as it always does, and goes on without reading as long
as it chooses what the draft says: what is written does not depend on the draft, whatever is asked of the loop.
"""

from typing import NamedTuple

import tensorflow as tf

from kzoo.generation.reading import Reading

# R rows, P prompt length, L most new tokens, S = P + L, K tokens of a draft, T tokens read at once, V vocabulary

LONGEST, LEAST = 3, 2
"""Last tokens that must have stood before: the longer the likelier the same follows."""
NOTHING = -1
"""An id that no token has."""


class Draft(NamedTuple):
    """Tokens that may come.

    Attributes:
        token_ids: int32 ``[R, K]``.
        found: bool ``[R]``: whether the last tokens of the row stood before.
    """

    token_ids: tf.Tensor
    found: tf.Tensor


def look_up(text, lengths, count: int) -> Draft:
    """What followed the last tokens where they stood before: the most of them that did, and the last such place.

    Where the text ends before the draft is full, it goes on as if what was found repeated itself.

    Args:
        text: int32 ``[R, S]``.
        lengths: int32 ``[R]``, tokens of each row, 1 or more; what stands behind them means nothing.
        count: K.
    """
    length, place = lengths[:, None], tf.range(tf.shape(text)[1])[None, :]  # [R, 1], [1, S]
    same, matched = tf.ones_like(text, tf.bool), tf.zeros_like(text)  # of those that end at each place
    for back in range(LONGEST):
        last = tf.gather(text, tf.maximum(length - 1 - back, 0), batch_dims=1)  # [R, 1]
        same &= tf.pad(text, [[0, 0], [back, 0]], constant_values=NOTHING)[:, : tf.shape(text)[1]] == last
        matched += tf.cast(same, tf.int32)
    stood_before = (matched >= LEAST) & (place < length - 1)
    rank = tf.where(stood_before, matched * tf.shape(text)[1] + place, NOTHING)
    following = tf.argmax(rank, axis=1, output_type=tf.int32)[:, None] + 1  # [R, 1]
    period = tf.maximum(length - following, 1)
    token_ids = tf.gather(text, following + tf.range(count)[None, :] % period, batch_dims=1)
    return Draft(token_ids, tf.reduce_any(stood_before, axis=1))


class Speculation:
    """Reads behind each row its last token, and with it a draft of the next ones.

    All rows go on by the same number of tokens, as their cache has the same slots for all: those that every row agrees
    on. So one row gains most, and where a row has no draft one token is read alone.

    Args:
        reading: the decoder, which has read the prompts.
        prompt_ids: int32 ``[R, P]``, padded on the right.
        prompt_lengths: int32 ``[R]``.
        limit: scalar int32, L.
        count: K.
    """

    def __init__(self, reading: Reading, prompt_ids, prompt_lengths, limit, count: int):
        self._reading, self._prompt_ids, self._lengths = reading, prompt_ids, prompt_lengths
        self._limit, self._count = limit, count
        prompt_length = tf.shape(prompt_ids)[1]
        place = tf.range(prompt_length + limit)[None, :]
        behind = place >= prompt_lengths[:, None]
        places = tf.where(behind, place + prompt_length - prompt_lengths[:, None], place)
        self._places = tf.minimum(places, prompt_length + limit - 1)  # [R, S], of a text without what pads its prompt

    def read(self, tokens, step, done, written, cache):
        """Reads a token and, where every row has a draft and room for it, the draft.

        Args:
            tokens: int32 ``[R]``, the tokens of number ``step - 1``.
            step: scalar int32, 1 or more: the number of the token whose scores are wanted.
            done: bool ``[R]``, rows whose tokens do not matter any more.
            written: int32 ``[L, R]``, the tokens so far.
            cache: as the last call left it.

        Returns:
            Logits float32 ``[R, T, V]`` of the tokens of number ``step`` and further, T being 1 or K + 1; the tokens
            int32 ``[R, K + 1]`` that those behind the first take for granted, the last of which is none; the cache.
        """
        text = tf.gather(tf.concat([self._prompt_ids, tf.transpose(written)], axis=1), self._places, batch_dims=1)
        draft = look_up(text, self._lengths + step, self._count)

        def ahead():
            return self._reading.steps(tf.concat([tokens[:, None], draft.token_ids], axis=1), step, cache)

        def alone():
            logits, after = self._reading.step(tokens, step, cache)
            return logits[:, None], after

        is_drafted = tf.reduce_all(draft.found | done) & (step + self._count < self._limit)
        logits, cache = tf.cond(is_drafted, ahead, alone)
        return logits, tf.pad(draft.token_ids, [[0, 0], [0, 1]], constant_values=NOTHING), cache
