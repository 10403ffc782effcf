"""Shingles of a text, their MinHash, and the bands by which near duplicates find each other.

Broder 1997; banding as in Leskovec, Rajaraman and Ullman, Mining of Massive Datasets, section 3.4. Signatures are
``datasketch``'s. Bands only propose: what is dropped is compared shingle by shingle.
"""

import re
import zlib
from collections.abc import Set

import numpy as np

from kzoo.data.orders import mix
from kzoo.data.preparing.config import Duplicates
from kzoo.data.preparing.extras import needed

# N shingles, P permutations, B bands

FOUND = 0.95  # at least this share of the pairs that are just similar enough

_WORDS = re.compile(r"\w+")
_AT_ONCE = 4096


def words_of(text: str) -> list[str]:
    """The words in small letters, without punctuation and white space."""
    return _WORDS.findall(text.casefold())


def shingles(text: str, rules: Duplicates) -> Set[str]:
    """The runs of so many words, or of characters, that a text holds; of a shorter text, all of it."""
    size = rules.shingle_size
    words = words_of(text)
    if rules.shingle == "characters":
        joined = " ".join(words) or text
        return {joined[place : place + size] for place in range(max(len(joined) - size + 1, 1))}
    if len(words) < size:
        return {" ".join(words) or text}
    return set(map(" ".join, zip(*(words[place:] for place in range(size)), strict=False)))


def jaccard(first: Set[str], second: Set[str]) -> float:
    """Shared members over all members."""
    both = len(first & second)
    return both / max(len(first) + len(second) - both, 1)


def bands_for(threshold: float, permutations: int) -> tuple[int, int]:
    """How many bands of how many rows: the most rows with which a pair at the threshold is found by ``FOUND``.

    Args:
        threshold: a similarity, above 0.
        permutations: of the signature.

    Returns:
        Bands and rows, whose product is ``permutations`` or less.
    """
    for rows in range(permutations, 1, -1):
        bands = permutations // rows
        if 1 - (1 - threshold**rows) ** bands >= FOUND:
            return bands, rows
    return permutations, 1


class Signatures:
    """Calling it gives the hashes of a text's bands, uint64 ``[B]``: equal where two texts agree in a band.

    Args:
        rules: ``near`` must be given.

    Raises:
        UserError: datasketch is missing.
    """

    def __init__(self, rules: Duplicates):
        assert rules.near is not None
        self._rules = rules
        self._minhash = needed("datasketch", "Finding near duplicates (duplicates.near)").MinHash
        self._permutations = self._minhash(num_perm=rules.permutations, seed=rules.seed).permutations
        self.bands, self._rows = bands_for(rules.near, rules.permutations)
        # odd factors, drawn once: a band's hash is the sum of its values' products, scrambled with its number
        draws = np.random.RandomState(rules.seed + 1).randint(0, 2**63, self._rows, dtype=np.uint64)
        self._factors = draws * np.uint64(2) + np.uint64(1)
        self._numbers = np.arange(1, self.bands + 1, dtype=np.uint64)

    def __call__(self, text: str) -> np.ndarray:
        minhash = self._minhash(
            num_perm=self._rules.permutations,
            hashfunc=zlib.crc32,
            permutations=self._permutations,
            scheme="affine32",
        )
        members = [shingle.encode() for shingle in shingles(text, self._rules)]
        for start in range(0, len(members), _AT_ONCE):  # each call fills a matrix [N, P]
            minhash.update_batch(members[start : start + _AT_ONCE])
        values = minhash.hashvalues[: self.bands * self._rows].reshape(self.bands, self._rows)  # [B, rows]
        with np.errstate(over="ignore"):
            sums = (mix(values.astype(np.uint64) + np.uint64(1)) * self._factors).sum(axis=1, dtype=np.uint64)
            return mix(sums ^ mix(self._numbers))
