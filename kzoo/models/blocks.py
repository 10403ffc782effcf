"""The block as models' figures ask for it: the parts that all builders put together alike."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import keras

from kzoo.layers.activations import activation
from kzoo.layers.attention import Attention
from kzoo.layers.block import TransformerBlock
from kzoo.layers.feed_forward import FeedForward, GatedFeedForward


def build_block(
    config,
    index: int,
    *,
    norm: Callable[[str], keras.layers.Layer],
    norm_first: bool,
    attention: Mapping[str, Any] | None = None,
    feed_forward: Mapping[str, Any] | None = None,
    gated: bool = False,
    attention_norm: keras.layers.Layer | None = None,
    dtype=None,
) -> TransformerBlock:
    """Puts a block together from a model's figures.

    Args:
        config: has ``hidden_dim``, ``num_heads``, ``feed_forward_dim``, ``activation``, ``dropout``,
            ``attention_dropout`` and ``stddev``.
        index: the block's number.
        norm: makes a norm of the given name.
        norm_first: norms before the branches or after the sums.
        attention: further options of ``Attention``.
        feed_forward: further options of the feed-forward.
        gated: whether the feed-forward is gated.
        attention_norm: a layer in the place of the attention's norm.
        dtype: Keras dtype policy.
    """
    shared: dict[str, Any] = dict(hidden_dim=config.hidden_dim, stddev=config.stddev, dtype=dtype)
    kind = GatedFeedForward if gated else FeedForward
    return TransformerBlock(
        attention=Attention(
            num_heads=config.num_heads,
            dropout=config.attention_dropout,
            name="attention",
            **shared,
            **(attention or {}),
        ),
        feed_forward=kind(
            feed_forward_dim=config.feed_forward_dim,
            activation=activation(config.activation),
            name="feed_forward",
            **shared,
            **(feed_forward or {}),
        ),
        attention_norm=attention_norm or norm("attention_norm"),
        feed_forward_norm=norm("feed_forward_norm"),
        norm_first=norm_first,
        dropout=config.dropout,
        name=f"block_{index}",
        dtype=dtype,
    )


def attention_weights(blocks: Sequence[TransformerBlock], states: Iterable, *, attention_mask, positions) -> list:
    """How much tokens look at one another: for each block float32 ``[B, N, T, T]``, rows look at columns.

    Args:
        blocks: of a model, in their order.
        states: what each of them reads, ``[B, T, D]``; what comes after is not asked for.
        attention_mask: as the blocks take it.
        positions: likewise.
    """
    return [
        block.attention_weights(x, attention_mask=attention_mask, positions=positions)
        for block, x in zip(blocks, states, strict=False)
    ]
