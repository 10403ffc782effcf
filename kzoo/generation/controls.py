"""What a request asks of decoding, one value a row, and how it changes the scores of the next token."""

from typing import NamedTuple

import tensorflow as tf

from kzoo.generation import sampling
from kzoo.generation.blocked import Bias, add_bias, block, last_tokens
from kzoo.generation.penalties import Seen, look, note, penalize_presence_and_frequency, penalize_repetition

# B rows, V vocabulary, K entries, W tokens of the longest blocked sequence, R = W - 1


class Controls(NamedTuple):
    """What each row asks.

    Attributes:
        max_new_tokens: int32 ``[B]``.
        min_new_tokens: int32 ``[B]``: so many before the end token may come.
        temperature: float32 ``[B]``; 0 is greedy.
        top_k: int32 ``[B]``; 0 for all.
        top_p: float32 ``[B]``; 1 for all.
        min_p: float32 ``[B]``; 0 for all.
        repetition_penalty: float32 ``[B]``; 1 for none.
        presence_penalty: float32 ``[B]``; 0 for none.
        frequency_penalty: float32 ``[B]``; 0 for none.
        seed: int32 or int64 ``[B]``.
        bias: added to the scores of tokens ``[B, K]``.
        blocked: sequences ruled out, int32 ``[B, K, W]``; see ``blocked.block``.
        stops: strings ``[B, K]`` that end an answer; see ``stopping``.
    """

    max_new_tokens: tf.Tensor
    min_new_tokens: tf.Tensor
    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor
    min_p: tf.Tensor
    repetition_penalty: tf.Tensor
    presence_penalty: tf.Tensor
    frequency_penalty: tf.Tensor
    seed: tf.Tensor
    bias: Bias
    blocked: tf.Tensor
    stops: tf.Tensor

    def repeated(self, times: int) -> "Controls":
        """Each row so many times in succession, the first with its seed and the others with seeds of their own."""
        if times == 1:
            return self
        rows = tf.nest.map_structure(lambda one: tf.repeat(one, times, axis=0), self)
        copy = tf.tile(tf.range(times, dtype=tf.int64), tf.shape(self.seed))
        return rows._replace(seed=tf.cast(rows.seed, tf.int64) + tf.bitwise.left_shift(copy, tf.constant(32, tf.int64)))


def plain(batch_size, *, max_new_tokens, **knobs) -> Controls:
    """The same controls for all rows, greedy and without any more unless ``knobs`` say otherwise."""

    def each(value, dtype):
        return tf.broadcast_to(tf.cast(value, dtype), [batch_size])

    return Controls(
        max_new_tokens=each(max_new_tokens, tf.int32),
        min_new_tokens=each(knobs.pop("min_new_tokens", 0), tf.int32),
        temperature=each(knobs.pop("temperature", 0.0), tf.float32),
        top_k=each(knobs.pop("top_k", 0), tf.int32),
        top_p=each(knobs.pop("top_p", 1.0), tf.float32),
        min_p=each(knobs.pop("min_p", 0.0), tf.float32),
        repetition_penalty=each(knobs.pop("repetition_penalty", 1.0), tf.float32),
        presence_penalty=each(knobs.pop("presence_penalty", 0.0), tf.float32),
        frequency_penalty=each(knobs.pop("frequency_penalty", 0.0), tf.float32),
        seed=each(knobs.pop("seed", 0), tf.int32),
        bias=knobs.pop("bias", Bias(tf.zeros([batch_size, 0], tf.int32), tf.zeros([batch_size, 0]))),
        blocked=knobs.pop("blocked", tf.zeros([batch_size, 0, 1], tf.int32)),
        stops=knobs.pop("stops", tf.zeros([batch_size, 0], tf.string)),
        **knobs,
    )


class Memory(NamedTuple):
    """What the controls must know of what a row holds; every tensor has the rows first.

    Attributes:
        seen: for penalties.
        recent: int32 ``[B, R]``, for blocked sequences.
    """

    seen: Seen
    recent: tf.Tensor


def begin(controls: Controls, prompt_ids, prompt_lengths, vocabulary_size: int) -> Memory:
    """What stands in prompts ``[B, P]``, padded on the right."""
    wanted = tf.where(_penalizes(controls), vocabulary_size, 0)
    wanted = tf.raw_ops.PlaceholderWithDefault(input=wanted, shape=[])  # or a branch not taken fails by its shapes
    back = tf.shape(controls.blocked)[2] - 1
    return Memory(look(prompt_ids, prompt_lengths, wanted), last_tokens(prompt_ids, prompt_lengths, back))


def remember(memory: Memory, tokens) -> Memory:
    """What is known once these tokens ``[B]`` were written."""
    recent = tf.concat([memory.recent, tokens[:, None]], axis=1)[:, 1:]
    return Memory(note(memory.seen, tokens), recent)


def steer(scores, step, controls: Controls, memory: Memory, end_ids) -> tf.Tensor:
    """Changes the scores ``[B, V]`` of the next token as the rows ask: bias, penalties, what may not come.

    Args:
        scores: float32 ``[B, V]``: logits, or log-probabilities in a beam search.
        step: scalar integer, the number of the token.
        controls: of the rows.
        memory: of the rows.
        end_ids: the tokens that end a row, a list of integers or scalars.
    """

    def when(asked, change):
        nonlocal scores
        before = scores
        scores = tf.cond(asked, lambda: change(before), lambda: before)

    when(tf.size(controls.bias.ids) > 0, lambda scores: add_bias(scores, controls.bias))
    when(
        tf.reduce_any(controls.repetition_penalty != 1.0),
        lambda scores: penalize_repetition(scores, memory.seen, controls.repetition_penalty),
    )
    when(
        tf.reduce_any((controls.presence_penalty != 0.0) | (controls.frequency_penalty != 0.0)),
        lambda scores: penalize_presence_and_frequency(
            scores, memory.seen, controls.presence_penalty, controls.frequency_penalty
        ),
    )
    when(tf.size(controls.blocked) > 0, lambda scores: block(scores, memory.recent, controls.blocked))
    if end_ids:
        is_early = step < controls.min_new_tokens  # [B]
        when(tf.reduce_any(is_early), lambda scores: _without(scores, end_ids, is_early))
    return scores


def choose(scores, step, controls: Controls) -> tf.Tensor:
    """The next token int32 ``[B]`` by scores that have been steered."""
    return sampling.choose(
        scores,
        step,
        temperature=controls.temperature,
        top_k=controls.top_k,
        top_p=controls.top_p,
        min_p=controls.min_p,
        seed=controls.seed,
    )


def _penalizes(controls: Controls) -> tf.Tensor:
    return tf.reduce_any(
        (controls.repetition_penalty != 1.0) | (controls.presence_penalty != 0.0) | (controls.frequency_penalty != 0.0)
    )


def _without(scores, ids, rows) -> tf.Tensor:
    """The scores with minus infinity for some tokens, in the rows that are marked."""
    is_one = tf.reduce_any(
        tf.range(tf.shape(scores)[1])[:, None] == tf.convert_to_tensor(ids, tf.int32)[None, :], axis=1
    )
    return tf.where(rows[:, None] & is_one[None, :], -float("inf"), scores)
