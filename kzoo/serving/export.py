"""From a task to a SavedModel that takes text and gives answers, checked before anyone sees it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.models import lora
from kzoo.serving import audit, audit_report, batching, saved_model, signatures, verification, warmup
from kzoo.serving.placing import placed, space_needed
from kzoo.serving.provenance import of_task
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
    token_signatures: bool = False,
    explain: bool | Mapping[str, Any] = False,
    compiled: bool = False,
    warm_up: warmup.Plan | None = warmup.DEFAULT,
    card: str | None = None,
    provenance: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes the task, its adapters merged, as a SavedModel that TensorFlow Serving 2.19 and later loads as it is.

    The folder appears whole or not at all: it is written aside, loaded again, its answers held against the task's own
    (within 1e-5 in float32), its operations against what the stock server links, and only then renamed.

    Args:
        task: what ``kzoo.Classify`` and the others make, trained under any strategy.
        directory: the SavedModel's folder.
        version: when given, the SavedModel goes to ``directory/VERSION``, the layout that a server watches.
        precision: dtype of weights and arithmetic, ``float32``, ``bfloat16`` or ``float16``; by default the task's own.
        overwrite: whether a folder that exists is replaced.
        token_signatures: whether the signature ``from_token_ids`` is there, too, for callers with a tokenizer of their
            own.
        explain: whether ``explain`` and ``explain_options`` are there, which attribute an answer to the text's tokens;
            or their options, ``{"steps": 32, "baseline": "zero", "attention": False}``.
        compiled: whether the signatures whose names end in ``_xla`` are there, too: the same answers by programs that
            XLA compiles. A server needs its XLA flag for them, which a bundle of the export sets.
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
    given = _merged(task)
    task = _at_precision(given, precision)
    entries = task.signatures() | (task.token_signatures() if token_signatures else {})
    if explain is not False:
        entries |= task.explain_signatures(**({} if explain is True else explain))
    if compiled:
        entries |= task.compiled_signatures()
    with space_needed(target), placed(target, overwrite=overwrite) as aside:
        traced = {name: signatures.trace(name, signature) for name, signature in entries.items()}
        concrete = [function.get_concrete_function() for function in traced.values()]
        tf.saved_model.save(_captured(task, concrete), str(aside), signatures=traced)
        audit.refuse(aside)
        requests = warmup.requests(task, entries, warm_up) if warm_up else []
        verified = verification.verify(aside, task, entries, traced, requests)
        rounding = None if task is given else _rounding(given, task)
        _write_extra(aside, task, verified, rounding, requests, card, provenance)
        if warm_up:
            further = warmup.compiled_requests(task, entries, warm_up)
            warmup.write(aside / saved_model.EXTRA / saved_model.WARMUP_COMPILED, task.name, further)
        batching.complete(aside, warm_up.batch_sizes if warm_up else batching.SIZES)
        found = audit_report.report(aside)
        (aside / saved_model.EXTRA / saved_model.AUDIT).write_text(
            audit_report.to_json(audit_report.summary(found)), encoding="utf-8"
        )
        off = verified.off
        say(f"Loaded again, it answers as the task does: numbers differ by {off:.1e} at most, text not at all.")
        if rounding is not None:
            say(f"From {given.backbone.dtype_policy.name} to {precision}: numbers moved by {rounding:.1e} at most.")
        say(audit_report.sentence(found))
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
    return task.rebuild(precision)


def _rounding(given: Any, task: Any) -> float | None:
    """How far numbers moved from the task as it was given; UserError where they are none any more."""
    if task.backbone.dtype_policy.name == given.backbone.dtype_policy.name:
        return None
    moved = verification.distance(given, task)
    if not np.isfinite(moved):
        name = task.backbone.dtype_policy.name
        raise UserError(f"In {name} the model's numbers overflow: its answers are none. Export it as bfloat16.")
    return moved


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
    weights |= getattr(task, "further_variables", {})  # a corpus, for example
    return Exported(weights, _resources(task.tokenizers, handles))


def _resources(roots: list[Any], handles: set[int]) -> list[Any]:
    """Objects below ``roots`` that own a captured resource: lookup tables, SentencePiece models."""
    waiting, seen, found = list(roots), set(), []
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
    verified: verification.Verified,
    rounding: float | None,
    requests: list[warmup.Request],
    card: str | None,
    provenance: Mapping[str, Any] | None,
) -> None:
    extra = aside / saved_model.EXTRA
    extra.mkdir()
    warmup.write(extra / saved_model.WARMUP, task.name, requests)
    entries = saved_model.describe_signatures(saved_model.read(aside))
    origin = of_task(task) | dict(provenance or {})
    description = {
        "kzoo": __version__,
        "task": task.name,
        "max_length": task.max_length,
        "largest_warm_up_batch": max((request.rows for request in requests), default=0),
        "signatures": entries,
        "examples": verified.examples,
        "largest_difference": verified.off,
        "tolerance": verified.tolerance,
        "utf8": verified.texts,
        **({} if rounding is None else {"rounding": rounding}),
    }
    for name, content in ((saved_model.DESCRIPTION, description), (saved_model.PROVENANCE, origin)):
        text = json.dumps(content, indent=2, ensure_ascii=False, default=str) + "\n"
        (extra / name).write_text(text, encoding="utf-8")
    (extra / saved_model.CARD).write_text(card or _card(task, entries, origin, verified), encoding="utf-8")


def _card(task: Any, entries: Mapping[str, Any], origin: Mapping[str, Any], verified: verification.Verified) -> str:
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
            "Loaded again after the export, it answered the task's own examples with numbers that differ by",
            f"{verified.off:.1e} at most (allowed: {verified.tolerance:.0e}) from the task's, and with the same text.",
            "",
            *_privacy(origin.get("privacy")),
            "How it was made stands in `provenance.json`. Its training data, measured results, intended use and limits",
            "are for its author to write here (`kzoo.export(..., card=...)`).",
            "",
        ]
    )


def _privacy(said: Mapping[str, Any] | None) -> list[str]:
    """What a card says of a model that was trained with differential privacy."""
    if not said:
        return []
    return [
        f"It was trained with differential privacy: epsilon {said['epsilon']:g} at delta {said['delta']:.2g}, for "
        f"{said['neighbours']} (DP-SGD with Poisson sampling at {said['sampling_rate']:.4g}, {said['steps']} steps,",
        f"noise of {said['noise_multiplier']:g} x {said['clip']:g}; {said['accountant']}).",
        "",
    ]
