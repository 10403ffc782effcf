"""Vectors of pairs of texts: held against how alike they are, or sought among those of all pairs."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from kzoo import metrics
from kzoo.errors import UserError
from kzoo.metrics import plots
from kzoo.metrics.report import Plot, Table
from kzoo.tasks.regress import numbers_of
from kzoo.training.judging.judgement import MISTAKES, Judgement, figures_of

COLUMNS = ["text", "text_pair"]
SCORE = "label"
"""The column that says how alike the texts of a pair are, where there is one."""
PLACES = (1, 5, 10)


def judge_vectors(task, examples, batch_size) -> Judgement:
    """Of pairs with a number correlations of cosines with what people said; of others how many are found."""
    for name in COLUMNS:
        if name not in examples:
            raise UserError(
                "An embedder is measured on pairs of texts, with a number that says how alike they are or without: the "
                f"columns text, text_pair and label. {examples.source} has {', '.join(examples)}."
            )
    first, second = (task.vectors(examples[name].tolist(), batch_size=batch_size) for name in COLUMNS)
    return (_of_numbers if SCORE in examples else _of_pairs)(examples, first, second)


def _of_numbers(examples, first: np.ndarray, second: np.ndarray) -> Judgement:
    """Correlations with numbers; the largest differences in rank."""
    expected = numbers_of(examples[SCORE])
    given = metrics.cosine(first, second)
    figures = figures_of(expected, given, ("spearman", "pearson"))
    ranks = np.abs(_ranks(expected) - _ranks(given))
    worst = np.argsort(-ranks, kind="stable")[:MISTAKES].tolist()
    table = Table(
        title="The largest differences in rank",
        columns=["text", "text pair", "right", "cosine"],
        rows=[
            [examples["text"][row], examples["text_pair"][row], float(expected[row]), float(given[row])]
            for row in worst
        ],
    )
    drawn = [Plot(title="Cosines over right answers", svg=plots.scatter(expected, given, same_scale=False))]
    return Judgement(figures=figures, plots=drawn, tables=[table])


def _of_pairs(examples, first: np.ndarray, second: np.ndarray) -> Judgement:
    """At which place a text finds its pair among the pairs of all; the farthest."""
    texts, pairs = examples["text"], examples["text_pair"]
    ranks = metrics.ranks_of_pairs(first, second, texts, pairs)
    measures: dict[str, Callable[..., float]] = {
        f"recall_at_{places}": functools.partial(metrics.recall_at, places=places) for places in PLACES
    }
    measures["mean_reciprocal_rank"] = metrics.reciprocal_rank
    figures: dict[str, Any] = {}
    for name, measure in measures.items():
        figures[name] = measure(ranks)
        figures[f"{name}_interval_95"] = list(metrics.bootstrap_interval(measure, ranks))
    figures |= {"examples": len(ranks), "documents": len(set(pairs.tolist()))}
    worst = np.argsort(-ranks, kind="stable")[:MISTAKES].tolist()
    table = Table(
        title="The farthest pairs",
        columns=["text", "its pair", "place"],
        rows=[[texts[row], pairs[row], int(ranks[row])] for row in worst],
        note=f"Each text seeks its own pair among the {figures['documents']} different pairs of all texts.",
    )
    return Judgement(figures=figures, tables=[table])


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")
