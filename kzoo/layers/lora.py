"""Low-rank adapters (Hu et al. 2021): what a matrix learns while it stays as it is."""

import keras
from keras import ops

# I input width, O output width, R rank


def low_rank(x, down, up, scale):
    """What an adapter adds to a linear map: ``scale x A B``, equation 3 of the paper.

    Args:
        x: ``[..., I]``.
        down: A, ``[I, R]``.
        up: B, ``[R, O]``.
        scale: a number.

    Returns:
        ``[..., O]`` in the dtype of ``x``.
    """
    shape = ops.shape(x)
    y = ops.matmul(ops.matmul(ops.reshape(x, (-1, shape[-1])), down), up)
    return ops.reshape(y * ops.cast(scale, y.dtype), (*shape[:-1], up.shape[-1]))


@keras.saving.register_keras_serializable(package="kzoo")
class Adapter(keras.layers.Layer):
    """The low-rank change of a matrix. B is zero at first, so that a fresh adapter changes nothing.

    Args:
        units: output width O.
        rank: R.
        alpha: the change is scaled by ``alpha / rank``.
        dropout: rate at which inputs of the adapter are dropped in training.

    Raises:
        ValueError: rank is not a positive whole number, alpha or dropout not in its range.
    """

    def __init__(self, units, *, rank, alpha, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(rank, int) or rank < 1:
            raise ValueError(f"rank must be a whole number from 1. Received {rank!r}.")
        if not alpha > 0:
            raise ValueError(f"alpha must be above 0. Received {alpha!r}.")
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout must lie from 0 to below 1. Received {dropout!r}.")
        self.units = units
        self.rank = rank
        self.alpha = alpha
        self.dropout = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy) if dropout else None

    @property
    def scale(self) -> float:
        """The factor on the change."""
        return self.alpha / self.rank

    def build(self, input_shape):
        width = input_shape[-1]
        # uniform with the variance 1 / (3 I), as PEFT fills A
        initializer = keras.initializers.VarianceScaling(1 / 3, mode="fan_in", distribution="uniform")
        self.down = self.add_weight(name="down", shape=(width, self.rank), initializer=initializer)
        self.up = self.add_weight(name="up", shape=(self.rank, self.units), initializer="zeros")

    def call(self, x, training=None):
        """Maps ``[..., I]`` to the change ``[..., units]``."""
        if self.dropout is not None:
            x = self.dropout(x, training=training)
        return low_rank(x, self.down, self.up, self.scale)

    def change(self):
        """What is added to the kernel when the two are merged: float32 ``[I, units]``."""
        return self.scale * ops.matmul(ops.cast(self.down, "float32"), ops.cast(self.up, "float32"))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    @property
    def figures(self) -> dict:
        """``rank``, ``alpha`` and ``dropout``."""
        dropout = self.dropout.rate if self.dropout is not None else 0.0
        return {"rank": self.rank, "alpha": self.alpha, "dropout": dropout}

    def get_config(self):
        return super().get_config() | {"units": self.units, **self.figures}
