"""What a request asks of decoding, one value a row, and how it changes the scores of the next token."""

from typing import Any, NamedTuple

import tensorflow as tf

from kzoo.generation import sampling
from kzoo.generation.blocked import Bias, add_bias, block, last_tokens
from kzoo.generation.grammar import Grammar
from kzoo.generation.penalties import Seen, look, note, penalize_presence_and_frequency, penalize_repetition

# B rows, V vocabulary, K entries, W tokens of the longest blocked sequence, R = W - 1


class Controls(NamedTuple):
    """What each row asks; None for what no row ever asks, which then costs nothing and compiles anywhere.

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
        grammar: what may be written at all; the same for all rows, and not a request's to ask.
    """

    max_new_tokens: tf.Tensor
    min_new_tokens: tf.Tensor | None
    temperature: tf.Tensor
    top_k: tf.Tensor
    top_p: tf.Tensor
    min_p: tf.Tensor
    repetition_penalty: tf.Tensor | None
    presence_penalty: tf.Tensor | None
    frequency_penalty: tf.Tensor | None
    seed: tf.Tensor
    bias: Bias | None
    blocked: tf.Tensor | None
    stops: tf.Tensor | None
    grammar: Grammar | None = None

    def repeated(self, times: int) -> "Controls":
        """Each row so many times in succession, the first with its seed and the others with seeds of their own."""
        if times == 1:
            return self
        asked = self._replace(grammar=None)
        rows = tf.nest.map_structure(lambda one: None if one is None else tf.repeat(one, times, axis=0), asked)
        rows = rows._replace(grammar=self.grammar)
        copy = tf.tile(tf.range(times, dtype=tf.int64), tf.shape(self.seed))
        return rows._replace(seed=tf.cast(rows.seed, tf.int64) + tf.bitwise.left_shift(copy, tf.constant(32, tf.int64)))


def plain(batch_size, *, max_new_tokens, **knobs) -> Controls:
    """The same controls for all rows, or a value for each: greedy, and nothing more, unless ``knobs`` say otherwise."""

    def each(name, dtype, otherwise=None):
        value = knobs.pop(name, otherwise)
        return None if value is None else tf.broadcast_to(tf.cast(value, dtype), [batch_size])

    return Controls(
        max_new_tokens=tf.broadcast_to(tf.cast(max_new_tokens, tf.int32), [batch_size]),
        min_new_tokens=each("min_new_tokens", tf.int32),
        temperature=each("temperature", tf.float32, 0.0),
        top_k=each("top_k", tf.int32, 0),
        top_p=each("top_p", tf.float32, 1.0),
        min_p=each("min_p", tf.float32, 0.0),
        repetition_penalty=each("repetition_penalty", tf.float32),
        presence_penalty=each("presence_penalty", tf.float32),
        frequency_penalty=each("frequency_penalty", tf.float32),
        seed=each("seed", tf.int32, 0),
        bias=knobs.pop("bias", None),
        blocked=knobs.pop("blocked", None),
        stops=knobs.pop("stops", None),
        grammar=knobs.pop("grammar", None),
        **knobs,
    )


class Memory(NamedTuple):
    """What the controls must know of what a row holds; every tensor has the rows first.

    Attributes:
        seen: for penalties.
        recent: int32 ``[B, R]``, for blocked sequences.
        state: int32 ``[B]``, of the grammar; nothing without one.
    """

    seen: Seen
    recent: tf.Tensor
    state: Any = ()


def begin(
    controls: Controls, prompt_ids, prompt_lengths, vocabulary_size: int, *, fixed_shapes: bool = False
) -> Memory:
    """What stands in prompts ``[B, P]``, padded on the right; fixed shapes do not depend on what is asked."""
    penalizes = [asked for asked in (_repels(controls), _repels_what_was_written(controls)) if asked is not None]
    wanted: tf.Tensor | int = 0
    if penalizes and fixed_shapes:
        wanted = vocabulary_size
    elif penalizes:
        wanted = tf.where(tf.reduce_any(tf.stack(penalizes)), vocabulary_size, 0)
        wanted = tf.raw_ops.PlaceholderWithDefault(input=wanted, shape=[])  # or a branch not taken fails by its shapes
    back = 0 if controls.blocked is None else tf.shape(controls.blocked)[2] - 1
    state = () if controls.grammar is None else controls.grammar.begin(tf.shape(prompt_ids)[0])
    return Memory(look(prompt_ids, prompt_lengths, wanted), last_tokens(prompt_ids, prompt_lengths, back), state)


def remember(memory: Memory, tokens, grammar: Grammar | None = None) -> Memory:
    """What is known once these tokens ``[B]`` were written."""
    recent = tf.concat([memory.recent, tokens[:, None]], axis=1)[:, 1:]
    state = () if grammar is None else grammar.follow(memory.state, tokens)
    return Memory(note(memory.seen, tokens), recent, state)


def steer(scores, step, controls: Controls, memory: Memory, end_ids) -> tf.Tensor:
    """Changes the scores ``[B, V]`` of the next token as the rows ask: bias, penalties, what may not come.

    A grammar has the last word: what a request asks cannot lift it.

    Args:
        scores: float32 ``[B, V]``: logits, or log-probabilities in a beam search.
        step: scalar integer, the number of the token.
        controls: of the rows.
        memory: of the rows.
        end_ids: the tokens that end a row, a list of integers or scalars.
    """

    def when(asked, change, *given):
        """The scores, changed where any row asks for it."""
        now = scores
        return now if asked is None else tf.cond(asked, lambda: change(now, *given), lambda: now)

    unchanged = scores
    bias, blocked, least = controls.bias, controls.blocked, controls.min_new_tokens
    scores = when(None if bias is None else tf.size(bias.ids) > 0, add_bias, bias)
    scores = when(_repels(controls), penalize_repetition, memory.seen, controls.repetition_penalty)
    scores = when(
        _repels_what_was_written(controls),
        penalize_presence_and_frequency,
        memory.seen,
        controls.presence_penalty,
        controls.frequency_penalty,
    )
    scores = when(None if blocked is None else tf.size(blocked) > 0, block, memory.recent, blocked)
    is_early = None if least is None or not end_ids else step < least  # [B]
    scores = when(None if is_early is None else tf.reduce_any(is_early), _without, end_ids, is_early)
    if controls.grammar is None:
        return scores
    return controls.grammar.allow(scores, unchanged, memory.state, controls.max_new_tokens - step - 1, end_ids)


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


def _repels(controls: Controls) -> tf.Tensor | None:
    """Whether a row asks for a penalty on what it holds; None when none ever does."""
    return None if controls.repetition_penalty is None else tf.reduce_any(controls.repetition_penalty != 1.0)


def _repels_what_was_written(controls: Controls) -> tf.Tensor | None:
    """Whether a row asks for a penalty on what it wrote; None when none ever does."""
    given = [one for one in (controls.presence_penalty, controls.frequency_penalty) if one is not None]
    return tf.reduce_any(tf.stack(given) != 0.0) if given else None


def _without(scores, ids, rows) -> tf.Tensor:
    """The scores with minus infinity for some tokens, in the rows that are marked."""
    is_one = tf.reduce_any(
        tf.range(tf.shape(scores)[1])[:, None] == tf.convert_to_tensor(ids, tf.int32)[None, :], axis=1
    )
    return tf.where(rows[:, None] & is_one[None, :], -float("inf"), scores)
