"""BERT-style encoders: embeddings, blocks that look both ways, and a pooler."""

from dataclasses import dataclass

import keras
from keras import ops

from kzoo.layers import masks
from kzoo.layers.building import build_parts
from kzoo.layers.embedding import TokenEmbedding
from kzoo.layers.linear import Linear
from kzoo.layers.norm import LayerNorm
from kzoo.layers.positions import LearnedPositions
from kzoo.layers.recompute import recomputed
from kzoo.models import figures, lora
from kzoo.models.blocks import attention_weights, build_block

# B batch, T length, D width

_PARTS = (
    "token_embedding",
    "position_embedding",
    "segment_embedding",
    "embedding_norm",
    "embedding_projection",
    "final_norm",
    "pooler",
)


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The figures of an encoder; a family reads them from its published config."""

    vocabulary_size: int
    hidden_dim: int
    num_layers: int
    num_heads: int
    feed_forward_dim: int
    num_positions: int
    embedding_dim: int | None = None
    position_offset: int = 0
    num_segments: int = 2
    activation: str = "gelu"
    norm_epsilon: float = 1e-12
    dropout: float = 0.1
    attention_dropout: float = 0.1
    use_pooler: bool = True
    stddev: float = 0.02

    def __post_init__(self):
        figures.check(self)


@keras.saving.register_keras_serializable(package="kzoo")
class Encoder(keras.Model):
    """Token, position and segment embeddings, then blocks.

    Args:
        token_embedding: layer from ids to vectors.
        position_embedding: layer from positions to vectors, or None when the attention carries positions.
        segment_embedding: layer from segment ids to vectors, or None.
        embedding_norm: norm of the sum, or None.
        embedding_projection: layer from the embeddings' width to D, or None where they are the same (ELECTRA).
        blocks: list of ``TransformerBlock``.
        final_norm: norm of the last block's output, or None (blocks with norms first have one).
        pooler: layer over the first token's output, or None.
        num_positions: the longest text the model can read; by default what the position embedding holds.
        dropout: rate after the embeddings.
    """

    recompute = False
    """Whether training computes each block's activations again on the way back instead of keeping them."""

    def __init__(
        self,
        *,
        token_embedding,
        blocks,
        position_embedding=None,
        segment_embedding=None,
        embedding_norm=None,
        embedding_projection=None,
        final_norm=None,
        pooler=None,
        num_positions=None,
        dropout=0.0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.token_embedding = token_embedding
        self.position_embedding = position_embedding
        self.segment_embedding = segment_embedding
        self.embedding_norm = embedding_norm
        self.embedding_projection = embedding_projection
        self.blocks = list(blocks)
        self.final_norm = final_norm
        self.pooler = pooler
        self.dropout = keras.layers.Dropout(dropout, dtype=self.dtype_policy)
        self.hidden_dim = token_embedding.hidden_dim if embedding_projection is None else embedding_projection.units
        self.vocabulary_size = token_embedding.vocabulary_size
        self.num_positions = num_positions or position_embedding.num_positions
        self.build(None)

    def build(self, input_shape):
        """Creates every weight; shapes do not depend on the input."""
        build_parts((None, None), self.token_embedding, self.position_embedding, self.segment_embedding)
        build_parts((None, None, self.token_embedding.hidden_dim), self.embedding_norm, self.embedding_projection)
        build_parts((None, None, self.hidden_dim), *self.blocks, self.final_norm)
        build_parts((None, self.hidden_dim), self.pooler)
        self.built = True

    def _view(self, inputs):
        """Where each token may look, ``[B, 1, T]``, and the positions ``[1, T]``."""
        length = ops.shape(inputs["token_ids"])[1]
        positions = ops.expand_dims(ops.arange(length, dtype="int32"), 0)
        return masks.padding(inputs["padding_mask"]), positions

    def _states(self, inputs, training=None):
        """The embeddings ``[B, T, D]``, then each block's output."""
        token_ids = inputs["token_ids"]
        mask, positions = self._view(inputs)
        x = inputs["token_vectors"] if "token_vectors" in inputs else self.token_embedding(token_ids)
        if self.position_embedding is not None:
            x = x + self.position_embedding(positions)
        if self.segment_embedding is not None:
            segment_ids = inputs.get("segment_ids")
            x = x + self.segment_embedding(ops.zeros_like(token_ids) if segment_ids is None else segment_ids)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        x = self.dropout(x, training=training)
        if self.embedding_projection is not None:
            x = self.embedding_projection(x)
        yield x  # [B, T, D]
        for block in self.blocks:
            call = recomputed(block) if self.recompute and training else block
            x = call(x, attention_mask=mask, positions=positions, training=training)
            yield x

    def hidden_states(self, inputs):
        """The embeddings, then each block's output, each ``[B, T, D]``; the last one is ``sequence_output``."""
        *states, last = self._states(inputs)
        return [*states, last if self.final_norm is None else self.final_norm(last)]

    def attention_weights(self, inputs):
        """How much tokens look at one another: for each block float32 ``[B, N, T, T]``, rows look at columns."""
        mask, positions = self._view(inputs)
        return attention_weights(self.blocks, self._states(inputs), attention_mask=mask, positions=positions)

    def call(self, inputs, training=None):
        """Reads a batch of texts.

        Args:
            inputs: ``token_ids`` integers ``[B, T]``, ``padding_mask`` integer or boolean ``[B, T]`` (true for real
                tokens) and, if the model has segments, optionally ``segment_ids`` integers ``[B, T]`` (else zeros).
                ``token_vectors`` ``[B, T, E]`` take the place of what ``token_embedding`` gives for the ids.
            training: whether dropout is on.

        Returns:
            ``sequence_output`` ``[B, T, D]`` and, with a pooler, ``pooled_output`` ``[B, D]``.
        """
        for x in self._states(inputs, training):
            last = x
        outputs = {"sequence_output": last if self.final_norm is None else self.final_norm(last)}
        if self.pooler is not None:
            outputs["pooled_output"] = self.pooler(outputs["sequence_output"][:, 0])
        return outputs

    def get_config(self):
        serialize = keras.saving.serialize_keras_object
        return (
            super().get_config()
            | {part: serialize(getattr(self, part)) for part in _PARTS}
            | {
                "blocks": [serialize(block) for block in self.blocks],
                "num_positions": self.num_positions,
                "dropout": self.dropout.rate,
                "adapters": lora.describe(self),
            }
        )

    @classmethod
    def from_config(cls, config):
        parts = ("blocks", *_PARTS)
        config = config | {part: keras.saving.deserialize_keras_object(config[part]) for part in parts}
        adapters = config.pop("adapters", {})
        model = cls(**config)
        lora.attach(model, adapters)
        return model


def build_encoder(config: EncoderConfig, dtype=None) -> Encoder:
    """Assembles an encoder of the given figures with fresh weights."""
    shared = dict(stddev=config.stddev, dtype=dtype)

    def norm(name):
        return LayerNorm(epsilon=config.norm_epsilon, name=name, dtype=dtype)

    hidden_dim = config.hidden_dim
    embedding_dim = config.embedding_dim or hidden_dim
    segments = config.num_segments
    return Encoder(
        token_embedding=TokenEmbedding(
            vocabulary_size=config.vocabulary_size, hidden_dim=embedding_dim, name="token_embedding", **shared
        ),
        position_embedding=LearnedPositions(
            num_positions=config.num_positions,
            hidden_dim=embedding_dim,
            offset=config.position_offset,
            name="position_embedding",
            **shared,
        ),
        segment_embedding=TokenEmbedding(
            vocabulary_size=segments, hidden_dim=embedding_dim, name="segment_embedding", **shared
        )
        if segments
        else None,
        embedding_norm=norm("embedding_norm"),
        embedding_projection=Linear(hidden_dim, name="embedding_projection", **shared)
        if embedding_dim != hidden_dim
        else None,
        blocks=[
            build_block(config, index, norm=norm, norm_first=False, dtype=dtype) for index in range(config.num_layers)
        ],
        pooler=Linear(hidden_dim, activation="tanh", name="pooler", **shared) if config.use_pooler else None,
        dropout=config.dropout,
        name="backbone",
        dtype=dtype,
    )
