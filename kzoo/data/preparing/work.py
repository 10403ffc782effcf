"""What is done with each document by itself, in any process: normalized, redacted, filtered, and its hashes."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from kzoo.data.formats import Record
from kzoo.data.orders import mix
from kzoo.data.preparing.config import Preparation
from kzoo.data.preparing.filters import Filter
from kzoo.data.preparing.language import SHORT, UNKNOWN, LanguageIdentifier
from kzoo.data.preparing.near_duplicates import Signatures, words_of
from kzoo.data.preparing.normalizing import changes
from kzoo.data.preparing.redaction import Redactor
from kzoo.errors import UserError
from kzoo.models.sources import closest


@dataclass
class Outcome:
    """A document after the work on it alone.

    Attributes:
        where: file and line.
        row: its columns, with the new text.
        characters: of the text as it came.
        text: the new text.
        changed: names of the normalizations that changed it.
        redacted: how many of each kind were replaced.
        dropped: ``empty``, ``language``, the bound that it broke, or nothing.
        measure: what it had instead, for people.
        language: where it was identified.
        digest: 16 bytes, of what is kept.
        bands: uint64, of what is kept, where near duplicates are looked for.
    """

    where: str
    row: dict[str, Any]
    characters: int
    text: str = ""
    changed: list[str] = field(default_factory=list)
    redacted: Counter[str] = field(default_factory=Counter)
    dropped: str = ""
    measure: str = ""
    language: str = ""
    digest: bytes = b""
    bands: np.ndarray | None = None


class Work:
    """Calling it works on records.

    Args:
        preparation: what to do.
        plain: whether documents are plain text, and not rows of a table.
        held_out: whether only what is compared is wanted, so that nothing is filtered.

    Raises:
        UserError: a library is missing, or a language or country is not known.
    """

    def __init__(self, preparation: Preparation, *, plain: bool, held_out: bool = False):
        self._column = "text" if plain else preparation.column
        self._beside = [] if plain else preparation.beside
        document = preparation.document if plain else None
        self._changes = changes(preparation.normalize, document=document)
        self._redact = Redactor(preparation.redact) if preparation.redact.kinds else None
        self._filter = None if held_out else Filter(preparation.filters)
        self._languages = preparation.language
        identified = preparation.language.wanted and not held_out
        self._identify = LanguageIdentifier(preparation.language) if identified else None
        self._by_words = preparation.duplicates.exact == "words"
        self._signatures = Signatures(preparation.duplicates) if preparation.duplicates.near is not None else None
        self.bands = self._signatures.bands if self._signatures else 0

    def __call__(self, records: Sequence[Record]) -> list[Outcome]:
        """What becomes of each record. UserError names the row that has no text."""
        return [self._one(where, row) for where, row in records]

    def _one(self, where: str, row: dict[str, Any]) -> Outcome:
        text = text_of(where, row, self._column)
        made = Outcome(where, row, characters=len(text))
        beside = {name: row[name] for name in self._beside if name in row}
        beside = {name: self._clean(value, made) if isinstance(value, str) else value for name, value in beside.items()}
        made.text = text = self._clean(text, made)
        made.row = row | beside | {self._column: text}
        self._judge(made)
        if not made.dropped:
            compared = " ".join(words_of(text)) or text if self._by_words else text
            salt = hashlib.blake2b(json.dumps(beside).encode(), digest_size=16).digest() if beside else b""
            made.digest = hashlib.blake2b(compared.encode(errors="replace"), digest_size=16, key=salt).digest()
            made.bands = self._signatures(text) if self._signatures else None
            if made.bands is not None and beside:  # so that only rows meet that are equal in these columns
                made.bands = mix(made.bands ^ np.frombuffer(salt, np.uint64)[:1])
        return made

    def _clean(self, text: str, made: Outcome) -> str:
        for name, change in self._changes:
            before, text = text, change(text)
            if text != before and name not in made.changed:
                made.changed.append(name)
        if self._redact:
            text, found = self._redact(text)
            made.redacted.update(found)
        return text

    def _judge(self, made: Outcome) -> None:
        if not made.text.strip():
            made.dropped = "empty"
        elif self._filter and (broken := self._filter(made.text)):
            made.dropped, value = broken
            made.measure = f"{value:,}" if isinstance(value, int) else f"{value:.3f}"
        elif self._identify:
            made.language = self._identify(made.text)
            kept = [*self._languages.keep, SHORT, *([UNKNOWN] if self._languages.unknown == "keep" else [])]
            if self._languages.keep and made.language not in kept:
                made.dropped = "language"
                made.measure = "not sure enough" if made.language == UNKNOWN else made.language


def text_of(where: str, row: dict[str, Any], column: str) -> str:
    """The text of a row: a list of sentences becomes one a line. UserError when the column is not there or no text."""
    if column not in row:
        names = [str(name) for name in row]
        raise UserError(
            f"{where}: there is no column {column!r}{closest(column, names)}. There are: {', '.join(names) or 'none'}. "
            "Name the column that holds the text: --column."
        )
    value = row[column]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        value = "\n".join(" ".join(one.split()) for one in value)
    if not isinstance(value, str):
        raise UserError(f"{where}: {column} must hold a text or a list of sentences. It holds {value!r}.")
    return value


class Worker:
    """The work of every kind, each readied when it is first asked for.

    Args:
        preparation: what to do.
    """

    def __init__(self, preparation: Preparation):
        self._preparation = preparation
        self._kinds: dict[tuple[bool, bool], Work] = {}

    def __call__(self, records: Sequence[Record], plain: bool, held_out: bool) -> list[Outcome]:
        if (plain, held_out) not in self._kinds:
            self._kinds[plain, held_out] = Work(self._preparation, plain=plain, held_out=held_out)
        return self._kinds[plain, held_out](records)
