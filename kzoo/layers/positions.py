"""Where a token stands: learned, sinusoidal and rotary positions."""

import keras
import numpy as np
from keras import ops

# B batch, T length, N heads, H head size, D width, P positions


def sinusoids(num_positions, dim):
    """The fixed table of Vaswani et al. 2017, section 3.5: sines in even columns, cosines in odd ones.

    Returns:
        numpy float32 ``[num_positions, dim]``.
    """
    angles = np.arange(num_positions)[:, None] / np.power(10000.0, np.arange(0, dim, 2)[None, :] / dim)  # [P, D/2]
    table = np.zeros((num_positions, dim))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles[:, : dim // 2])
    return table.astype("float32")


def rotate(x, positions, *, base):
    """Rotary position embedding (Su et al. 2021, equation 34), halves rotated against each other as Llama does.

    Args:
        x: queries or keys ``[B, T, N, H]``, H even.
        positions: integers ``[B, T]`` or ``[1, T]``.
        base: the base of the geometric series of wavelengths.

    Returns:
        ``[B, T, N, H]`` in the dtype of ``x``.
    """
    half = x.shape[-1] // 2
    frequency = ops.convert_to_tensor(base ** (-np.arange(half, dtype="float64") / half), dtype="float32")  # [H/2]
    angle = ops.cast(positions, "float32")[:, :, None, None] * frequency  # [B, T, 1, H/2]
    cosine, sine = ops.cos(angle), ops.sin(angle)
    wide = ops.cast(x, "float32")
    first, second = wide[..., :half], wide[..., half:]
    turned = ops.concatenate([first * cosine - second * sine, second * cosine + first * sine], axis=-1)
    return ops.cast(turned, x.dtype)


@keras.saving.register_keras_serializable(package="kzoo")
class LearnedPositions(keras.layers.Layer):
    """One trained vector a position, added to the token embedding (BERT, GPT-2).

    Args:
        num_positions: the longest text the model can read.
        hidden_dim: width D.
        stddev: standard deviation of the truncated normal that fills the matrix.
    """

    def __init__(self, *, num_positions, hidden_dim, stddev=0.02, **kwargs):
        super().__init__(**kwargs)
        self.num_positions = num_positions
        self.hidden_dim = hidden_dim
        self.stddev = stddev

    def build(self, input_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.num_positions, self.hidden_dim),
            initializer=keras.initializers.TruncatedNormal(stddev=self.stddev),
            autocast=False,
        )

    def call(self, positions):
        """Maps integers ``[B, T]`` to ``[B, T, D]``."""
        return ops.cast(ops.take(self.embeddings, positions, axis=0), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.hidden_dim)

    def get_config(self):
        return super().get_config() | {
            "num_positions": self.num_positions,
            "hidden_dim": self.hidden_dim,
            "stddev": self.stddev,
        }


@keras.saving.register_keras_serializable(package="kzoo")
class SinusoidalPositions(keras.layers.Layer):
    """The fixed sines and cosines of the original Transformer, added to the token embedding.

    Args:
        num_positions: the longest text the model can read.
        hidden_dim: width D.
    """

    def __init__(self, *, num_positions, hidden_dim, **kwargs):
        super().__init__(**kwargs)
        self.num_positions = num_positions
        self.hidden_dim = hidden_dim

    def call(self, positions):
        """Maps integers ``[B, T]`` to ``[B, T, D]``."""
        table = ops.convert_to_tensor(sinusoids(self.num_positions, self.hidden_dim), dtype=self.compute_dtype)
        return ops.take(table, positions, axis=0)

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.hidden_dim)

    def get_config(self):
        return super().get_config() | {"num_positions": self.num_positions, "hidden_dim": self.hidden_dim}


@keras.saving.register_keras_serializable(package="kzoo")
class Rotary(keras.layers.Layer):
    """Rotary positions: turns queries and keys instead of adding to the embedding (Llama and its kin).

    Args:
        base: the base of the geometric series of wavelengths (10,000 in the paper).
    """

    def __init__(self, *, base=10000.0, **kwargs):
        super().__init__(**kwargs)
        self.base = base

    def call(self, x, positions):
        """Maps ``[B, T, N, H]`` and integers ``[B, T]`` to ``[B, T, N, H]``."""
        return rotate(x, positions, base=self.base)

    def compute_output_shape(self, x_shape, positions_shape):
        return x_shape

    def get_config(self):
        return super().get_config() | {"base": self.base}
