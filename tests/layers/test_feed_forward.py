import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.layers.activations import PUBLISHED, activation, gelu_tanh
from kzoo.layers.feed_forward import FeedForward, GatedFeedForward
from tests.round_trip import POLICIES, array, assert_round_trip, scramble

KINDS = [FeedForward, GatedFeedForward]


def built(kind, **options):
    layer = kind(hidden_dim=4, feed_forward_dim=6, name="feed_forward", **options)
    layer.build((None, None, 4))
    scramble(layer)
    return layer


def numpy_weights(layer):
    return {weight.path.split("/", 1)[1]: np.asarray(weight) for weight in layer.weights}


def test_plain_is_up_activation_down():
    layer, x = built(FeedForward, activation="relu"), array(2, 3, 4)
    w = numpy_weights(layer)
    up = np.maximum(x @ w["up/kernel"] + w["up/bias"], 0)
    np.testing.assert_allclose(layer(x), up @ w["down/kernel"] + w["down/bias"], atol=1e-5)


def test_gated_is_gate_times_up():
    layer, x = built(GatedFeedForward), array(2, 3, 4)
    w = numpy_weights(layer)
    assert set(w) == {"up/kernel", "gate/kernel", "down/kernel"}  # no biases by default
    gate = x @ w["gate/kernel"]
    gate = gate / (1 + np.exp(-gate))  # silu
    np.testing.assert_allclose(layer(x), (gate * (x @ w["up/kernel"])) @ w["down/kernel"], atol=1e-5)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_config_round_trip(tmp_path, kind, use_bias):
    assert_round_trip(built(kind, activation=gelu_tanh, use_bias=use_bias, stddev=0.5), tmp_path, array(2, 3, 4))


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("kind", KINDS)
def test_precision(kind, policy):
    weights, outputs = POLICIES[policy]
    layer, exact, x = built(kind, dtype=policy), built(kind), array(2, 3, 4)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == outputs
    assert {weight.dtype for weight in layer.weights} == {weights}
    np.testing.assert_allclose(tf.cast(y, tf.float32), exact(x), atol=3e-2)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_weight(kind):
    layer = built(kind, use_bias=True)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(array(2, 3, 4)) ** 2)
    gradients = tape.gradient(loss, layer.trainable_weights)
    assert len(gradients) == (6 if kind is GatedFeedForward else 4)
    for weight, gradient in zip(layer.trainable_weights, gradients, strict=True):
        assert np.isfinite(gradient).all() and np.any(gradient), weight.path


@pytest.mark.parametrize("kind", KINDS)
def test_tokens_do_not_meet(kind):
    layer, x = built(kind), array(2, 3, 4)
    other = x.copy()
    other[:, 1] += 1
    np.testing.assert_array_equal(layer(x).numpy()[:, [0, 2]], layer(other).numpy()[:, [0, 2]])


def test_gelu_tanh_is_not_gelu():
    x = np.linspace(-3, 3, 13, dtype="float32")
    expected = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    np.testing.assert_allclose(gelu_tanh(x), expected, atol=1e-6)
    assert not np.allclose(gelu_tanh(x), keras.activations.gelu(x), atol=1e-5)


def test_every_published_activation_is_one_of_keras():
    for name in PUBLISHED:
        assert callable(keras.activations.get(activation(name)))


def test_an_unknown_activation_lists_the_known():
    with pytest.raises(ValueError, match=r"must be one of gelu, gelu_new, .*Received 'tahn'"):
        activation("tahn")
