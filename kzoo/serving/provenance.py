"""Where an exported model comes from: the task, its checkpoint, and the run that trained it."""

import dataclasses
import datetime
import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kzoo.errors import UserError
from kzoo.version import __version__


def of_task(task: Any) -> dict[str, Any]:
    """What is known of a task: versions, source, architecture, options."""
    pretrained = task.pretrained
    packages = ("tensorflow", "tensorflow-text", "keras")
    return {
        "kzoo": __version__,
        **{package: importlib.metadata.version(package) for package in packages},
        "python": platform.python_version(),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "source": Path(pretrained.source).name,  # the name alone: paths of this machine concern nobody else
        "family": pretrained.family.MODEL_TYPE,
        "architecture": dataclasses.asdict(pretrained.config),
        "parameters": int(sum(np.prod(weight.shape) for weight in task.model.weights)),
        "precision": task.backbone.dtype_policy.name,
        "task": task.name,
        "options": task.description(),
        **({"privacy": task.privacy} if getattr(task, "privacy", None) else {}),
    }


def of_run(folder: Path | str) -> dict[str, Any]:
    """What identifies the run in a folder: its name, ``config.yaml`` as resolved, and ``metrics.json``.

    The metrics carry the fingerprints of the examples. Of absolute paths the last name is kept: where things lay on the
    machine that trained concerns nobody else. Empty for a folder that is not a run's.
    """
    folder = Path(folder)
    config, metrics = folder / "config.yaml", folder / "metrics.json"
    if not config.is_file():
        return {}
    try:
        said: dict[str, Any] = {"name": folder.resolve().name, "config": yaml.safe_load(config.read_text("utf-8"))}
        if metrics.is_file():
            said["metrics"] = json.loads(metrics.read_text(encoding="utf-8"))
    except (ValueError, yaml.YAMLError) as error:
        raise UserError(f"{folder} says where the model comes from, but is damaged: {error}") from None
    return {"run": _without_places(said)}


def _without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_places(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_without_places(one) for one in value]
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value
