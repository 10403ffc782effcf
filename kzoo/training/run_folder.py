"""The folder of a run: what it holds, whose run it is, and files that are never half written.

::

    config.yaml    as resolved, every default written out
    checkpoints/   what a run that was stopped goes on from
    best/          the weights of the best validation, when asked for
    tokenizer/     the vocabulary, when the run learned its own
    tensorboard/   train and validation curves, samples
    history.json   one entry an epoch
    metrics.json   the result, once there is one
    bad_batch.json what was read when the loss became no number
    model/         the final model: kzoo.load_task reads it
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from kzoo.errors import UserError
from kzoo.training.config_file import differences, parse_yaml
from kzoo.training.folder_lock import FolderLock

# what may change between a run and its continuation: none of it changes the result
FREE = ("logging", "output", "training.checkpoint_every", "training.keep_checkpoints")
FREE_UNLESS_BEST = "training.validate_every"  # which decides among what the best is chosen


class RunFolder:
    """The folder of one run.

    Args:
        path: made when absent.

    Attributes:
        lock: of the process that writes here.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.lock = FolderLock(self.path)
        self.config = self.path / "config.yaml"
        self.checkpoints = self.path / "checkpoints"
        self.best = self.path / "best"
        self.tensorboard = self.path / "tensorboard"
        self.history = self.path / "history.json"
        self.metrics = self.path / "metrics.json"
        self.bad_batch = self.path / "bad_batch.json"
        self.model = self.path / "model"
        self.tokenizer = self.path / "tokenizer"

    @property
    def is_complete(self) -> bool:
        """Whether the run has ended and its model is there."""
        return self.metrics.is_file() and self.model.is_dir()

    @property
    def has_work(self) -> bool:
        """Whether something would be lost with the folder: a checkpoint, or a model."""
        return self.model.is_dir() or any(self.checkpoints.glob("step-*"))

    def differences(self, config: Mapping[str, Any]) -> list[str]:
        """What of the run's config another has otherwise, of all that shapes the result: lines ``key: old -> new``."""
        old = parse_yaml(self.config.read_text(encoding="utf-8"), where=str(self.config))
        return differences(*(_bound(one, _free(config)) for one in (old or {}, config)))

    def claim(self, config: Mapping[str, Any]) -> None:
        """Makes the folder this config's, or makes sure that it is.

        Raises:
            UserError: the folder holds a run of another config (says what differs), or files of something else.
        """
        if self.config.is_file():
            lines = self.differences(config)
            if lines and not self.has_work:  # that run never came so far
                shutil.rmtree(self.tokenizer, ignore_errors=True)
                shutil.rmtree(self.tensorboard, ignore_errors=True)
            elif lines:
                raise UserError(
                    f"{self.path} holds a run of another config. What differs (there -> here):\n  "
                    + "\n  ".join(lines)
                    + "\nGive another output folder, or remove that one."
                )
        elif self.path.exists() and (not self.path.is_dir() or any(map(self._is_foreign, self.path.iterdir()))):
            raise UserError(f"{self.path} exists and is not the folder of a run. Give another output folder.")
        self.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(dict(config), sort_keys=False, allow_unicode=True, width=120)
        if not self.config.is_file() or self.config.read_text(encoding="utf-8") != text:
            write_text(self.config, text)

    def _is_foreign(self, path: Path) -> bool:
        return not path.name.startswith(f".{self.config.name}.")  # which a kill may have left

    def clear(self) -> None:
        """Removes what killed processes left half written, and what was said of a failure."""
        self.bad_batch.unlink(missing_ok=True)
        for name in (self.model.name, self.tokenizer.name):
            for path in self.path.glob(f".{name}.*"):
                shutil.rmtree(path, ignore_errors=True)
        for name in (self.config.name, self.history.name, self.metrics.name):
            for path in self.path.glob(f".{name}.*"):
                path.unlink(missing_ok=True)

    def write_history(self, epochs: list[dict]) -> None:
        """Writes history.json."""
        write_text(self.history, json.dumps(epochs, indent=1) + "\n")

    def read_history(self, *, epochs: int) -> list[dict]:
        """The first so many epochs."""
        if not self.history.is_file():
            return []
        return [one for one in json.loads(self.history.read_text(encoding="utf-8")) if one["epoch"] <= epochs]

    def write_bad_batch(self, found: Mapping[str, Any]) -> None:
        """Writes bad_batch.json."""
        write_text(self.bad_batch, json.dumps(found, indent=1, ensure_ascii=False) + "\n")

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes metrics.json."""
        write_text(self.metrics, json.dumps(metrics, indent=2) + "\n")

    def read_metrics(self) -> dict[str, Any]:
        """Reads metrics.json."""
        return json.loads(self.metrics.read_text(encoding="utf-8"))

    def write_model(self, save: Callable[[Path], Any]) -> None:
        """Calls ``save`` with a folder beside ``model`` and renames it: there is the whole model or none."""
        aside = self.path / f".model.{os.getpid()}"
        shutil.rmtree(aside, ignore_errors=True)
        try:
            save(aside)
            shutil.rmtree(self.model, ignore_errors=True)
            os.rename(aside, self.model)
        finally:
            shutil.rmtree(aside, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Writes a file aside and renames it, so that readers see the old or the new one whole."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _free(config: Mapping[str, Any]) -> tuple[str, ...]:
    """What is free to change."""
    return FREE if (config.get("training") or {}).get("best") else (*FREE, FREE_UNLESS_BEST)


def _bound(config: Mapping[str, Any], free: tuple[str, ...], prefix: str = "") -> dict[str, Any]:
    """The config without what is free to change."""
    bound = {}
    for key, value in config.items():
        place = f"{prefix}{key}"
        if place not in free:
            bound[key] = _bound(value, free, f"{place}.") if isinstance(value, Mapping) else value
    return bound
