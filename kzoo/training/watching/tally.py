"""What a classifier answered at a validation, counted while its loss is measured: no second reading."""

import keras
import numpy as np
import tensorflow as tf

# B rows, C classes, H thresholds

THRESHOLDS = 201
"""Of the precision-recall curves, evenly from 0 to 1."""


@keras.saving.register_keras_serializable(package="kzoo")
class Tally(keras.metrics.Metric):
    """Counts answers by their right ones, and scores by whether the class was right; each row once, whatever it weighs.

    Sums over replicas and workers: to read it takes all workers.

    Args:
        classes: C.
        threshold: None where each row has one class; else the score from which on a label is given.

    Attributes:
        matrix: float32 ``[C, C]``, right ones by those answered; with several labels ``[C, 2, 2]``, each by itself.
        scores: float32 ``[2, C, H]``, rows by the last threshold that their score reaches: not of the class, of it.
    """

    def __init__(self, classes: int, *, threshold: float | None = None, name="tally", **kwargs):
        super().__init__(name=name, **kwargs)
        self.classes = classes
        self.threshold = threshold
        shape = (classes, classes) if threshold is None else (classes, 2, 2)
        self.matrix = self.add_variable(shape, initializer="zeros", name="matrix")
        self.scores = self.add_variable((2, classes, THRESHOLDS), initializer="zeros", name="scores")

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Adds rows.

        Args:
            y_true: integers ``[B]``, or 0 and 1 ``[B, C]``.
            y_pred: logits ``[B, C]``.
            sample_weight: ``[B]``; 0 where a row only fills the batch.
        """
        logits = tf.cast(y_pred, tf.float32)
        weight = tf.ones(tf.shape(logits)[0]) if sample_weight is None else sample_weight
        real = tf.cast(tf.not_equal(weight, 0), tf.float32)[:, tf.newaxis]  # [B, 1]
        if self.threshold is None:
            expected = tf.one_hot(tf.cast(tf.reshape(y_true, [-1]), tf.int32), self.classes)  # [B, C]
            scores = tf.nn.softmax(logits)
            given = tf.one_hot(tf.argmax(logits, -1), self.classes)
            counts = tf.matmul(expected * real, given, transpose_a=True)
        else:
            expected = tf.cast(tf.cast(y_true, tf.float32) > 0.5, tf.float32)
            scores = tf.nn.sigmoid(logits)
            given = tf.cast(scores >= self.threshold, tf.float32)
            rows = [[(1 - expected) * (1 - given), (1 - expected) * given], [expected * (1 - given), expected * given]]
            counts = tf.stack([tf.stack([tf.reduce_sum(cell * real, 0) for cell in row], -1) for row in rows], 1)
        self.matrix.assign_add(counts)
        # the product with 200 rounds: a score of 0.29 must reach the threshold 0.29
        reached = tf.cast(tf.floor(scores * (THRESHOLDS - 1) + 1e-4), tf.int32)
        reached = tf.one_hot(tf.clip_by_value(reached, 0, THRESHOLDS - 1), THRESHOLDS)  # [B, C, H]
        right = tf.reduce_sum(reached * (expected * real)[..., tf.newaxis], 0)
        wrong = tf.reduce_sum(reached * ((1 - expected) * real)[..., tf.newaxis], 0)
        self.scores.assign_add(tf.stack([wrong, right]))

    def result(self):
        """The matrix."""
        return self.matrix.value

    def get_config(self):
        return super().get_config() | {"classes": self.classes, "threshold": self.threshold}


def precision_recall(scores: np.ndarray) -> np.ndarray:
    """What TensorBoard's plugin draws, float32 ``[C, 6, H]``, from the counts ``[2, C, H]`` of a ``Tally``.

    The rows: true positives, false positives, true negatives, false negatives, precision, recall.
    """
    wrong, right = scores[:, :, ::-1].cumsum(-1)[:, :, ::-1]  # [C, H], with a score from the threshold on
    negative, missed = wrong[:, :1] - wrong, right[:, :1] - right
    precision = np.divide(right, right + wrong, out=np.zeros_like(right), where=right + wrong > 0)
    recall = np.divide(right, right[:, :1], out=np.zeros_like(right), where=right[:, :1] > 0)
    return np.stack([right, wrong, negative, missed, precision, recall], axis=1).astype(np.float32)
