"""What a classifier decides about texts, and variants of the same texts to ask it about."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.training.judging.judgement import of_texts

# N examples, C classes


class Decisions(NamedTuple):
    """What was decided.

    Attributes:
        right: whether all of a text's labels are right, bool ``[N]``.
        scores: probabilities, float ``[N, C]``.
        given: whether a label was given, bool ``[N, C]``.
        losses: float ``[N]``.
    """

    right: np.ndarray
    scores: np.ndarray
    given: np.ndarray
    losses: np.ndarray


def decisions(task, examples: Examples, batch_size: int) -> Decisions:
    """What a classifier, of one label or of several, decides about examples.

    Raises:
        UserError: the task is no ``classify``.
    """
    if task.name != "classify":
        raise UserError(f"Only a classifier is measured so. This model is for {task.name}.")
    targets, logits, losses = of_texts(task, examples, batch_size)
    if task.multi_label:
        scores = tf.nn.sigmoid(logits).numpy()
        given, expected = scores >= task.threshold, targets > 0.5
    else:
        scores = tf.nn.softmax(logits).numpy()
        classes = np.arange(scores.shape[1])
        given, expected = scores.argmax(-1)[:, None] == classes, targets[:, None] == classes
    return Decisions((given == expected).all(-1), scores, given, losses)


def named(task, given: np.ndarray) -> str:
    """The labels that were given, bool ``[C]``, as a person reads them."""
    return ", ".join(label for label, is_given in zip(task.labels, given, strict=True) if is_given) or "none"


def variants(
    task, examples: Examples, texts: Mapping[str, Sequence[str]], rows: Sequence[int] | np.ndarray
) -> Examples:
    """Examples with other texts and the labels of the rows that they were made of."""
    columns: dict[str, Any] = {name: examples[name][np.asarray(rows, np.int64)] for name in task.columns}
    return Examples(columns | dict(texts), source=examples.source)
