"""An index on the disk: vectors, texts and line numbers as flat files that only grow, and a description that says how
much of them counts.

Every change appends first and replaces ``index.json`` last, so that a kill leaves the index as it was; what stands
behind the count is cut off by the next change. Nothing is pickled, and the files are read through memory maps.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from kzoo.checkpoints.replacing import write_text
from kzoo.errors import UserError
from kzoo.search.passages import Passage
from kzoo.version import __version__

# N passages, D width

DESCRIPTION = "index.json"
FORMAT = 1
VECTORS, TEXTS, ENDS, LINES = "vectors.f32", "texts.utf8", "ends.i64", "lines.i64"
_DTYPES: dict[str, Any] = {VECTORS: np.dtype("<f4"), ENDS: np.dtype("<i8"), LINES: np.dtype("<i8")}


class Store:
    """The files of an index.

    Args:
        folder: where they are.

    Attributes:
        about: what ``index.json`` holds.
        vectors: float32 ``[N, D]``, of length 1; a memory map.

    Raises:
        UserError: the folder holds no index, or a damaged one.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.about = _read(self.folder)
        self._open()

    @classmethod
    def create(cls, folder: Path, *, width: int, about: Mapping[str, Any]) -> "Store":
        """An index without passages, in a folder that is there."""
        for name in (VECTORS, TEXTS, ENDS, LINES):
            (folder / name).write_bytes(b"")
        described = {"kzoo": __version__, "format": FORMAT, "count": 0, "bytes": 0, "width": width} | dict(about)
        write_text(folder / DESCRIPTION, json.dumps(described, indent=1, ensure_ascii=False) + "\n")
        return cls(folder)

    def __len__(self) -> int:
        return self.about["count"]

    @property
    def width(self) -> int:
        """D."""
        return self.about["width"]

    @property
    def text_bytes(self) -> int:
        """How long all texts are in UTF-8."""
        return self.about["bytes"]

    def passage(self, number: int) -> Passage:
        """The passage of a number from 0."""
        start, end = (int(self._ends[number - 1]) if number else 0), int(self._ends[number])
        return Passage(bytes(self._texts[start:end]).decode("utf-8"), int(self._lines[number]))

    def append(self, passages: Sequence[Passage], vectors: np.ndarray, **about: Any) -> None:
        """Adds passages with their vectors ``[N, D]``, and what else the description is to say from now on."""
        sizes = np.array([len(passage.text.encode("utf-8")) for passage in passages], np.int64)
        parts = {
            VECTORS: np.ascontiguousarray(vectors, _DTYPES[VECTORS]).tobytes(),
            TEXTS: "".join(passage.text for passage in passages).encode("utf-8"),
            ENDS: (self.text_bytes + np.cumsum(sizes)).astype(_DTYPES[ENDS]).tobytes(),
            LINES: np.array([passage.line for passage in passages], _DTYPES[LINES]).tobytes(),
        }
        for name, content in parts.items():
            with (self.folder / name).open("r+b") as file:
                file.truncate(self._sizes()[name])  # what a kill left behind
                file.seek(0, os.SEEK_END)
                file.write(content)
        count, total = len(self) + len(passages), self.text_bytes + int(sizes.sum())
        self.describe(count=count, bytes=total, **about)
        self._open()

    def describe(self, **about: Any) -> None:
        """Replaces some of what the description says."""
        self.about = self.about | about
        write_text(self.folder / DESCRIPTION, json.dumps(self.about, indent=1, ensure_ascii=False) + "\n")

    def _sizes(self) -> dict[str, int]:
        """Bytes of each file that count."""
        count = len(self)
        return {VECTORS: 4 * count * self.width, TEXTS: self.text_bytes, ENDS: 8 * count, LINES: 8 * count}

    def _open(self) -> None:
        for name, size in self._sizes().items():
            path = self.folder / name
            if not path.is_file() or path.stat().st_size < size:
                raise UserError(f"{path} is shorter than {DESCRIPTION} says: the index is damaged. Build it again.")
        count = len(self)
        self.vectors = self._map(VECTORS, (count, self.width))
        self._ends, self._lines = self._map(ENDS, (count,)), self._map(LINES, (count,))
        texts = self.folder / TEXTS
        self._texts = np.memmap(texts, np.uint8, "r", shape=(self.text_bytes,)) if self.text_bytes else b""

    def _map(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        if not shape[0]:
            return np.zeros(shape, _DTYPES[name])
        return np.memmap(self.folder / name, _DTYPES[name], "r", shape=shape)


def is_index(path: str | Path) -> bool:
    """Whether a folder holds an index."""
    return (Path(path) / DESCRIPTION).is_file()


def _read(folder: Path) -> dict[str, Any]:
    path = folder / DESCRIPTION
    if not path.is_file():
        raise UserError(f"{folder} is no index: it has no {DESCRIPTION}. Make one with kzoo index.")
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        known = about["format"]
        if any(not isinstance(about[name], int) or about[name] < 0 for name in ("count", "bytes", "width")):
            raise ValueError("count, bytes and width must be whole numbers")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}). Build the index again.") from None
    if known != FORMAT:
        raise UserError(f"{folder} has the format {known}, which this release of kzoo does not read. Build it again.")
    return about
