"""Whether a classifier's answer changes when a text is about somebody else."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.metrics.counterfactuals import Terms, exchanged
from kzoo.metrics.report import Table, between
from kzoo.training.judging.decisions import Decisions, decisions, named, variants
from kzoo.training.judging.judgement import MISTAKES, Judgement, share

# N counterfactuals, C classes


def judge_counterfactuals(
    task, examples: Examples, terms: Sequence[Terms], *, templates: Sequence[str] = (), batch_size: int = 32
) -> Judgement:
    """How often the answer flips, and how far scores move, when terms are put in one another's place.

    Args:
        task: a ``Classify``.
        examples: of its columns; their labels are not looked at.
        terms: which terms.
        templates: further texts, of which counterfactuals are made, too; not for pairs.
        batch_size: rows at once.

    Returns:
        ``counterfactuals``: their number, and of each exchange ``texts``, ``flips``, ``flip_rate`` with Wilson's
        interval, ``mean_move`` (of the score of the answer to the original, absolute) and ``moves`` (the mean change of
        each label's score); ``counterfactual_flip_rate`` and ``counterfactual_mean_move`` over all. Tables of the
        exchanges, and of the texts that move most.

    Raises:
        UserError: no text has any of the terms; templates for pairs of texts.
    """
    if templates and len(task.inputs) > 1:
        raise UserError("Templates are single texts; this model reads pairs. Leave them out.")
    names = list(task.inputs)
    originals = [tuple(str(text) for text in row) for row in zip(*(examples[name] for name in names), strict=True)]
    originals += [(template,) for template in templates]
    pairs, sources, texts = [], [], []
    for one in terms:
        for side, other in one.pairs():
            for row, original in enumerate(originals):
                changed = tuple(exchanged(text, one, side, other) for text in original)
                if any(text is not None for text in changed):
                    pairs.append(f"{one.name}: {one.pair_name(side, other)}")
                    sources.append(row)
                    texts.append(tuple(new or old for new, old in zip(changed, original, strict=True)))
    if not texts:
        raise UserError(
            f"None of the {len(originals)} texts has any of the terms of {', '.join(t.name for t in terms)}."
        )
    asked = sorted(set(sources))
    place = {row: number for number, row in enumerate(asked)}
    columns = list(zip(*(originals[row] for row in asked), strict=True)), list(zip(*texts, strict=True))
    both = {name: [*columns[0][at], *columns[1][at]] for at, name in enumerate(names)}
    rows = np.minimum(np.array(asked + sources), len(examples) - 1)  # a template has no label; any will do
    found = decisions(task, variants(task, examples, both, rows), batch_size)
    before, after = np.array([place[row] for row in sources]), np.arange(len(asked), len(asked) + len(texts))
    flips = (found.given[before] != found.given[after]).any(-1)  # [N]
    moves = found.scores[after] - found.scores[before]  # [N, C]
    answer = found.scores[before].argmax(-1)
    size = np.abs(moves[np.arange(len(moves)), answer])  # [N]
    each = {
        pair: _of(task, flips[of], moves[of], size[of])
        for pair in dict.fromkeys(pairs)
        for of in [np.array([one == pair for one in pairs])]
    }
    figures: dict[str, Any] = {
        "counterfactual_texts": len(texts),
        **share("counterfactual_flip_rate", flips),
        "counterfactual_mean_move": float(size.mean()),
        "counterfactuals": each,
    }
    return Judgement(
        figures=figures,
        tables=[_table(task, each), _examples(task, pairs, originals, sources, texts, found, before, after, size)],
    )


def _of(task, flips, moves, size) -> dict[str, Any]:
    return {
        "texts": len(flips),
        "flips": int(flips.sum()),
        **share("flip_rate", flips),
        "mean_move": float(size.mean()),
        "moves": dict(zip(task.labels, moves.mean(0).tolist(), strict=True)),
    }


def _table(task, each: dict[str, dict[str, Any]]) -> Table:
    shown = task.labels[-3:] if len(task.labels) > 2 else task.labels[-1:]
    rows = [
        [
            pair,
            one["texts"],
            one["flips"],
            between(one["flip_rate_interval_95"]),
            one["mean_move"],
            *(one["moves"][label] for label in shown),
        ]
        for pair, one in each.items()
    ]
    return Table(
        title="Counterfactuals",
        columns=["exchange", "texts", "flips", "95% interval of their share", "mean move", *(f"to {x}" for x in shown)],
        rows=rows,
        note="Each text with the terms of one side in the place of the other's. The mean move is that of the score of "
        'the answer, whatever its direction; "to" a label, with its sign.',
    )


def _examples(task, pairs, originals, sources, texts, found: Decisions, before, after, size) -> Table:
    worst = np.argsort(-size, kind="stable")[:MISTAKES].tolist()
    rows = [
        [
            " / ".join(originals[sources[one]]),
            " / ".join(texts[one]),
            pairs[one],
            named(task, found.given[before[one]]),
            named(task, found.given[after[one]]),
            float(size[one]),
        ]
        for one in worst
    ]
    return Table(
        title="The counterfactuals that move most",
        columns=["text", "counterfactual", "exchange", "answered", "then", "move"],
        rows=rows,
    )
