"""A table from 64-bit hashes to document numbers in numpy arrays: 12 bytes an entry, not the 150 of a dict."""

import numpy as np

ABSENT = -1
_FULL = 0.6


class HashTable:
    """Open addressing with linear steps. A hash of 0 counts as 1; what shares a hash is for the caller to tell apart.

    Args:
        size: entries to begin with, a power of two; the table grows by itself.
    """

    def __init__(self, size: int = 1 << 10):
        self._hashes = np.zeros(size, np.uint64)
        self._numbers = np.zeros(size, np.uint32)
        self._held = 0

    def __len__(self) -> int:
        return self._held

    @property
    def nbytes(self) -> int:
        """Memory of the arrays."""
        return self._hashes.nbytes + self._numbers.nbytes

    def get(self, key: int) -> int:
        """The number of a hash, or -1."""
        key = key or 1
        place = self._place(key)
        return int(self._numbers[place]) if self._hashes[place] else ABSENT

    def exchange(self, key: int, number: int) -> int:
        """Sets the number of a hash; returns what it was, or -1."""
        key = key or 1
        place = self._place(key)
        if self._hashes[place]:
            before = int(self._numbers[place])
            self._numbers[place] = number
            return before
        self._hashes[place], self._numbers[place] = key, number
        self._held += 1
        if self._held > _FULL * len(self._hashes):
            self._grow()
        return ABSENT

    def _place(self, key: int) -> int:
        hashes, mask = self._hashes, len(self._hashes) - 1
        place = key & mask
        while (held := int(hashes[place])) and held != key:
            place = (place + 1) & mask
        return place

    def _grow(self) -> None:
        used = self._hashes != 0
        keys, numbers = self._hashes[used], self._numbers[used]
        mask = np.uint64(2 * len(self._hashes) - 1)
        self._hashes = np.zeros(2 * len(self._hashes), np.uint64)
        self._numbers = np.zeros(len(self._hashes), np.uint32)
        places = (keys & mask).astype(np.int64)
        while len(keys):
            free = self._hashes[places] == 0
            self._hashes[places[free]] = keys[free]  # of several that want one place, the last has it
            won = self._hashes[places] == keys
            self._numbers[places[won]] = numbers[won]
            keys, numbers = keys[~won], numbers[~won]
            places = (places[~won] + 1) & int(mask)
