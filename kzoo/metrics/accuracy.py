"""The share of answers that are right."""

from collections.abc import Sequence
from dataclasses import dataclass

from kzoo.metrics.interval import wilson_interval


@dataclass(frozen=True)
class Accuracy:
    """A share with its interval.

    Attributes:
        value: right answers over all.
        count: how many answers there were.
        low: lower end of the 95% interval.
        high: upper end.
    """

    value: float
    count: int
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4f} (95% interval {self.low:.4f} to {self.high:.4f}, {self.count} answers)"


def accuracy(expected: Sequence, answered: Sequence) -> Accuracy:
    """Accuracy of answers, with Wilson's 95% interval.

    Args:
        expected: the right answers.
        answered: those given, in the same order.
    """
    if len(expected) != len(answered):
        raise ValueError(
            "Each answer needs the right one beside it. "
            f"Received {len(expected)} expected and {len(answered)} answered."
        )
    return from_share(
        sum(a == b for a, b in zip(expected, answered, strict=True)) / max(len(expected), 1), len(expected)
    )


def from_share(value: float, count: int) -> Accuracy:
    """Accuracy of which the share and the number of answers are known."""
    low, high = wilson_interval(round(value * count), count)
    return Accuracy(value, count, low, high)
