"""A number for each text."""

import numpy as np

from kzoo.metrics import plots
from kzoo.metrics.report import Plot, Table
from kzoo.training.judging.judgement import MISTAKES, Judgement, figures_of, of_texts, text_names, texts_of


def judge_numbers(task, examples, batch_size) -> Judgement:
    """Errors and correlations; answers over right ones, the largest errors."""
    targets, outputs, losses = of_texts(task, examples, batch_size)
    expected, given = targets[:, 0].astype(np.float64), outputs[:, 0].astype(np.float64)
    figures = {"loss": float(losses.mean())} | figures_of(
        expected, given, ("absolute_error", "root_squared_error", "pearson", "spearman")
    )
    worst = np.argsort(-np.abs(expected - given), kind="stable")[:MISTAKES].tolist()
    table = Table(
        title="The largest errors",
        columns=[*text_names(task), "right", "answered"],
        rows=[[*texts_of(task, examples, row), float(expected[row]), float(given[row])] for row in worst],
    )
    drawn = [
        Plot(title="Answers", svg=plots.scatter(expected, given), note="On the dashed line an answer is right."),
        Plot(title="Errors", svg=plots.histogram([("examples", given - expected)], "answered minus right")),
    ]
    return Judgement(figures=figures, plots=drawn, tables=[table])
