"""What a preparation did, counted as it goes, with a few examples of each kind of drop."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any

from kzoo.data.preparing.seen import Match
from kzoo.data.preparing.work import Outcome

EXAMPLES = 5  # of each reason
_SHOWN = 400  # characters of an example
_MOST_LABELS = 100
BINS = 4  # of lengths, for each power of ten


class Tally:
    """Counts of documents and characters: ``report`` has them."""

    def __init__(self) -> None:
        self.read = self.written = 0
        self._characters_read = self._characters_written = 0
        self._changed: Counter[str] = Counter()
        self._redacted: Counter[str] = Counter()
        self._redacted_documents = 0
        self._languages: Counter[str] = Counter()
        self._dropped: dict[str, Counter[str]] = {}
        self._examples: dict[str, list[dict[str, Any]]] = {}
        self._before: Counter[int] = Counter()
        self._after: Counter[int] = Counter()
        self._labels: tuple[Counter[str], Counter[str]] = (Counter(), Counter())
        self.conflicts = 0

    def came(self, outcome: Outcome, label: Any) -> None:
        """Counts a document that was read."""
        self.read += 1
        self._characters_read += outcome.characters
        self._before[_bin(outcome.characters)] += 1
        self._changed.update(outcome.changed)
        self._redacted.update(outcome.redacted)
        self._redacted_documents += bool(outcome.redacted)
        if outcome.language:
            self._languages[outcome.language] += 1
        if label is not None:
            self._labels[0][str(label)] += 1

    def drop(self, reason: str, where: str, text: str, *, measure: str = "", match: Match | None = None, kept=None):
        """Counts a document that was dropped, and keeps it as an example while there are few.

        Args:
            reason: a bound, ``language``, ``exact_duplicate`` and so on.
            where: its file and line.
            text: as it was when it was dropped, so after redaction.
            measure: what it had.
            match: how it is like another.
            kept: ``(where, text, label)`` of that other, called only for examples.
        """
        counts = self._dropped.setdefault(reason, Counter())
        counts["documents"] += 1
        counts["characters"] += len(text)
        examples = self._examples.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            example: dict[str, Any] = {"where": where, "text": _shown(text)}
            if measure:
                example["measure"] = measure
            if match is not None and kept is not None:
                other_where, other_text = kept()
                example |= {"similarity": round(match.similarity, 4), "like": _shown(other_text), "at": other_where}
            examples.append(example)

    def conflict(self, where: str, text: str, label: Any, other_where: str, other_label: Any) -> None:
        """Counts a duplicate whose label differs from that of the document it is like."""
        self.conflicts += 1
        examples = self._examples.setdefault("label_conflict", [])
        if len(examples) < EXAMPLES:
            examples.append(
                {
                    "where": where,
                    "text": _shown(text),
                    "measure": str(label),
                    "at": other_where,
                    "like": str(other_label),
                }
            )

    def went(self, text: str, label: Any) -> None:
        """Counts a document that was written."""
        self.written += 1
        self._characters_written += len(text)
        self._after[_bin(len(text))] += 1
        if label is not None:
            self._labels[1][str(label)] += 1

    def report(self) -> dict[str, Any]:
        """Plain values, the same for the same input whatever the number of processes."""
        made: dict[str, Any] = {
            "documents": {"read": self.read, "written": self.written},
            "characters": {"read": self._characters_read, "written": self._characters_written},
            "dropped": {reason: dict(self._dropped[reason]) for reason in sorted(self._dropped, key=_order)},
            "changed": dict(self._changed.most_common()),
            "redacted": dict(sorted(self._redacted.items())),
            "redacted_documents": self._redacted_documents,
            "languages": _sorted(self._languages),
            "lengths": {"read": _edges(self._before), "written": _edges(self._after)},
            "examples": {reason: self._examples[reason] for reason in sorted(self._examples, key=_order)},
        }
        if self._labels[0]:
            made["labels"] = {"read": _few(self._labels[0]), "written": _few(self._labels[1])}
            made["label_conflicts"] = self.conflicts
        return made


_LAST = ("language", "exact_duplicate", "held_out", "held_out_near", "near_duplicate", "label_conflict")


def _order(reason: str) -> tuple[int, str]:
    if reason == "empty":
        return -1, ""
    return (_LAST.index(reason) + 1, "") if reason in _LAST else (0, reason)


def _bin(length: int) -> int:
    return math.floor(BINS * math.log10(length) + 1e-9) if length else -1


def _edges(counts: Mapping[int, int]) -> list[tuple[int, int]]:
    """``(least length, documents)`` for each bin from the first to the last."""
    if not counts:
        return []
    numbers = range(min(counts), max(counts) + 1)
    return [(math.ceil(10 ** (one / BINS) - 1e-9) if one >= 0 else 0, counts.get(one, 0)) for one in numbers]


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda one: (-one[1], one[0])))


def _few(counts: Counter[str]) -> dict[str, int]:
    ordered = _sorted(counts)
    if len(ordered) <= _MOST_LABELS:
        return ordered
    few = dict(list(ordered.items())[:_MOST_LABELS])
    return few | {"(others)": sum(ordered.values()) - sum(few.values())}


def _shown(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
