"""Files out of a zip, wheel or tar archive, also out of an archive inside it: ``outer/inner.tar.gz!folder/file``.

Each archive is read once, and nothing is ever unpacked to a path that the archive chooses.
"""

import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from kzoo.errors import UserError

ZIPS = (".zip", ".whl")

_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)


def members(archive: Path, paths: Iterable[str]) -> Iterator[tuple[str, IO[bytes]]]:
    """Yields every path with a readable stream of its content, in the archive's order.

    A stream is to be read before the next is asked for. UserError when a path is missing or the archive is damaged.
    """
    try:
        with open(archive, "rb") as stream:
            yield from _members(stream, archive.name, {path: path.split("!") for path in paths})
    except _DAMAGED as error:
        raise UserError(f"{archive} is damaged ({error}). Remove it and pull again.") from error


def _members(stream: IO[bytes], name: str, wanted: dict[str, list[str]]) -> Iterator[tuple[str, IO[bytes]]]:
    firsts: dict[str, dict[str, list[str]]] = {}
    for path, steps in wanted.items():
        firsts.setdefault(steps[0], {})[path] = steps[1:]
    for step, inner in _entries(stream, name, set(firsts)):
        inside = firsts.pop(step)
        nested = {path: steps for path, steps in inside.items() if steps}
        if nested:
            yield from _members(inner, step, nested)
        for path in inside.keys() - nested.keys():
            if nested:
                inner.seek(0)
            yield path, inner
    if firsts:
        raise UserError(f"{name} holds no file {', '.join(sorted(firsts))}.")


def _entries(stream: IO[bytes], name: str, steps: set[str]) -> Iterator[tuple[str, IO[bytes]]]:
    if name.endswith(ZIPS):
        with zipfile.ZipFile(stream) as archive:
            for step in steps.intersection(archive.namelist()):
                with archive.open(step) as inner:
                    yield step, inner
        return
    with tarfile.open(fileobj=stream, mode="r:*") as archive:
        for entry in archive:
            content = archive.extractfile(entry) if entry.name in steps else None
            if content is not None:  # neither a folder nor a device
                with content:
                    yield entry.name, content
