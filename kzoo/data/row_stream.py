"""Records of files one after the other, never a whole file in memory: for files larger than memory."""

import codecs
from collections.abc import Iterator
from pathlib import Path

from kzoo.data.formats import SUFFIXES, Reading, Record, json_lines, plain_text, table
from kzoo.errors import UserError

_BOM = codecs.BOM_UTF8


def format_of(path: Path, reading: Reading) -> str | None:
    """What the reading says of the format, else what the suffix does, else None."""
    if reading.format:
        return reading.format
    return next((name for name, ends in SUFFIXES.items() if path.suffix.lower() in ends), None)


def files_of(path: Path, reading: Reading) -> list[Path]:
    """The file, or a folder's files in the order of their names. UserError when the folder has none."""
    if not path.is_dir():
        return [path]
    usual = [suffix for name, these in SUFFIXES.items() for suffix in these if name != "squad"]  # .json is much else
    known = SUFFIXES[reading.format] if reading.format else tuple(usual)
    files = sorted(file for file in path.iterdir() if file.is_file() and file.suffix.lower() in known)
    if not files:
        raise UserError(f"The folder {path} holds no files that end in {', '.join(known)}.")
    return files


def stream_records(path: Path, reading: Reading) -> Iterator[Record]:
    """Records of one file: rows of a table or of JSONL, or documents of plain text as the column ``text``.

    Raises:
        UserError: a format that is not known, a file that cannot be read or is not of the encoding, a broken row.
    """
    kind = format_of(path, reading)
    if kind is None:
        raise UserError(
            f"The suffix of {path} does not tell its format. Give format: csv, tsv, jsonl (one JSON object a line) or "
            "text."
        )
    if kind == "text":
        yield from plain_text(path, reading) if reading.document == "file" else _documents(path, reading)
    elif kind == "jsonl":
        yield from json_lines(path, reading, lines=(line for _, line in stream_lines(path, reading)))
    elif kind not in ("csv", "tsv"):
        raise UserError(f"{path} is {kind}, not csv, tsv, jsonl or text, which can be streamed.")
    else:
        separator = "," if kind == "csv" else "\t"
        yield from table(path, reading, separator=separator, lines=(line for _, line in stream_lines(path, reading)))


def stream_lines(path: Path, reading: Reading) -> Iterator[tuple[int, str]]:
    """Lines with their ends, and their numbers from 1.

    Raises:
        UserError: the file cannot be read; a byte that is not of the encoding, with its line and, of UTF-8, its offset.
    """
    number = offset = 0
    try:
        if reading.encoding.lower() not in ("utf-8", "utf8", "utf_8"):
            with open(path, encoding=reading.encoding, newline="\n") as stream:
                for number, text in enumerate(stream, start=1):
                    yield number, text
            return
        with open(path, "rb") as content:
            for number, line in enumerate(content, start=1):
                skipped = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
                yield number, line[skipped:].decode("utf-8")
                offset += len(line)
    except UnicodeDecodeError as error:
        if reading.encoding.lower() in ("utf-8", "utf8", "utf_8"):
            skipped = len(_BOM) if number == 1 and line.startswith(_BOM) else 0
            place = f"{path}:{number}, offset {offset + skipped + error.start}"
        else:
            place = f"{path} after line {number}"
        raise UserError(
            f"{place}: the byte 0x{error.object[error.start]:02x} is not {reading.encoding}. Give "
            "the file's encoding (--encoding latin-1, for example) or convert it to UTF-8."
        ) from None
    except LookupError:
        raise UserError(f"There is no encoding named {reading.encoding!r}. Common ones: utf-8, latin-1.") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None


def _documents(path: Path, reading: Reading) -> Iterator[Record]:
    held: list[str] = []
    begun = 0
    for number, line in stream_lines(path, reading):
        line = line.removesuffix("\n").removesuffix("\r")
        if reading.document == "paragraph" and line.strip():
            begun = begun if held else number
            held.append(line)
        elif reading.document == "line" and line.strip():
            yield f"{path}:{number}", {"text": line}
        elif held:
            yield f"{path}:{begun}", {"text": "\n".join(held)}
            held = []
    if held:
        yield f"{path}:{begun}", {"text": "\n".join(held)}
