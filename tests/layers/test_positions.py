import math

import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.layers.positions import LearnedPositions, Rotary, SinusoidalPositions, rotate, sinusoids
from tests.round_trip import POLICIES, array, assert_round_trip

POSITIONS = np.array([[0, 1, 2, 5]], "int32")


@pytest.mark.parametrize("dim", [2, 7, 8])
def test_sinusoids_are_the_papers_formula(dim):
    table = sinusoids(50, dim)
    assert table.shape == (50, dim) and table.dtype == np.float32
    for position in (0, 1, 7, 49):
        for column in range(dim):
            angle = position / 10000 ** (2 * (column // 2) / dim)
            expected = math.sin(angle) if column % 2 == 0 else math.cos(angle)
            assert table[position, column] == pytest.approx(expected, abs=1e-6)


def test_sinusoidal_positions_take_rows_of_the_table():
    layer = SinusoidalPositions(num_positions=10, hidden_dim=6)
    np.testing.assert_array_equal(layer(POSITIONS), sinusoids(10, 6)[POSITIONS])
    assert layer.weights == []


def test_learned_positions_take_rows_of_the_weight():
    layer = LearnedPositions(num_positions=10, hidden_dim=6)
    np.testing.assert_array_equal(layer(POSITIONS), layer.embeddings.numpy()[POSITIONS])


@pytest.mark.parametrize("kind", [LearnedPositions, SinusoidalPositions])
def test_config_round_trip(tmp_path, kind):
    assert_round_trip(kind(num_positions=10, hidden_dim=6, name="positions"), tmp_path, POSITIONS)


def test_rotary_config_round_trip(tmp_path):
    twin = assert_round_trip(Rotary(base=500.0, name="rotary"), tmp_path, array(1, 4, 2, 6), POSITIONS)
    assert twin.base == 500.0


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", [LearnedPositions, SinusoidalPositions])
def test_precision(kind, policy):
    weights, outputs = POLICIES[policy]
    layer = kind(num_positions=10, hidden_dim=6, dtype=policy)
    y = layer(POSITIONS)
    assert keras.backend.standardize_dtype(y.dtype) == outputs
    assert all(weight.dtype == weights for weight in layer.weights)


@pytest.mark.parametrize("policy", POLICIES)
def test_rotary_keeps_large_angles_in_low_precision(policy):
    x, positions = array(1, 1, 1, 8), np.array([[4001]], "int32")  # bfloat16 would round 4001 to 4000
    y = Rotary(dtype=policy)(x, positions)
    assert y.dtype == tf.bfloat16
    np.testing.assert_allclose(tf.cast(y, tf.float32), rotate(x, positions, base=10000.0), atol=3e-2)


def rotate_reference(x, positions, base):
    """Each pair (i, i + H/2) is a complex number turned by its own speed (Su et al. 2021, equation 13)."""
    half = x.shape[-1] // 2
    z = x[..., :half] + 1j * x[..., half:]
    speed = base ** (-2 * np.arange(half) / x.shape[-1])
    z = z * np.exp(1j * positions[:, :, None, None] * speed)
    return np.concatenate([z.real, z.imag], -1)


@pytest.mark.parametrize("base", [100.0, 10000.0])
def test_rotate_turns_complex_numbers(base):
    x, positions = array(2, 4, 3, 6), np.array([[0, 1, 2, 5], [9, 0, 100, 3]], "int32")
    np.testing.assert_allclose(rotate(x, positions, base=base), rotate_reference(x, positions, base), atol=1e-4)


def test_rotate_leaves_position_zero_and_every_length():
    x = array(2, 4, 3, 6)
    np.testing.assert_array_equal(rotate(x, np.zeros((1, 4), "int32"), base=1e4), x)
    turned = rotate(x, np.array([[3, 1, 4, 1]], "int32"), base=1e4)
    assert not np.allclose(turned, x)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), np.linalg.norm(x, axis=-1), rtol=1e-5)


def test_rotary_products_depend_on_the_distance_only():
    query, key = array(1, 1, 1, 8), array(1, 1, 1, 8, seed=1)

    def product(query_position, key_position):
        turned = [
            rotate(x, np.array([[position]], "int32"), base=1e4)
            for x, position in ((query, query_position), (key, key_position))
        ]
        return float(np.sum(turned[0] * turned[1]))

    assert product(5, 2) == pytest.approx(product(105, 102), abs=1e-4)
    assert product(5, 2) == pytest.approx(product(3, 0), abs=1e-4)
    assert abs(product(5, 2) - product(2, 5)) > 1e-3  # the sign of the distance matters
    assert abs(product(5, 2) - product(5, 3)) > 1e-3
