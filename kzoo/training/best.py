"""The best weights of a run, by a measure of its validation, kept beside the last checkpoints."""

import math
import shutil
from typing import Any

from kzoo.errors import UserError
from kzoo.training.better import less_is_better
from kzoo.training.checkpoint import Checkpoints
from kzoo.training.progress import Progress


class Best:
    """Keeps the weights with which a validation came out best; where moving averages are measured, those.

    Args:
        measure: ``val_loss``, ``val_accuracy``, ...: the least is best of losses, errors and perplexities, the greatest
            of all else. Of equals the first.
        checkpoints: of the weights alone, in a folder of their own.
        progress: the run's.
        note: of the checkpoint from which the run goes on.

    Attributes:
        record: ``measure``, ``value``, ``step``, ``epoch`` and all ``results`` of the best so far; None before there is
            one.
    """

    def __init__(
        self, measure: str, checkpoints: Checkpoints, progress: Progress, *, note: dict[str, Any] | None = None
    ):
        self.measure = measure
        self.checkpoints = checkpoints
        self.progress = progress
        self.record = note
        if checkpoints.team.is_chief:
            checkpoints.clear()

    def check(self, names: list[str]) -> None:
        """UserError when the measure is none of these, as a validation calls them."""
        if self.measure.removeprefix("val_") not in names:
            raise UserError(
                f"training.best must be a measure of the validation: {', '.join(f'val_{name}' for name in names)}. "
                f"Received {self.measure}."
            )

    def consider(self, results: dict[str, Any]) -> None:
        """Keeps the weights as they are now when these results are the best so far."""
        value = self.checkpoints.team.from_chief(results[self.measure.removeprefix("val_")])  # all decide alike
        sign = -1 if less_is_better(self.measure) else 1
        if not math.isfinite(value) or (self.record is not None and sign * value <= sign * self.record["value"]):
            return
        self.record = {
            "measure": self.measure,
            "value": value,
            "step": self.progress.total,
            "epoch": self.progress.epoch + 1,
            "results": results,
        }
        self.checkpoints.save(self.progress.position)

    def tidy(self, kept: Checkpoints) -> None:
        """Removes what neither the run nor one of its checkpoints calls best any more."""
        if not self.checkpoints.team.is_chief:
            return
        notes = [self.record, *(note.get("best") for note in kept.notes_of_all())]
        steps = {note["step"] for note in notes if note}
        for path in self.checkpoints.paths():
            if int(path.name.removeprefix("step-")) not in steps:
                shutil.rmtree(path, ignore_errors=True)

    def restore(self) -> dict[str, Any]:
        """Puts the best weights in place; returns the results of their validation."""
        assert self.record is not None
        self.checkpoints.restore_step(self.record["step"])
        return self.record["results"]

    @property
    def summary(self) -> dict[str, Any]:
        """The record without all other results."""
        return {name: value for name, value in (self.record or {}).items() if name != "results"}
