"""One vector from the outputs of a text's tokens."""

import keras

# B texts, T length, D width


def mean(x, padding_mask):
    """The mean over real tokens: ``[B, T, D]`` and a mask ``[B, T]`` to ``[B, D]``."""
    weights = keras.ops.expand_dims(keras.ops.cast(padding_mask, x.dtype), -1)  # [B, T, 1]
    return keras.ops.sum(x * weights, axis=1) / keras.ops.maximum(keras.ops.sum(weights, axis=1), 1e-9)


def first(x, padding_mask):
    """The first token's output: ``[B, T, D]`` to ``[B, D]``."""
    return x[:, 0]


def maximum(x, padding_mask):
    """The maximum over real tokens: ``[B, T, D]`` and a mask ``[B, T]`` to ``[B, D]``."""
    return keras.ops.max(
        keras.ops.where(keras.ops.expand_dims(keras.ops.cast(padding_mask, "bool"), -1), x, -1e9), axis=1
    )


POOLINGS = {"mean": mean, "cls": first, "max": maximum}


@keras.saving.register_keras_serializable(package="kzoo")
class Pooling(keras.layers.Layer):
    """One vector from a text's outputs.

    Args:
        pooling: "mean", "cls" or "max".
        normalize: whether the vector is scaled to length 1.
    """

    def __init__(self, *, pooling, normalize, **kwargs):
        super().__init__(**kwargs)
        self.pooling = pooling
        self.normalize = normalize

    def call(self, x, padding_mask):
        """Maps ``[B, T, D]`` and a mask ``[B, T]`` to float32 ``[B, D]``."""
        vector = POOLINGS[self.pooling](keras.ops.cast(x, "float32"), padding_mask)
        return keras.ops.normalize(vector, axis=-1, order=2, epsilon=1e-12) if self.normalize else vector

    def get_config(self):
        return super().get_config() | {"pooling": self.pooling, "normalize": self.normalize}
