"""The labels that examples carry, and their numbers."""

import json
from collections.abc import Iterable, Sequence

import numpy as np

from kzoo.errors import UserError


def labels_of(column: Iterable, *, separator: str | None = None) -> list[list[str]]:
    """The labels of each example of a column.

    Args:
        column: a label an example, of any kind; with a separator also a list, or a text that is a JSON list or has
            labels between separators. The empty text has no label.
        separator: of several labels; None where each example has one.
    """
    values = column.tolist() if isinstance(column, np.ndarray) else column
    if separator is None:
        return [[_text(value)] for value in values]
    return [_several(value, separator) for value in values]


def _several(value, separator: str) -> list[str]:
    if isinstance(value, str | bytes):
        text = _text(value).strip()
        try:
            value = json.loads(text) if text.startswith("[") else None
        except ValueError:
            value = None  # a label that begins with a bracket
        if not isinstance(value, list):
            value = [part.strip() for part in text.split(separator) if part.strip()]
    return [_text(one) for one in value] if isinstance(value, list | tuple) else [_text(value)]


def numbers_of_labels(labels: Sequence[str], given: Iterable[str]) -> dict[str, int]:
    """The number of each label of a task.

    Args:
        labels: that the task knows, in their order.
        given: those of examples.

    Raises:
        UserError: examples carry a label that the task does not know.
    """
    numbers = {label: number for number, label in enumerate(labels)}
    if unknown := sorted(set(given) - set(numbers)):
        raise UserError(
            f"The examples carry labels that the task does not know: {', '.join(map(repr, unknown[:5]))}; "
            f"it knows {', '.join(map(repr, labels))}. Name them in labels, or mend the data."
        )
    return numbers


def _text(value) -> str:
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)
