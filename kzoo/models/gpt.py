"""GPT-style decoders: blocks that look back, and a next-token head."""

from collections.abc import Callable
from dataclasses import dataclass

import keras
from keras import ops

from kzoo.layers import cache as caching
from kzoo.layers import masks
from kzoo.layers.building import build_parts
from kzoo.layers.embedding import TokenEmbedding
from kzoo.layers.norm import LayerNorm
from kzoo.layers.positions import LearnedPositions
from kzoo.layers.recompute import recomputed
from kzoo.models import figures, lora
from kzoo.models.blocks import attention_weights, build_block

# B batch, T length, S slots, D width, V vocabulary


@dataclass(frozen=True, kw_only=True)
class DecoderConfig:
    """The figures of a decoder; a family reads them from its published config."""

    vocabulary_size: int
    hidden_dim: int
    num_layers: int
    num_heads: int
    feed_forward_dim: int
    num_positions: int
    activation: str = "gelu_new"
    norm_epsilon: float = 1e-5
    dropout: float = 0.1
    attention_dropout: float = 0.1
    stddev: float = 0.02

    def __post_init__(self):
        figures.check(self)


@keras.saving.register_keras_serializable(package="kzoo")
class Decoder(keras.Model):
    """Token and position embeddings, blocks that look back, a last norm and the next-token logits.

    Args:
        token_embedding: layer from ids to vectors, also the output layer unless ``head`` is given.
        position_embedding: layer from positions to vectors, or None when the attention carries positions.
        blocks: list of ``TransformerBlock``.
        final_norm: norm of the last block's output.
        head: layer from ``[..., D]`` to ``[..., V]``, or None to use the token embedding (tied).
        num_positions: the longest text the model can read.
        dropout: rate after the embeddings.
    """

    recompute = False
    """Whether training computes each block's activations again on the way back instead of keeping them."""

    def __init__(
        self,
        *,
        token_embedding,
        position_embedding,
        blocks,
        final_norm,
        num_positions,
        head=None,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.token_embedding = token_embedding
        self.position_embedding = position_embedding
        self.blocks = list(blocks)
        self.final_norm = final_norm
        self.head = head
        self.num_positions = num_positions
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.hidden_dim = token_embedding.hidden_dim
        self.vocabulary_size = token_embedding.vocabulary_size
        self.build(None)

    def build(self, input_shape):
        """Creates every weight; shapes do not depend on the input."""
        build_parts((None, None), self.token_embedding, self.position_embedding)
        build_parts((None, None, self.hidden_dim), *self.blocks, self.final_norm, self.head)
        self.built = True

    def _embed(self, token_ids, positions, vectors=None):
        x = self.token_embedding(token_ids) if vectors is None else vectors
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        return x  # [B, T, D]

    def _view(self, inputs):
        """Where each token may look, ``[B, T, T]``, and the positions ``[B, T]`` or ``[1, T]``."""
        length = ops.shape(inputs["token_ids"])[1]
        mask = masks.causal(length, length)  # [1, T, T]
        positions = ops.expand_dims(ops.arange(length, dtype="int32"), 0)  # [1, T]
        if "document_ids" in inputs:
            mask = ops.logical_and(mask, masks.same_document(inputs["document_ids"]))  # [B, T, T]
            positions = ops.sum(ops.cast(mask, "int32"), axis=2) - 1  # [B, T], the place within the document
        if "prefix_mask" in inputs:
            prefix = masks.prefix(inputs["prefix_mask"])
            if "document_ids" in inputs:
                prefix = ops.logical_and(prefix, masks.same_document(inputs["document_ids"]))
            mask = ops.logical_or(mask, prefix)  # [B, T, T]
        return ops.logical_and(mask, masks.padding(inputs["padding_mask"])), positions

    def _states(self, inputs, training=None):
        """The embeddings ``[B, T, D]``, then each block's output."""
        mask, positions = self._view(inputs)
        x = self._embed(inputs["token_ids"], positions, inputs.get("token_vectors"))
        x = self.dropout(x, training=training)
        yield x
        for block in self.blocks:
            call = recomputed(block) if self.recompute and training else block
            x = call(x, attention_mask=mask, positions=positions, training=training)
            yield x

    def hidden_states(self, inputs):
        """The embeddings, then each block's output, each ``[B, T, D]``; the last one is ``sequence_output``."""
        *states, last = self._states(inputs)
        return [*states, self.final_norm(last)]

    def attention_weights(self, inputs):
        """How much tokens look at one another: for each block float32 ``[B, N, T, T]``, rows look at columns."""
        mask, positions = self._view(inputs)
        return attention_weights(self.blocks, self._states(inputs), attention_mask=mask, positions=positions)

    def call(self, inputs, training=None):
        """Reads a batch of texts.

        Args:
            inputs: ``token_ids`` integers ``[B, T]``, ``padding_mask`` integer or boolean ``[B, T]`` (true for real
                tokens, which stand on the left) and, where a row holds several documents, ``document_ids`` integers
                ``[B, T]``: a token looks at those of its own number only, and positions count from its document's
                first token on. Each document is read as if it stood alone. Where prompts are seen as a whole,
                ``prefix_mask`` ``[B, T]``: the tokens marked look at one another both ways (within their document).
                ``token_vectors`` ``[B, T, D]`` take the place of what ``token_embedding`` gives for the ids.
            training: whether dropout is on.

        Returns:
            ``sequence_output`` ``[B, T, D]``; see ``logits``.
        """
        for x in self._states(inputs, training):
            last = x
        return {"sequence_output": self.final_norm(last)}

    def logits(self, x):
        """Next-token scores: ``[..., D]`` to float32 ``[..., V]``."""
        scores = self.token_embedding.logits(x) if self.head is None else self.head(x)
        return ops.cast(scores, "float32")

    def empty_cache(self, batch_size, num_slots):
        """A cache of zeros for each block; sizes may be scalar tensors."""
        return [
            caching.empty(
                batch_size,
                num_slots,
                block.attention.num_key_value_heads,
                block.attention.head_dim,
                block.attention.compute_dtype,
            )
            for block in self.blocks
        ]

    def step(self, token_ids, cache, *, attention_mask, positions, slot, key_positions=None):
        """Reads T more tokens behind those in the cache; decoding only.

        Args:
            token_ids: integers ``[B, T]``.
            cache: list of ``Cache``, one a block, of S slots.
            attention_mask: boolean ``[B, T, S]``: the slots each new token may look at, the new ones included.
            positions: integers ``[B, T]``.
            slot: scalar integer, the first slot to write.
            key_positions: integers ``[B, S]``, where the token of each slot stands; needed by blocks with a window.

        Returns:
            ``[B, T, D]`` after the last norm, and the new cache.
        """
        x = self._embed(token_ids, positions)
        new_cache = []
        for block, block_cache in zip(self.blocks, cache, strict=True):
            x, block_cache = block.step(
                x,
                block_cache,
                attention_mask=attention_mask,
                positions=positions,
                slot=slot,
                key_positions=key_positions,
            )
            new_cache.append(block_cache)
        return self.final_norm(x), new_cache

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return super().get_config() | {
            "token_embedding": serialize(self.token_embedding),
            "position_embedding": serialize(self.position_embedding),
            "blocks": [serialize(block) for block in self.blocks],
            "final_norm": serialize(self.final_norm),
            "head": serialize(self.head),
            "num_positions": self.num_positions,
            "dropout": self.dropout.rate,
            "adapters": lora.describe(self),
        }

    @classmethod
    def from_config(cls, config):
        parts = ("token_embedding", "position_embedding", "blocks", "final_norm", "head")
        config = config | {part: keras.saving.deserialize_keras_object(config[part]) for part in parts}
        adapters = config.pop("adapters", {})
        model = cls(**config)
        lora.attach(model, adapters)
        return model


@keras.saving.register_keras_serializable(package="kzoo")
class LanguageModel(keras.Model):
    """A decoder with its next-token logits as output, to be trained.

    Args:
        backbone: a ``Decoder``.
    """

    def __init__(self, backbone, **kwargs):
        super().__init__(**kwargs)
        self.backbone = backbone
        self.built = True

    def call(self, inputs, training=None):
        """Maps the decoder's inputs to next-token logits float32 ``[B, T, V]``."""
        return self.backbone.logits(self.backbone(inputs, training=training)["sequence_output"])

    def get_config(self):
        return super().get_config() | {"backbone": keras.saving.serialize_keras_object(self.backbone)}

    @classmethod
    def from_config(cls, config):
        return cls(**{**config, "backbone": keras.saving.deserialize_keras_object(config["backbone"])})


def build_decoder(config: DecoderConfig, dtype=None, *, attention: Callable[[int], dict] | None = None) -> Decoder:
    """Assembles a GPT-2-style decoder with fresh weights: learned positions, norms first, the token embedding tied.

    Args:
        config: the figures.
        dtype: Keras dtype policy.
        attention: what the attention of a block has beside the figures, by the block's number: options of
            ``Attention``.
    """
    shared = dict(stddev=config.stddev, dtype=dtype)

    def norm(name):
        return LayerNorm(epsilon=config.norm_epsilon, name=name, dtype=dtype)

    def block(index):
        more = attention(index) if attention else {}
        return build_block(config, index, norm=norm, norm_first=True, attention=more, dtype=dtype)

    return Decoder(
        token_embedding=TokenEmbedding(
            vocabulary_size=config.vocabulary_size, hidden_dim=config.hidden_dim, name="token_embedding", **shared
        ),
        position_embedding=LearnedPositions(
            num_positions=config.num_positions, hidden_dim=config.hidden_dim, name="position_embedding", **shared
        ),
        blocks=[block(index) for index in range(config.num_layers)],
        final_norm=norm("final_norm"),
        num_positions=config.num_positions,
        dropout=config.dropout,
        name="backbone",
        dtype=dtype,
    )
