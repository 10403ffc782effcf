"""The cached loop: reads the prompts once, then one token at a time until every row has ended."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

from kzoo.generation import controls as controlling
from kzoo.generation.controls import Controls
from kzoo.generation.reading import Reading
from kzoo.generation.speculation import Speculation

# B prompts, N rows of each, R = B * N rows, P prompt length, L most new tokens, V vocabulary


class Decoded(NamedTuple):
    """What was written.

    Attributes:
        token_ids: int32 ``[R, L]``; zero behind what counts.
        counts: int32 ``[R]``, tokens that count; the end token does not.
        log_probabilities: float32 ``[R, L]``, the model's own of each token: before temperature, penalties and cuts.
        ended: bool ``[R]``: whether the row came to an end, by its end token or a stop string, and not to its limit.
    """

    token_ids: tf.Tensor
    counts: tf.Tensor
    log_probabilities: tf.Tensor
    ended: tf.Tensor


def decode(
    decoder,
    prompt_ids: tf.Tensor,
    prompt_lengths: tf.Tensor,
    controls: Controls,
    *,
    end_ids: Sequence[int] = (),
    is_over: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor] | None = None,
    copies: int = 1,
    sees_whole_prompt: bool = False,
    room: int | None = None,
    speculates: int = 0,
) -> Decoded:
    """Continues each prompt: greedily where the temperature is 0, else by drawing.

    Args:
        decoder: a ``kzoo.models.gpt.Decoder``; positions up to P + L must exist in it.
        prompt_ids: int32 ``[B, P]``, padded on the right; every prompt has a token, and there is a prompt.
        prompt_lengths: int32 ``[B]``.
        controls: of the B prompts; L is the largest ``max_new_tokens``.
        end_ids: the tokens that end a row.
        is_over: from the tokens written so far int32 ``[L, R]``, how many there are (a scalar) and the stop strings of
            the rows ``[R, K]`` to bool ``[R]``: rows whose text has come to a stop. Asked only where there are such.
        copies: N, rows that go on from each prompt, with seeds of their own.
        sees_whole_prompt: whether the tokens of a prompt look at one another both ways, not back only.
        room: L where it must not depend on what is asked, as XLA wants of every shape; at least the largest
            ``max_new_tokens``.
        speculates: tokens of a draft that are read ahead where the text repeats itself, 0 for none: for speed alone,
            see ``speculation``. Not together with ``room``.
    """
    if speculates and room is not None:
        raise ValueError("speculates needs shapes that depend on the draft. Received it with room.")
    limit = tf.maximum(tf.reduce_max(controls.max_new_tokens), 0)
    most = limit if room is None else room  # L
    reading = Reading(decoder, prompt_ids, prompt_lengths, most, copies=copies, sees_whole_prompt=sees_whole_prompt)
    controls = controls.repeated(copies)
    if copies > 1:
        prompt_ids, prompt_lengths = (tf.repeat(one, copies, axis=0) for one in (prompt_ids, prompt_lengths))
    num_rows = tf.shape(prompt_ids)[0]
    end = tf.convert_to_tensor(list(end_ids), tf.int32)  # [E]

    def take(logits, step, done, written: Decoded, memory):
        """Chooses the token of this number from its logits, and writes it down."""
        scores = controlling.steer(logits, step, controls, memory, end_ids)
        token = controlling.choose(scores, step, controls)  # [R]
        log_probability = tf.gather(logits, token, batch_dims=1) - tf.reduce_logsumexp(logits, axis=-1)
        memory = controlling.remember(memory, token, controls.grammar)
        is_end = tf.reduce_any(token[:, None] == end[None, :], axis=1)
        ended = written.ended | (is_end & ~done)
        done |= is_end
        token = tf.where(done, 0, token)
        log_probability = tf.where(done, 0.0, log_probability)
        tokens = tf.tensor_scatter_nd_update(written.token_ids, [[step]], token[None, :])
        if is_over is not None and controls.stops is not None:
            stopped = tf.cond(
                tf.size(controls.stops) > 0,
                lambda: is_over(tokens, step + 1, controls.stops),
                lambda: tf.zeros_like(done),
            )
            ended |= stopped & ~done
        written = Decoded(
            token_ids=tokens,
            counts=written.counts + tf.cast(~done, tf.int32),
            log_probabilities=tf.tensor_scatter_nd_update(
                written.log_probabilities, [[step]], log_probability[None, :]
            ),
            ended=ended,
        )
        return token, done | ended | (step + 1 >= controls.max_new_tokens), written, memory

    def body(step, token, done, written, memory, cache):
        logits, cache = reading.step(token, step, cache)
        return step + 1, *take(logits, step, done, written, memory), cache

    def body_with_drafts(step, token, done, written, memory, cache):
        logits, draft, cache = speculation.read(token, step, done, written.token_ids, cache)
        number = tf.shape(logits)[1]

        def choose(place, _, *state):
            token, done, written, memory = take(logits[:, place], step + place, *state[1:])
            agrees = tf.reduce_all(done | (token == draft[:, place])) & ~tf.reduce_all(done)
            return place + 1, agrees, token, done, written, memory

        count, _, *state = tf.while_loop(
            lambda place, agrees, *_: agrees & (place < number),
            choose,
            (tf.constant(0), tf.constant(True), token, done, written, memory),
            parallel_iterations=1,
        )
        return step + count, *state, cache

    slots = tf.maximum(most, 1)
    written = Decoded(  # step-major, written in place
        token_ids=tf.zeros([slots, num_rows], tf.int32),
        counts=tf.zeros([num_rows], tf.int32),
        log_probabilities=tf.zeros([slots, num_rows]),
        ended=tf.zeros([num_rows], tf.bool),
    )
    memory = controlling.begin(
        controls, prompt_ids, prompt_lengths, decoder.vocabulary_size, fixed_shapes=room is not None
    )
    if speculates:
        speculation = Speculation(reading, prompt_ids, prompt_lengths, most, speculates)
    first = take(reading.logits, tf.constant(0), controls.max_new_tokens <= 0, written, memory)
    _, _, _, written, _, _ = tf.while_loop(
        lambda step, token, done, *_: (step < limit) & ~tf.reduce_all(done),
        body_with_drafts if speculates else body,
        (tf.constant(1), *first, reading.cache),
        shape_invariants=None,
        parallel_iterations=1,
    )
    return written._replace(
        token_ids=tf.transpose(written.token_ids)[:, :most],
        log_probabilities=tf.transpose(written.log_probabilities)[:, :most],
    )
