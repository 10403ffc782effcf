"""A classifier's confusion matrix and precision-recall curves at each validation."""

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.pr_curve import metadata as pr_curve

from kzoo.training.watching import drawing
from kzoo.training.watching.curves import Curves
from kzoo.training.watching.tally import THRESHOLDS, Tally, precision_recall

MOST_IN_MATRIX = 30  # classes that a person can read
MOST_CURVES = 20
MOST_CLASSES = 500  # of which scores are counted


class Pictures:
    """Draws what a ``Tally`` counted.

    Args:
        task: a classifier.
        curves: where to write.
        tally: of the task.
    """

    def __init__(self, task, curves: Curves, tally: Tally):
        self.labels = list(task.labels)
        self.curves = curves
        self.tally = tally

    def begin(self) -> None:
        """A validation begins."""
        self.tally.reset_state()

    def write(self, step: int) -> None:
        """Writes what was counted since it began; all workers call it."""
        matrix, scores = np.asarray(self.tally.matrix), np.asarray(self.tally.scores)
        if not self.curves.writes:
            return
        if len(self.labels) <= MOST_IN_MATRIX:
            draw = drawing.confusion if self.tally.threshold is None else drawing.of_labels
            listed = "".join(f"\n{place + 1}. {label}" for place, label in enumerate(self.labels))
            self.curves.write_image("confusion_matrix", draw(matrix, self.labels), step, description=listed)
        frequent = np.argsort(-scores[1].sum(-1), kind="stable")[:MOST_CURVES]
        points = precision_recall(scores)
        for place in sorted(frequent.tolist()):
            if scores[1, place].any():
                self._write_curve(self.labels[place], points[place], step)

    def _write_curve(self, label: str, points: np.ndarray, step: int) -> None:
        told = pr_curve.create_summary_metadata(label, f"{label} against all others", THRESHOLDS)
        metadata = tf.compat.v1.SummaryMetadata.FromString(told.SerializeToString())
        self.curves.write_tensor("validation", f"precision_recall/{label}", tf.constant(points), metadata, step)


def pictures_of(task, curves: Curves | None, strategy: tf.distribute.Strategy) -> Pictures | None:
    """Those of a classifier; None for other tasks, and for more classes than one can look at."""
    if curves is None or task.name != "classify" or len(getattr(task, "labels", [])) not in range(1, MOST_CLASSES + 1):
        return None
    with strategy.scope(), keras.name_scope("watching"):
        tally = Tally(len(task.labels), threshold=task.threshold if task.multi_label else None)
    return Pictures(task, curves, tally)
