"""The one transformer block that serves every family."""

import keras

from kzoo.layers.building import build_parts

# B batch, T length, S keys or slots, D width

_PARTS = ("attention", "feed_forward", "attention_norm", "feed_forward_norm")


@keras.saving.register_keras_serializable(package="kzoo")
class TransformerBlock(keras.layers.Layer):
    """Attention and feed-forward, each with a norm and a residual connection.

    Args:
        attention: layer ``(x, attention_mask, positions, training) -> x`` with a ``step``, as ``Attention`` has.
        feed_forward: layer ``x -> x``.
        attention_norm: norm of the attention's branch.
        feed_forward_norm: norm of the feed-forward's branch.
        norm_first: norms before the branch (GPT-2, Llama) or after the sum (the original Transformer, BERT).
        dropout: rate at which a branch's output is dropped in training.
    """

    def __init__(
        self, *, attention, feed_forward, attention_norm, feed_forward_norm, norm_first, dropout=0.0, **kwargs
    ):
        super().__init__(**kwargs)
        self.attention = attention
        self.feed_forward = feed_forward
        self.attention_norm = attention_norm
        self.feed_forward_norm = feed_forward_norm
        self.norm_first = norm_first
        self.dropout = keras.layers.Dropout(dropout, name="dropout", dtype=self.dtype_policy) if dropout else None

    def build(self, input_shape):
        build_parts(input_shape, *(getattr(self, part) for part in _PARTS))

    def _residual(self, x, branch, norm, training=None):
        y = branch(norm(x) if self.norm_first else x)
        if self.dropout is not None:
            y = self.dropout(y, training=training)
        return x + y if self.norm_first else norm(x + y)

    def call(self, x, attention_mask=None, positions=None, training=None):
        """Maps ``[B, T, D]`` to ``[B, T, D]``.

        Args:
            x: ``[B, T, D]``.
            attention_mask: boolean, broadcastable to ``[B, T, S]``: true where a token may look.
            positions: integers ``[B, T]``, for attention that is rotary or has a window.
            training: whether dropout is on.
        """

        def attention(y):
            return self.attention(y, attention_mask=attention_mask, positions=positions, training=training)

        x = self._residual(x, attention, self.attention_norm, training)
        return self._residual(x, self.feed_forward, self.feed_forward_norm, training)

    def attention_weights(self, x, attention_mask=None, positions=None):
        """How much each head lets each token look at each other, float32 ``[B, N, T, S]``; arguments as ``call``."""
        y = self.attention_norm(x) if self.norm_first else x
        return self.attention.weights_of(y, attention_mask=attention_mask, positions=positions)

    def step(self, x, cache, *, attention_mask, positions, slot, key_positions=None):
        """The same over T new tokens behind those in the cache; decoding only.

        Args:
            x: ``[B, T, D]``.
            cache: a ``Cache`` of S slots.
            attention_mask: boolean ``[B, T, S]``.
            positions: integers ``[B, T]``.
            slot: scalar integer, the first slot to write.
            key_positions: integers ``[B, S]``, where the token of each slot stands, for attention with a window.

        Returns:
            ``[B, T, D]`` and the new cache.
        """

        def attention(y):
            nonlocal cache
            y, cache = self.attention.step(
                y,
                cache,
                attention_mask=attention_mask,
                positions=positions,
                slot=slot,
                key_positions=key_positions,
            )
            return y

        x = self._residual(x, attention, self.attention_norm)
        return self._residual(x, self.feed_forward, self.feed_forward_norm), cache

    def compute_output_shape(self, input_shape, *args, **kwargs):
        return input_shape

    def get_config(self):
        parts = {part: keras.saving.serialize_keras_object(getattr(self, part)) for part in _PARTS}
        return (
            super().get_config()
            | parts
            | {"norm_first": self.norm_first, "dropout": self.dropout.rate if self.dropout is not None else 0.0}
        )

    @classmethod
    def from_config(cls, config):
        parts = {part: keras.saving.deserialize_keras_object(config[part]) for part in _PARTS}
        return cls(**{**config, **parts})
