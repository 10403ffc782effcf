"""What became of one check, and of all of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

PASSED, FAILED, SKIPPED = "passed", "failed", "skipped"


@dataclass(frozen=True, slots=True)
class Result:
    """One check.

    Attributes:
        area, name: which.
        outcome: passed, failed or skipped.
        reason: how the reply differs, or why it was not asked.
        request, expected, received: of a failure, in words.
        recorded: whether the expected reply was recorded from the genuine server, or follows from its source.
    """

    area: str
    name: str
    outcome: str
    reason: str = ""
    request: str = ""
    expected: str = ""
    received: str = ""
    recorded: bool = True


@dataclass(slots=True)
class Report:
    """All results; ``batching`` says how the server was found to be started."""

    batching: bool
    results: list[Result] = field(default_factory=list)

    def of(self, outcome: str) -> list[Result]:
        """The results with that outcome."""
        return [one for one in self.results if one.outcome == outcome]

    def areas(self) -> dict[str, dict[str, int]]:
        """Number of checks of each area by outcome, in the order in which they ran."""
        found: dict[str, dict[str, int]] = {}
        for one in self.results:
            counts = found.setdefault(one.area, {PASSED: 0, FAILED: 0, SKIPPED: 0})
            counts[one.outcome] += 1
        return found

    def as_dict(self) -> dict[str, Any]:
        """The report for programs."""
        return {
            "conforms": not self.of(FAILED) and bool(self.of(PASSED)),
            "batching": self.batching,
            "areas": self.areas(),
            "failures": [_fields(one, ("request", "expected", "received", "recorded")) for one in self.of(FAILED)],
            "skipped": [_fields(one) for one in self.of(SKIPPED)],
        }


def _fields(result: Result, more: Iterable[str] = ()) -> dict[str, Any]:
    return {name: getattr(result, name) for name in ("area", "name", "reason", *more)}
