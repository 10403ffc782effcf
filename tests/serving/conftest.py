"""Tiny tasks, exported once for all tests of serving."""

from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def classify(tmp_path_factory):
    """A tiny classifier: ``task``, and ``path`` of its SavedModel."""
    return _exported(tmp_path_factory, "classify")


@pytest.fixture(scope="session")
def generate(tmp_path_factory):
    """A tiny text generator: ``task``, and ``path`` of its SavedModel."""
    return _exported(tmp_path_factory, "generate")


def _exported(tmp_path_factory, name):
    import kzoo
    from kzoo.serving import warmup
    from kzoo.serving.export import export
    from tests import tiny

    if name == "classify":
        task = kzoo.Classify(tiny.bert(), labels=["négatif", "positive"])
    else:
        task = kzoo.Generate(tiny.gpt2(), max_new_tokens=4)
    plan = warmup.Plan(batch_sizes=(1, 2), lengths=(8,))
    return SimpleNamespace(task=task, path=export(task, tmp_path_factory.mktemp("exports") / name, warm_up=plan))
