"""Whether one can tell from a model's loss which examples it learned from (Yeom et al. 2018; Carlini et al. 2022)."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from kzoo.metrics.bootstrap import percentiles

# M members, O others, R resamples

RATES = (0.001, 0.01, 0.1)
"""False positive rates at which the true positive rate is told."""


@dataclass(frozen=True)
class Membership:
    """What an attack by a threshold on the loss achieves.

    Attributes:
        area: under the ROC curve: how often of a member and another the member has the smaller loss; 0.5 is chance.
        interval: the 95% percentile bootstrap interval of that.
        advantage: the largest difference of true and false positive rate over all thresholds.
        found: by false positive rate, the share of members found.
        false_positives: of the curve, ascending.
        true_positives: of the curve.
    """

    area: float
    interval: tuple[float, float]
    advantage: float
    found: dict[float, float]
    false_positives: np.ndarray
    true_positives: np.ndarray


def membership(members: ArrayLike, others: ArrayLike, *, resamples: int = 500, seed: int = 0) -> Membership:
    """The attack that takes texts of small loss for members.

    Args:
        members: losses of examples that were learned from ``[M]``.
        others: losses of examples of the same kind that were not ``[O]``.
        resamples: of the bootstrap.
        seed: of the bootstrap.

    Raises:
        ValueError: one of the two is empty, or holds what is no number.
    """
    inside, outside = np.asarray(members, np.float64), np.asarray(others, np.float64)
    if not len(inside) or not len(outside) or not np.isfinite(np.concatenate([inside, outside])).all():
        raise ValueError(f"Both groups need losses that are numbers. Received {len(inside)} and {len(outside)}.")
    random = np.random.default_rng(seed)
    drawn = [_area(random.choice(inside, len(inside)), random.choice(outside, len(outside))) for _ in range(resamples)]
    thresholds = np.unique(np.concatenate([inside, outside]))
    true = np.concatenate([[0.0], np.searchsorted(np.sort(inside), thresholds, "right") / len(inside)])
    false = np.concatenate([[0.0], np.searchsorted(np.sort(outside), thresholds, "right") / len(outside)])
    return Membership(
        area=_area(inside, outside),
        interval=percentiles(drawn, 0.95),
        advantage=float((true - false).max()),
        found={rate: float(true[false <= rate].max()) for rate in RATES},
        false_positives=false,
        true_positives=true,
    )


def _area(inside: np.ndarray, outside: np.ndarray) -> float:
    """By ranks (Mann and Whitney 1947); equal losses count half."""
    ranks = rankdata(np.concatenate([inside, outside]))[: len(inside)]
    above = ranks.sum() - len(inside) * (len(inside) + 1) / 2
    return float(1 - above / (len(inside) * len(outside)))
