"""Plots and tables that several kinds of answers share."""

import numpy as np

from kzoo import metrics
from kzoo.metrics import plots
from kzoo.metrics.report import Plot, Table

# N examples, C classes


CURVES = 6
"""Classes with a precision-recall curve of their own: as many as a person tells apart."""


def per_class(each: dict[str, np.ndarray], labels: list[str]) -> dict[str, dict[str, float]]:
    """Figures of each class ``[C]`` by the class's label."""
    return {label: {name: values[place].item() for name, values in each.items()} for place, label in enumerate(labels)}


def class_table(each: dict[str, dict[str, float]]) -> Table:
    """What ``per_class`` gave, as a table."""
    names = ["precision", "recall", "f1", "support"]
    return Table(
        title="Classes",
        columns=["class", *names],
        rows=[[label, *(values[name] for name in names)] for label, values in each.items()],
    )


def reliability(calibrated, note: str = "On the dashed line the scores mean what they say.") -> Plot:
    """How often answers were right, by their scores."""
    svg = plots.reliability(calibrated.edges, calibrated.counts, calibrated.accuracy)
    return Plot(title="Reliability", svg=svg, note=f"{note} Expected calibration error {calibrated.error:.4f}.")


def curves(labels, positive: np.ndarray, scores: np.ndarray) -> list[Plot]:
    """Curves of the most frequent classes."""
    frequent = [place for place in np.argsort(-positive.sum(0), kind="stable")[:CURVES] if positive[:, place].any()]
    if not frequent:
        return []
    named = []
    for place in frequent:
        curve = metrics.precision_recall(positive[:, place], scores[:, place])
        named.append((f"{labels[place]} ({curve.average_precision:.3f})", curve.recall, curve.precision))
    most = f" of the {len(frequent)} most frequent classes" if len(frequent) < len(labels) else ""
    note = f"Each class against all others{most}; in brackets the average precision."
    return [Plot(title="Precision and recall", svg=plots.curves(named), note=note)]


def sureness(scores, right, title: str, names=("right", "wrong")) -> Plot:
    """Scores of right and of wrong answers, beside each other."""
    groups = [(names[0], scores[right]), (names[1], scores[~right])]
    return Plot(title="Scores", svg=plots.histogram(groups, title, within=(0.0, 1.0)))
