"""What was seen: exact and near duplicates of the documents that were kept, found with little memory."""

from array import array
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.data.preparing.config import Duplicates
from kzoo.data.preparing.hash_table import ABSENT, HashTable
from kzoo.data.preparing.near_duplicates import jaccard, shingles
from kzoo.data.preparing.spool import Spool

_MOST_IN_BAND = 64  # documents of one band that are looked at, the latest first
_MOST_COMPARED = 64  # documents that are compared shingle by shingle, those with most shared bands first


@dataclass(frozen=True)
class Match:
    """A document seen before that another equals, or nearly.

    Attributes:
        number: of the one seen before.
        similarity: Jaccard's, 1 of exact duplicates.
        exact: whether the texts are equal.
    """

    number: int
    similarity: float
    exact: bool


class Seen:
    """Documents by their digests and bands. Memory: 28 bytes a document, with bands about 30 more for each band.

    Args:
        path: of the file that keeps the documents.
        rules: what counts as a duplicate.
        column: of a row, that which holds the text.
        bands: hashes of a document that ``add`` is given; 0 without near duplicates.
    """

    def __init__(self, path: Path, rules: Duplicates, column: str, bands: int):
        self._rules, self._column = rules, column
        self.spool = Spool(path)
        self._digests = HashTable()
        self._rest = array("Q")  # the other half of each digest, so that all of its 16 bytes are compared
        self._heads = HashTable() if bands else None
        self._before = np.zeros((1 << 10, bands), np.uint32)  # the document before in the same band, + 1; 0 for none

    def __len__(self) -> int:
        return len(self.spool)

    @property
    def nbytes(self) -> int:
        """Memory of the tables."""
        heads = self._heads.nbytes if self._heads is not None else 0
        return self._digests.nbytes + 8 * len(self._rest) + heads + self._before.nbytes + 8 * len(self)

    def row(self, number: int) -> tuple[str, dict[str, Any]]:
        """Where a document came from, and its row."""
        return self.spool.read(number)

    def exact(self, digest: bytes) -> Match | None:
        """The document of the same digest."""
        number = self._digests.get(int.from_bytes(digest[:8], "little"))
        if number == ABSENT or self._rest[number] != int.from_bytes(digest[8:], "little"):
            return None
        return Match(number, 1.0, exact=True)

    def near(self, text: str, bands: np.ndarray | None) -> Match | None:
        """The most similar of the documents that share bands, when it is similar enough."""
        if self._heads is None or bands is None:
            return None
        shared: Counter[int] = Counter()
        for band, key in enumerate(bands.tolist()):
            number = self._heads.get(key)
            for _ in range(_MOST_IN_BAND):
                if number == ABSENT:
                    break
                shared[number] += 1
                number = int(self._before[number, band]) - 1
        if not shared:
            return None
        own = shingles(text, self._rules)
        best: Match | None = None
        for number in sorted(shared, key=lambda one: (-shared[one], one))[:_MOST_COMPARED]:
            similarity = jaccard(own, shingles(self.row(number)[1][self._column], self._rules))
            if similarity >= (self._rules.near or 1.0) and (best is None or similarity > best.similarity):
                best = Match(number, similarity, exact=False)
        return best

    def add(self, where: str, row: dict[str, Any], digest: bytes, bands: np.ndarray | None) -> int:
        """Adds a document that none equals; returns its number."""
        number = self.spool.append(where, row)
        key = int.from_bytes(digest[:8], "little")
        if self._digests.get(key) == ABSENT:
            self._digests.exchange(key, number)
        self._rest.append(int.from_bytes(digest[8:], "little"))
        if self._heads is not None and bands is not None:
            if number == len(self._before):
                self._before = np.concatenate([self._before, np.zeros_like(self._before)])
            for band, key in enumerate(bands.tolist()):
                self._before[number, band] = self._heads.exchange(key, number) + 1
        return number
