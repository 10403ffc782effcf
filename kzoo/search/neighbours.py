"""Approximate search in a graph of neighbours (Malkov and Yashunin 2018), by ``hnswlib``, an extra of kzoo."""

from pathlib import Path
from typing import Any

import numpy as np

from kzoo.checkpoints.replacing import replacing
from kzoo.errors import UserError

# N vectors, Q queries, K hits, D width

LINKS, EFFORT = 16, 200
"""Neighbours of a vector (M), and how widely they are sought when the graph is made."""
LEAST_EFFORT = 64
"""How many candidates a search keeps at least; more when more hits are wanted."""
_BLOCK = 10_000


def load_hnswlib() -> Any:
    """The library; UserError says how to install it."""
    try:
        import hnswlib
    except ImportError:
        raise UserError("Approximate search needs hnswlib (pip install 'kzoo[hnsw]'); exact search does not.") from None
    return hnswlib


class Graph:
    """A graph over vectors of length 1, compared by their product.

    Args:
        width: D.
        path: of a graph that was saved, or None for an empty one.
    """

    def __init__(self, width: int, path: Path | None = None):
        self._graph = load_hnswlib().Index(space="ip", dim=width)
        if path is None:
            self._graph.init_index(max_elements=1, M=LINKS, ef_construction=EFFORT, random_seed=0)
            return
        try:
            self._graph.load_index(str(path))
        except RuntimeError as error:
            raise UserError(f"{path} cannot be read ({error}). Build the index again.") from None

    def __len__(self) -> int:
        return self._graph.get_current_count()

    def add(self, vectors: np.ndarray) -> None:
        """Adds vectors ``[N, D]``; their numbers follow those that are there."""
        first = len(self)
        self._graph.resize_index(max(first + len(vectors), 1))
        for start in range(0, len(vectors), _BLOCK):
            part = np.asarray(vectors[start : start + _BLOCK])
            self._graph.add_items(part, np.arange(first + start, first + start + len(part)))

    def save(self, path: Path) -> None:
        """Writes the graph, whole or not at all."""
        with replacing(path) as aside:
            self._graph.save_index(str(aside))

    def nearest(self, queries: np.ndarray, top: int) -> tuple[np.ndarray, np.ndarray]:
        """Products and numbers ``[Q, K]`` of nearly the nearest vectors, the nearest first."""
        self._graph.set_ef(max(LEAST_EFFORT, 2 * top))
        numbers, distances = self._graph.knn_query(queries, k=min(top, len(self)))
        return 1.0 - distances, numbers.astype(np.int64)
