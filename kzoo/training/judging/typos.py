"""How right a classifier stays when texts are mistyped."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kzoo.data.examples import Examples
from kzoo.metrics import plots
from kzoo.metrics.report import Plot, Table, between
from kzoo.metrics.typos import with_typos
from kzoo.training.judging.decisions import decisions, variants
from kzoo.training.judging.judgement import Judgement, share

RATES = (0.0, 0.02, 0.05, 0.1, 0.2)


def judge_typos(
    task, examples: Examples, *, rates: Sequence[float] = RATES, seed: int = 0, batch_size: int = 32
) -> Judgement:
    """Accuracy over the share of letters that are mistyped.

    Args:
        task: a ``Classify``; of several labels all of a text must be right.
        examples: of its columns.
        rates: shares of letters.
        seed: of the slips.
        batch_size: rows at once.

    Returns:
        ``typos``: by rate ``accuracy``, its interval, and ``changed``, the share of texts that are answered otherwise
        than without typos; ``accuracy_with_RATE%_typos`` of the highest rate. A plot and a table of the same.
    """
    rates = sorted({0.0, *rates})
    number = len(examples)
    texts: dict[str, list[str]] = {name: [] for name in task.inputs}
    for rate in rates:
        random = np.random.default_rng([seed, round(rate * 1e6)])
        for name in texts:
            texts[name] += [with_typos(str(text), rate, random) for text in examples[name]]
    found = decisions(task, variants(task, examples, texts, np.tile(np.arange(number), len(rates))), batch_size)
    right, given = found.right.reshape(len(rates), number), found.given.reshape(len(rates), number, -1)
    each: dict[str, dict[str, Any]] = {}
    for place, rate in enumerate(rates):
        changed = float((given[place] != given[0]).any(-1).mean())
        each[f"{rate:g}"] = share("accuracy", right[place]) | {"changed": changed}
    rows = [
        [f"{rate:.0%}", one["accuracy"], between(one["accuracy_interval_95"]), one["changed"]]
        for rate, one in zip(rates, each.values(), strict=True)
    ]
    note = "Letters exchanged, left out, typed twice, or hit beside; drawn by a fixed seed, the same for every model."
    accuracy = np.array([one["accuracy"] for one in each.values()])
    drawn = plots.lines([("accuracy", np.array(rates), accuracy)], "share of letters mistyped", "accuracy")
    columns = ["letters mistyped", "accuracy", "95% interval", "answers that change"]
    return Judgement(
        figures={"typos": each, f"accuracy_with_{rates[-1]:.0%}_typos": float(accuracy[-1])},
        plots=[Plot(title="Mistyped texts", svg=drawn, note=note)],
        tables=[Table(title="Mistyped texts", columns=columns, rows=rows, note=note)],
    )
