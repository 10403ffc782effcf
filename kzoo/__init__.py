"""kzoo: a model zoo for Keras 3 on TensorFlow.

The names below are loaded when they are first used, so that importing kzoo costs nothing and ``kzoo --help`` answers
at once:

    import kzoo

    task = kzoo.Classify(kzoo.load("minilm-l6-v2"), labels=["negative", "positive"])
    kzoo.fit(task, kzoo.data.read("reviews.csv"))
    task.predict("A film to remember.")
    kzoo.export(task, "exports/reviews")
"""

import importlib
from typing import TYPE_CHECKING, Any

from kzoo.errors import UserError
from kzoo.version import __version__

if TYPE_CHECKING:
    from kzoo import (  # noqa: F401
        checkpoints,
        cli,
        data,
        generation,
        layers,
        metrics,
        models,
        search,
        serving,
        tasks,
        tokenizers,
        training,
    )
    from kzoo.checkpoints.pretrained import Pretrained, fresh
    from kzoo.data import pull
    from kzoo.search.index import Index
    from kzoo.search.served import Search
    from kzoo.serving.bundle import bundle
    from kzoo.serving.client import connect
    from kzoo.serving.export import export
    from kzoo.serving.launch import serve
    from kzoo.tasks.answer import Answer
    from kzoo.tasks.classify import Classify
    from kzoo.tasks.embed import Embed
    from kzoo.tasks.few_shot import FewShot
    from kzoo.tasks.fill_mask import FillMask
    from kzoo.tasks.generate import Generate
    from kzoo.tasks.load import load, load_task
    from kzoo.tasks.pretrain import Pretrain
    from kzoo.tasks.regress import Regress
    from kzoo.tasks.tag import Tag
    from kzoo.tasks.task import Task
    from kzoo.training.evaluate import evaluate
    from kzoo.training.judging import judge
    from kzoo.training.run import Run, fit
    from kzoo.training.train import train

_HOMES = {
    "Answer": "kzoo.tasks.answer",
    "Classify": "kzoo.tasks.classify",
    "Embed": "kzoo.tasks.embed",
    "FewShot": "kzoo.tasks.few_shot",
    "FillMask": "kzoo.tasks.fill_mask",
    "Generate": "kzoo.tasks.generate",
    "Index": "kzoo.search.index",
    "Pretrain": "kzoo.tasks.pretrain",
    "Pretrained": "kzoo.checkpoints.pretrained",
    "Regress": "kzoo.tasks.regress",
    "Run": "kzoo.training.run",
    "Search": "kzoo.search.served",
    "Tag": "kzoo.tasks.tag",
    "Task": "kzoo.tasks.task",
    "bundle": "kzoo.serving.bundle",
    "connect": "kzoo.serving.client",
    "evaluate": "kzoo.training.evaluate",
    "export": "kzoo.serving.export",
    "fit": "kzoo.training.run",
    "fresh": "kzoo.checkpoints.pretrained",
    "judge": "kzoo.training.judging",
    "load": "kzoo.tasks.load",
    "load_task": "kzoo.tasks.load",
    "pull": "kzoo.data",
    "serve": "kzoo.serving.launch",
    "train": "kzoo.training.train",
}
_ROOMS = (
    "layers",
    "tokenizers",
    "models",
    "checkpoints",
    "generation",
    "data",
    "metrics",
    "tasks",
    "training",
    "serving",
    "search",
    "cli",
)

__all__ = [
    "Answer",
    "Classify",
    "Embed",
    "FewShot",
    "FillMask",
    "Generate",
    "Index",
    "Pretrain",
    "Pretrained",
    "Regress",
    "Run",
    "Search",
    "Tag",
    "Task",
    "UserError",
    "__version__",
    "bundle",
    "connect",
    "evaluate",
    "export",
    "fit",
    "fresh",
    "judge",
    "load",
    "load_task",
    "pull",
    "serve",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(importlib.import_module(_HOMES[name]), name)
        globals()[name] = value
        return value
    if name in (*_ROOMS, "lora"):
        return importlib.import_module(f"kzoo.{name}")
    raise AttributeError(f"module 'kzoo' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS, "lora"})
