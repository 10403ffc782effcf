"""Checkpoints of a run: written aside, checked by their sums, the last few kept.

``checkpoints/step-00000120/`` holds a ``tf.train.Checkpoint`` of weights, optimizer, metrics and counts, and
``position.json``: the epoch and the step within it where training goes on, what else the run must remember (``notes``)
and the sha256 of each file.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from kzoo.errors import UserError
from kzoo.training.team import Team

POSITION = "position.json"
NO_SPACE = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where training goes on.

    Attributes:
        epoch: passes over the data that are done.
        step: steps of the next pass that are done.
        total: steps since the run began.
    """

    epoch: int
    step: int
    total: int


class Checkpoints:
    """The checkpoints of one run, in a folder.

    Of several workers the chief writes and all restore the same; all must call ``save`` and ``restore`` together.

    Args:
        folder: made at the first save.
        state: named lists of variables, in an order that does not change between processes.
        keep: how many to keep.
        facts: what must not change between save and restore, such as the number of examples.
        team: the workers of the run; absent: this process alone.

    Attributes:
        notes: what was given to ``save`` beside the variables of the checkpoint that ``restore`` took.
    """

    def __init__(
        self,
        folder: str | Path,
        state: Mapping[str, list[tf.Variable]],
        *,
        keep: int = 2,
        facts=None,
        team: Team | None = None,
    ):
        self.folder = Path(folder)
        self.keep = keep
        self.facts = dict(facts or {})
        self.team = team or Team(tf.distribute.get_strategy())
        self.notes: dict[str, Any] = {}
        # To read a sum over replicas all workers must take part. So its value goes through a plain variable, which the
        # chief can write by itself.
        self._sums: list[tuple[tf.Variable, tf.Variable]] = []
        self._checkpoint = tf.train.Checkpoint(**{name: [self._plain(one) for one in state[name]] for name in state})

    def save(self, position: Position, notes: Mapping[str, Any] | None = None) -> Path:
        """Writes a checkpoint. Older ones beyond ``keep`` are removed after.

        The variables of a step are what they are: where there is a checkpoint of it, only position and notes change.

        Args:
            position: where training is.
            notes: anything that JSON can say, which ``restore`` gives back.

        Raises:
            UserError: the disk is full. What was there before stays.
        """
        for variable, plain in self._sums:
            plain.assign(tf.convert_to_tensor(variable))
        path = self.folder / f"step-{position.total:08d}"
        self.team.in_chief(lambda: self._write(path, position, dict(notes or {})))
        return path

    def _write(self, path: Path, position: Position, notes: dict[str, Any]) -> None:
        content = {**asdict(position), "facts": self.facts, "notes": notes}
        with self._on_a_full_disk(path):
            if path.exists():
                self._write_again(path, content)
            else:
                self._write_new(path, content)
        self._remove_old()

    def _remove_old(self) -> None:
        for old in self.paths()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)

    def _write_new(self, path: Path, content: dict[str, Any]) -> None:
        aside = self.folder / f".{path.name}.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            self._checkpoint.write(str(aside / "state"))
            sums = {file.name: _sha256(file) for file in sorted(aside.iterdir())}
            (aside / POSITION).write_text(json.dumps({**content, "sha256": sums}, indent=1) + "\n", encoding="utf-8")
            for file in aside.iterdir():
                _flush(file)
            os.rename(aside, path)
            _flush(self.folder)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise

    def _write_again(self, path: Path, content: dict[str, Any]) -> None:
        before = json.loads((path / POSITION).read_text(encoding="utf-8"))
        after = {**content, "sha256": before["sha256"]}
        if after == before:
            return
        aside = path / f".{POSITION}.{os.getpid()}"
        try:
            aside.write_text(json.dumps(after, indent=1) + "\n", encoding="utf-8")
            _flush(aside)
            os.replace(aside, path / POSITION)
            _flush(path)
        finally:
            aside.unlink(missing_ok=True)

    @contextmanager
    def _on_a_full_disk(self, path: Path) -> Iterator[None]:
        try:
            yield
        except (OSError, tf.errors.OpError) as error:
            if getattr(error, "errno", None) not in NO_SPACE and "No space left on device" not in str(error):
                raise
            paths = [one for one in self.paths() if one != path]
            kept = f"{paths[-1]} stays" if paths else "There is none before it"
            raise UserError(
                f"The disk is full: the checkpoint {path} could not be written. {kept}. Free some space (keep fewer: "
                "training.keep_checkpoints) and start the same command again: it goes on from there."
            ) from error

    def restore(self, *, say=print) -> Position | None:
        """Restores the latest checkpoint that is whole; says which are damaged. None when there is none at all.

        Raises:
            UserError: checkpoints exist but none can be used, or the data or the model changed since.
        """
        chosen = self.team.in_chief(lambda: self._latest(say))
        name = self.team.from_chief(chosen.name if chosen is not None else None)
        self.team.in_chief(lambda: self.clear(after=chosen))
        if name is None:
            return None
        position = self._restore(self.folder / name)
        self.team.in_chief(self._remove_old)  # a killed process may have written one and removed none
        return position

    def restore_step(self, total: int) -> Position:
        """Restores the checkpoint of this step; UserError when it is not there or damaged."""
        return self._restore(self.folder / f"step-{total:08d}")

    def notes_of_all(self) -> list[dict[str, Any]]:
        """The notes of every checkpoint there is."""
        return [json.loads((path / POSITION).read_text(encoding="utf-8")).get("notes", {}) for path in self.paths()]

    def _restore(self, path: Path) -> Position:
        position = self.team.together(lambda: self._load(path))
        for variable, plain in self._sums:
            variable.assign(tf.convert_to_tensor(plain))
        return position

    def _latest(self, say) -> Path | None:
        """The latest checkpoint that is whole."""
        damaged = []
        for path in reversed(self.paths()):
            try:
                _read(path)
            except (OSError, ValueError, KeyError) as error:
                damaged.append(f"{path} is damaged ({error})")
                say(f"{damaged[-1]}; trying the one before it.")
                continue
            return path
        if damaged:
            raise UserError(f"{'; '.join(damaged)}: nothing to go on from. Remove {self.folder} to start anew.")
        return None

    def clear(self, *, after: Path | None = None) -> None:
        """Removes what killed processes left half written, and the checkpoints after the one given."""
        for path in [one for one in self.paths() if after is not None and one > after]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(".step-*"):
            shutil.rmtree(path, ignore_errors=True)
        for path in self.folder.glob(f"step-*/.{POSITION}.*"):
            path.unlink(missing_ok=True)

    def _load(self, path: Path) -> Position:
        try:
            content = _read(path)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path} cannot be read ({error}). Do all workers see the folder of the chief?") from error
        self._compare(path, content["facts"])
        try:
            self._checkpoint.read(str(path / "state")).assert_consumed()
        except (AssertionError, ValueError, tf.errors.OpError) as error:
            raise UserError(
                f"{path} does not fit this model: {str(error).strip().splitlines()[0]}. "
                "Use another run folder, or the model the run was made with."
            ) from error
        self.notes = content.get("notes", {})
        return Position(**{key: content[key] for key in ("epoch", "step", "total")})

    def _plain(self, variable: tf.Variable) -> tf.Variable:
        if variable.synchronization != tf.VariableSynchronization.ON_READ:
            return variable
        plain = tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)
        self._sums.append((variable, plain))
        return plain

    def paths(self) -> list[Path]:
        """The folders of all checkpoints, oldest first."""
        return sorted(self.folder.glob("step-*"))

    def _compare(self, path, facts):
        for key, now in self.facts.items():
            if key in facts and facts[key] != now:
                raise UserError(
                    f"The data changed: {path} was made with {key.replace('_', ' ')} {facts[key]}, now it is {now}. "
                    "Use another run folder, or the data the run was made with."
                )


def _read(path: Path) -> dict:
    content = json.loads((path / POSITION).read_text(encoding="utf-8"))
    for name, expected in content["sha256"].items():
        if _sha256(path / name) != expected:
            raise ValueError(f"the content of {name} changed")
    return content


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
