"""Computes a model that exists already in another precision, for a while."""

from collections.abc import Iterator
from contextlib import contextmanager

import keras


@contextmanager
def compute_in(model: keras.Model, policy: str) -> Iterator[None]:
    """Within it every layer computes under a Keras dtype policy; weights stay as they are, in float32.

    Args:
        model: a built model.
        policy: ``float32`` (leaves the model alone), ``mixed_bfloat16`` or ``mixed_float16``.
    """
    if policy == "float32":
        yield
        return
    layers = [model, *model._flatten_layers(include_self=False)]
    before = [layer.dtype_policy for layer in layers]
    for layer in layers:
        layer.dtype_policy = keras.DTypePolicy(policy)
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            layer.dtype_policy = old
