"""What a model is worth that may decline to answer: right answers against answers given."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

# N answers


@dataclass(frozen=True)
class RiskCoverage:
    """How often answers are wrong when only the surest are given (El-Yaniv and Wiener 2010).

    Attributes:
        thresholds: the scores from which on answers are given, falling; one for each score that occurs.
        coverage: share of answers that are given then.
        risk: share of these that is wrong.
        area: the mean of the risk over all numbers of answers (the area under the curve); 0 where no answer is wrong.
    """

    thresholds: np.ndarray
    coverage: np.ndarray
    risk: np.ndarray
    area: float


def risk_coverage(confidence: ArrayLike, right: ArrayLike) -> RiskCoverage:
    """The curve of answers ``[N]`` by their scores.

    Answers of equal score are given together or not at all; in the area each of them counts with their common risk.

    Args:
        confidence: the score of each answer.
        right: whether it was right.
    """
    scores, hits = np.asarray(confidence, np.float64), np.asarray(right, bool)
    if len(scores) != len(hits) or not len(scores):
        raise ValueError(f"Each answer needs its score. Received {len(scores)} scores of {len(hits)} answers.")
    order = np.argsort(-scores, kind="stable")
    scores, wrong = scores[order], np.cumsum(~hits[order])
    last = np.append(np.flatnonzero(np.diff(scores)), len(scores) - 1)  # of each group of equal scores
    given = last + 1
    risk = wrong[last] / given
    area = float((np.diff(given, prepend=0) * risk).sum() / len(scores))
    return RiskCoverage(scores[last], given / len(scores), risk, area)
