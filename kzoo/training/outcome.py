"""What came of a run: the trained task, its history, its figures."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kzoo.checkpoints.peft import FOLDER, load_adapter
from kzoo.models import lora
from kzoo.tasks.load import load_task
from kzoo.training.learner import give_back
from kzoo.training.run_folder import RunFolder


@dataclass(kw_only=True)
class Run:
    """What came of a run.

    Attributes:
        task: the task, its model trained.
        history: one dict an epoch: ``epoch``, ``step``, ``loss``, the metrics, ``val_...``, ``seconds``.
        metrics: the last validation's results, and how much was learned from.
        folder: where it lies, or None.
    """

    task: Any
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def model(self) -> Path | None:
        """The folder of the final model, which ``kzoo.load_task`` reads."""
        return self.folder / "model" if self.folder else None

    @property
    def tensorboard(self) -> Path | None:
        """The folder to give to ``tensorboard --logdir``."""
        return self.folder / "tensorboard" if self.folder else None


def completed(task, folder: RunFolder, say) -> Run:
    """What came of a run that is complete already; the task gets its model."""
    say(f"{folder.path} holds this run already, complete. Remove it to train anew.")
    if lora.describe(task):
        lora.remove(task)
        load_adapter(task, folder.model / FOLDER)
    else:
        give_back(load_task(folder.model), task)
    history = folder.read_history(epochs=sys.maxsize)
    return Run(task=task, history=history, metrics=folder.read_metrics(), folder=folder.path)


def identity(examples) -> dict[str, Any]:
    """What a run says of its examples, so that one knows the same ones again."""
    return {"source": Path(examples.source).name, "rows": len(examples), "fingerprint": examples.fingerprint}


def metrics_of(model, validate, history, training) -> dict[str, Any]:
    """The last validation's results, those of the last epoch, and how much was learned from."""
    counts = model.counts
    metrics: dict[str, Any] = {"validation": validate.results} if validate is not None else {}
    last = history[-1] if history else {}
    metrics["train"] = {name: value for name, value in last.items() if name in {one.name for one in model.metrics}}
    return metrics | {
        "steps": counts["step"],
        "examples": counts["examples"],
        "tokens": counts["tokens"],
        "seconds": round(sum(one["seconds"] for one in history), 1),
        "precision": training.precision,
        "devices": model.distribute_strategy.num_replicas_in_sync,
    }
