"""Intervals of figures that have no formula for theirs: measure again on examples drawn with replacement."""

from collections.abc import Callable, Hashable, Sequence

import numpy as np
from numpy.typing import ArrayLike

# N examples, R resamples, K kinds of examples


def bootstrap_interval(
    statistic: Callable[..., float],
    *columns: ArrayLike,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile interval of a statistic (Efron 1979; Efron and Tibshirani 1993, section 13.3).

    Args:
        statistic: takes the columns, gives a number.
        columns: arrays with one entry an example ``[N, ...]``; an example keeps its entries together.
        resamples: how many times it is measured, R.
        confidence: the share of resamples inside.
        seed: the same one gives the same interval.

    Returns:
        Lower and upper end; resamples for which the statistic is not a number do not count. NaN when there are none.
    """
    arrays = [np.asarray(column) for column in columns]
    number = len(arrays[0])
    if any(len(array) != number for array in arrays) or number == 0:
        raise ValueError(f"columns must be of equal length, above 0. Received {[len(array) for array in arrays]}.")
    random = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        rows = random.integers(0, number, number)
        values.append(float(statistic(*(array[rows] for array in arrays))))
    return percentiles(values, confidence)


def bootstrap_counts(
    statistic: Callable[[np.ndarray], np.ndarray],
    counts: np.ndarray,
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The same for a statistic of how many examples there are of each kind: a confusion matrix, for example.

    Drawing N examples with replacement is drawing the counts from a multinomial distribution, so that it takes the
    same time for any N.

    Args:
        statistic: takes counts ``[R, *K]``, gives numbers ``[R]``.
        counts: of the examples, an array of any shape K.
        resamples: how many times it is measured, R.
        confidence: the share of resamples inside.
        seed: the same one gives the same interval.
    """
    counts = np.asarray(counts)
    total = int(counts.sum())
    if total == 0:
        raise ValueError("counts must hold at least one example. Received none.")
    drawn = np.random.default_rng(seed).multinomial(total, counts.reshape(-1) / total, size=resamples)
    return percentiles(statistic(drawn.reshape(resamples, *counts.shape)), confidence)


def bootstrap_groups(
    values: ArrayLike,
    groups: Sequence[Hashable],
    *,
    resamples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """The same for a mean over examples of which some belong together, as questions about one text do.

    Whole groups are drawn with replacement (Davison and Hinkley 1997, section 3.8): examples of a group resemble one
    another, and an interval that takes them for independent ones is too narrow.

    Args:
        values: of the examples ``[N]``.
        groups: what each example belongs to.
        resamples: how many times the mean is taken, R.
        confidence: the share of resamples inside.
        seed: the same one gives the same interval.
    """
    array = np.asarray(values, np.float64)
    if len(groups) != len(array) or not len(array):
        raise ValueError(f"Each value needs its group, and there must be one. Received {len(array)}, {len(groups)}.")
    numbers: dict[Hashable, int] = {}
    member = np.array([numbers.setdefault(group, len(numbers)) for group in groups])
    sums, counts = np.bincount(member, weights=array), np.bincount(member)
    size = len(numbers)
    drawn = np.random.default_rng(seed).multinomial(size, np.full(size, 1 / size), size=resamples)  # [R, groups]
    return percentiles((drawn @ sums) / (drawn @ counts), confidence)


def percentiles(values: ArrayLike, confidence: float) -> tuple[float, float]:
    """Lower and upper end between which so large a share of the values lies; NaN are left out."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1. Received confidence={confidence}.")
    numbers = np.asarray(values, np.float64)
    numbers = numbers[~np.isnan(numbers)]
    if not len(numbers):
        return float("nan"), float("nan")
    low, high = np.quantile(numbers, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
