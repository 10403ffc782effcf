"""How right a classifier is on parts of the examples: by a column of theirs, or by the length of their texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kzoo.data.examples import Examples
from kzoo.metrics.report import Table, between
from kzoo.metrics.slices import Slice, by_value, by_words
from kzoo.training.judging.decisions import decisions
from kzoo.training.judging.judgement import Judgement, share

LENGTH = "length"
"""Slices by words, unless the examples have a column of this name."""
_ENOUGH = 30
"""Rows that a slice needs to count for the gap between slices."""


def judge_slices(task, examples: Examples, columns: Sequence[str], *, batch_size: int = 32) -> Judgement:
    """Accuracy of each slice, with Wilson's interval.

    Args:
        task: a ``Classify``; of several labels all of a text must be right.
        examples: its columns and those that slices are made by.
        columns: of the examples; ``length`` makes slices by the number of words.
        batch_size: rows at once.

    Returns:
        ``slices``: by column and slice ``accuracy``, its interval and ``examples``; and for each column the largest
        distance between two slices of 30 rows or more, ``slice_gap_COLUMN``.
    """
    made = {name: _slices(task, examples, name) for name in columns}  # a column that is not there is told first
    right = decisions(task, examples, batch_size).right
    figures: dict[str, Any] = {"slices": {}}
    tables = []
    for name, slices in made.items():
        each = {one.name: _of(right[one.rows]) for one in slices}
        figures["slices"][name] = each
        enough = [one["accuracy"] for one in each.values() if one["examples"] >= _ENOUGH]
        if len(enough) > 1:
            figures[f"slice_gap_{name}"] = max(enough) - min(enough)
        rows = [
            [slice_, one["accuracy"], between(one["accuracy_interval_95"]), one["examples"]]
            for slice_, one in each.items()
        ]
        tables.append(
            Table(
                title=f"Accuracy by {name}",
                columns=[name, "accuracy", "95% interval", "examples"],
                rows=rows,
                note=f"Of all {len(right)} rows {right.mean():.4f} are right.",
            )
        )
    return Judgement(figures=figures, tables=tables)


def _slices(task, examples: Examples, name: str) -> list[Slice]:
    if name == LENGTH and name not in examples:
        texts = [" ".join(map(str, row)) for row in zip(*(examples[one] for one in task.inputs), strict=True)]
        return by_words(texts)
    return by_value(examples[name])


def _of(right: np.ndarray) -> dict[str, Any]:
    return share("accuracy", right) | {"examples": len(right)}
