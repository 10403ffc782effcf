"""Columns as CoNLL's shared tasks have them: a token a line with its tag, an empty line behind each sentence."""

from collections.abc import Callable, Iterator
from pathlib import Path

from kzoo.data import tags
from kzoo.data.formats import Reading, Record, decoded
from kzoo.errors import UserError

Line = tuple[int, str, str]  # its number, the token, the tag

_DOCUMENT = "-DOCSTART-"


def conll(path: Path, reading: Reading) -> Iterator[Record]:
    """The sentences of a file.

    Fields stand between tabs where the first line with a token has a tab, else between white space. Lines that begin
    with ``#`` and do not have the file's columns are comments; ``-DOCSTART-`` ends a sentence.

    The first column is the token and the last the tag, unless ``reading.columns`` lists the names of all, among them
    ``token`` and ``tag``. In the text of a sentence ``reading.joiner`` stands between the tokens.

    Yields:
        The place of each sentence in the file, and ``text``, ``entities`` (dicts of ``start``, ``end`` and ``type``;
        offsets in code points of the text) and ``tokens`` (pairs of offsets). Tags of any scheme are read as CoNLL's
        ``conlleval`` reads them: ``I-`` begins an entity where none goes on.

    Raises:
        UserError: a line with another number of columns, or a tag that is none.
    """
    lines = decoded(path, reading).replace("\r\n", "\n").split("\n")
    split, width = _columns(path, lines)
    names = reading.columns if isinstance(reading.columns, list) else None
    token_column, tag_column = _places(path, names, width)
    waiting: list[Line] = []
    prefixed: bool | None = None
    for number, line in enumerate(lines, start=1):
        fields = split(line)
        if not line.strip() or fields[0] == _DOCUMENT:
            yield from _sentence(path, waiting, reading.joiner)
            waiting = []
            continue
        if line.startswith("#") and _is_comment(fields, width, tag_column, line):
            continue
        if len(fields) != width:
            raise UserError(
                f"{path}:{number}: every line must have {width} columns, as the first one has. This one has "
                f"{len(fields)}: {line[:60]!r}. Between sentences stands an empty line."
            )
        token, tag = fields[token_column].strip(), fields[tag_column].strip()
        if not token or not tag:
            raise UserError(f"{path}:{number}: a line must have a token and a tag. Received {line[:60]!r}.")
        if tag != "O":
            if prefixed is None:
                prefixed = tags.has_prefix(tag)
            elif prefixed != tags.has_prefix(tag):
                like = "begin with B-, I- and the like" if prefixed else "have no B- or I- before the type"
                raise UserError(
                    f"{path}:{number}: the tag {tag!r} is unknown: it is not O, and the other tags of the file {like}."
                )
        waiting.append((number, token, tag))
    yield from _sentence(path, waiting, reading.joiner)


def _columns(path: Path, lines: list[str]) -> tuple[Callable[[str], list[str]], int]:
    """How lines are split, and how many fields they have: as the first line that surely has a token."""
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith(("#", _DOCUMENT)):
            continue
        tabbed = "\t" in line
        width = len(line.split("\t")) if tabbed else len(line.split())
        if width < 2:
            raise UserError(
                f"{path}:{number}: a line must have a token and a tag, with a tab or a space between. "
                f"Received {line[:60]!r}."
            )
        return (lambda line: line.split("\t")) if tabbed else (lambda line: line.split() or [""]), width
    raise UserError(f"{path} holds no line with a token and a tag.")


def _places(path: Path, columns: list[str] | None, width: int) -> tuple[int, int]:
    if columns is None:
        return 0, width - 1
    if len(columns) != width or "token" not in columns or "tag" not in columns:
        raise UserError(
            f"columns must name all {width} columns of {path}, among them token and tag. Received {', '.join(columns)}."
        )
    return columns.index("token"), columns.index("tag")


def _is_comment(fields: list[str], width: int, tag_column: int, line: str) -> bool:
    if len(fields) != width:
        return True
    tag = fields[tag_column]  # "# 17" may be a token that is a number sign, or a comment
    return "\t" not in line and fields[0] == "#" and tag != "O" and not tags.has_prefix(tag)


def _sentence(path: Path, lines: list[Line], joiner: str) -> Iterator[Record]:
    if not lines:
        return
    tokens, start = [], 0
    for _, token, _ in lines:
        tokens.append([start, start + len(token)])
        start += len(token) + len(joiner)
    entities = [
        {"start": tokens[first][0], "end": tokens[until - 1][1], "type": kind}
        for first, until, kind in tags.entities([tag for _, _, tag in lines])
    ]
    text = joiner.join(token for _, token, _ in lines)
    yield f"{path}:{lines[0][0]}", {"text": text, "entities": entities, "tokens": tokens}
