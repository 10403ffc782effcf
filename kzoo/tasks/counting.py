"""Metrics of training that count each real target once, whatever it weighs in the loss."""

import math

import keras
from keras import ops

# B targets, C classes


@keras.saving.register_keras_serializable(package="kzoo")
class CountedAccuracy(keras.metrics.SparseCategoricalAccuracy):
    """The share of right answers among targets with a weight other than 0, each counted once.

    Class weights change what is learned; what is right stays right, so they do not enter. (Keras's own takes the mean
    over the length of a row first: among batches of different lengths a token of a short row would count more.)
    """

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts answers: class numbers ``[B]`` or ``[B, T]``, logits ``[B, C]`` or ``[B, T, C]``, weights as those."""
        if sample_weight is not None:
            sample_weight = ops.reshape(ops.cast(ops.not_equal(sample_weight, 0), "float32"), (-1,))
        classes = ops.reshape(y_pred, (-1, y_pred.shape[-1]))
        return super().update_state(ops.reshape(y_true, (-1,)), classes, sample_weight)


def several_labels(threshold: float) -> list[keras.metrics.Metric]:
    """Metrics of texts with several labels, from targets of 0 and 1 and logits, both ``[B, C]``.

    Args:
        threshold: the probability from which on a label is given.

    Returns:
        ``exact_match``, the share of texts with all labels right and none besides, and ``label_accuracy``, the share
        of right decisions about a label.
    """
    edge = math.log(threshold / (1 - threshold))

    def right(y_true, y_pred):
        return ops.equal(ops.greater_equal(y_pred, edge), ops.greater(y_true, 0.5))

    def exact(y_true, y_pred):
        return ops.cast(ops.all(right(y_true, y_pred), axis=-1), "float32")

    def each(y_true, y_pred):
        return ops.mean(ops.cast(right(y_true, y_pred), "float32"), axis=-1)

    return [
        keras.metrics.MeanMetricWrapper(exact, name="exact_match"),
        keras.metrics.MeanMetricWrapper(each, name="label_accuracy"),
    ]
