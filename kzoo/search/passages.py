"""From a file to the passages that are found later, each with the line where it begins; read as it goes."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.data.formats import SUFFIXES, Reading, json_lines, table
from kzoo.errors import UserError
from kzoo.models.sources import closest
from kzoo.tasks.windows import windows

# B texts, W windows

Unit = Literal["line", "paragraph"]


class Passage(NamedTuple):
    """A text, and the line of its file where it begins, from 1; 0 where it came from no file."""

    text: str
    line: int


def read_passages(
    path: str | Path, *, column: str | None = None, unit: Unit = "line", least_words: int = 1
) -> Iterator[Passage]:
    """The passages of a file, in their order; never the whole file in memory.

    Args:
        path: JSON Lines, CSV or TSV by the suffix, of which a column is read; any other file is plain text in UTF-8.
        column: of a table the column that holds the texts; by default ``text``.
        unit: of plain text what a passage is: a line, or the lines between two empty ones.
        least_words: passages with fewer words, headings for example, are left out.

    Raises:
        UserError: no such file, not UTF-8, or no such column; names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"There is no file {path}." if not path.exists() else f"{path} is no file of texts.")
    kind = next((name for name in ("jsonl", "csv", "tsv") if path.suffix.lower() in SUFFIXES[name]), "text")
    if kind == "text" and column is not None:
        raise UserError(f"Plain text has no columns: leave out the column, or name a table. Received {path}.")
    if kind != "text" and unit != "line":
        raise UserError(f"Paragraphs are those of plain text. {path} is a table, each row of which is a passage.")
    found = _of_table(path, kind, column or "text") if kind != "text" else _of_text(path, unit)
    return (passage for passage in found if len(passage.text.split()) >= max(least_words, 1))


def _lines(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError:
                raise UserError(f"{path}, line {number}: not valid UTF-8. Save the file as UTF-8.") from None
            yield text.replace("\r\n", "\n")


def _of_text(path: Path, unit: Unit) -> Iterator[Passage]:
    if unit == "line":
        for number, line in enumerate(_lines(path), start=1):
            yield Passage(line.strip(), number)
        return
    waiting: list[str] = []
    first = 0
    for number, line in enumerate(_lines(path), start=1):
        if line.strip():
            first = first if waiting else number
            waiting.append(line.strip())
        elif waiting:
            yield Passage("\n".join(waiting), first)
            waiting = []
    if waiting:
        yield Passage("\n".join(waiting), first)


def _of_table(path: Path, kind: str, column: str) -> Iterator[Passage]:
    lines, reading = _lines(path), Reading()
    if kind == "jsonl":
        records: Iterable[tuple[str, dict[str, Any]]] = json_lines(path, reading, lines=lines)
    else:
        records = table(path, reading, separator="," if kind == "csv" else "\t", lines=lines)
    for where, record in records:
        if column not in record:
            raise UserError(
                f"{where}: there is no column {column!r}{closest(column, list(record))}. There are: "
                f"{', '.join(record)}. Name the one that holds the texts."
            )
        text = record[column]
        if not isinstance(text, str):
            raise UserError(f"{where}: {column} must hold texts. Received {text!r}.")
        yield Passage(text.strip(), int(where.rpartition(":")[2]))


def cut(tokenizer, passages: Sequence[Passage], *, window: int, stride: int) -> list[Passage]:
    """Cuts passages that have more than ``window`` tokens into windows that begin ``stride`` tokens apart.

    Args:
        tokenizer: of the model.
        passages: in any number.
        window: most tokens of a piece, special ones left out.
        stride: tokens from the beginning of a window to that of the next.

    Returns:
        The pieces in their order; those of one passage have its line.
    """
    tokens = tokenizer.tokenize(tf.constant([passage.text for passage in passages]))
    made = windows(tokens.ids.row_lengths(), window, stride)
    first, last = tokens.starts.numpy(), tokens.ends.numpy()
    pieces = []
    for row, begin, end in np.stack([made.row, made.begin, made.end], axis=1).tolist():
        passage = passages[row]
        whole = end - begin == len(first[row])
        text = passage.text if whole else passage.text[first[row][begin] : last[row][end - 1]]
        pieces.append(Passage(text, passage.line))
    return pieces
