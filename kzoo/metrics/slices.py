"""Slices of examples: those that share a value, or whose texts are about as long."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# N examples, M examples of a slice

MOST = 20
"""Slices of a column; values beyond the most frequent ones share one."""
_PARTS = 4  # of numbers, by their quantiles


@dataclass(frozen=True)
class Slice:
    """Examples that have something in common.

    Attributes:
        name: what.
        rows: their numbers ``[M]``, ascending.
    """

    name: str
    rows: np.ndarray


def by_value(column: Sequence | np.ndarray) -> list[Slice]:
    """The slices of a column's values ``[N]``, the largest first; of many different numbers four of like size."""
    values = np.asarray(column)
    if values.dtype.kind in "iuf" and len(np.unique(values)) > MOST:
        return by_size(values)
    named = np.array([str(value) for value in values.tolist()], dtype=object)
    names, place, counts = np.unique(named, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    kept = order if len(order) <= MOST else order[: MOST - 1]
    slices = [Slice(str(names[one]) or "(empty)", np.flatnonzero(place == one)) for one in kept]
    if len(kept) < len(order):
        slices.append(Slice(f"({len(order) - len(kept)} others)", np.flatnonzero(~np.isin(place, kept))))
    return slices


def by_size(numbers: Sequence | np.ndarray, unit: str = "") -> list[Slice]:
    """Four slices of numbers ``[N]`` of about equal size, or fewer where values repeat; the smallest numbers first."""
    values = np.asarray(numbers)
    ends = np.unique(np.quantile(values, np.arange(1, _PARTS + 1) / _PARTS, method="inverted_cdf"))
    place = np.searchsorted(ends, values)
    slices = []
    for number in range(len(ends)):
        rows = np.flatnonzero(place == number)
        low, high = _plain(values[rows].min()), _plain(values[rows].max())
        name = low if low == high else f"{low} to {high}"
        slices.append(Slice(f"{name} {unit}".strip(), rows))
    return slices


def by_words(texts: Sequence[str]) -> list[Slice]:
    """Four slices by the number of words between white space, the short texts first."""
    return by_size([len(str(text).split()) for text in texts], "words")


def _plain(number) -> str:
    return f"{number:g}"
