"""Where the labels of a bundle have pointed, and since when: ``BUNDLE/history.json``.

A move is noted as pending before anything is done and as a change once it is done, so that an interrupted command can
be repeated, and ``kzoo rollback`` knows what came before.
"""

import dataclasses
import datetime
import json
from pathlib import Path
from typing import Any, Literal

from kzoo.errors import UserError
from kzoo.serving.placing import write_text

FILE = "history.json"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move:
    """One label of one model going from a version to another; None is no version.

    Attributes:
        command: ``promote``; ``rollback``, which takes the last promotion back; ``remove``, which ends a label.
        time: when, UTC, ISO 8601.
        policy: the versions that were loaded before, as ``policies.policy_word`` says it.
    """

    model: str
    label: str
    source: int | None
    target: int | None
    command: Literal["promote", "rollback", "remove"]
    time: str = ""
    policy: str = ""


@dataclasses.dataclass
class History:
    """All moves of a bundle, oldest first, and the one that is under way."""

    path: Path
    changes: list[Move]
    pending: Move | None = None

    @classmethod
    def read(cls, directory: Path) -> "History":
        """The history of a bundle; an empty one where nothing was moved yet."""
        path = directory / FILE
        if not path.exists():
            return cls(path, [])
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            changes = [Move(**entry) for entry in content["changes"]]
            pending = Move(**content["pending"]) if content.get("pending") else None
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} is damaged ({error}). Labels stand in models.config and are safe; move the file away to begin "
                "a new history."
            ) from None
        return cls(path, changes, pending)

    def begin(self, move: Move) -> Move:
        """Notes a move as pending; returns it with its time."""
        self.pending = dataclasses.replace(move, time=_now())
        self._write()
        return self.pending

    def finish(self) -> None:
        """The pending move is done."""
        if self.pending is not None:
            self.changes.append(dataclasses.replace(self.pending, time=_now()))
            self.pending = None
            self._write()

    def abandon(self) -> None:
        """The pending move will not be made."""
        if self.pending is not None:
            self.pending = None
            self._write()

    def since(self, model: str, label: str, version: int) -> str | None:
        """When the label came to this version, where that is known."""
        moves = self._moves(model, label)
        return moves[-1].time if moves and moves[-1].target == version else None

    def former(self, model: str, label: str, current: int | None) -> int | None:
        """The version that the label named before the current one, rollbacks undone; None where none is known."""
        stack: list[int] = []
        for move in self._moves(model, label):
            if move.command == "remove":
                stack = []
                continue
            if move.source is not None and (not stack or stack[-1] != move.source):
                stack.append(move.source)  # set by hand, or before there was a history
            if move.command == "rollback" and move.target in stack:
                del stack[len(stack) - stack[::-1].index(move.target) :]
            elif move.target is not None:
                stack.append(move.target)
        if current is not None and (not stack or stack[-1] != current):
            stack.append(current)
        return stack[-2] if len(stack) > 1 else None

    def _moves(self, model: str, label: str) -> list[Move]:
        return [move for move in self.changes if (move.model, move.label) == (model, label)]

    def _write(self) -> None:
        content: dict[str, Any] = {
            "changes": [dataclasses.asdict(move) for move in self.changes],
            "pending": None if self.pending is None else dataclasses.asdict(self.pending),
        }
        write_text(self.path, json.dumps(content, indent=2) + "\n")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
