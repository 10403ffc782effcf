"""Counterfactuals: the same text about somebody else, by terms of a list that are put in one another's place."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from kzoo.errors import UserError

TEMPLATES = "templates"
_SLOT = re.compile(r"\{([^{}.]+)(?:\.(\d+))?\}")


@dataclass(frozen=True)
class Terms:
    """Terms that may stand for one another.

    Attributes:
        name: of the list.
        rows: each the terms of one meaning, a term a side: ``(("he", "she"), ("his", "her"))``.
        sides: what the sides are called.
    """

    name: str
    rows: tuple[tuple[str, ...], ...]
    sides: tuple[str, ...]

    def pairs(self) -> list[tuple[int, int]]:
        """All ordered pairs of sides."""
        number = range(len(self.sides))
        return [(one, other) for one in number for other in number if one != other]

    def pair_name(self, one: int, other: int) -> str:
        """What an exchange is called."""
        return f"{self.sides[one]} -> {self.sides[other]}"


def read_terms(path: str | Path) -> tuple[list[Terms], list[str]]:
    """Reads lists of terms and templates.

    A YAML file maps names to lists of rows, ``gender: [[he, she], [his, her]]``, and may have ``templates``: texts in
    which ``{gender}`` stands for the first row of a list and ``{gender.2}`` for the second. A CSV file is one list, a
    row a line, under a line that names the sides.

    Returns:
        The lists, and the templates with the first side's terms in their places.

    Raises:
        UserError: the file is not there, not of this form, or has rows of one term or of different lengths.
    """
    path = Path(path).expanduser()
    try:
        content = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UserError(f"The terms of {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not valid UTF-8. Save the file as UTF-8.") from None
    if path.suffix.lower() in (".csv", ".tsv"):
        delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
        header, *rows = [row for row in csv.reader(content.splitlines(), delimiter=delimiter) if row] or [[]]
        return [_terms(path, path.stem, rows, sides=header)], []
    try:
        said = yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())[:200]}") from None
    if not isinstance(said, Mapping):
        raise UserError(f"{path} must map names to rows of terms, such as gender: [[he, she], [his, her]].")
    lists = [_terms(path, str(name), rows) for name, rows in said.items() if name != TEMPLATES]
    if not lists:
        raise UserError(f"{path} has no terms, such as gender: [[he, she], [his, her]].")
    templates = said.get(TEMPLATES) or []
    if not isinstance(templates, list) or not all(isinstance(one, str) for one in templates):
        raise UserError(f"{TEMPLATES} in {path} must be a list of texts.")
    return lists, [_filled(path, template, lists) for template in templates]


def exchanged(text: str, terms: Terms, one: int, other: int) -> str | None:
    """The text with the terms of two sides in one another's place, or None where none of the first side's occurs.

    Terms are whole words, of any case; what replaces them is written as they were: small, Capitalized or CAPITALS. A
    text with terms of both sides has one counterfactual, not two: that of the side that stands first in the list.
    """
    there, back = _found(text, terms, one), _found(text, terms, other)
    if not there or (back and one > other):
        return None
    instead: dict[str, str] = {}
    for row in terms.rows:  # the first row that has a term decides
        instead.setdefault(row[one].lower(), row[other])
        instead.setdefault(row[other].lower(), row[one])
    return _pattern([*instead]).sub(lambda found: _as(found[0], instead[found[0].lower()]), text)


def _found(text: str, terms: Terms, side: int) -> bool:
    return _pattern([row[side] for row in terms.rows]).search(text) is not None


def _pattern(words: Sequence[str]) -> re.Pattern:
    longest_first = sorted(set(words), key=len, reverse=True)
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, longest_first))})(?!\w)", re.IGNORECASE)


def _as(before: str, after: str) -> str:
    if before.isupper() and sum(map(str.isalpha, before)) > 1:
        return after.upper()
    return after[:1].upper() + after[1:] if before[:1].isupper() else after


def _terms(path: Path, name: str, rows: Any, sides: Sequence[str] | None = None) -> Terms:
    is_list = isinstance(rows, list) and rows and all(isinstance(row, list) for row in rows)
    said = [tuple(str(term).strip() for term in row) for row in rows] if is_list else []
    number = len(sides) if sides else len(said[0]) if said else 0
    if number < 2 or not said or any(len(row) != number or not all(row) for row in said):
        raise UserError(
            f"The rows of {name} in {path} must hold a term for each of two or more sides, such as [he, she]. "
            f"Received {rows!r:.200}."
        )
    return Terms(name, tuple(said), tuple(side.strip() for side in sides) if sides else said[0])


def _filled(path: Path, template: str, lists: Sequence[Terms]) -> str:
    known = {one.name: one for one in lists}

    def term(slot: re.Match) -> str:
        name, row = slot[1], int(slot[2] or 1)
        if name not in known or not 1 <= row <= len(known[name].rows):
            raise UserError(f"The template {template!r} of {path} names {slot[0]}; there is no such row of terms.")
        return known[name].rows[row - 1][0]

    filled = _SLOT.sub(term, template)
    if filled == template:
        raise UserError(f"The template {template!r} of {path} has no place for a term, such as {{{lists[0].name}}}.")
    return filled
