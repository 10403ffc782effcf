"""Beam search: the likeliest continuations as wholes, among so many kept at each step.

It follows ``transformers``' ``generate(num_beams=..., do_sample=False)``, whose search ends a prompt when no beam that
goes on can, at its present length, still beat the worst of those that ended (Wu et al. 2016, section 7, for the
penalty's place; its form here is ``length ** penalty``).
"""

from collections.abc import Sequence
from typing import NamedTuple

import tensorflow as tf

from kzoo.generation import controls as controlling
from kzoo.generation.controls import Controls, Memory
from kzoo.generation.reading import Reading
from kzoo.layers.cache import Cache

# B prompts, K beams, R = B * K rows, C candidates of a prompt, P prompt length, L most new tokens, V vocabulary

LOWEST = -1.0e9


class Beams(NamedTuple):
    """Continuations of each prompt, the best first.

    Attributes:
        token_ids: int32 ``[B, K, L]``; zero behind what counts.
        counts: int32 ``[B, K]``, tokens that count; the end token does not.
        scores: float32 ``[B, K]``: the sum of log-probabilities, that of the end token among them, over the number of
            tokens to the power of the penalty.
        is_finished: bool ``[B, K]``; of what is not, the score is below any real one.
    """

    token_ids: tf.Tensor
    counts: tf.Tensor
    scores: tf.Tensor
    is_finished: tf.Tensor


class _Running(NamedTuple):
    """Beams that go on: tokens int32 ``[B, K, L]``, sums of log-probabilities ``[B, K]``; the controls' memory."""

    token_ids: tf.Tensor
    sums: tf.Tensor
    last: tf.Tensor  # [R]
    memory: Memory


