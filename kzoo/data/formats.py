"""The usual formats, each a generator of records with the place they came from: CSV, TSV, JSONL and plain text.

Files whose examples are more than a row of values have parsers of their own beside this: ``kzoo.data.squad`` and
``kzoo.data.conll``.
"""

import csv
import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from kzoo.data.labels import LabelRule
from kzoo.errors import UserError
from kzoo.models.sources import Strict, closest

SUFFIXES = {
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "jsonl": (".jsonl", ".ndjson"),
    "text": (".txt", ".text", ".md"),
    "squad": (".json",),
    "conll": (".conll", ".iob", ".iob2", ".bio"),
}

Record = tuple[str, dict[str, Any]]  # file and line, values by the file's names of the columns


class Reading(Strict):
    """How files are read: the options of ``read``, which a config or a data set's description can state."""

    format: Literal["csv", "tsv", "jsonl", "text", "squad", "conll"] | None = Field(
        None,
        description="Absent: by the file's suffix. squad: questions about passages, .json or a line each. conll: a "
        "token a line with its tag.",
    )
    columns: dict[str, str] | list[str] | None = Field(
        None, description="{ours: the file's}, or the names of all columns of a file without a header line."
    )
    numbers: list[str] = Field([], description="Columns of a CSV or TSV that hold numbers.")
    label: LabelRule | None = Field(None, description="Makes the column label from another.")
    quoting: bool | None = Field(None, description='"..." protects separators. Absent: in CSV, not in TSV.')
    encoding: str = "utf-8"
    document: Literal["line", "paragraph", "file"] = Field("line", description="What is an example of plain text.")
    joiner: str = Field(" ", description="What stands between the tokens of CoNLL's columns in their text.")

    def theirs(self, name: str) -> str:
        """What the file calls a column of ours."""
        return self.columns.get(name, name) if isinstance(self.columns, dict) else name


def decoded(path: Path, reading: Reading) -> str:
    """The file's text. UserError when it is empty or not of the encoding."""
    try:
        content = path.read_bytes()
        encoding = "utf-8-sig" if reading.encoding.lower() in ("utf-8", "utf8", "utf_8") else reading.encoding
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{path}:{line}: the byte 0x{content[error.start]:02x} is not {reading.encoding}. Give the file's encoding "
            "(encoding: latin-1, for example) or convert it to UTF-8."
        ) from error
    except LookupError as error:
        raise UserError(f"There is no encoding named {reading.encoding!r}. Common ones: utf-8, latin-1.") from error
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from error
    if not text.strip():
        raise UserError(f"{path} is empty.")
    return text


def table(path: Path, reading: Reading, *, separator: str, lines: Iterable[str] | None = None) -> Iterator[Record]:
    """Rows of a CSV or TSV. The first line names the columns unless ``reading.columns`` is a list of their names.

    ``lines`` are the file's, with their ends, when it is read as it goes.
    """
    quoting = separator == "," if reading.quoting is None else reading.quoting
    names = list(reading.columns) if isinstance(reading.columns, list) else None
    lines = io.StringIO(decoded(path, reading), newline="" if quoting else "\n") if lines is None else lines
    for line, fields in (_quoted_rows if quoting else _plain_rows)(path, lines, separator):
        where = f"{path}:{line}"
        if names is None:
            names = _header(where, fields, reading)
        elif len(fields) != len(names):
            hint = f" A field that contains {_SPOKEN[separator]} must be quoted." if quoting else ""
            raise UserError(
                f"{where}: every row must have {len(names)} columns ({', '.join(names)}). "
                f"This one has {len(fields)}.{hint}"
            )
        else:
            record: dict[str, Any] = dict(zip(names, fields, strict=True))
            for name in reading.numbers:
                record[reading.theirs(name)] = _number(where, record, reading.theirs(name))
            yield where, record


def _plain_rows(path: Path, lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(lines, start=1):
        if line := line.removesuffix("\n").removesuffix("\r"):
            yield number, line.split(separator)


def _quoted_rows(path: Path, lines: Iterable[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    rows = csv.reader(lines, delimiter=separator, strict=True)
    first = 1
    try:
        for fields in rows:
            if fields:
                yield first, fields
            first = rows.line_num + 1
    except csv.Error as error:
        raise UserError(
            f"{path}:{first}: {error}. A quote that is opened must be closed, and one inside a field doubled; where "
            "quotes mean nothing, give quoting: false."
        ) from error


def _header(where: str, names: list[str], reading: Reading) -> list[str]:
    names = [name.strip() for name in names]
    if len(set(names)) != len(names):
        raise UserError(f"{where}: the header names a column twice: {', '.join(names)}.")
    wanted = list(reading.columns.values()) if isinstance(reading.columns, dict) else []
    for name in wanted + [reading.theirs(name) for name in reading.numbers]:
        if name not in names:
            raise UserError(
                f"{where}: there is no column {name!r}{closest(name, names)}. The header names: {', '.join(names)}. "
                "For a file without a header line, list the names of its columns: columns: [...]."
            )
    return names


def _number(where: str, record: dict[str, Any], name: str) -> float:
    if name not in record:
        raise UserError(f"{where}: there is no column {name!r}. There are: {', '.join(record)}.")
    try:
        return float(record[name])
    except ValueError:
        raise UserError(f"{where}: {name} must be a number. Received {record[name]!r}.") from None


def json_lines(path: Path, reading: Reading, *, lines: Iterable[str] | None = None) -> Iterator[Record]:
    """Lines of a JSONL file, one object each; ``lines`` as of ``table``."""
    if isinstance(reading.columns, list):
        raise UserError(f"{path} is JSONL, whose lines name their columns: give columns as {{ours: the file's}}.")
    for number, line in enumerate(decoded(path, reading).split("\n") if lines is None else lines, start=1):
        where = f"{path}:{number}"
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise UserError(f"{where}: not valid JSON ({error}). A JSONL file has one JSON object a line.") from error
        if not isinstance(record, dict):
            raise UserError(f'{where}: a line must be a JSON object, as in {{"text": "..."}}. Received {line[:60]}')
        yield where, record


def plain_text(path: Path, reading: Reading) -> Iterator[Record]:
    """Lines, paragraphs (parted by an empty line) or the whole of a plain text file, as the column ``text``."""
    text = decoded(path, reading).replace("\r\n", "\n")
    parts = {"line": text.split("\n"), "paragraph": text.split("\n\n"), "file": [text]}[reading.document]
    line = 1
    for part in parts:
        if part.strip():
            yield f"{path}:{line}", {"text": part if reading.document == "file" else part.strip("\n")}
        line += part.count("\n") + (2 if reading.document == "paragraph" else 1)


_SPOKEN = {",": "a comma", "\t": "a tab"}

PARSERS: dict[str, Callable[[Path, Reading], Iterator[Record]]] = {
    "csv": lambda path, reading: table(path, reading, separator=","),
    "tsv": lambda path, reading: table(path, reading, separator="\t"),
    "jsonl": json_lines,
    "text": plain_text,
}
