"""Texts of files one after the other, never all in memory: what ``kzoo data tokenize`` reads."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from kzoo.data.documents import as_texts
from kzoo.data.formats import Reading
from kzoo.data.readers import read
from kzoo.data.row_stream import files_of, format_of, stream_lines, stream_records
from kzoo.errors import UserError

CHARACTERS = 1 << 22


def stream_texts(path: str | Path, reading: Reading, *, column: str = "text") -> Iterator[str]:
    """The texts of a file, of a folder's files in the order of their names, or of a data set by its name.

    Plain text and JSON lines are read line by line; other formats and data sets as ``read`` does.

    Args:
        path: file, folder or name.
        reading: how files are read.
        column: of a table or JSON lines; a list of sentences becomes one sentence a line.

    Raises:
        UserError: as ``read``.
    """
    place = Path(path)
    if place.is_dir():
        for file in files_of(place, reading):
            yield from stream_texts(file, reading, column=column)
        return
    kind = format_of(place, reading)
    if place.is_file() and kind == "text" and reading.document != "file":
        yield from (record["text"] for _, record in stream_records(place, reading))
    elif place.is_file() and kind == "jsonl":
        yield from _json_lines(place, reading, column)
    else:
        given = reading.model_dump(exclude_defaults=True) | ({"columns": {"text": column}} if column != "text" else {})
        examples = read(path, **given)
        yield from as_texts(examples["text"].tolist(), source=examples.source, column="text")


def in_batches(texts: Iterable[str], characters: int = CHARACTERS) -> Iterator[list[str]]:
    """Lists of texts that have hardly more than so many characters together."""
    batch: list[str] = []
    held = 0
    for text in texts:
        batch.append(text)
        held += len(text)
        if held >= characters:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


def _json_lines(path: Path, reading: Reading, column: str) -> Iterator[str]:
    for number, line in stream_lines(path, reading):
        if not line.strip():
            continue
        try:
            value = json.loads(line)[column]
        except ValueError as error:
            raise UserError(f"{path}:{number}: not valid JSON ({error}). JSON lines have one object a line.") from None
        except (KeyError, TypeError):
            raise UserError(f"{path}:{number}: there is no column {column!r}. Name another: --column.") from None
        yield from as_texts([value], source=f"{path}:{number}", column=column)
