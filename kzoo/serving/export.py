"""From a task to a SavedModel that takes text and gives answers, checked before anyone sees it."""

import dataclasses
import datetime
import importlib.metadata
import json
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.models import lora
from kzoo.serving import audit, batching, saved_model, signatures, verification, warmup
from kzoo.serving.placing import placed, space_needed
from kzoo.version import __version__

PRECISIONS = ("float32", "bfloat16", "float16")


class Exported(tf.Module):
    """What a SavedModel holds beside its signatures: the weights by their paths, and the tokenizer's resources."""

    def __init__(self, weights: Mapping[str, tf.Variable], resources: list[Any]):
        super().__init__()
        self.weights = dict(weights)
        self.resources = resources


def export(
    task: Any,
    directory: Path | str,
    *,
    version: int | None = None,
    precision: str | None = None,
    overwrite: bool = False,
    warm_up: warmup.Plan | None = warmup.DEFAULT,
    card: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes the task, its adapters merged, as a SavedModel that TensorFlow Serving 2.19 and later loads as it is.

    The folder appears whole or not at all: it is written aside, loaded again, its answers held against the task's own
    (within 1e-5), its operations against what the stock server links, and only then renamed.

    Args:
        task: what ``kzoo.Classify`` and the others make, trained under any strategy.
        directory: the SavedModel's folder.
        version: when given, the SavedModel goes to ``directory/VERSION``, the layout that a server watches.
        precision: dtype of weights and arithmetic, ``float32``, ``bfloat16`` or ``float16``; by default the task's own.
        overwrite: whether a folder that exists is replaced.
        warm_up: which requests the server runs when it loads the model; None for none.
        card: Markdown for ``assets.extra/card.md``; by default one made from what is known.
        provenance: what to add to ``assets.extra/provenance.json``, the run's identity for example.
        say: is told how near the answers are.

    Returns:
        The path of the SavedModel.

    Raises:
        UserError: the folder exists, no space is left, or the model does what the server cannot (each is named).
    """
    if version is not None and version < 1:
        raise UserError(f"A version must be a whole number from 1. Received {version}.")
    target = Path(directory) if version is None else Path(directory) / str(version)
    task = _at_precision(_merged(task), precision)
    entries = task.signatures()
    with space_needed(target), placed(target, overwrite=overwrite) as aside:
        traced = {name: signatures.trace(name, signature) for name, signature in entries.items()}
        concrete = [function.get_concrete_function() for function in traced.values()]
        tf.saved_model.save(_captured(task, concrete), str(aside), signatures=traced)
        audit.refuse(aside)
        requests = warmup.requests(task, entries, warm_up) if warm_up else []
        examples, off = verification.verify(aside, task, entries, traced, requests)
        _write_extra(aside, task, examples, off, requests, card, provenance)
        batching.complete(aside, warm_up.batch_sizes if warm_up else batching.SIZES)
        say(f"Loaded again, it answers as the task does: numbers differ by {off:.1e} at most, text not at all.")
    return target


def _merged(task: Any) -> Any:
    """The task itself, or, where it learned through adapters, a copy with them merged into its matrices."""
    if not lora.describe(task):
        return task
    copy = task.rebuild()
    lora.merge(copy)
    return copy


def _at_precision(task: Any, precision: str | None) -> Any:
    """The task itself, or the same with weights and arithmetic of another dtype."""
    if precision is None:
        return task
    if precision not in PRECISIONS:
        raise UserError(f"precision must be one of {', '.join(PRECISIONS)}. Received {precision!r}.")
    if task.backbone.dtype_policy.name == precision:
        return task
    other = type(task)(task.pretrained.rebuild(precision), **task.options())
    for weight, old in zip(other.model.weights, task.model.weights, strict=True):
        weight.assign(np.asarray(old).astype("float32"))
    return other


def _captured(task: Any, functions: list[Any]) -> Exported:
    """The variables and resources that the traced functions use, and no others.

    What only training needs (the optimizer, metrics, dropout's seeds, compiled steps) never enters; nor does a whole
    ``keras.Model``, whose every layer would become an object of the SavedModel.
    """
    handles = {id(handle) for function in functions for handle in function.graph.external_captures}
    weights: dict[str, tf.Variable] = {}
    for variable in task.model.variables:
        value = variable.value  # a tf.Variable; under MirroredStrategy one with a component for each device
        if any(id(component.handle) in handles for component in getattr(value, "values", (value,))):
            path = variable.path if variable.path not in weights else f"{variable.path}_{len(weights)}"
            weights[path] = value
    return Exported(weights, _resources(task.tokenizer, handles))


def _resources(root: Any, handles: set[int]) -> list[Any]:
    """Objects below ``root`` that own a captured resource: lookup tables, SentencePiece models."""
    waiting, seen, found = [root], set(), []
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, tf.saved_model.experimental.TrackableResource) and id(one.resource_handle) in handles:
            found.append(one)
        waiting += list(one._trackable_children().values())
    return found


def _write_extra(
    aside: Path,
    task: Any,
    examples: Mapping[str, Any],
    off: float,
    requests: list[warmup.Request],
    card: str | None,
    provenance: Mapping[str, Any] | None,
) -> None:
    extra = aside / saved_model.EXTRA
    extra.mkdir()
    warmup.write(extra / saved_model.WARMUP, task.name, requests)
    entries = saved_model.describe_signatures(saved_model.read(aside))
    origin = _provenance(task) | dict(provenance or {})
    description = {
        "kzoo": __version__,
        "task": task.name,
        "max_length": task.max_length,
        "largest_warm_up_batch": max((request.rows for request in requests), default=0),
        "signatures": entries,
        "examples": examples,
        "largest_difference": off,
    }
    for name, content in ((saved_model.DESCRIPTION, description), (saved_model.PROVENANCE, origin)):
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        (extra / name).write_text(text, encoding="utf-8")
    (extra / saved_model.CARD).write_text(card or _card(task, entries, origin, off), encoding="utf-8")


def _provenance(task: Any) -> dict[str, Any]:
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
        "options": task.options(),
    }


def _card(task: Any, entries: Mapping[str, Any], origin: Mapping[str, Any], off: float) -> str:
    """A model card of what the export knows; a person adds data, results and limits."""
    rows = [
        f"| `{name}` | {', '.join(f'`{key}`' for key in entry['inputs'])} | "
        f"{', '.join(f'`{key}`' for key in entry['outputs'])} |"
        for name, entry in entries.items()
    ]
    reach = f"{'windows of' if 'stride' in task.options() else 'at most'} {task.max_length}"
    return "\n".join(
        [
            f"# {task.name}: {origin['source'] or origin['family']}",
            "",
            f"A {origin['family']} model of {origin['parameters']:,} parameters for the task `{task.name}`, "
            f"exported by kzoo {__version__} in {origin['precision']}. It reads {reach} tokens.",
            "",
            "| signature | inputs | outputs |",
            "| --- | --- | --- |",
            *rows,
            "",
            f"Loaded again after the export, it answered the task's own examples with numbers that differ by {off:.1e}",
            f"at most (allowed: {verification.TOLERANCE:.0e}) from the task's, and with the same text.",
            "",
            "How it was made stands in `provenance.json`. Its training data, measured results, intended use and limits",
            "are for its author to write here (`kzoo.export(..., card=...)`).",
            "",
        ]
    )
