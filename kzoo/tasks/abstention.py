"""A classifier that gives no label where it is not sure."""

from collections.abc import Sequence

import tensorflow as tf

from kzoo.errors import UserError

# B texts, C classes


def check_abstention(below: float | None, instead: str, labels: Sequence[str], *, multi_label: bool = False) -> None:
    """Raises UserError for a threshold that makes no sense, or a text that is a label itself."""
    if below is None:
        return
    if multi_label:
        raise UserError(
            "abstain_below is for one label a text. Of several labels, those below threshold are not given."
        )
    if not 0 < below <= 1:
        raise UserError(f"abstain_below must lie above 0 and be 1 at most. Received {below}.")
    if instead in labels:
        raise UserError(f"abstain_label must not be one of the labels. Received {instead!r}.")


def chosen_label(scores, labels: Sequence[str], below: float | None = None, instead: str = "") -> tf.Tensor:
    """The likeliest label by scores ``[B, C]``, or the text instead where its score is below the threshold: ``[B]``."""
    label = tf.gather(tf.constant(list(labels)), tf.argmax(scores, -1))
    if below is None:
        return label
    return tf.where(tf.reduce_max(scores, axis=-1) >= below, label, instead)
