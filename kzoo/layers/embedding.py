"""Token embedding, usable backwards as the output layer."""

import keras
import tensorflow as tf
from keras import ops

from kzoo.layers.building import matrix_initializer

# B batch, T length, D width, V vocabulary


@keras.saving.register_keras_serializable(package="kzoo")
class TokenEmbedding(keras.layers.Layer):
    """A trained vector for each token; ``logits`` uses the same matrix as output layer (Press and Wolf 2017).

    Args:
        vocabulary_size: V.
        hidden_dim: width D.
        scale: factor on the vectors where they are read, not where they are the output layer (the original Transformer
            multiplies by the square root of D; Vaswani et al. 2017, section 3.4).
        stddev: standard deviation of the truncated normal that fills the matrix.
    """

    def __init__(self, *, vocabulary_size, hidden_dim, scale=1.0, stddev=0.02, **kwargs):
        super().__init__(**kwargs)
        self.vocabulary_size = vocabulary_size
        self.hidden_dim = hidden_dim
        self.scale = scale
        self.stddev = stddev

    def build(self, input_shape=None):
        self.embeddings = self.add_weight(
            name="embeddings",
            shape=(self.vocabulary_size, self.hidden_dim),
            initializer=matrix_initializer(self.stddev),
            autocast=False,  # the rows are cast, not the whole matrix
        )

    def call(self, token_ids):
        """Maps integers ``[B, T]`` to ``[B, T, D]``."""
        token_ids = ops.cast(token_ids, "int32")  # under a strategy Keras builds from averages, floats
        vectors = ops.cast(ops.take(self.embeddings, token_ids, axis=0), self.compute_dtype)
        return vectors if self.scale == 1.0 else vectors * ops.cast(self.scale, vectors.dtype)

    def logits(self, x):
        """Maps ``[..., D]`` to ``[..., V]``: the product with every token's vector."""
        shape = ops.shape(x)
        flat = ops.reshape(x, (-1, self.hidden_dim))
        matrix = ops.cast(ops.convert_to_tensor(self.embeddings), x.dtype)  # [V, D]
        # not by `ops.transpose`: its gradient would turn a matrix of that size round at every step
        scores = tf.matmul(flat, matrix, transpose_b=True)
        return ops.reshape(scores, (*shape[:-1], self.vocabulary_size))

    def compute_output_shape(self, input_shape):
        return (*input_shape, self.hidden_dim)

    def get_config(self):
        return super().get_config() | {
            "vocabulary_size": self.vocabulary_size,
            "hidden_dim": self.hidden_dim,
            "scale": self.scale,
            "stddev": self.stddev,
        }
