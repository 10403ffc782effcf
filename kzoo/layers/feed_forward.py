"""The position-wise feed-forward network, plain and gated."""

import keras

from kzoo.layers.building import build_parts
from kzoo.layers.linear import Linear

# B batch, T length, D width, F feed-forward


@keras.saving.register_keras_serializable(package="kzoo")
class FeedForward(keras.layers.Layer):
    """``down(activation(up(x)))`` (Vaswani et al. 2017, equation 2).

    Args:
        hidden_dim: width D of the model.
        feed_forward_dim: width F between the two maps.
        activation: name of a Keras activation ("gelu" is exact; see ``kzoo.layers.activations`` for GPT-2's).
        use_bias: whether the maps carry a bias.
        stddev: standard deviation of the truncated normal that fills the matrices.
    """

    def __init__(self, *, hidden_dim, feed_forward_dim, activation="gelu", use_bias=True, stddev=0.02, **kwargs):
        super().__init__(**kwargs)
        self.hidden_dim = hidden_dim
        self.feed_forward_dim = feed_forward_dim
        self.activation = keras.activations.get(activation)
        self.use_bias = use_bias
        self.stddev = stddev
        shared = dict(use_bias=use_bias, stddev=stddev, dtype=self.dtype_policy)
        self.up = Linear(feed_forward_dim, name="up", **shared)
        self.down = Linear(hidden_dim, name="down", **shared)

    def build(self, input_shape):
        build_parts((*input_shape[:-1], self.hidden_dim), self.up)
        build_parts((*input_shape[:-1], self.feed_forward_dim), self.down)

    def call(self, x):
        """Maps ``[B, T, D]`` to ``[B, T, D]``."""
        return self.down(self.activation(self.up(x)))

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "feed_forward_dim": self.feed_forward_dim,
            "activation": keras.activations.serialize(self.activation),
            "use_bias": self.use_bias,
            "stddev": self.stddev,
        }


@keras.saving.register_keras_serializable(package="kzoo")
class GatedFeedForward(FeedForward):
    """``down(activation(gate(x)) * up(x))`` (Shazeer 2020, equation 6): SwiGLU when the activation is "silu".

    Args:
        hidden_dim: width D of the model.
        feed_forward_dim: width F between the maps.
        activation: name of a Keras activation.
        use_bias: whether the maps carry a bias.
        stddev: standard deviation of the truncated normal that fills the matrices.
    """

    def __init__(self, *, hidden_dim, feed_forward_dim, activation="silu", use_bias=False, stddev=0.02, **kwargs):
        super().__init__(
            hidden_dim=hidden_dim,
            feed_forward_dim=feed_forward_dim,
            activation=activation,
            use_bias=use_bias,
            stddev=stddev,
            **kwargs,
        )
        self.gate = Linear(feed_forward_dim, name="gate", use_bias=use_bias, stddev=stddev, dtype=self.dtype_policy)

    def build(self, input_shape):
        super().build(input_shape)
        build_parts((*input_shape[:-1], self.hidden_dim), self.gate)

    def call(self, x):
        """Maps ``[B, T, D]`` to ``[B, T, D]``."""
        return self.down(self.activation(self.gate(x)) * self.up(x))
