"""One class for each text."""

from typing import Any

import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.metrics import plots
from kzoo.metrics.report import Plot, Table
from kzoo.training.judging.drawing import class_table, curves, per_class, reliability, sureness
from kzoo.training.judging.judgement import MISTAKES, Judgement, of_texts, share, text_names, texts_of

SHADES = "Shades are shares of a row. Point at a field for its numbers."


def judge_classes(task, examples, batch_size) -> Judgement:
    """What ``judge_scores`` measures, of the model's own logits."""
    targets, logits, losses = of_texts(task, examples, batch_size)
    return judge_scores(task, examples, targets, tf.nn.softmax(logits).numpy(), losses)


def judge_scores(task, examples, targets, scores, losses) -> Judgement:
    """Accuracy, F1, Matthews' correlation, calibration, risk; the matrix, curves, the worst mistakes.

    Args:
        task: has ``labels`` and, where it may decline to answer, ``abstain_below``.
        examples: N of them.
        targets: numbers of the right labels ``[N]``.
        scores: ``[N, C]``.
        losses: ``[N]``.
    """
    given, sure = scores.argmax(-1), scores.max(-1)
    right = given == targets
    matrix = metrics.confusion_matrix(targets.tolist(), given.tolist(), range(len(task.labels)))
    calibrated = metrics.calibration(sure, right)
    risk = metrics.risk_coverage(sure, right)
    figures: dict[str, Any] = {
        "loss": float(losses.mean()),
        **share("accuracy", right),
        "macro_f1": float(metrics.macro_f1(matrix)),
        "macro_f1_interval_95": list(metrics.bootstrap_counts(metrics.macro_f1, matrix)),
        "matthews_correlation": float(metrics.matthews_correlation(matrix)),
        "matthews_correlation_interval_95": list(metrics.bootstrap_counts(metrics.matthews_correlation, matrix)),
        "calibration_error": calibrated.error,
        "area_under_risk_coverage": risk.area,
        **_answered(task, right, sure),
        "examples": len(right),
        "per_class": per_class(metrics.per_class(matrix), task.labels),
        "confusion_matrix": {"labels": task.labels, "rows_are_right": matrix.tolist()},
    }
    positive = np.eye(len(task.labels), dtype=bool)[targets]
    drawn = [
        *(
            [Plot(title="Confusion matrix", svg=plots.confusion(matrix, task.labels), note=SHADES)]
            if is_few(task)
            else []
        ),
        reliability(calibrated),
        _risk(risk),
        *curves(task.labels, positive, scores),
        sureness(sure, right, "score of the answer"),
    ]
    wrong = np.flatnonzero(~right)
    wrong = wrong[np.argsort(-losses[wrong], kind="stable")][:MISTAKES]
    rows = [
        [*texts_of(task, examples, row), task.labels[targets[row]], task.labels[given[row]], float(sure[row])]
        for row in wrong.tolist()
    ]
    worst = Table(
        title="The worst mistakes",
        columns=[*text_names(task), "right", "answered", "score"],
        rows=rows,
        note=f"{len(rows)} of {int((~right).sum())} wrong answers, those first that were given with most conviction.",
    )
    return Judgement(figures=figures, plots=drawn, tables=[class_table(figures["per_class"]), worst])


def _answered(task, right: np.ndarray, sure: np.ndarray) -> dict[str, Any]:
    """What a task that may abstain answers, and how often that is right; accuracy counts its likeliest label always."""
    below = getattr(task, "abstain_below", None)
    if below is None:
        return {}
    answered = sure >= below
    figures: dict[str, Any] = {"abstain_below": below, "coverage": float(answered.mean())}
    if answered.any():
        figures |= share("answered_accuracy", right[answered])
    return figures


def _risk(found: metrics.RiskCoverage) -> Plot:
    """How often answers are wrong when only the surest are given."""
    svg = plots.lines([("risk", found.coverage, found.risk)], "share of texts answered", "share of these that is wrong")
    note = f"Answers are given from the surest on. Area under the curve {found.area:.4f}."
    return Plot(title="Risk and coverage", svg=svg, note=note)


def is_few(task) -> bool:
    """Whether a person can read a matrix of the labels."""
    return len(task.labels) <= 30
