"""A linear map over the last axis: the one place where matrices meet activations."""

import keras
import numpy as np
from keras import ops

from kzoo.layers.building import matrix_initializer
from kzoo.layers.lora import Adapter

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
    """``y = x W + b`` over the last axis, and what an adapter adds to it.

    Args:
        units: output width.
        use_bias: whether a bias is added.
        activation: name of a Keras activation applied to the result, or None.
        stddev: standard deviation of the truncated normal that fills the kernel.
        adapter: ``rank``, ``alpha`` and ``dropout`` of an adapter, or None for none.

    Attributes:
        adapter: the ``kzoo.layers.lora.Adapter``, or None.
    """

    def __init__(self, units, *, use_bias=True, activation=None, stddev=0.02, adapter=None, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.use_bias = use_bias
        self.activation = keras.activations.get(activation)
        self.stddev = stddev
        self.adapter: Adapter | None = None
        self._adapter_to_come = adapter

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=(input_shape[-1], self.units),
            initializer=matrix_initializer(self.stddev),
        )
        self.bias = self.add_weight(name="bias", shape=(self.units,), initializer="zeros") if self.use_bias else None
        if self._adapter_to_come is not None:
            self.add_adapter(**self._adapter_to_come)

    def call(self, x):
        """Maps ``[..., I]`` to ``[..., units]``."""
        y = linear(x, self.kernel, self.bias)
        if self.adapter is not None:
            y = ops.add(y, self.adapter(x))
        return self.activation(y)

    def add_adapter(self, *, rank, alpha, dropout=0.0):
        """Adds a fresh adapter to a built layer and freezes the kernel.

        The adapter's matrices are float32 where the layer's are of lower precision: their updates are small.
        """
        low = self.variable_dtype in ("float16", "bfloat16")
        policy = f"mixed_{self.variable_dtype}" if low else self.dtype_policy
        adapter = Adapter(self.units, rank=rank, alpha=alpha, dropout=dropout, name="adapter", dtype=policy)
        parent, _, name = self.kernel.path.rpartition("/")[0].rpartition("/")
        with keras.name_scope(name or self.name, override_parent=parent):  # its variables have the paths of their place
            adapter.build((None, self.kernel.shape[0]))
        self._replace_adapter(adapter)
        self.kernel.trainable = False

    def fill_adapter(self, down, up):
        """Gives the adapter its values: ``[I, R]`` and ``[R, O]``."""
        if self.adapter is None:
            raise ValueError(f"{self.name} has no adapter to fill. Add one first.")
        self.adapter.down.assign(down)
        self.adapter.up.assign(up)

    def remove_adapter(self, *, merge):
        """Takes the adapter away, its change added to the kernel or not."""
        if merge:
            self.kernel.assign(self.merged_kernel())
        self._replace_adapter(None)
        self.kernel.trainable = True

    def merged_kernel(self) -> np.ndarray:
        """The kernel ``[I, O]`` with the adapter's change, in the kernel's dtype."""
        kernel = np.asarray(self.kernel)
        if self.adapter is None:
            return kernel
        return (kernel.astype("float32") + np.asarray(self.adapter.change())).astype(kernel.dtype)

    def _replace_adapter(self, adapter):
        self._tracker.unlock()  # Keras locks the parts of a built layer
        if self.adapter is not None:
            self._tracker.untrack(self.adapter)
        self.adapter = adapter
        self._tracker.lock()

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return super().get_config() | {
            "units": self.units,
            "use_bias": self.use_bias,
            "activation": keras.activations.serialize(self.activation),
            "stddev": self.stddev,
            "adapter": self.adapter.figures if self.adapter is not None else self._adapter_to_come,
        }
