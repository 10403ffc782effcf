"""What a published checkpoint has of a task's head, and how a head is written into ``config.json``."""

from collections.abc import Sequence
from typing import Any

from kzoo.models.heads import PredictionHead


def hidden_layer(pretrained, task: str) -> PredictionHead | None:
    """The layer that the family has between its backbone and the last layer of a task; None where it has none."""
    form = pretrained.head_for(task)
    if form is None or not form.hidden:
        return None
    options = form.options(pretrained.config)
    units = pretrained.config.hidden_dim
    return PredictionHead(units=units, activation=form.hidden, name="hidden", dtype="float32", **options)


def units_of_head(pretrained, task: str) -> int:
    """How many numbers the checkpoint's own head gives; 0 where it has none of the task."""
    return next((tensor.shape[0] for tensor in reversed(pretrained.head_tensors(task).values())), 0)


def labels_of_head(pretrained, task: str) -> list[str]:
    """The classes of the checkpoint's own head; none where it has no such head, or names other than its classes."""
    number = units_of_head(pretrained, task)
    names = pretrained.published.get("id2label") or {str(index): f"LABEL_{index}" for index in range(number)}
    try:
        labels = [str(names[key]) for key in sorted(names, key=int)]
    except (ValueError, TypeError, AttributeError):
        return []
    return labels if len(labels) == number else []


def label_keys(labels: Sequence[str]) -> dict[str, Any]:
    """The keys of ``config.json`` that name a head's outputs."""
    return {
        "id2label": {str(number): label for number, label in enumerate(labels)},
        "label2id": {label: number for number, label in enumerate(labels)},
    }
