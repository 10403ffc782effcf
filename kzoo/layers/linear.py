"""A linear map over the last axis: the one place where matrices meet activations."""

import keras
from keras import ops

# B batch, T length, I input width, O output width


def linear(x, kernel, bias=None):
    """Multiplies the last axis by a matrix.

    The leading axes are folded into one, so that the backend sees a single two-dimensional product, which it can fuse
    with the bias.

    Args:
        x: ``[..., I]``.
        kernel: ``[I, O]``.
        bias: ``[O]`` or None.

    Returns:
        ``[..., O]``.
    """
    shape = ops.shape(x)
    y = ops.matmul(ops.reshape(x, (-1, shape[-1])), kernel)  # [B*T, O]
    if bias is not None:
        y = ops.add(y, bias)
    return ops.reshape(y, (*shape[:-1], kernel.shape[-1]))


@keras.saving.register_keras_serializable(package="kzoo")
class Linear(keras.layers.Layer):
    """``y = x W + b`` over the last axis.

    Args:
        units: output width.
        use_bias: whether a bias is added.
        activation: name of a Keras activation applied to the result, or None.
        stddev: standard deviation of the truncated normal that fills the kernel.
    """

    def __init__(self, units, *, use_bias=True, activation=None, stddev=0.02, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias
        self.activation = keras.activations.get(activation)
        self.stddev = stddev

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=keras.initializers.TruncatedNormal(stddev=self.stddev),
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros") if self.use_bias else None

    def call(self, x):
        """Maps ``[..., I]`` to ``[..., units]``."""
        return self.activation(linear(x, self.kernel, self.bias))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return super().get_config() | {
            "units": self.units,
            "use_bias": self.use_bias,
            "activation": keras.activations.serialize(self.activation),
            "stddev": self.stddev,
        }
