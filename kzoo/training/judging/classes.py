"""One class for each text."""

from typing import Any

import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.metrics import plots
from kzoo.metrics.accuracy import from_share
from kzoo.metrics.report import Plot, Table
from kzoo.training.judging.drawing import class_table, curves, per_class, reliability, sureness
from kzoo.training.judging.judgement import MISTAKES, Judgement, of_texts, text_names, texts_of

SHADES = "Shades are shares of a row. Point at a field for its numbers."


def judge_classes(task, examples, batch_size) -> Judgement:
    """Accuracy, F1, Matthews' correlation, calibration; the matrix, curves, the worst mistakes."""
    targets, logits, losses = of_texts(task, examples, batch_size)
    scores = tf.nn.softmax(logits).numpy()
    given, sure = scores.argmax(-1), scores.max(-1)
    right = given == targets
    matrix = metrics.confusion_matrix(targets.tolist(), given.tolist(), range(len(task.labels)))
    calibrated = metrics.calibration(sure, right)
    share = from_share(float(right.mean()), len(right))
    figures: dict[str, Any] = {
        "loss": float(losses.mean()),
        "accuracy": share.value,
        "accuracy_interval_95": [share.low, share.high],
        "macro_f1": float(metrics.macro_f1(matrix)),
        "macro_f1_interval_95": list(metrics.bootstrap_counts(metrics.macro_f1, matrix)),
        "matthews_correlation": float(metrics.matthews_correlation(matrix)),
        "matthews_correlation_interval_95": list(metrics.bootstrap_counts(metrics.matthews_correlation, matrix)),
        "calibration_error": calibrated.error,
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


def is_few(task) -> bool:
    """Whether a person can read a matrix of the labels."""
    return len(task.labels) <= 30
