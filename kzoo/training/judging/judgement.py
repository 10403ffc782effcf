"""What was found of a task, and how the model's answers to all rows are had."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.data.batching import Batches
from kzoo.data.examples import Examples
from kzoo.metrics.accuracy import from_share
from kzoo.metrics.report import Plot, Table
from kzoo.training.step import without_reduction

# N examples, W rows, B rows of a batch


MISTAKES = 25
"""Rows of the tables of mistakes."""


@dataclass(kw_only=True)
class Judgement:
    """What was found.

    Attributes:
        figures: name to number; ``NAME_interval_95`` is the interval of NAME, two numbers.
        plots: for the report.
        tables: for the report.
    """

    figures: dict[str, Any]
    plots: list[Plot] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def __add__(self, other: "Judgement") -> "Judgement":
        return Judgement(
            figures=self.figures | other.figures, plots=self.plots + other.plots, tables=self.tables + other.tables
        )


@dataclass(frozen=True)
class Batch:
    """Answers of the model to some rows: numpy arrays with one entry a row."""

    rows: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    outputs: np.ndarray
    losses: np.ndarray


def answers(task, examples, batch_size: int, *, keep: Callable = lambda outputs, targets: outputs) -> Iterator[Batch]:
    """Runs the model over all rows, from short to long.

    Args:
        task: that can be trained.
        examples: of its columns.
        batch_size: rows at once.
        keep: what of the outputs and the targets is wanted, in the graph: logits of all tokens would be large.
    """
    batches = Batches(task, examples, batch_size=batch_size, training=False)
    loss = without_reduction(task.loss())
    plan = batches.plan()

    @tf.function(reduce_retracing=True, autograph=False)
    def run(features, targets, weights):
        outputs = task.model(features, training=False)
        losses = loss(targets, outputs, sample_weight=tf.ones_like(weights))
        return keep(outputs, targets), losses

    for (features, targets, weights), rows, count in zip(batches.dataset(), plan.rows, plan.counts, strict=True):
        outputs, losses = (tensor.numpy()[:count] for tensor in run(features, targets, weights))
        yield Batch(rows[:count], targets.numpy()[:count], weights.numpy()[:count], outputs, losses)


def of_texts(task, examples, batch_size) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Targets, logits and losses of texts ``[N, ...]``, in the order of the examples; the loss is not weighed."""
    parts = list(answers(task, examples, batch_size))
    order = np.argsort(np.concatenate([part.rows for part in parts]))
    return (
        np.concatenate([part.targets for part in parts])[order],
        np.concatenate([part.outputs for part in parts])[order],
        np.concatenate([part.losses for part in parts])[order],
    )


def share(name: str, which: np.ndarray) -> dict[str, Any]:
    """The share of rows that are so, under its name, with Wilson's interval (boolean ``[N]``; 0 of none)."""
    found = from_share(float(which.mean()) if which.size else 0.0, len(which))
    return {name: found.value, f"{name}_interval_95": [found.low, found.high]}


def figures_of(expected, given, names) -> dict[str, Any]:
    """Measures of ``kzoo.metrics`` by name, of numbers ``[N]``, each with its bootstrap interval."""
    figures: dict[str, Any] = {}
    for name in names:
        measure = getattr(metrics, name)
        figures[name] = measure(expected, given)
        figures[f"{name}_interval_95"] = list(metrics.bootstrap_interval(measure, expected, given))
    return figures | {"examples": len(expected)}


def texts_of(task, examples: Examples, row: int) -> list[str]:
    """The texts that the task reads of an example."""
    return [str(examples[name][row]) for name in task.inputs]


def text_names(task) -> list[str]:
    """What they are called, as a person reads it."""
    return [name.replace("_", " ") for name in task.inputs]
