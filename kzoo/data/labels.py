"""Labels made from another column by a rule that a config can state: thresholds of a number, or new names."""

from typing import Any

import numpy as np
from pydantic import model_validator

from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.models.sources import Strict

DROP = "drop"


class LabelRule(Strict):
    """How the column ``label`` comes from another column.

    By thresholds, ``{column: rating, above: {0.05: positive}, below: {-0.05: negative}}``: a number above 0.05 is
    positive, one below -0.05 negative, any other row is dropped. Of several thresholds that a number passes, the
    farthest counts. By names, ``{column: polarity, names: {"0": negative, "4": positive}}``: any other value is an
    error. ``otherwise`` gives the remaining rows a label, or drops them (``drop``).
    """

    column: str
    above: dict[float, str] = {}
    below: dict[float, str] = {}
    names: dict[str | int | float | bool, str] = {}
    otherwise: str | None = None

    @model_validator(mode="after")
    def _one_kind(self):
        if bool(self.names) == bool(self.above or self.below):
            raise ValueError("a label rule has thresholds (above, below) or names, one of the two")
        if self.above and self.below and min(self.above) < max(self.below):
            raise ValueError(
                f"a number may not be both above {min(self.above)} and below {max(self.below)}; let them not overlap"
            )
        return self

    def apply(self, examples: Examples) -> Examples:
        """The examples with the column ``label``, without the rows that the rule drops."""
        values = examples[self.column]
        labels = self._by_names(examples, values) if self.names else self._by_thresholds(examples, values)
        kept = np.flatnonzero(labels != DROP)
        if not len(kept):
            raise UserError(
                f"The label rule drops all {len(examples)} rows of {examples.source}: no {self.column} is "
                f"{'among its names' if self.names else 'beyond its thresholds'}."
            )
        return Examples({**examples, "label": labels}, source=examples.source).take(kept)

    def _by_thresholds(self, examples: Examples, values: np.ndarray) -> np.ndarray:
        if values.dtype.kind not in "iuf":
            raise UserError(
                f"The label rule compares {self.column} of {examples.source} with numbers, but it is not a column of "
                f"numbers. In a CSV or TSV, list it under numbers. Its first value is {values[0]!r}."
            )
        labels = np.full(len(values), self.otherwise or DROP, dtype=object)
        for threshold, label in sorted(self.above.items()):
            labels[values > threshold] = label
        for threshold, label in sorted(self.below.items(), reverse=True):
            labels[values < threshold] = label
        return labels

    def _by_names(self, examples: Examples, values: np.ndarray) -> np.ndarray:
        names = {_name(value): label for value, label in self.names.items()}
        labels = np.empty(len(values), dtype=object)
        for row, value in enumerate(values.tolist()):
            label = names.get(_name(value), self.otherwise)
            if label is None:
                raise UserError(
                    f"{self.column} of {examples.source} has the value {value!r}, which the label rule does not name "
                    f"(it names {', '.join(names)}). Name it, or say what otherwise: a label, or drop."
                )
            labels[row] = label
        return labels


def _name(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
