import numpy as np
import pytest
import tensorflow as tf

from kzoo.generation import sampling
from tests import reference
from tests.round_trip import array

LOGITS = np.array([[2.0, -1.0, 0.5, 1.5, 0.0, -3.0, 1.0, 0.2]], "float32")


CRITICAL = {1: 10.83, 2: 13.82, 3: 16.27, 4: 18.47, 5: 20.52, 6: 22.46, 7: 24.32}  # chi-squared at 0.001, by freedom


def chi_squared(observed, expected) -> float:
    return float(((observed - expected) ** 2 / expected).sum())


def kept(these) -> list[set[int]]:
    """The tokens that have not been ruled out, a set a row."""
    pairs = zip(these.ids.numpy(), these.logits.numpy(), strict=True)
    return [set(ids[logits > -np.inf].tolist()) for ids, logits in pairs]


def softmax(logits):
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return weights / weights.sum(-1, keepdims=True)


def knobs(batch_size, *, temperature=0.0, top_k=0, top_p=1.0, min_p=0.0, seed=0):
    return dict(
        temperature=tf.fill([batch_size], float(temperature)),
        top_k=tf.fill([batch_size], top_k),
        top_p=tf.fill([batch_size], float(top_p)),
        min_p=tf.fill([batch_size], float(min_p)),
        seed=tf.zeros([batch_size], tf.int32) + seed,
    )


def test_candidates_come_from_the_likeliest_to_the_least():
    these = sampling.candidates(tf.constant(LOGITS))
    assert these.ids.numpy().tolist() == [[0, 3, 6, 2, 7, 4, 1, 5]]
    np.testing.assert_array_equal(these.logits[0], LOGITS[0, these.ids[0]])


def test_temperature_is_a_row_s_own():
    these = sampling.scale_by_temperature(sampling.candidates(np.repeat(LOGITS, 2, 0)), tf.constant([0.5, 4.0]))
    ordered = np.sort(LOGITS[0])[::-1]
    np.testing.assert_allclose(these.logits, [ordered * 2, ordered / 4], rtol=1e-6)


def test_top_k_is_a_row_s_own_and_zero_keeps_all():
    these = sampling.candidates(np.repeat(LOGITS, 4, 0))
    found = kept(sampling.keep_top_k(these, tf.constant([1, 3, 0, 99])))
    assert found == [{0}, {0, 3, 6}, set(range(8)), set(range(8))]


def test_min_p_is_a_share_of_the_likeliest_one_s_probability():
    these = sampling.candidates(np.repeat(LOGITS, 4, 0))
    probability = softmax(LOGITS)[0]
    found = kept(sampling.keep_min_p(these, tf.constant([0.0, 0.2, 1.0, 7.0])))
    within = {token for token in range(8) if probability[token] >= 0.2 * probability.max()}
    assert found == [set(range(8)), within, {0}, {0}] and 1 < len(within) < 8


def test_top_p_keeps_the_fewest_that_reach_p():
    these = sampling.candidates(np.repeat(LOGITS, 5, 0))
    cumulative = np.cumsum(softmax(np.sort(LOGITS[0])[::-1]))
    just = float(cumulative[2])
    found = kept(sampling.keep_top_p(these, tf.constant([0.0, just - 0.01, just + 0.01, 0.9999, 1.0])))
    assert found[:3] == [{0}, {0, 3, 6}, {0, 3, 6, 2}]
    assert len(found[3]) == 8 and len(found[4]) == 8
    chain = sampling.keep_top_p(sampling.keep_top_k(these, tf.fill([5], 2)), tf.fill([5], 0.99))
    assert kept(chain) == [{0, 3}] * 5  # the probabilities that count are those of what is left


