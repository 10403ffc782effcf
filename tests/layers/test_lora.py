import keras
import numpy as np
import pytest

from kzoo.layers.linear import Linear
from kzoo.layers.lora import Adapter, low_rank
from tests.round_trip import array, assert_round_trip


def adapted(**options) -> Linear:
    layer = Linear(6, name="linear", **options)
    layer.build((None, 5))
    layer.add_adapter(rank=2, alpha=3)
    return layer


def test_the_maths():
    x, down, up = array(2, 4, 5), array(5, 3, seed=1), array(3, 6, seed=2)
    np.testing.assert_allclose(low_rank(x, down, up, 0.5), 0.5 * x @ down @ up, rtol=1e-5, atol=1e-5)


def test_a_fresh_adapter_changes_nothing_and_a_filled_one_adds_its_product():
    layer, x = adapted(activation="relu"), array(2, 4, 5)
    kernel = np.asarray(layer.kernel)
    np.testing.assert_allclose(layer(x), np.maximum(x @ kernel, 0), rtol=1e-5, atol=1e-6)
    layer.adapter.up.assign(array(2, 6, seed=3))
    change = 1.5 * np.asarray(layer.adapter.down) @ np.asarray(layer.adapter.up)
    np.testing.assert_allclose(layer(x), np.maximum(x @ (kernel + change), 0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(layer.adapter.change(), change, rtol=1e-5)
    np.testing.assert_allclose(layer.merged_kernel(), kernel + change, rtol=1e-5, atol=1e-7)


def test_only_the_adapter_and_the_bias_learn_until_it_is_taken_away():
    layer = adapted()
    assert [weight.path for weight in layer.trainable_weights] == [
        "linear/bias",
        "linear/adapter/down",
        "linear/adapter/up",
    ]
    layer.adapter.up.assign(array(2, 6))
    merged = layer.merged_kernel()
    layer.remove_adapter(merge=True)
    assert [weight.path for weight in layer.trainable_weights] == ["linear/kernel", "linear/bias"]
    assert layer.adapter is None and len(layer.weights) == 2
    np.testing.assert_array_equal(layer.kernel, merged)
    layer.add_adapter(rank=1, alpha=1)
    layer.adapter.up.assign(array(1, 6))
    layer.remove_adapter(merge=False)
    np.testing.assert_array_equal(layer.kernel, merged)


def test_config_round_trip(tmp_path):
    assert_round_trip(adapted(), tmp_path, array(2, 3, 5))
    twin = Linear.from_config(adapted().get_config())
    twin.build((None, 5))
    assert twin.adapter.figures == {"rank": 2, "alpha": 3, "dropout": 0.0} and not twin.kernel.trainable
    assert [weight.path for weight in twin.adapter.weights] == ["linear/adapter/down", "linear/adapter/up"]
    again = Adapter.from_config(Adapter(6, rank=2, alpha=3, dropout=0.5).get_config())
    assert again.figures == {"rank": 2, "alpha": 3, "dropout": 0.5} and again.scale == 1.5


def test_dropout_is_of_the_adapter_alone_and_of_training():
    layer, x = Linear(6, name="linear"), array(2, 4, 5)
    layer.build((None, 5))
    layer.add_adapter(rank=2, alpha=2, dropout=0.5)
    plain = np.asarray(layer(x))
    np.testing.assert_array_equal(layer.adapter(x, training=True), np.zeros_like(plain))
    layer.adapter.up.assign(array(2, 6))
    still = np.asarray(layer.adapter(x))
    assert not np.allclose(layer.adapter(x, training=True), still)
    np.testing.assert_array_equal(layer.adapter(x, training=False), still)


@pytest.mark.parametrize(
    "policy, kept", [("mixed_bfloat16", "float32"), ("bfloat16", "float32"), ("float32", "float32")]
)
def test_an_adapter_is_kept_in_float32_and_computes_as_its_layer(policy, kept):
    layer = adapted(dtype=policy)
    assert layer.adapter.down.dtype == kept
    assert layer.adapter.compute_dtype == layer.compute_dtype
    y = layer(keras.ops.cast(array(2, 5), layer.compute_dtype))
    assert keras.backend.standardize_dtype(y.dtype) == layer.compute_dtype


def test_figures_that_cannot_be():
    for figures, text in (
        (dict(rank=0, alpha=1), "rank must be a whole number from 1. Received 0"),
        (dict(rank=2, alpha=0), "alpha must be above 0. Received 0"),
        (dict(rank=2, alpha=1, dropout=1.0), "dropout must lie from 0 to below 1"),
    ):
        with pytest.raises(ValueError, match=text):
            Adapter(4, **figures)
