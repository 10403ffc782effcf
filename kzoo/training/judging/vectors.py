"""Vectors of pairs of texts, held against how alike they are."""

import numpy as np

from kzoo import metrics
from kzoo.errors import UserError
from kzoo.metrics import plots
from kzoo.metrics.report import Plot, Table
from kzoo.tasks.regress import numbers_of
from kzoo.training.judging.judgement import MISTAKES, Judgement, figures_of

COLUMNS = ["text", "text_pair", "label"]


def judge_vectors(task, examples, batch_size) -> Judgement:
    """Correlations of cosines with what people said; the largest differences in rank."""
    for name in COLUMNS:
        if name not in examples:
            raise UserError(
                "An embedder is measured on pairs of texts with a number that says how alike they are: the columns "
                f"text, text_pair and label. {examples.source} has {', '.join(examples)}."
            )
    expected = numbers_of(examples["label"])
    first, second = (
        np.array([answer["embedding"] for answer in task.predict(examples[name].tolist(), batch_size=batch_size)])
        for name in ("text", "text_pair")
    )
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


def _ranks(values: np.ndarray) -> np.ndarray:
    return np.argsort(np.argsort(values, kind="stable"), kind="stable")