@pytest.mark.parity
@pytest.mark.parametrize("temperature", [0.7, 1.0, 2.5])
@pytest.mark.parametrize(("top_k", "top_p"), [(0, 0.3), (0, 0.9), (5, 1.0), (1, 1.0), (20, 0.8), (7, 0.5)])
def test_the_chain_keeps_what_the_reference_keeps(temperature, top_k, top_p):
    reference.transformers()
    import torch
    from transformers.generation import logits_process as warpers

    logits = array(40, 60, scale=3.0)
    chain = [warpers.TemperatureLogitsWarper(temperature)]
    chain += [warpers.TopKLogitsWarper(top_k)] if top_k else []
    chain += [warpers.TopPLogitsWarper(top_p)] if top_p < 1 else []
    scores = torch.tensor(logits)
    for warper in chain:
        scores = warper(None, scores)
    expected = [set(np.flatnonzero(row > -np.inf).tolist()) for row in scores.numpy()]

    these = sampling.scale_by_temperature(sampling.candidates(logits), tf.fill([40], temperature))
    these = sampling.keep_top_p(sampling.keep_top_k(these, tf.fill([40], top_k)), tf.fill([40], top_p))
    assert kept(these) == expected
    np.testing.assert_allclose(
        tf.gather(tf.nn.softmax(these.logits), tf.argsort(these.ids), batch_dims=1), scores.softmax(-1), atol=1e-5
    )


def test_draw_inverts_the_distribution():
    """A fine grid of numbers in [0, 1) gives each token its share, exactly."""
    grid = (np.arange(8000) + 0.5) / 8000
    these = sampling.keep_top_k(sampling.candidates(np.repeat(LOGITS, 8000, 0)), tf.fill([8000], 5))
    drawn = np.bincount(sampling.draw(these, tf.constant(grid, tf.float32)), minlength=8)
    expected = softmax(np.where(LOGITS[0] >= np.sort(LOGITS[0])[-5], LOGITS[0], -np.inf)) * 8000
    assert np.abs(drawn - expected).max() <= 1.01


@pytest.mark.parametrize("number", [0.0, 0.5, 1 - 2.0**-24])
@pytest.mark.parametrize("top_k", [1, 3, 8])
def test_draw_never_leaves_what_is_left(number, top_k):
    logits = array(200, 8, scale=20.0)
    these = sampling.keep_top_k(sampling.candidates(logits), tf.fill([200], top_k))
    drawn = sampling.draw(these, tf.fill([200], number)).numpy()
    assert all(token in tokens for token, tokens in zip(drawn, kept(these), strict=True))
    if number == 0.0:
        np.testing.assert_array_equal(drawn, logits.argmax(-1))


def split_mix(seed: int, step: int) -> float:
    """The generator in Python's integers (Steele et al. 2014, figure 13)."""
    mask = 2**64 - 1

    def mix(state):
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & mask
        return state ^ (state >> 31)

    golden = 0x9E3779B97F4A7C15
    state = mix((seed + golden) & mask)
    return (mix((state + golden * (step + 1)) & mask) >> 40) * 2.0**-24


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_uniform_is_the_published_generator(dtype):
    seeds = [0, 1, 2, 12345, -1, -(2**31), 2**31 - 1]
    for step in (0, 1, 999):
        found = sampling.uniform(tf.constant(seeds, dtype), tf.constant(step))
        assert found.dtype == tf.float32
        np.testing.assert_array_equal(found, np.array([split_mix(seed, step) for seed in seeds], "float32"))


def test_the_reference_generator_is_split_mix_64():
    """The first outputs of SplitMix64 from state 0, as every implementation of it gives them."""
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1
    state = golden
    z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & mask
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
    assert z ^ (z >> 31) == 0xE220A8397B1DCDAF


def test_uniform_is_uniform_over_seeds_and_over_steps():
    over_seeds = sampling.uniform(tf.range(20000), 0).numpy()
    over_steps = np.array([sampling.uniform(tf.constant([7]), step).numpy()[0] for step in range(2000)])
    for numbers in (over_seeds, over_steps):
        assert 0.0 <= numbers.min() and numbers.max() < 1.0
        assert abs(numbers.mean() - 0.5) < 4 * 12**-0.5 / len(numbers) ** 0.5
        steps = np.arange(len(numbers) + 1) / len(numbers)
        ordered = np.sort(numbers)
        farthest = max(np.abs(ordered - steps[1:]).max(), np.abs(ordered - steps[:-1]).max())
        assert farthest < 1.95 / len(numbers) ** 0.5  # Kolmogorov and Smirnov at 0.001
        assert abs(np.corrcoef(numbers[1:], numbers[:-1])[0, 1]) < 4 / len(numbers) ** 0.5


