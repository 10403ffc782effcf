"""How far a measured share may lie from the true one."""

from math import sqrt
from statistics import NormalDist


def wilson_interval(successes: float, trials: int, *, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share, by Wilson's score (Wilson 1927).

    It holds at small counts and near 0 and 1, where the usual normal interval leaves the range or has no width.

    Args:
        successes: how often it happened; between 0 and ``trials``.
        trials: how many independent tries there were.
        confidence: how often such intervals hold the true share.

    Returns:
        Lower and upper end, within 0 and 1; (0, 1) when there was no try.
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"successes must lie between 0 and trials. Received successes={successes}, trials={trials}.")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1. Received confidence={confidence}.")
    if trials == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    share = successes / trials
    scale = 1 + z * z / trials
    center = (share + z * z / (2 * trials)) / scale
    width = z / scale * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # at the ends the bound is exact; rounding must not put it beside
    low = 0.0 if successes == 0 else center - width
    high = 1.0 if successes == trials else center + width
    return max(low, 0.0), min(high, 1.0)
