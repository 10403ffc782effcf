"""The folder a preparation writes: made aside and renamed, its documents in files of a size."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kzoo.errors import UserError


@contextmanager
def new_folder(path: Path, *, dry_run: bool = False) -> Iterator[Path]:
    """Yields a hidden folder beside ``path``, which takes its name when the block ends well.

    What a killed process left of the same name is removed.

    Raises:
        UserError: the folder exists, or cannot be written.
    """
    if path.exists() and not dry_run:
        raise UserError(f"{path} exists already. Name a new folder, or remove it.")
    try:
        path.absolute().parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        aside = path.absolute().with_name(f".{path.name}.{os.getpid()}.preparing")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}.") from None
    try:
        yield aside
        if not dry_run:
            os.rename(aside, path)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}. Nothing of it is left.") from None
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _remove_leftovers(path: Path) -> None:
    pattern = re.compile(rf"\.{re.escape(path.name)}\.(\d+)\.preparing")
    for beside in path.absolute().parent.iterdir():
        match = pattern.fullmatch(beside.name)
        if match and not _lives(int(match[1])):
            shutil.rmtree(beside, ignore_errors=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Shards:
    """Files ``part-00000.jsonl`` or ``.txt`` of a folder, one after the other.

    Args:
        folder: where they lie.
        document: of plain text, ``line`` or ``paragraph``; None for JSON lines.
        size: bytes after which a file ends; a document is never parted.
    """

    def __init__(self, folder: Path, document: str | None, size: int):
        self._folder, self._document, self._size = folder, document, size
        self._stream: Any = None
        self._digest = hashlib.sha256()
        self.files: list[dict[str, Any]] = []

    def write(self, row: dict[str, Any], text: str) -> None:
        """Writes a document."""
        if self._stream is None:
            suffix = "jsonl" if self._document is None else "txt"
            name = f"part-{len(self.files):05d}.{suffix}"
            self._stream = open(self._folder / name, "wb")  # noqa: SIM115
            self._digest = hashlib.sha256()
            self.files.append({"name": name, "documents": 0, "bytes": 0})
        here = self.files[-1]
        if self._document is None:
            line = json.dumps(row, ensure_ascii=False) + "\n"
        elif self._document == "paragraph" and here["documents"]:
            line = f"\n{text}\n"
        else:
            line = f"{text}\n"
        content = line.encode("utf-8", "replace")
        self._stream.write(content)
        self._digest.update(content)
        here["documents"] += 1
        here["bytes"] += len(content)
        if here["bytes"] >= self._size:
            self.end()

    def end(self) -> None:
        """Ends the file that is being written."""
        if self._stream is None:
            return
        self._stream.flush()
        os.fsync(self._stream.fileno())
        self._stream.close()
        self._stream = None
        self.files[-1]["sha256"] = self._digest.hexdigest()