def test_neighbouring_seeds_give_streams_that_never_meet():
    table = np.stack([sampling.uniform(tf.range(200), step) for step in range(50)], axis=1)  # [seed, step]
    assert len(np.unique(table)) > 0.999 * table.size  # hardly a number twice, in no stream and no place
    assert not (table[1:] == table[:-1]).any()
    assert not (table[1:, :-1] == table[:-1, 1:]).any()  # nor is a stream its neighbour, shifted by a step
    correlation = np.corrcoef(table)
    assert np.abs(correlation - np.eye(200)).max() < 0.7


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"), [(1.0, 0, 1.0), (0.5, 0, 1.0), (2.0, 4, 1.0), (1.0, 0, 0.8), (1.5, 6, 0.7)]
)
def test_tokens_are_drawn_with_their_probabilities(temperature, top_k, top_p):
    """Chi-squared over 20,000 seeds against the softmax, with the chain done in numpy."""
    number = 20000
    scores = LOGITS[0] / temperature
    order = np.argsort(-scores)
    left = np.zeros(8, bool)
    left[order[: top_k or 8]] = True
    probabilities = softmax(np.where(left, scores, -np.inf))
    before = np.cumsum(probabilities[order]) - probabilities[order]
    left[order] &= before < top_p
    probabilities = softmax(np.where(left, scores, -np.inf))

    options = knobs(number, temperature=temperature, top_k=top_k, top_p=top_p) | {"seed": tf.range(number)}
    drawn = sampling.choose(tf.constant(np.repeat(LOGITS, number, 0)), tf.constant(3), **options).numpy()
    counts = np.bincount(drawn, minlength=8)
    assert not counts[~left].any()
    assert chi_squared(counts[left], number * probabilities[left]) < CRITICAL[left.sum() - 1]
    flat = np.full(left.sum(), number / left.sum())
    assert chi_squared(counts[left], flat) > 100  # and the test would see another distribution


def test_temperature_zero_is_greedy_whatever_the_other_knobs():
    logits = tf.constant(array(50, 20))
    for options in ({}, {"top_k": 3}, {"top_p": 0.1}, {"seed": 9}):
        found = sampling.choose(logits, tf.constant(0), **knobs(50, **options))
        assert found.dtype == tf.int32
        np.testing.assert_array_equal(found, np.argmax(logits, -1))


def test_greedy_and_drawn_rows_share_a_batch():
    logits = tf.constant(np.repeat(LOGITS, 400, 0))
    options = knobs(400, seed=np.arange(400, dtype="int32"))
    options["temperature"] = tf.constant([0.0, 5.0] * 200)
    found = sampling.choose(logits, tf.constant(0), **options).numpy()
    assert (found[::2] == 0).all() and len(set(found[1::2])) == 8


def test_a_row_depends_on_itself_alone():
    logits = array(6, 20)
    options = {
        "temperature": np.array([0.0, 1.0, 0.3, 2.0, 1.0, 1.0], "float32"),
        "top_k": np.array([0, 5, 0, 3, 0, 0], "int32"),
        "top_p": np.array([1.0, 1.0, 0.9, 0.5, 0.2, 1.0], "float32"),
        "min_p": np.array([0.0, 0.1, 0.0, 0.0, 0.0, 0.4], "float32"),
        "seed": np.array([0, 5, 5, 7, 8, 2], "int32"),
    }
    for step in range(20):
        together = sampling.choose(tf.constant(logits), step, **options).numpy()
        order = [4, 2, 0, 5, 1, 3]
        shuffled = sampling.choose(tf.constant(logits[order]), step, **{k: v[order] for k, v in options.items()})
        np.testing.assert_array_equal(together[order], shuffled)
        for row in range(6):
            alone = sampling.choose(
                tf.constant(logits[row : row + 1]), step, **{k: v[row : row + 1] for k, v in options.items()}
            )
            assert alone.numpy()[0] == together[row]


def test_in_a_graph_of_unknown_sizes():
    vector = [tf.TensorSpec([None], dtype) for dtype in (tf.float32, tf.int32, tf.float32, tf.float32, tf.int32)]

    @tf.function(input_signature=[tf.TensorSpec([None, None]), tf.TensorSpec([], tf.int32), *vector])
    def graph(logits, step, temperature, top_k, top_p, min_p, seed):
        return sampling.choose(logits, step, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, seed=seed)

    logits = array(30, 20)
    options = knobs(30, temperature=1.0, top_k=7, top_p=0.9, seed=np.arange(30, dtype="int32"))
    np.testing.assert_array_equal(graph(logits, 2, *options.values()), sampling.choose(logits, 2, **options))
    assert graph(logits[:0], 2, *(value[:0] for value in options.values())).shape == (0,)
