"""Documents kept so far, on the disk: written one after the other, and any of them read again by its number."""

import json
import os
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_PENDING = 1 << 20


class Spool:
    """A file of JSON lines; memory holds 8 bytes a document.

    Args:
        path: the file, which is made new.
    """

    def __init__(self, path: Path):
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        self._ends = array("Q", [0])
        self._pending: list[bytes] = []
        self._written = 0

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, where: str, row: dict[str, Any]) -> int:
        """Adds a document; returns its number."""
        content = json.dumps([where, row], ensure_ascii=False).encode("utf-8", "replace")
        self._pending.append(content)
        self._ends.append(self._ends[-1] + len(content))
        if self._ends[-1] - self._written >= _PENDING:
            self._flush()
        return len(self) - 1

    def read(self, number: int) -> tuple[str, dict[str, Any]]:
        """Where a document came from, and its row."""
        begin, end = self._ends[number], self._ends[number + 1]
        if end > self._written:
            self._flush()
        where, row = json.loads(os.pread(self._file, end - begin, begin))
        return where, row

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        for number in range(len(self)):
            yield self.read(number)

    def close(self) -> None:
        """Closes the file; removing it is for the folder it lies in."""
        os.close(self._file)

    def _flush(self) -> None:
        content = memoryview(b"".join(self._pending))
        while content:
            content = content[os.write(self._file, content) :]
        self._pending, self._written = [], self._ends[-1]
