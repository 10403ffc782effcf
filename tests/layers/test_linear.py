import keras
import numpy as np
import pytest
import tensorflow as tf

from kzoo.layers.linear import Linear, linear
from tests.round_trip import POLICIES, array, assert_round_trip


@pytest.mark.parametrize("leading", [(5,), (2, 5), (2, 3, 5), (0, 5)])
def test_linear_multiplies_the_last_axis(leading):
    x, kernel, bias = array(*leading, 3), array(3, 4, seed=1), array(4, seed=2)
    np.testing.assert_allclose(linear(x, kernel, bias), x @ kernel + bias, atol=1e-6)
    np.testing.assert_allclose(linear(x, kernel), x @ kernel, atol=1e-6)


def test_linear_in_a_graph_of_unknown_sizes():
    layer = Linear(4)
    layer.build((None, None, 3))
    function = tf.function(layer, input_signature=[tf.TensorSpec([None, None, 3])])
    x = array(2, 5, 3)
    np.testing.assert_allclose(function(x), x @ layer.kernel.numpy(), atol=1e-6)
    assert function.get_concrete_function().output_shapes.as_list() == [None, None, 4]


@pytest.mark.parametrize("options", [{}, {"use_bias": False}, {"activation": "tanh", "stddev": 0.1}])
def test_config_round_trip(tmp_path, options):
    twin = assert_round_trip(Linear(4, name="linear", **options), tmp_path, array(2, 5, 3))
    assert (twin.bias is None) == (options.get("use_bias") is False)


def test_activation_is_applied():
    layer, x = Linear(4, activation="tanh"), array(2, 3)
    y = layer(x)
    np.testing.assert_allclose(y, np.tanh(x @ layer.kernel.numpy()), atol=1e-6)


@pytest.mark.parametrize("policy", POLICIES)
def test_precision(policy):
    weights, outputs = POLICIES[policy]
    layer = Linear(4, dtype=policy)
    x = array(2, 5, 3)
    y = layer(x)
    assert keras.backend.standardize_dtype(y.dtype) == outputs
    assert {weight.dtype for weight in layer.weights} == {weights}
    np.testing.assert_allclose(tf.cast(y, tf.float32), x @ np.asarray(layer.kernel).astype("float32"), atol=2e-3)


def test_the_kernel_starts_as_a_truncated_normal():
    layer = Linear(300, stddev=0.1)
    layer.build((None, 300))
    kernel = layer.kernel.numpy()
    assert abs(kernel).max() <= 0.2001  # cut at two standard deviations ...
    assert kernel.std() == pytest.approx(0.088, rel=0.02)  # ... which leaves 0.88 of the deviation
    assert not layer.bias.numpy().any()


def test_gradients_reach_every_weight():
    layer, x = Linear(4, activation="tanh"), array(2, 5, 3)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(layer(x) ** 2)
    for weight, gradient in zip(layer.weights, tape.gradient(loss, layer.trainable_weights), strict=True):
        assert np.isfinite(gradient).all() and np.any(gradient), weight.path
