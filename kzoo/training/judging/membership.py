"""What a simple attack learns of who was in the training data."""

from typing import Any

import numpy as np

from kzoo.data.examples import Examples
from kzoo.metrics import plots
from kzoo.metrics.membership import membership
from kzoo.metrics.report import Plot
from kzoo.training.judging.decisions import decisions
from kzoo.training.judging.judgement import Judgement


def judge_membership(task, members: Examples, others: Examples, *, batch_size: int = 32) -> Judgement:
    """The attack that takes texts of small loss for members of the training data.

    A weak attack: what it finds is leaked, what it does not find may still be.

    Args:
        task: a ``Classify``.
        members: examples that it learned from.
        others: examples of the same kind that it did not.
        batch_size: rows at once.

    Returns:
        ``membership_area`` (under the ROC curve, 0.5 is chance) with its bootstrap interval, ``membership_advantage``,
        the share of members found at false positive rates of 0.1, 1 and 10 percent, and the accuracy on both.
    """
    inside, outside = decisions(task, members, batch_size), decisions(task, others, batch_size)
    found = membership(inside.losses, outside.losses)
    figures: dict[str, Any] = {
        "membership_area": found.area,
        "membership_area_interval_95": list(found.interval),
        "membership_advantage": found.advantage,
        **{f"members_found_at_{rate:g}": share for rate, share in found.found.items()},
        "member_accuracy": float(inside.right.mean()),
        "other_accuracy": float(outside.right.mean()),
        "members": len(members),
        "others": len(others),
    }
    drawn = plots.lines(
        [
            (f"by the loss ({found.area:.3f})", found.false_positives, found.true_positives),
            ("by chance (0.500)", np.array([0.0, 1.0]), np.array([0.0, 1.0])),
        ],
        "others taken for members",
        "members found",
    )
    note = "Texts of small loss are taken for those that the model learned from. In brackets the area under the curve."
    return Judgement(figures=figures, plots=[Plot(title="Membership inference", svg=drawn, note=note)])
