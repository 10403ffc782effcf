import numpy as np
import pytest
import tensorflow as tf

from kzoo.generation.controls import plain
from kzoo.generation.decode import decode
from kzoo.generation.speculation import look_up
from tests import tiny

REPETITIVE = [5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6, 7]
PROMPTS = [REPETITIVE, [200], [30, 31, 32, 30, 31], [90, 91, 92, 93]]
LENGTH = 24


def drafts(rows, count=4):
    """What is looked up for rows of unequal length, and None where nothing is."""
    text = tf.ragged.constant(rows, dtype=tf.int32)
    lengths = tf.cast(text.row_lengths(), tf.int32)
    found = look_up(text.to_tensor(0), lengths, count)
    pairs = zip(found.token_ids.numpy().tolist(), found.found.numpy(), strict=True)
    return [ids if is_found else None for ids, is_found in pairs]


def test_what_followed_the_last_tokens_where_they_stood_before():
    assert drafts([[1, 2, 3, 4, 5, 6, 9, 1, 2]]) == [[3, 4, 5, 6]]
    assert drafts([[1, 2, 3, 1, 2, 4, 1, 2]]) == [[4, 1, 2, 4]]  # the last such place, and again what followed it
    assert drafts([[7, 1, 2, 3, 3, 3, 8, 1, 2, 5, 5, 5, 7, 1, 2]]) == [[3, 3, 3, 8]]  # more tokens beat a later place
    assert drafts([[4, 4, 4]]) == [[4, 4, 4, 4]]


def test_a_row_s_draft_is_its_own_and_ends_where_it_does():
    assert drafts([[1, 2, 3, 4], [0, 0, 5, 0, 0], [9], [1, 1]]) == [None, [5, 0, 0, 5], None, None]


class Counting:
    """A decoder whose readings behind the prompt are counted in the graph, of several tokens and of one."""

    def __init__(self, decoder):
        self._decoder = decoder
        self.ahead, self.alone = tf.Variable(0), tf.Variable(0)

    def __getattr__(self, name):
        return getattr(self._decoder, name)

    def step(self, token_ids, cache, *, slot, **given):
        length = token_ids.shape[1]  # a prompt's is not known when it is traced
        if length is not None:
            (self.alone if length == 1 else self.ahead).assign_add(1)
        return self._decoder.step(token_ids, cache, slot=slot, **given)


def loop(decoder, count, **knobs):
    """The loop in a graph of unknown sizes; ``steps`` of it are how often it read ahead, and a token alone."""
    decoder = Counting(decoder)
    vector = tf.TensorSpec([None], tf.int32)

    @tf.function(
        input_signature=[tf.TensorSpec([None, None], tf.int32), vector, vector, tf.TensorSpec([], tf.int32)],
        autograph=False,
    )
    def graph(ids, lengths, limits, end_id):
        asked = plain(tf.shape(lengths)[0], max_new_tokens=limits, **knobs)
        return decode(decoder, ids, lengths, asked, end_ids=[end_id], speculates=count)

    def run(prompts, limits=LENGTH, end_id=-1):
        ids = tf.ragged.constant(prompts, dtype=tf.int32)
        lengths = tf.cast(ids.row_lengths(), tf.int32)
        for counter in (decoder.ahead, decoder.alone):
            counter.assign(0)
        found = graph(ids.to_tensor(0), lengths, np.broadcast_to(np.array(limits, "int32"), len(prompts)), end_id)
        run.steps = int(decoder.ahead), int(decoder.alone)
        return found

    return run


def assert_equal(found, expected):
    for name in ("token_ids", "counts", "ended"):
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    np.testing.assert_allclose(found.log_probabilities, expected.log_probabilities, atol=1e-4)


@pytest.fixture(scope="module")
def copying():
    """A tiny model that copies in places: what a prompt repeats it repeats, for positions mean little to it."""
    made = tiny.gpt2(num_positions=64)
    backbone = made.backbone
    vectors = backbone.token_embedding.embeddings.numpy()
    backbone.token_embedding.embeddings.assign(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    backbone.final_norm.bias.assign(backbone.final_norm.bias * 0.0)
    backbone.position_embedding.embeddings.assign(backbone.position_embedding.embeddings * 0.05)
    return backbone


@pytest.fixture(scope="module")
def roaming():
    """One that says something else at each place."""
    return tiny.talkative(tiny.gpt2(num_positions=64)).backbone


@pytest.fixture(scope="module")
def loops(copying):
    return loop(copying, 0), loop(copying, 4)


def test_a_text_that_repeats_itself_takes_fewer_steps_and_is_the_same(loops):
    usual, ahead = loops
    for prompt in PROMPTS:
        assert_equal(ahead([prompt]), usual([prompt]))
        assert usual.steps == (0, LENGTH - 1)
        assert ahead.steps[0] > 0 and sum(ahead.steps) < 3 * LENGTH // 4


def test_rows_of_unequal_lengths_and_limits(loops):
    usual, ahead = loops
    for limits in (LENGTH, [LENGTH, 3, 11, 0], [1, 2, 3, 4], 0):
        assert_equal(ahead(PROMPTS, limits), usual(PROMPTS, limits))
        assert sum(ahead.steps) <= sum(usual.steps)


def test_an_end_token_within_what_was_read_ahead(loops):
    usual, ahead = loops
    texts = usual(PROMPTS).token_ids.numpy()
    ends = sorted({int(token) for token in texts.ravel()})[:6]
    seen = 0
    for end in ends:
        expected = usual(PROMPTS, end_id=end)
        assert_equal(ahead(PROMPTS, end_id=end), expected)
        seen += int(tf.math.count_nonzero(expected.ended))
    assert seen


def test_drafts_that_are_wrong_change_nothing(roaming):
    """Prompts that repeat themselves, which the model does not."""
    usual, ahead = loop(roaming, 0), loop(roaming, 3)
    for prompts in ([REPETITIVE], [[1, 2] * 9, REPETITIVE], PROMPTS):
        assert_equal(ahead(prompts), usual(prompts))
    found = ahead([[1, 2] * 9])
    assert len(set(found.token_ids.numpy()[0].tolist())) > 6
    assert ahead.steps[0] > 0 and sum(ahead.steps) > LENGTH - 4


def test_whatever_is_asked_of_the_loop(copying):
    """Draws, penalties and a least length: each token is chosen as always, by its number."""
    knobs = dict(temperature=[0.0, 0.7, 0.3], top_k=8, seed=[1, 2, 3], repetition_penalty=[1.0, 1.0, 1.1])
    knobs |= dict(presence_penalty=[0.0, 0.1, 0.0], min_new_tokens=[0, 9, 2])
    prompts = [REPETITIVE, [1, 2] * 5, REPETITIVE]
    usual, ahead = (loop(copying, count, **knobs) for count in (0, 4))
    end = int(usual(prompts).token_ids[1, 3])
    assert_equal(ahead(prompts), usual(prompts))
    assert_equal(ahead(prompts, end_id=end), usual(prompts, end_id=end))


def test_never_with_shapes_that_must_not_depend_on_what_is_asked(copying):
    with pytest.raises(ValueError, match="with room"):
        decode(copying, tf.constant([[1]]), tf.constant([1]), plain(1, max_new_tokens=2), room=2, speculates=2)
