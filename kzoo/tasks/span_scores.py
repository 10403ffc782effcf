"""Learning where an answer begins and ends: the loss and the metrics of a pair of places in a row."""

import keras
from keras import ops

# W windows, T length; the last axis of 2 is the first and the last token

HOPELESS = -1e9
"""The logit of a place that cannot be chosen."""


@keras.saving.register_keras_serializable(package="kzoo")
class HideOthers(keras.layers.Layer):
    """Makes logits hopeless where nothing can be chosen, so that no probability goes there."""

    def call(self, logits, choices):
        """Maps ``[W, T, 2]`` and a mask ``[W, T]``, not 0 where a place can be chosen, to ``[W, T, 2]``."""
        return ops.where(ops.expand_dims(choices, -1) != 0, logits, ops.cast(HOPELESS, logits.dtype))

    def compute_output_shape(self, logits_shape, choices_shape=None):
        return logits_shape


@keras.saving.register_keras_serializable(package="kzoo")
class SpanLoss(keras.losses.Loss):
    """Cross entropy of the first and of the last token of an answer, each over the tokens of a window.

    Devlin et al. 2019, section 4.2.
    """

    def __init__(self, *, name="span_loss", **kwargs):
        super().__init__(name=name, **kwargs)

    def call(self, y_true, y_pred):
        """Maps places ``[W, 2]`` and logits ``[W, T, 2]`` to values ``[W, 2]``."""
        log_probabilities = ops.log_softmax(ops.cast(y_pred, "float32"), axis=1)
        places = ops.expand_dims(ops.cast(y_true, "int32"), 1)  # [W, 1, 2]
        return -ops.take_along_axis(log_probabilities, places, axis=1)[:, 0]


@keras.saving.register_keras_serializable(package="kzoo")
class PlaceAccuracy(keras.metrics.Mean):
    """The share of windows whose likeliest place is the right one.

    Args:
        which: 0 for the first token of the answer, 1 for the last.
        kwargs: ``name``, ``dtype``.
    """

    def __init__(self, which, **kwargs):
        super().__init__(**kwargs)
        self.which = which

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts places ``[W, 2]``, logits ``[W, T, 2]`` and weights ``[W, 2]``."""
        given = ops.argmax(y_pred[..., self.which], axis=1)
        right = ops.equal(ops.cast(given, "int32"), ops.cast(y_true[..., self.which], "int32"))
        weight = None if sample_weight is None else sample_weight[..., self.which]
        return super().update_state(ops.cast(right, "float32"), weight)

    def get_config(self):
        return super().get_config() | {"which": self.which}
