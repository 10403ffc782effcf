"""What every layer and model must survive: a save to `.keras` and back, and each precision."""

import keras
import numpy as np

POLICIES = {"mixed_bfloat16": ("float32", "bfloat16"), "bfloat16": ("bfloat16", "bfloat16")}  # weights, outputs


def through_keras(model: keras.Model, directory) -> keras.Model:
    """Saves a model as one `.keras` file and loads it again."""
    path = directory / "model.keras"
    model.save(path)
    return keras.models.load_model(path)


def as_model(layer, *inputs):
    """A functional model around a layer, its inputs shaped and typed like the arrays given, lengths left open."""
    symbols = [
        keras.Input((None, *array.shape[2:]) if array.ndim > 1 else (), dtype=str(array.dtype), name=f"input_{number}")
        for number, array in enumerate(inputs)
    ]
    return keras.Model(symbols, layer(*symbols))


def assert_round_trip(layer, directory, *inputs) -> keras.layers.Layer:
    """Saved as `.keras` and loaded, a layer has the same config, the same weights and the same output."""
    model = as_model(layer, *inputs)
    scramble(model)
    loaded = through_keras(model, directory)
    twin = loaded.get_layer(layer.name)
    assert type(twin) is type(layer)
    assert twin.get_config() == layer.get_config()
    assert [weight.path for weight in twin.weights] == [weight.path for weight in layer.weights]
    np.testing.assert_array_equal(loaded(list(inputs)), model(list(inputs)))
    return twin


def scramble(model, seed=0, stddev=0.3) -> None:
    """Fills every weight with noise, so that no term of the maths is too small to be seen."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        noise = generator.normal(scale=stddev, size=weight.shape)
        weight.assign((noise + 1.0 if weight.name == "scale" else noise).astype(weight.dtype))


def array(*shape, seed=0, scale=1.0):
    """Normal noise, float32."""
    return (np.random.default_rng(seed).normal(size=shape) * scale).astype("float32")
