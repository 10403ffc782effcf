"""How many operations a model costs: the multiplications and additions of its matrix products, and nothing else.

The convention of the field (Chowdhery et al. 2022, appendix B): matrices and attention count, norms, activations, the
reading of embeddings and what is computed a second time to save memory do not. A multiplication and an addition are two
operations. Attention counts as if every token looked at all of its row, as it is computed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from kzoo.layers.attention import Attention
from kzoo.layers.block import TransformerBlock
from kzoo.layers.embedding import TokenEmbedding
from kzoo.layers.feed_forward import GatedFeedForward
from kzoo.layers.linear import Linear
from kzoo.layers.lora import Adapter
from kzoo.models.bert import Encoder
from kzoo.models.gpt import Decoder, LanguageModel
from kzoo.models.masked import MaskedLanguageModel

# T length, M places that are guessed, N heads, H head size, R rows


@dataclass(frozen=True)
class Operations:
    """Operations of a model on a row of T tokens: ``row + place * M + token * T + square * T ** 2``.

    Attributes:
        token: of each token.
        square: of each pair of tokens of a row, by attention.
        place: of each place that a masked language model guesses; such a model's other tokens cost no scores.
        row: of each row, by heads that read one vector of it.
    """

    token: float = 0.0
    square: float = 0.0
    place: float = 0.0
    row: float = 0.0

    def __add__(self, other: "Operations") -> "Operations":
        return Operations(
            self.token + other.token, self.square + other.square, self.place + other.place, self.row + other.row
        )

    def of(self, *, rows=1, tokens=0, squares=0, places=0):
        """All operations of rows; numbers or arrays.

        Args:
            rows: how many, R.
            tokens: the sum of their lengths.
            squares: the sum of the squares of their lengths.
            places: the sum of the places guessed.
        """
        return self.row * rows + self.token * tokens + self.square * squares + self.place * places


def of_forward(model: keras.Model) -> Operations:
    """Operations of one pass from features to outputs."""
    return _of_model(model, training=False)


def of_training(model: keras.Model) -> Operations:
    """Operations of a pass forward and back: three times those of the forward pass where all weights learn.

    A matrix that is frozen has no gradient of its own, and before the first weight that learns there is no way back.
    """
    return _of_model(model, training=True)


def _of_model(model: keras.Model, *, training: bool) -> Operations:
    unused = None
    if isinstance(model, MaskedLanguageModel) and model.next_sentence is None:
        unused = model.backbone.pooler
    count = _Count(training, unused)
    for layer, each in _in_order(model):
        count.add(layer, each)
    return count.total


def _in_order(model: keras.Model) -> Iterator[tuple[Any, str]]:
    """What a model consists of, in the order of the pass, and what each part is applied to: a name of ``Operations``.

    A ``TokenEmbedding`` by itself stands for its use as the output layer.
    """
    if isinstance(model, LanguageModel):
        yield model.backbone, "token"
        yield model.backbone.head or _Tied(model.backbone.token_embedding), "token"
    elif isinstance(model, MaskedLanguageModel):
        yield model.backbone, "token"
        yield model.token_head, "place"
        yield _Tied(model.backbone.token_embedding), "place"
        if model.next_sentence is not None:
            yield model.next_sentence, "row"
    elif hasattr(model, "operations"):  # functional: each layer knows what it gave
        for layer in model.layers:
            shape = None if isinstance(layer, Encoder | Decoder) else getattr(layer.output, "shape", None)
            yield layer, "row" if shape is not None and len(shape) == 2 else "token"
    else:
        yield model, "token"


@dataclass(frozen=True)
class _Tied:
    embedding: TokenEmbedding


class _Count:
    """Adds up layers in the order of the pass, and remembers whether a weight before learns."""

    def __init__(self, training: bool, unused=None):
        self.training = training
        self.unused = unused
        self.total = Operations()
        self.learns = False

    def add(self, layer, each: str) -> None:
        """Adds a layer that reads what the one before gave."""
        if isinstance(layer, _Tied):
            self._matrix(layer.embedding.embeddings, each)
        elif isinstance(layer, Attention):
            self._attention(layer, each)
        elif isinstance(layer, TransformerBlock):
            branches = [[layer.attention_norm, layer.attention], [layer.feed_forward_norm, layer.feed_forward]]
            for branch in branches:
                for part in branch if layer.norm_first else reversed(branch):
                    self.add(part, each)
        elif isinstance(layer, GatedFeedForward):
            self._side_by_side([layer.gate, layer.up], each)
            self.add(layer.down, each)
        elif isinstance(layer, Linear) and layer.adapter is not None:
            self._side_by_side([layer.adapter, layer.kernel], each)
        elif isinstance(layer, Adapter):
            self._matrix(layer.down, each)
            self._matrix(layer.up, each)
        elif isinstance(layer, keras.Variable):
            self._matrix(layer, each)
        elif getattr(layer, "kernel", None) is not None and len(layer.kernel.shape) > 1:
            self._matrix(layer.kernel, each)
            self._see(layer)
        else:
            self._inside(layer, each)

    def _inside(self, layer, each: str) -> None:
        pooler = getattr(layer, "pooler", None)
        apart = [id(pooler), id(layer.head) if isinstance(layer, Decoder) else None]  # which counts where it is used
        inner = list(layer._flatten_layers(include_self=False, recursive=False))
        for one in inner:
            if id(one) not in apart:
                self.add(one, each)
        if not inner:
            self._see(layer)
        if pooler is not None and pooler is not self.unused:
            self.add(pooler, "row")

    def _attention(self, layer: Attention, each: str) -> None:
        query, key, value = self._side_by_side([layer.query, layer.key, layer.value], each)
        back = query + key + (query or key) + value if self.training else 0
        self.total += Operations(square=(2.0 + back) * 2.0 * layer.num_heads * layer.head_dim)
        self.add(layer.output_projection, each)

    def _side_by_side(self, layers, each: str) -> list[bool]:
        """Adds layers that read the same; returns whether what each gives depends on a weight that learns."""
        before, after = self.learns, []
        for layer in layers:
            self.learns = before
            self.add(layer, each)
            after.append(self.learns)
        self.learns = any(after)
        return after

    def _matrix(self, kernel: keras.Variable, each: str) -> None:
        times = 1.0 + (self.learns + kernel.trainable if self.training else 0)
        self.total += Operations(**{each: times * 2.0 * float(np.prod(kernel.shape))})
        self.learns = self.learns or kernel.trainable

    def _see(self, layer) -> None:
        self.learns = self.learns or bool(layer.trainable_weights)
