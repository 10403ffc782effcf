"""What the models answer, worked out in plain Python from their definition (``models``)."""

from __future__ import annotations

import math
from typing import Any

from kzoo.serving.conformance.exchange import b64

WORDS = {1: ("short", "long", "empty"), 2: ("SHORT", "LONG", "EMPTY")}
NEWEST = 2


def scores(text: str) -> list[float]:
    """How short, long and empty a text is: a softmax over three lines through its number of characters."""
    length = len(text)
    logits = (8.0 - length, length - 8.0, 4.0 - 8.0 * length)
    powers = [math.exp(logit - max(logits)) for logit in logits]
    return [power / sum(powers) for power in powers]


def label(text: str, version: int = NEWEST) -> str:
    """The word for a text's length, as that version of the model writes it."""
    found = scores(text)
    return WORDS[version][found.index(max(found))]


def described(text: str, version: int = NEWEST) -> dict[str, Any]:
    """``echo``'s answer to one text."""
    return {"label": label(text, version), "scores": scores(text), "length": len(text)}


def described_columns(texts: list[str], version: int = NEWEST) -> dict[str, list[Any]]:
    """``echo``'s answer to texts, output by output."""
    rows = [described(text, version) for text in texts]
    return {name: [row[name] for row in rows] for name in ("label", "scores", "length")}


def copied(text: str) -> dict[str, Any]:
    """``copies``' answer: an output whose name ends in ``_bytes`` is written in base64."""
    return {"text": text, "data_bytes": b64(text.encode())}


def classified(text: str, version: int = NEWEST) -> list[list[Any]]:
    """The pairs of class and score that the classify API answers one example with."""
    return [list(pair) for pair in zip(WORDS[version], scores(text), strict=True)]


def single(value: float) -> float:
    """The nearest number of single precision."""
    import numpy as np

    return float(np.float32(value))
