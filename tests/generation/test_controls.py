"""Penalties, bias, blocked sequences and the least number of tokens, against `transformers` and by hand."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.generation import controls as controlling
from kzoo.generation.blocked import NOTHING, Bias, aligned_right, block
from kzoo.generation.controls import plain

V = 11
PROMPTS = [[1, 2, 3, 2], [4], [5, 5, 6]]
SCORES = np.random.default_rng(0).normal(size=(3, V)).astype("float32") * 3


def padded(rows):
    width = max(map(len, rows))
    return np.array([row + [0] * (width - len(row)) for row in rows], "int32"), np.array([*map(len, rows)], "int32")


@tf.function(reduce_retracing=True)
def steered(prompt_ids, lengths, written, asked):
    """The scores once the tokens ``[S, B]`` were written."""
    memory = controlling.begin(asked, prompt_ids, lengths, V)
    for number in tf.range(tf.shape(written)[0]):
        tf.autograph.experimental.set_loop_options(shape_invariants=[(memory.recent, tf.TensorShape([None, None]))])
        memory = controlling.remember(memory, written[number])
    return controlling.steer(tf.constant(SCORES), tf.shape(written)[0], asked, memory, [7, 9])


def steer(written=(), **knobs):
    written = np.array(written, "int32").reshape(-1, 3)
    ids, lengths = padded(PROMPTS)
    return steered(tf.constant(ids), tf.constant(lengths), tf.constant(written), plain(3, max_new_tokens=9, **knobs))


def test_nothing_asked_changes_nothing():
    np.testing.assert_array_equal(steer([[1, 2, 3]]), SCORES)


def test_repetition_counts_what_was_read_and_written_each_row_for_itself():
    found = steer([[8, 9, 10]], repetition_penalty=[2.0, 0.5, 1.0]).numpy()
    for row, (tokens, penalty) in enumerate([({1, 2, 3, 8}, 2.0), ({4, 9}, 0.5), (set(), 1.0)]):
        for token in range(V):
            score = SCORES[row, token]
            expected = (score / penalty if score > 0 else score * penalty) if token in tokens else score
            assert found[row, token] == pytest.approx(expected)


def test_presence_and_frequency_count_what_was_written_alone():
    written = [[1, 9, 10], [1, 9, 6], [2, 9, 10]]
    found = steer(written, presence_penalty=[0.5, 0.0, 2.0], frequency_penalty=[0.25, 1.0, -1.0]).numpy()
    expected = SCORES.copy()
    for row, (presence, frequency) in enumerate([(0.5, 0.25), (0.0, 1.0), (2.0, -1.0)]):
        for token, count in zip(*np.unique([one[row] for one in written], return_counts=True), strict=True):
            expected[row, token] -= presence + frequency * count
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_bias_is_added_to_the_tokens_named():
    bias = Bias(
        tf.constant([[1, 1, NOTHING], [99, 0, NOTHING], [3, NOTHING, 10]]),
        tf.constant([[1.0, 2, 50], [5, -1, 7], [0.5, 9, -2]]),
    )
    expected = SCORES.copy()
    for row, token, value in [(0, 1, 3.0), (1, 0, -1.0), (2, 3, 0.5), (2, 10, -2.0)]:
        expected[row, token] += value
    np.testing.assert_allclose(steer(bias=bias), expected, rtol=1e-6)


def test_blocked_sequences_lose_their_last_token_where_the_rest_stands():
    blocked = tf.ragged.constant([[[3, 2, 8], [6]], [[4, 7], [9, 4, 7]], []], dtype=tf.int32, ragged_rank=2)
    found = steer(blocked=aligned_right(blocked)).numpy()
    ruled_out = [set(np.flatnonzero(np.isneginf(row)).tolist()) for row in found]
    assert ruled_out == [{8, 6}, {7}, set()]
    found = steer([[8, 9, 1], [3, 4, 1], [2, 5, 1]], blocked=aligned_right(blocked)).numpy()
    ruled_out = [set(np.flatnonzero(np.isneginf(row)).tolist()) for row in found]
    assert ruled_out == [{8, 6}, set(), set()]


def test_sequences_longer_than_what_there_is_do_not_match():
    scores = block(tf.zeros([1, 5]), tf.constant([[NOTHING, 3]]), tf.constant([[[2, 3, 4], [NOTHING, 3, 1]]]))
    assert np.isneginf(scores.numpy()).tolist() == [[False, True, False, False, False]]


def test_no_end_before_the_least_number_of_tokens():
    found = steer([[1, 1, 1], [1, 1, 1]], min_new_tokens=[2, 3, 0]).numpy()
    assert [np.flatnonzero(np.isneginf(row)).tolist() for row in found] == [[], [7, 9], []]


@pytest.mark.parity
def test_scores_equal_the_reference():
    """One row at a time, as `transformers` chains its processors."""
    torch = pytest.importorskip("torch")
    processors = pytest.importorskip("transformers").generation.logits_process
    written = [[8, 9, 5], [8, 4, 6], [2, 2, 8]]
    blocked = [[3], [8, 2, 1], [9, 4, 2, 0], [5, 6, 8, 8]]
    asked = dict(
        repetition_penalty=[1.3, 0.7, 2.0],
        min_new_tokens=[0, 4, 2],
        bias=Bias(tf.constant([[1], [2], [3]]), tf.constant([[1.5], [-2.0], [0.3]])),
        blocked=aligned_right(tf.ragged.constant([blocked] * 3, dtype=tf.int32, ragged_rank=2)),
    )
    found = steer(written, **asked).numpy()
    for row, prompt in enumerate(PROMPTS):
        ids = torch.tensor([prompt + [one[row] for one in written]])
        scores = torch.tensor(SCORES[row : row + 1])
        chain = [
            processors.SequenceBiasLogitsProcessor({(row + 1,): [1.5, -2.0, 0.3][row]}),
            processors.RepetitionPenaltyLogitsProcessor(asked["repetition_penalty"][row]),
            processors.NoBadWordsLogitsProcessor(blocked, eos_token_id=None),
            processors.MinNewTokensLengthLogitsProcessor(len(prompt), asked["min_new_tokens"][row], [7, 9]),
        ]
        for one in chain:
            scores = one(ids, scores)
        np.testing.assert_allclose(found[row], scores[0].numpy(), rtol=1e-6)
