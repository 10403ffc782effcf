"""One number for each text, or for each pair of texts."""

import math

import keras
import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tasks import tf_example
from kzoo.tasks.published_head import label_keys
from kzoo.tasks.text_head import TextHead

# B texts or pairs


class Regress(TextHead):
    """Gives each text, or each pair of texts, a number: a rating, how alike two sentences are, how well one answers.

    It learns by the mean squared error. The numbers are learned as they stand: bring those that are very large or very
    small to a handier scale first.

    Args:
        pretrained: what ``kzoo.load`` returned.
        pair: whether each example is two texts, ``text`` and ``text_pair``, read together in one row.
        truncation: which text of a pair is cut: "longest_first", "only_first" or "only_second".
        max_length: most tokens of a row, special ones included; what is longer is cut.
        dropout: rate before the head, in training.

    Raises:
        UserError: a length that the model cannot read, an unknown truncation.

    Answers: ``score`` float32 ``[B]``. The column ``label`` holds the numbers to learn.
    """

    name = "regress"
    can_be_compiled = True
    columns = {"text": "string", "label": "number"}

    def __init__(
        self,
        pretrained,
        *,
        pair: bool = False,
        truncation: str = "longest_first",
        max_length=None,
        dropout: float = 0.1,
    ):
        super().__init__(pretrained, units=1, pair=pair, truncation=truncation, max_length=max_length, dropout=dropout)

    def targets(self, examples, tokens):
        """The numbers, float32 ``[B, 1]``, and weights of 1 ``[B]``; what is not a number is an error."""
        values = numbers_of(examples["label"])
        return tf.constant(values[:, np.newaxis], tf.float32), tf.ones([len(values)])

    def postprocess(self, outputs, inputs, tokens):
        return {"score": tf.cast(outputs, tf.float32)[:, 0]}

    def signatures(self):
        """The plain answer, and ``regress`` for the Regress API: ``outputs`` of ``tf.Example``."""

        def regress(inputs):
            return {"outputs": self.serve(inputs)["score"]}

        return super().signatures() | {self.name: tf_example.signature("regress", self.inputs, regress)}

    def loss(self):
        return keras.losses.MeanSquaredError(reduction="mean_with_sample_weight")

    def metrics(self):
        return [keras.metrics.MeanAbsoluteError(name="absolute_error")]

    def published(self):
        return super().published() | label_keys(("LABEL_0",)) | {"problem_type": "regression"}


def numbers_of(column) -> np.ndarray:
    """A column of numbers, or of texts that are numbers, as float64 ``[B]``.

    Raises:
        UserError: one is none, or is not finite; says which row.
    """
    numbers = np.empty(len(column))
    for row, value in enumerate(np.asarray(column).tolist()):
        try:
            numbers[row] = float(value.decode() if isinstance(value, bytes) else value)
        except (TypeError, ValueError):
            numbers[row] = math.nan
        if not math.isfinite(numbers[row]):
            raise UserError(f"label must hold numbers to be learned. Row {row + 1} holds {value!r}.")
    return numbers