def search(
    decoder,
    prompt_ids: tf.Tensor,
    prompt_lengths: tf.Tensor,
    controls: Controls,
    *,
    num_beams: int,
    length_penalty: tf.Tensor,
    end_ids: Sequence[int] = (),
    early_stopping: bool = False,
    sees_whole_prompt: bool = False,
) -> Beams:
    """Finds likely continuations of each prompt.

    Args:
        decoder: a ``kzoo.models.gpt.Decoder``; positions up to P + L must exist in it.
        prompt_ids: int32 ``[B, P]``, padded on the right; every prompt has a token, and there is a prompt.
        prompt_lengths: int32 ``[B]``.
        controls: of the B prompts; what draws (temperature, cuts, seed) and stop strings do not count here. Penalties
            and bias change log-probabilities, as in ``transformers``.
        num_beams: K, beams kept at each step and continuations found.
        length_penalty: float32 ``[B]``; 0 adds log-probabilities up, which favours short texts, above 0 favours long
            ones.
        end_ids: the tokens that end a row.
        early_stopping: end a prompt as soon as K of its beams have ended.
        sees_whole_prompt: whether the tokens of a prompt look at one another both ways, not back only.
    """
    batch_size = tf.shape(prompt_ids)[0]
    limit = tf.maximum(tf.reduce_max(controls.max_new_tokens), 0)
    most = controls.max_new_tokens  # [B]
    reading = Reading(decoder, prompt_ids, prompt_lengths, limit, copies=num_beams, sees_whole_prompt=sees_whole_prompt)
    of_rows = controls.repeated(num_beams)
    end = tf.convert_to_tensor(list(end_ids), tf.int32)
    num_candidates = max(2, 1 + len(end_ids)) * num_beams  # so that K may go on though all of the best K end
    penalty = length_penalty[:, None]

    def advance(logits, step, running: _Running, found: Beams, is_open):
        """Extends the beams by the token of this number: who goes on from which beam, and what was found."""
        log_probabilities = controlling.steer(
            tf.nn.log_softmax(logits), step, of_rows, running.memory, end_ids
        )  # [R, V]
        size = tf.shape(logits)[1]
        sums = tf.reshape(log_probabilities, [batch_size, num_beams, size]) + running.sums[:, :, None]
        sums, places = tf.math.top_k(tf.reshape(sums, [batch_size, num_beams * size]), num_candidates)  # [B, C]
        beams, tokens = places // size, places % size
        is_end = tf.reduce_any(tokens[:, :, None] == end[None, None, :], axis=2)
        is_last = (step + 1 >= most)[:, None]  # [B, 1]
        ends = is_end | is_last  # [B, C]
        sequences = _written(tf.gather(running.token_ids, beams, batch_dims=1), tokens, step)  # [B, C, L]

        of_ended = tf.where(ends, sums + LOWEST, sums)
        of_ended, chosen = tf.math.top_k(of_ended, num_beams)  # [B, K]
        source = tf.reshape(tf.gather(beams, chosen, batch_dims=1) + tf.range(batch_size)[:, None] * num_beams, [-1])
        last = tf.reshape(tf.gather(tokens, chosen, batch_dims=1), [-1])  # [R]
        memory = tf.nest.map_structure(lambda one: tf.gather(one, source), running.memory)
        memory = controlling.remember(memory, last, of_rows.grammar)
        ahead = _Running(tf.gather(sequences, chosen, batch_dims=1), of_ended, last, memory)

        counted = tf.cast(step + 1, tf.float32)
        may_win = ends & (tf.range(num_candidates) < num_beams)[None, :] & is_open[:, None]
        if early_stopping:
            may_win &= ~tf.reduce_all(found.is_finished, axis=1, keepdims=True)
        merged = Beams(
            token_ids=tf.concat([found.token_ids, _written(sequences, tf.where(is_end, 0, tokens), step)], axis=1),
            counts=tf.concat([found.counts, step + tf.cast(~is_end, tf.int32)], axis=1),
            scores=tf.concat([found.scores, tf.where(may_win, sums / counted**penalty, 2 * LOWEST)], axis=1),
            is_finished=tf.concat([found.is_finished, may_win], axis=1),
        )
        _, best = tf.math.top_k(merged.scores, num_beams)
        found = Beams(*(tf.gather(one, best, batch_dims=1) for one in merged))

        possible = ahead.sums[:, :1] / counted**penalty
        worst = tf.where(found.is_finished, tf.reduce_min(found.scores, axis=1, keepdims=True), LOWEST)
        is_open &= tf.reduce_any(possible > worst, axis=1) & ~is_last[:, 0]
        if early_stopping:
            is_open &= ~tf.reduce_all(found.is_finished, axis=1)
        return ahead, source, found, is_open

    def body(step, running, source, found, is_open, cache):
        in_place = tf.reduce_all(source == tf.range(tf.size(source)))
        cache = [Cache(*(_reordered(one, source, in_place) for one in layer)) for layer in cache]
        logits, cache = reading.step(running.last, step, cache)
        return step + 1, *advance(logits, step, running, found, is_open), cache

    slots = tf.maximum(limit, 1)
    nothing = tf.zeros([batch_size, num_beams, slots], tf.int32)
    ids, lengths = (tf.repeat(one, num_beams, axis=0) for one in (prompt_ids, prompt_lengths))
    first = tf.constant([0.0] + [LOWEST] * (num_beams - 1))  # all beams are the same at first: one counts
    running = _Running(
        nothing,
        tf.broadcast_to(first, [batch_size, num_beams]),
        tf.zeros([batch_size * num_beams], tf.int32),
        controlling.begin(of_rows, ids, lengths, decoder.vocabulary_size),
    )
    found = Beams(
        token_ids=nothing,
        counts=tf.zeros([batch_size, num_beams], tf.int32),
        scores=tf.fill([batch_size, num_beams], LOWEST),
        is_finished=tf.zeros([batch_size, num_beams], tf.bool),
    )
    state = advance(reading.logits, tf.constant(0), running, found, most > 0)
    _, _, _, found, _, _ = tf.while_loop(
        lambda step, running, source, found, is_open, cache: (step < limit) & tf.reduce_any(is_open),
        body,
        (tf.constant(1), *state, reading.cache),
        parallel_iterations=1,
    )
    return found._replace(token_ids=found.token_ids[:, :, :limit])


def _written(sequences, tokens, step):
    """Sequences ``[B, C, L]`` with tokens ``[B, C]`` at the place ``step``."""
    here = tf.range(tf.shape(sequences)[2]) == step
    return tf.where(here[None, None, :], tokens[:, :, None], sequences)


def _reordered(cached, source, in_place):
    """Keys or values ``[S, R, ...]`` of the rows that each row goes on from."""
    return tf.cond(in_place, lambda: cached, lambda: tf.gather(cached, source, axis=1))
