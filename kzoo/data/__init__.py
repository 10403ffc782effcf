"""Readers of the usual files, pinned downloads, and the pipeline of batches.

The names below are loaded when they are first used: pulling and reading need no TensorFlow.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kzoo.data.datasets import dataset, dataset_names, datasets
    from kzoo.data.download import pull

_HOMES = {
    "pull": "download",
    "dataset": "datasets",
    "dataset_names": "datasets",
    "datasets": "datasets",
}

__all__ = ["dataset", "dataset_names", "datasets", "pull"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"kzoo.data.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'kzoo.data' has no attribute {name!r}")
