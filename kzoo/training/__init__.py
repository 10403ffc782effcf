"""Training: run configs, strategies, the step, checkpoints, curves, and ``kzoo.fit``.

The names below are loaded when they are first used: reading a config needs no TensorFlow. Beside them,
``kzoo.training.train.train`` runs a config and ``kzoo.training.evaluate.evaluate`` measures a task.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kzoo.training.config import RunConfig
    from kzoo.training.config_file import read_config
    from kzoo.training.interrupt import Interrupted
    from kzoo.training.run import Run, fit
    from kzoo.training.train import read_examples

_HOMES = {
    "RunConfig": "config",
    "read_config": "config_file",
    "Interrupted": "interrupt",
    "Run": "run",
    "fit": "run",
    "read_examples": "train",
}

__all__ = ["Interrupted", "Run", "RunConfig", "fit", "read_config", "read_examples"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(f"kzoo.training.{_HOMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module 'kzoo.training' has no attribute {name!r}")
