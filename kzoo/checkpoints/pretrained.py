"""A backbone with its tokenizer and what is known about it: what `kzoo.load` returns."""

import dataclasses
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import keras
import numpy as np

from kzoo.errors import UserError
from kzoo.models.families import family as find_family
from kzoo.tokenizers import Tokenizer


@dataclass(kw_only=True)
class Pretrained:
    """A backbone, its tokenizer and its published description.

    Attributes:
        backbone: ``Encoder`` or ``Decoder``.
        tokenizer: turns text into its token ids.
        family: the module of rules it came by.
        config: the figures it was built from.
        published: the keys of its ``config.json``.
        dtypes: dtype of each published tensor as it came, so that saving gives the same bits.
        head: published tensors of a task's head found beside the backbone's.
        source: where it came from, for cards and errors.
    """

    backbone: keras.Model
    tokenizer: Tokenizer
    family: ModuleType
    config: Any
    published: dict[str, Any]
    dtypes: dict[str, str] = field(default_factory=dict)
    head: dict[str, np.ndarray] = field(default_factory=dict)
    source: str = ""

    @property
    def is_decoder(self) -> bool:
        """Whether the backbone predicts next tokens."""
        return hasattr(self.backbone, "logits")

    def rebuild(self, dtype=None) -> "Pretrained":
        """A copy with new weights of the same values, made under the strategy and policy now in force."""
        backbone = self.family.build(self.config, dtype)
        for weight, old in zip(backbone.weights, self.backbone.weights, strict=True):
            weight.assign(np.asarray(old))
        return dataclasses.replace(self, backbone=backbone)


def fresh(model_type: str, tokenizer: Tokenizer, *, dtype=None, **figures) -> Pretrained:
    """A backbone with random weights, to be pretrained.

    Args:
        model_type: name of the family, "gpt2" for example.
        tokenizer: gives the size of the vocabulary unless ``figures`` does.
        dtype: Keras dtype policy.
        figures: fields of the family's config: ``hidden_dim``, ``num_layers``, ``num_heads``, ``num_positions``, ...

    Raises:
        UserError: a figure the family does not know, or one that is missing.
    """
    family = find_family(model_type)
    config_class = family.config.__annotations__["return"]
    known = {one.name: one for one in dataclasses.fields(config_class)}
    unknown = sorted(set(figures) - set(known))
    if unknown:
        raise UserError(f"{model_type} has no figure {', '.join(unknown)}; it has {', '.join(known)}.")
    figures.setdefault("vocabulary_size", tokenizer.vocabulary_size)
    if "hidden_dim" in figures:
        figures.setdefault("feed_forward_dim", 4 * figures["hidden_dim"])
    missing = [name for name, one in known.items() if one.default is dataclasses.MISSING and name not in figures]
    if missing:
        raise UserError(f"A fresh {model_type} needs {', '.join(missing)}.")
    try:
        config = config_class(**figures)
        if config.vocabulary_size < tokenizer.vocabulary_size:
            raise ValueError(
                f"vocabulary_size must hold the tokenizer's {tokenizer.vocabulary_size} tokens. "
                f"Received {config.vocabulary_size}."
            )
        backbone = family.build(config, dtype)
    except ValueError as error:
        raise UserError(str(error)) from None
    special_ids = {f"{role}_token_id": tokenizer.special_ids.get(role) for role in ("bos", "eos", "pad")}
    return Pretrained(
        backbone=backbone,
        tokenizer=tokenizer,
        family=family,
        config=config,
        published=family.publish(config) | {key: value for key, value in special_ids.items() if value is not None},
        source=f"fresh {model_type}",
    )
