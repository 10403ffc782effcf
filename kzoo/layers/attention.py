"""Scaled dot-product attention with several heads."""

import keras
import tensorflow as tf
from keras import ops

from kzoo.layers import cache as caching
from kzoo.layers import masks
from kzoo.layers.building import build_parts
from kzoo.layers.linear import Linear

# B batch, T length, S keys, N heads, K key-value heads, G = N / K heads a group, H head size, D width

_PARTS = ("query_norm", "key_norm", "rotary")


def attention_weights(query, key, mask=None, *, scale):
    """How much each token looks at each other: the softmax of query-key products, float32 ``[B, N, T, S]``.

    Args:
        query: ``[B, T, N, H]``.
        key: ``[B, S, K, H]``; see ``attend``.
        mask: boolean ``[B, T, S]`` or broadcastable to it; see ``attend``.
        scale: factor on the scores before the softmax.
    """
    num_heads, num_key_value_heads = query.shape[2], key.shape[2]
    if num_heads != num_key_value_heads:
        key = ops.repeat(key, num_heads // num_key_value_heads, axis=2)
    query = ops.transpose(query * ops.cast(scale, query.dtype), (0, 2, 1, 3))  # [B, N, T, H]
    scores = ops.matmul(query, ops.transpose(key, (0, 2, 3, 1)))  # [B, N, T, S]
    scores = ops.cast(scores, "float32")
    if mask is not None:
        scores = scores + ops.expand_dims(ops.where(mask, 0.0, -1e9), 1)
    return ops.softmax(scores, axis=-1)


def attend(query, key, value, mask=None, *, scale, dropout=None):
    """Weighted mean of the values, by the softmax of query-key products (Vaswani et al. 2017, equation 1).

    Args:
        query: ``[B, T, N, H]``.
        key: ``[B, S, K, H]``; K divides N, each key-value head serves N / K query heads (Ainslie et al. 2023).
        value: ``[B, S, K, H]``.
        mask: boolean ``[B, T, S]`` or broadcastable to it: true where a token may look. A row that may look nowhere
            looks everywhere alike.
        scale: factor on the scores before the softmax.
        dropout: function applied to the weights ``[B, N, T, S]``, or None.

    Returns:
        ``[B, T, N, H]`` in the dtype of ``query``.
    """
    num_heads, num_key_value_heads = query.shape[2], key.shape[2]
    if num_heads != num_key_value_heads:
        value = ops.repeat(value, num_heads // num_key_value_heads, axis=2)
    weights = ops.cast(attention_weights(query, key, mask, scale=scale), value.dtype)
    if dropout is not None:
        weights = dropout(weights)
    mixed = ops.matmul(weights, ops.transpose(value, (0, 2, 1, 3)))  # [B, N, T, H]
    return ops.transpose(mixed, (0, 2, 1, 3))


def attend_to_slots(query, cache, mask, *, scale):
    """As ``attend`` of keys and values in a cache, whose copies a decoding step would take longer over than its maths.

    Each is turned once, heads that share keys stand in the rows of one product, and a single token's query not at all.

    Args:
        query: ``[B, T, N, H]``.
        cache: keys and values ``[S, B, K, H]``.
        mask: boolean ``[B, T, S]`` or broadcastable to it; see ``attend``.
        scale: factor on the scores before the softmax.

    Returns:
        ``[B, T, N, H]`` in the dtype of ``query``.
    """
    batch_size, length, num_heads, head_dim = ops.shape(query)
    slots, num_key_value_heads = ops.shape(cache.key)[0], cache.key.shape[2]
    group = num_heads // num_key_value_heads
    is_step = isinstance(length, int) and length == 1

    def turned(x, shape):  # [B, ., K, G, H] as [B, K, G, ., H] and back; nothing moves where there is one token
        return ops.reshape(x if is_step else ops.transpose(ops.reshape(x, shape[0]), shape[1]), shape[2])

    by_token, by_head = (batch_size, length, num_key_value_heads, group, head_dim), (0, 2, 3, 1, 4)
    rows = (batch_size, num_key_value_heads, group * length, head_dim)
    query = turned(query * ops.cast(scale, query.dtype), (by_token, by_head, rows))  # [B, K, G T, H]
    key, value = (ops.transpose(one, (1, 2, 0, 3)) for one in cache)  # [B, K, S, H]
    scores = ops.cast(tf.matmul(query, key, transpose_b=True), "float32")  # [B, K, G T, S]
    scores = ops.reshape(scores, (batch_size, num_heads, length, slots))
    weights = ops.softmax(scores + ops.expand_dims(ops.where(mask, 0.0, -1e9), 1), axis=-1)
    weights = ops.reshape(ops.cast(weights, value.dtype), (batch_size, num_key_value_heads, group * length, slots))
    mixed = ops.matmul(weights, value)  # [B, K, G T, H]
    back = ((batch_size, num_key_value_heads, group, length, head_dim), (0, 3, 1, 2, 4))
    return turned(mixed, (*back, (batch_size, length, num_heads, head_dim)))


@keras.saving.register_keras_serializable(package="kzoo")
class Attention(keras.layers.Layer):
    """Multi-head self-attention with a projection before and after.

    Args:
        hidden_dim: width D of the model.
        num_heads: query heads N.
        num_key_value_heads: key-value heads K, a divisor of N; N by default.
        head_dim: head size H; D / N by default.
        use_bias: whether query, key and value carry a bias.
        use_output_bias: whether the output projection does.
        scale: factor on the scores; 1 / sqrt(H) by default.
        window: a token looks at those nearer than this many positions only, itself included; None for all
            (Beltagy et al. 2020, section 3.1; the "locally banded" layers of GPT-3, the sliding window of Mistral).
        query_norm: norm over H of each query, or None (Qwen 3; Henry et al. 2020).
        key_norm: norm over H of each key, or None.
        rotary: a layer ``(x [B, T, N, H], positions [B, T]) -> x`` that turns queries and keys, or None.
        dropout: rate at which attention weights are dropped in training.
        stddev: standard deviation of the truncated normal that fills the matrices.

    Raises:
        ValueError: N does not divide D and no head size is given, or K does not divide N.
    """

    def __init__(
        self,
        *,
        hidden_dim,
        num_heads,
        num_key_value_heads=None,
        head_dim=None,
        use_bias=True,
        use_output_bias=True,
        scale=None,
        window=None,
        query_norm=None,
        key_norm=None,
        rotary=None,
        dropout=0.0,
        stddev=0.02,
        **kwargs,
    ):
        super().__init__(**kwargs)
        num_key_value_heads = num_key_value_heads or num_heads
        if head_dim is None and hidden_dim % num_heads:
            raise ValueError(
                f"num_heads must divide hidden_dim. Received hidden_dim={hidden_dim}, num_heads={num_heads}. "
                "Change one of them, or give head_dim."
            )
        if num_heads % num_key_value_heads:
            raise ValueError(
                f"num_key_value_heads must divide num_heads. Received num_heads={num_heads}, "
                f"num_key_value_heads={num_key_value_heads}."
            )
        self.hidden_dim = hidden_dim
        self.num_heads = num_heads
        self.num_key_value_heads = num_key_value_heads
        self.head_dim = head_dim or hidden_dim // num_heads
        self.use_bias = use_bias
        self.use_output_bias = use_output_bias
        self.scale = self.head_dim**-0.5 if scale is None else scale
        if window is not None and window < 1:
            raise ValueError(f"window must be at least 1, or None. Received {window}.")
        self.window = window
        self.query_norm = query_norm
        self.key_norm = key_norm
        self.rotary = rotary
        self.dropout = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy) if dropout else None
        self.stddev = stddev
        shared = dict(stddev=stddev, dtype=self.dtype_policy)
        self.query = Linear(num_heads * self.head_dim, use_bias=use_bias, name="query", **shared)
        self.key = Linear(num_key_value_heads * self.head_dim, use_bias=use_bias, name="key", **shared)
        self.value = Linear(num_key_value_heads * self.head_dim, use_bias=use_bias, name="value", **shared)
        self.output_projection = Linear(hidden_dim, use_bias=use_output_bias, name="output_projection", **shared)

    def build(self, input_shape):
        shape = (*input_shape[:-1], self.hidden_dim)
        build_parts(shape, self.query, self.key, self.value)
        build_parts((*input_shape[:-1], self.num_heads * self.head_dim), self.output_projection)
        build_parts((*input_shape[:-1], self.num_heads, self.head_dim), self.query_norm)
        build_parts((*input_shape[:-1], self.num_key_value_heads, self.head_dim), self.key_norm)

    def _project(self, x, positions):
        shape = ops.shape(x)

        def heads(projection, number):
            return ops.reshape(projection(x), (shape[0], shape[1], number, self.head_dim))

        query = heads(self.query, self.num_heads)  # [B, T, N, H]
        key = heads(self.key, self.num_key_value_heads)  # [B, T, K, H]
        value = heads(self.value, self.num_key_value_heads)
        if self.query_norm is not None:
            query = self.query_norm(query)
        if self.key_norm is not None:
            key = self.key_norm(key)
        if self.rotary is not None:
            query, key = self.rotary(query, positions), self.rotary(key, positions)
        return query, key, value

    def _merge(self, mixed):
        shape = ops.shape(mixed)
        return self.output_projection(ops.reshape(mixed, (shape[0], shape[1], self.num_heads * self.head_dim)))

    def _in_window(self, attention_mask, positions, key_positions):
        """What ``attention_mask`` allows of the keys inside the window."""
        if self.window is None:
            return attention_mask
        if positions is None or key_positions is None:
            raise ValueError("Attention with a window needs the positions of queries and keys. Received None.")
        near = masks.window(positions, key_positions, self.window)  # [B, T, S]
        return near if attention_mask is None else ops.logical_and(attention_mask, near)

    def call(self, x, attention_mask=None, positions=None, training=None):
        """Maps ``[B, T, D]`` to ``[B, T, D]``.

        Args:
            x: ``[B, T, D]``.
            attention_mask: boolean, broadcastable to ``[B, T, S]`` with S = T: true where a token may look; None for
                everywhere.
            positions: integers ``[B, T]`` or ``[1, T]``; needed with ``rotary`` and ``window`` only.
            training: whether dropout is on.
        """
        query, key, value = self._project(x, positions)
        layer = self.dropout
        dropout = (lambda weights: layer(weights, training=training)) if layer is not None else None
        mask = self._in_window(attention_mask, positions, positions)
        return self._merge(attend(query, key, value, mask, scale=self.scale, dropout=dropout))

    def weights_of(self, x, attention_mask=None, positions=None):
        """How much each head lets each token look at each other, float32 ``[B, N, T, S]``; arguments as ``call``."""
        query, key, _ = self._project(x, positions)
        return attention_weights(query, key, self._in_window(attention_mask, positions, positions), scale=self.scale)

    def step(self, x, cache, *, attention_mask, positions, slot, key_positions=None):
        """Reads T more tokens behind those in the cache.

        Args:
            x: ``[B, T, D]``.
            cache: a ``Cache`` of S slots.
            attention_mask: boolean ``[B, T, S]`` over the slots, the new ones included.
            positions: integers ``[B, T]``.
            slot: scalar integer, the first slot to write.
            key_positions: integers ``[B, S]`` or ``[1, S]``, where the token of each slot stands; needed with
                ``window`` only.

        Returns:
            ``[B, T, D]`` and the cache with the new tokens in it.
        """
        query, key, value = self._project(x, positions)
        cache = caching.write(cache, key, value, slot)
        mask = self._in_window(attention_mask, positions, key_positions)
        mixed = attend_to_slots(query, cache, mask, scale=self.scale)
        return self._merge(mixed), cache

    def compute_output_shape(self, input_shape, *args, **kwargs):
        return input_shape

    def get_config(self):
        return super().get_config() | {
            "hidden_dim": self.hidden_dim,
            "num_heads": self.num_heads,
            "num_key_value_heads": self.num_key_value_heads,
            "head_dim": self.head_dim,
            "use_bias": self.use_bias,
            "use_output_bias": self.use_output_bias,
            "scale": self.scale,
            "window": self.window,
            **{part: keras.saving.serialize_keras_object(getattr(self, part)) for part in _PARTS},
            "dropout": self.dropout.rate if self.dropout is not None else 0.0,
            "stddev": self.stddev,
        }

    @classmethod
    def from_config(cls, config):
        parts = {part: keras.saving.deserialize_keras_object(config[part]) for part in _PARTS}
        return cls(**{**config, **parts})
