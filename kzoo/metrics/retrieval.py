"""How far up the right text stands among all that were sought."""

from collections.abc import Sequence

import numpy as np

# N queries, M different documents, D width

_ROWS = 1024


def ranks_of_pairs(
    queries: np.ndarray, documents: np.ndarray, texts: Sequence[str], pairs: Sequence[str]
) -> np.ndarray:
    """At which place each text finds its pair, by cosine, among the pairs of all.

    Equal documents are one. Where a text stands in several examples, each of their pairs is right, and the best of them
    counts. A wrong document as near as the right one stands before it.

    Args:
        queries: vectors of texts ``[N, D]``.
        documents: vectors of their pairs ``[N, D]``.
        texts: the texts, ``[N]``.
        pairs: their pairs, ``[N]``.

    Returns:
        int64 ``[N]``, 1 for the first place.
    """
    _, kept, number = np.unique(np.asarray(pairs, dtype=str), return_index=True, return_inverse=True)
    documents = _unit(documents[kept])  # [M, D]
    _, group = np.unique(np.asarray(texts, dtype=str), return_inverse=True)
    right: dict[int, set[int]] = {}
    for one, document in zip(group.tolist(), number.tolist(), strict=True):
        right.setdefault(one, set()).add(document)
    ranks = np.zeros(len(queries), np.int64)
    for start in range(0, len(queries), _ROWS):
        cosines = _unit(queries[start : start + _ROWS]) @ documents.T
        for row, values in enumerate(cosines):
            these = list(right[int(group[start + row])])
            best = values[these].max()
            ranks[start + row] = 1 + np.count_nonzero(values >= best) - np.count_nonzero(values[these] >= best)
    return ranks


def recall_at(ranks: np.ndarray, places: int) -> float:
    """The share of queries whose right document stands among so many first places."""
    return float(np.mean(np.asarray(ranks) <= places))


def reciprocal_rank(ranks: np.ndarray) -> float:
    """The mean of 1 / place (Voorhees 1999)."""
    return float(np.mean(1.0 / np.asarray(ranks, np.float64)))


def _unit(vectors: np.ndarray) -> np.ndarray:
    vectors = np.asarray(vectors, np.float64)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
