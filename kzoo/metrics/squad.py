"""Answers held against right ones as SQuAD's official evaluation does: exact match, F1 of words, the best threshold.

Rajpurkar, Jia and Liang 2018, and the evaluation script that came with it. A question has any number of right answers,
of which the nearest counts; one without an answer has none, and only the empty answer is right.
"""

import re
import string
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# N questions

_ARTICLES = re.compile(r"\b(a|an|the)\b", re.UNICODE)
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalized_answer(text: str) -> str:
    """An answer as it is compared: in lower case, without punctuation (of ASCII), articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def answer_exact(given: str, right: Sequence[str]) -> float:
    """1 where the answer is one of the right ones, else 0."""
    said = normalized_answer(given)
    return float(any(said == normalized_answer(one) for one in _right(right)))


def answer_f1(given: str, right: Sequence[str]) -> float:
    """F1 of the words that the answer shares with the nearest of the right ones."""
    return max(_f1(given, one) for one in _right(right))


def _right(answers: Sequence[str]) -> list[str]:
    """Those that are left of the right answers when they are normalized; none at all is the empty answer."""
    return [one for one in answers if normalized_answer(one)] or [""]


def _f1(given: str, right: str) -> float:
    said, wanted = normalized_answer(given).split(), normalized_answer(right).split()
    if not said or not wanted:
        return float(said == wanted)
    shared = sum((Counter(said) & Counter(wanted)).values())
    if not shared:
        return 0.0
    precision, recall = shared / len(said), shared / len(wanted)
    return 2 * precision * recall / (precision + recall)


@dataclass(frozen=True)
class Threshold:
    """Where to stop answering.

    Attributes:
        threshold: a question is answered while the margin of "no answer" is not above this.
        value: the mean score of the questions then.
    """

    threshold: float
    value: float


def best_threshold(scores: np.ndarray, margins: np.ndarray, answerable: np.ndarray) -> Threshold:
    """The threshold with which the mean score of all questions is highest; of equals the one that answers fewest.

    The official script takes the margin of the last question that is answered, and questions of equal margin one by
    one; here it lies in the middle between that and the next one, and equal margins stay together.

    Args:
        scores: of each question, exact match or F1, if it is answered ``[N]``.
        margins: how much more "no answer" is favoured than the answer ``[N]``.
        answerable: whether it has an answer, bool ``[N]``. One without scores 1 when it is not answered.
    """
    scores, margins, answerable = (np.asarray(one) for one in (scores, margins, answerable))
    order = np.argsort(margins, kind="stable")
    gains = np.where(answerable, scores, scores - 1.0)[order]  # what answering changes
    totals = (~answerable).sum() + np.concatenate([[0.0], np.cumsum(gains)])  # after so many questions answered
    ascending = margins[order].astype(np.float64)
    edges = np.concatenate([[ascending[0] - 1.0], (ascending[:-1] + ascending[1:]) / 2, [ascending[-1] + 1.0]])
    possible = np.concatenate([[True], ascending[1:] > ascending[:-1], [True]])
    best = int(np.argmax(np.where(possible, totals, -np.inf)))
    return Threshold(float(edges[best]), float(totals[best] / len(scores)))
