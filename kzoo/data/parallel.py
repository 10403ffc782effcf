"""Parallel files: line n of one belongs to line n of the other, as translations are kept."""

import re
from pathlib import Path

from kzoo.data.examples import Examples
from kzoo.data.formats import Reading, decoded
from kzoo.errors import UserError

_PAIR = re.compile(r"(.*)\{([^{},/]+),([^{},/]+)\}([^/]*)", re.DOTALL)
COLUMNS = ["prompt", "answer"]


def parallel_files(path: str) -> tuple[Path, Path] | None:
    """The two files that ``train.{en,de}`` names, or None where a path names none so."""
    found = _PAIR.fullmatch(path)
    return (Path(found[1] + found[2] + found[4]), Path(found[1] + found[3] + found[4])) if found else None


def read_parallel(files: tuple[Path, Path], reading: Reading, *, source: str) -> Examples:
    """Pairs of lines as the columns ``prompt`` and ``answer``, or as the two that ``reading.columns`` lists.

    Lines that are empty in both files are no pair.

    Raises:
        UserError: a file that is missing, empty or not of the encoding; files of different lengths; a format.
    """
    names = COLUMNS if reading.columns is None else reading.columns
    if not isinstance(names, list) or len(names) != 2:
        raise UserError(f"{source} are two files of lines: columns is a list of two names. Received {names}.")
    if reading.format not in (None, "text") or reading.document != "line":
        raise UserError(f"{source} are two files of lines, a text in each. Leave out format and document.")
    columns = []
    for file in files:
        if not file.is_file():
            raise UserError(f"There is no file {file}, which {source} names.")
        text = decoded(file, reading).removesuffix("\n")
        columns.append([line.removesuffix("\r") for line in text.split("\n")])
    first, second = columns
    if len(first) != len(second):
        raise UserError(
            f"Parallel files have a line for each line of the other. {files[0]} has {len(first)}, {files[1]} has "
            f"{len(second)}."
        )
    kept = [pair for pair in zip(first, second, strict=True) if any(line.strip() for line in pair)]
    made = Examples({name: [pair[place] for pair in kept] for place, name in enumerate(names)}, source=source)
    return reading.label.apply(made) if reading.label else made
