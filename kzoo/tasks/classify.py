"""Text classification: one label of several, or several labels at once."""

import itertools
from collections.abc import Mapping, Sequence

import keras
import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tasks import tf_example
from kzoo.tasks.abstention import check_abstention, chosen_label
from kzoo.tasks.class_weights import checked_weights, each_weight, weights_of_targets
from kzoo.tasks.counting import CountedAccuracy, several_labels
from kzoo.tasks.labels import labels_of, numbers_of_labels
from kzoo.tasks.published_head import label_keys, labels_of_head, units_of_head
from kzoo.tasks.text_head import LastToken, TextHead

__all__ = ["Classify", "LastToken", "PositiveWeights"]

# B texts, C classes

SEVERAL = "multi_label_classification"  # as transformers calls them
ONE = "single_label_classification"


@keras.saving.register_keras_serializable(package="kzoo")
class PositiveWeights(keras.losses.Loss):
    """Binary cross entropy of each label, the mean over labels; where a label is right, it weighs so much.

    Args:
        weights: one a class, C; 1 is the plain loss.
        kwargs: ``reduction``, ``name``, ``dtype``.
    """

    def __init__(self, weights, *, name="binary_cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.weights = [float(weight) for weight in weights]

    def call(self, y_true, y_pred):
        """Maps targets of 0 and 1 and logits, both ``[B, C]``, to values ``[B]``."""
        values = tf.nn.weighted_cross_entropy_with_logits(
            tf.cast(y_true, tf.float32), tf.cast(y_pred, tf.float32), tf.constant(self.weights, tf.float32)
        )
        return tf.reduce_mean(values, axis=-1)

    def get_config(self):
        return super().get_config() | {"weights": self.weights}


class Classify(TextHead):
    """Puts each text, or each pair of texts, into one of several classes, or gives it any number of labels.

    Args:
        pretrained: what ``kzoo.load`` returned.
        labels: names of the classes; by default those of the checkpoint's own head.
        multi_label: whether a text may have several labels, or none, each judged by itself. By default as the
            checkpoint's own head when ``labels`` are its own, else False. The column ``label`` then holds a list (JSON
            Lines), a JSON list as text, or names between ``separator``.
        threshold: with ``multi_label``, the probability from which on a label is given.
        abstain_below: the score that a label must have to be given; below it ``label`` is ``abstain_label``, and the
            scores are what they are. None for an answer to every text.
        abstain_label: what stands in the place of a label then.
        separator: with ``multi_label``, what stands between labels in a text.
        class_weights: how much the classes weigh in the loss, ``{label: weight}``, 1 where a label is not named; or
            "balanced": as much as makes all classes of the examples weigh the same together,
            ``examples / (classes x examples of the class)`` (King and Zeng 2001), counted in the examples at hand.
            With ``multi_label`` they weigh the texts that have the label against those that have not.

            The reported loss is the sum of weight x loss over targets divided by the *count* of targets (PyTorch
            divides by the sum of weights). "balanced" weights have the mean 1 over the examples, so that such losses
            stay comparable; others scale the loss by their mean. Validation is weighed like training. Accuracy is
            never weighed.
        pair: whether each example is two texts, ``text`` and ``text_pair``, read together in one row.
        truncation: which text of a pair is cut: "longest_first", "only_first" or "only_second".
        max_length: most tokens of a row, special ones included; what is longer is cut.
        dropout: rate before the head, in training.

    Raises:
        UserError: fewer than two labels (one, with ``multi_label``), one twice, or none named where the checkpoint has
            no head; weights of labels that there are not.

    Answers: ``label`` string ``[B]``, ``scores`` float32 ``[B, C]`` (softmax, in the order of ``labels``) and
    ``classes`` string ``[B, C]``. With ``multi_label``: ``labels`` string ``[B, C]``, those given, the likeliest
    first, then "" up to C; ``count`` int32 ``[B]`` of them; ``scores`` float32 ``[B, C]`` (a sigmoid each) and
    ``classes``.
    """

    name = "classify"
    limits = ("abstain_below", "abstain_label")
    can_be_compiled = True
    columns = {"text": "string", "label": "label"}

    def __init__(
        self,
        pretrained,
        *,
        labels: Sequence[str] | None = None,
        multi_label: bool | None = None,
        threshold: float = 0.5,
        abstain_below: float | None = None,
        abstain_label: str = "",
        separator: str = ",",
        class_weights: Mapping[str, float] | str | None = None,
        pair: bool = False,
        truncation: str = "longest_first",
        max_length=None,
        dropout: float = 0.1,
    ):
        if multi_label is None:
            multi_label = labels is None and pretrained.published.get("problem_type") == SEVERAL
        if labels is None:
            labels = _published_labels(pretrained)
        labels = [str(label) for label in labels]
        if len(labels) < (1 if multi_label else 2) or len(set(labels)) != len(labels):
            number = "one" if multi_label else "two"
            raise UserError(f"labels must name {number} or more different classes. Received {labels}.")
        if not 0 < threshold < 1:
            raise UserError(f"threshold must lie between 0 and 1. Received {threshold}.")
        check_abstention(abstain_below, abstain_label, labels, multi_label=multi_label)
        if not separator:
            raise UserError("separator must be what stands between labels, a comma for example. Received ''.")
        self.labels = labels
        self.multi_label = multi_label
        self.threshold = threshold
        self.abstain_below, self.abstain_label = abstain_below, abstain_label
        self.separator = separator
        self.class_weights = checked_weights(class_weights, labels, can_balance=not multi_label)
        super().__init__(
            pretrained, units=len(labels), pair=pair, truncation=truncation, max_length=max_length, dropout=dropout
        )

    def targets(self, examples, tokens):
        """Targets and weights of the examples; a label that is not known is an error that names it.

        Returns:
            Class numbers int32 ``[B]`` and the classes' weights ``[B]``; with ``multi_label`` 0 and 1 float32
            ``[B, C]`` and weights of 1 ``[B]``.
        """
        values = labels_of(examples["label"], separator=self.separator if self.multi_label else None)
        numbers = numbers_of_labels(self.labels, itertools.chain.from_iterable(values))
        if self.multi_label:
            targets = np.zeros([len(values), len(self.labels)], np.float32)
            for row, given in enumerate(values):
                targets[row, [numbers[label] for label in given]] = 1.0
            return tf.constant(targets), tf.ones([len(values)])
        classes = np.array([numbers[label] for (label,) in values], np.int32)
        return tf.constant(classes), tf.constant(weights_of_targets(self.class_weights, classes, self.labels))

    def postprocess(self, outputs, inputs, tokens):
        logits = tf.cast(outputs, tf.float32)  # [B, C]
        classes = tf.constant(self.labels)
        scores = tf.nn.sigmoid(logits) if self.multi_label else tf.nn.softmax(logits)
        answers = {"scores": scores, "classes": tf.broadcast_to(classes, tf.shape(scores))}
        if not self.multi_label:
            return {"label": chosen_label(scores, self.labels, self.abstain_below, self.abstain_label), **answers}
        order = tf.argsort(scores, direction="DESCENDING", stable=True)
        count = tf.reduce_sum(tf.cast(scores >= self.threshold, tf.int32), axis=-1)  # [B]
        given = tf.sequence_mask(count, len(self.labels))
        return {"labels": tf.where(given, tf.gather(classes, order), ""), "count": count, **answers}

    @property
    def explained_labels(self):  # type: ignore[override]
        return self.labels

    def explained_score(self, logits, target):
        """The probability of the label."""
        scores = tf.nn.sigmoid(logits) if self.multi_label else tf.nn.softmax(logits)
        return tf.gather(scores, target, batch_dims=1)

    def signatures(self):
        """The plain answer, and ``classify`` for the Classify API: ``classes`` and ``scores`` of ``tf.Example``."""

        def classify(inputs):
            answers = self.serve(inputs)
            return {name: answers[name] for name in ("classes", "scores")}

        return super().signatures() | {self.name: tf_example.signature("classify", self.inputs, classify)}

    def loss(self):
        if not self.multi_label:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="mean_with_sample_weight")
        if self.class_weights:
            return PositiveWeights(each_weight(self.class_weights, self.labels), reduction="mean_with_sample_weight")
        return keras.losses.BinaryCrossentropy(from_logits=True, reduction="mean_with_sample_weight")

    def metrics(self):
        return several_labels(self.threshold) if self.multi_label else [CountedAccuracy(name="accuracy")]

    def options(self):
        options = super().options() | {"labels": self.labels, "multi_label": self.multi_label}
        if self.multi_label:
            options |= {"threshold": self.threshold, "separator": self.separator}
        if self.abstain_below is not None:
            options |= {"abstain_below": self.abstain_below, "abstain_label": self.abstain_label}
        return options | ({"class_weights": self.class_weights} if self.class_weights else {})

    def published(self):
        return super().published() | label_keys(self.labels) | {"problem_type": SEVERAL if self.multi_label else ONE}


def _published_labels(pretrained) -> list[str]:
    number = units_of_head(pretrained, Classify.name)
    if not number:
        raise UserError(f"{pretrained.source} has no classifier of its own: name the classes in labels.")
    labels = labels_of_head(pretrained, Classify.name)
    if not labels:
        raise UserError(f"id2label in config.json of {pretrained.source} must name the {number} classes of its head.")
    return labels
