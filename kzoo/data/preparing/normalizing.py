"""Texts written in one way: Unicode form, control characters, white space, wrong decoding, HTML, addresses."""

import re
import unicodedata
from collections.abc import Callable
from html import unescape

from kzoo.data.preparing.config import Normalization
from kzoo.data.preparing.extras import needed
from kzoo.data.preparing.markup import without_tags

Change = Callable[[str], str]

# C0 and C1 but tab and newline (and \r, of which line ends are made), and the byte order mark
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufeff]")
_SURROGATES = re.compile("[\ud800-\udfff]")
_URL = re.compile(
    r"\b(?:https?|ftp)://[^\s<>\"'`]+[^\s<>\"'`.,;:!?)\]}]|\bwww\.[^\s<>\"'`]+[^\s<>\"'`.,;:!?)\]}]", re.I
)
_LINE_ENDS = re.compile(r"\r\n?|\u2028|\u2029|\x85")
_EMPTY_LINES = re.compile(r"\n{3,}")
_RUNS = re.compile(r"[^\S\n]+")


def changes(rules: Normalization, *, document: str | None) -> list[tuple[str, Change]]:
    """The steps in their order, each with its name: functions of a text.

    Args:
        rules: which of them.
        document: of plain text, whether a ``line``, a ``paragraph`` or a ``file`` is a document, so that a text stays
            one; None for rows.
    """
    steps: list[tuple[str, Change]] = [("surrogates", _without_surrogates)]
    if rules.mojibake:
        ftfy = needed("ftfy", "Mending wrongly decoded text (normalize.mojibake)")
        steps.append(("mojibake", ftfy.fix_encoding))
    if rules.html != "keep":
        steps.append(("html", unescape if rules.html == "entities" else without_tags))
    if rules.unicode != "keep":
        form = "NFC" if rules.unicode == "nfc" else "NFKC"
        steps.append(("unicode", lambda text: unicodedata.normalize(form, text)))  # type: ignore[arg-type]
    if rules.whitespace != "keep":
        steps.append(("line_ends", lambda text: _LINE_ENDS.sub("\n", text)))
    if rules.control_characters:
        steps.append(("control_characters", lambda text: _CONTROLS.sub("", text)))
    if rules.urls != "keep":
        steps.append(("urls", lambda text: _URL.sub("<URL>" if rules.urls == "placeholder" else "", text)))
    if rules.whitespace != "keep":
        steps.append(("white_space", _collapsed if rules.whitespace == "collapse" else _tidy))
    if document == "line":
        steps.append(("one_line", lambda text: " ".join(text.split("\n")) if "\n" in text else text))
    elif document == "paragraph":
        steps.append(("one_paragraph", _one_paragraph))
    return steps


def _without_surrogates(text: str) -> str:
    """Halves of a pair, as JSON can spell them, have no UTF-8."""
    return text if text.isascii() else _SURROGATES.sub("\ufffd", text)


def _tidy(text: str) -> str:
    return _EMPTY_LINES.sub("\n\n", "\n".join(map(str.rstrip, text.split("\n")))).strip("\n")


def _collapsed(text: str) -> str:
    return _tidy("\n".join(line.strip() for line in _RUNS.sub(" ", text).split("\n")))


def _one_paragraph(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if line.strip())
