"""How much classes weigh in a loss."""

from collections.abc import Mapping, Sequence

import numpy as np

from kzoo.errors import UserError
from kzoo.models.sources import closest

# N targets, C classes


def checked_weights(weights, labels: Sequence[str], *, can_balance: bool = True) -> dict[str, float] | str | None:
    """The weights as a task keeps them.

    Args:
        weights: ``{label: weight}``, "balanced", or None.
        labels: the names of all classes.
        can_balance: whether "balanced" has a meaning.

    Raises:
        UserError: neither, a label that there is not, a weight that is no number above 0.
    """
    if weights is None or (weights == "balanced" and can_balance):
        return weights
    if not isinstance(weights, Mapping):
        also = ' or "balanced"' if can_balance else ""
        raise UserError(f"class_weights must be {{label: weight}}{also}. Received {weights!r}.")
    weights = {str(label): weight for label, weight in weights.items()}
    for label, weight in weights.items():
        if label not in labels:
            raise UserError(
                f"class_weights must name labels of the task. Received {label!r}{closest(label, list(labels))}; "
                f"there are {', '.join(map(repr, labels))}."
            )
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not 0 < weight < float("inf"):
            raise UserError(f"A class weight must be a number above 0. Received {weight!r} for {label!r}.")
    return {label: float(weight) for label, weight in weights.items()}


def each_weight(weights: dict[str, float] | str | None, labels: Sequence[str]) -> list[float]:
    """A weight for each class, C."""
    given = weights if isinstance(weights, dict) else {}
    return [given.get(label, 1.0) for label in labels]


def weights_of_targets(
    weights: dict[str, float] | str | None, classes: np.ndarray, labels: Sequence[str]
) -> np.ndarray:
    """The weight of each target, float32 ``[N]``, from its class ``[N]``; see ``Classify`` for "balanced"."""
    if weights is None:
        return np.ones(len(classes), np.float32)
    if weights == "balanced":
        counts = np.bincount(classes, minlength=len(labels))
        each = len(classes) / (max(np.count_nonzero(counts), 1) * np.maximum(counts, 1))
    else:
        each = np.array(each_weight(weights, labels))
    return each[classes].astype(np.float32)
