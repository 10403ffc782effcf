"""Precision, recall and F1 of entities, as ``seqeval`` counts them, and what else is worth knowing of those found.

An entity is right when its first and last character and its type are. The figures take counts with any leading axes, so
that the bootstrap can ask about many draws at once.
"""

from collections.abc import Collection, Sequence

import numpy as np

from kzoo.data import tags

# N texts, K types, ... any leading axes

Span = tuple[int, int, str]  # first character, the one behind the last, type


def entity_counts(expected: Sequence[Collection[Span]], given: Sequence[Collection[Span]], types: Sequence[str]):
    """How many entities of each type were found rightly, how many were found, and how many there are.

    Returns:
        int64 ``[N, 3, K]``.

    Raises:
        ValueError: answers to another number of texts.
    """
    if len(expected) != len(given):
        raise ValueError(f"Each text needs its right answer. Received {len(expected)} and {len(given)}.")
    numbers = {kind: number for number, kind in enumerate(types)}
    counts = np.zeros([len(expected), 3, len(types)], np.int64)
    for row, (there, found) in enumerate(zip(expected, given, strict=True)):
        for place, these in enumerate((set(there) & set(found), set(found), set(there))):
            for *_, kind in these:
                counts[row, place, numbers[kind]] += 1
    return counts


def entity_f1(counts: np.ndarray) -> dict[str, np.ndarray]:
    """``precision``, ``recall`` and ``f1`` ``[...]`` over all entities, from counts ``[..., 3, K]``; of nothing 0."""
    return _figures(counts.sum(-1))


def entity_macro_f1(counts: np.ndarray) -> np.ndarray:
    """The mean F1 of types ``[...]``, of those that occur among the entities there or found."""
    occurs = (counts[..., 1, :] + counts[..., 2, :]) > 0
    return _share((entity_f1_of_types(counts)["f1"] * occurs).sum(-1), occurs.sum(-1))


def entity_f1_of_types(counts: np.ndarray) -> dict[str, np.ndarray]:
    """``precision``, ``recall``, ``f1`` and ``support`` ``[..., K]`` of each type."""
    return _figures(np.moveaxis(counts, -1, -2)) | {"support": counts[..., 2, :]}


def is_proper(places: Sequence[int], scheme: str) -> bool:
    """Whether the places of an entity's words are as the scheme writes them: what ``seqeval``'s strict mode asks."""
    if scheme == "BIO":
        return places[0] == tags.BEGIN
    if scheme == "BIOES":
        inside = all(place == tags.INSIDE for place in places[1:-1])
        whole = len(places) > 1 and places[0] == tags.BEGIN and places[-1] == tags.END and inside
        return whole or list(places) == [tags.SINGLE]
    return True


def _figures(counts: np.ndarray) -> dict[str, np.ndarray]:
    matched, found, there = (counts[..., place] for place in range(3))
    return {
        "precision": _share(matched, found),
        "recall": _share(matched, there),
        "f1": _share(2 * matched, found + there),
    }


def _share(part, whole) -> np.ndarray:
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.zeros(np.broadcast_shapes(part.shape, whole.shape)), where=whole != 0)
