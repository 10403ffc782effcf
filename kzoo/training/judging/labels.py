"""Any number of labels for each text."""

from typing import Any

import numpy as np
import tensorflow as tf

from kzoo import metrics
from kzoo.metrics import confusion
from kzoo.metrics.report import Table
from kzoo.training.judging.drawing import class_table, curves, per_class, reliability, sureness
from kzoo.training.judging.judgement import MISTAKES, Judgement, of_texts, share, text_names, texts_of


def judge_labels(task, examples, batch_size) -> Judgement:
    """Exact match, F1 over labels and over decisions, calibration; curves, the worst mistakes."""
    targets, logits, losses = of_texts(task, examples, batch_size)
    scores = tf.nn.sigmoid(logits).numpy()
    expected, given = targets > 0.5, scores >= task.threshold
    right = (expected == given).all(-1)
    counts = confusion.label_counts(expected, given)
    calibrated = metrics.calibration(scores.reshape(-1), expected.reshape(-1))

    def f1(name):
        return lambda *rows: metrics.label_f1(confusion.label_counts(*rows))[name]

    each = metrics.per_class(counts)
    figures: dict[str, Any] = {
        "loss": float(losses.mean()),
        **share("exact_match", right),
        "label_accuracy": float((expected == given).mean()),
        "label_accuracy_interval_95": list(metrics.bootstrap_interval(np.mean, (expected == given).mean(-1))),
    }
    for name, value in metrics.label_f1(counts).items():
        figures[name] = float(value)
        figures[f"{name}_interval_95"] = list(metrics.bootstrap_interval(f1(name), expected, given))
    figures |= {
        "calibration_error": calibrated.error,
        "examples": len(right),
        "per_class": per_class({name: values[:, 1] for name, values in each.items()}, task.labels),
    }
    worst = np.flatnonzero(~right)
    worst = worst[np.argsort(-losses[worst], kind="stable")][:MISTAKES]
    names = np.array(task.labels, dtype=object)
    rows = [
        [*texts_of(task, examples, row), ", ".join(names[expected[row]]), ", ".join(names[given[row]])]
        for row in worst.tolist()
    ]
    table = Table(
        title="The worst mistakes",
        columns=[*text_names(task), "right", "answered"],
        rows=rows,
        note=f"{len(rows)} of {int((~right).sum())} texts whose labels are not all right, those of largest loss first.",
    )
    drawn = [
        reliability(calibrated, "Of all decisions about a label: how often it was right to give it, by its score."),
        *curves(task.labels, expected, scores),
        sureness(scores.reshape(-1), expected.reshape(-1), "score of a label", ("has it", "has it not")),
    ]
    return Judgement(figures=figures, plots=drawn, tables=[class_table(figures["per_class"]), table])
