"""Answers that a model writes: how much of the right ones is in them, and whether a copy of the prompt does as well."""

from typing import Any

import numpy as np

from kzoo import metrics
from kzoo.data.examples import Examples
from kzoo.data.orders import shuffled
from kzoo.errors import UserError
from kzoo.metrics import plots
from kzoo.metrics.report import Plot, Table, between
from kzoo.training.judging.judgement import MISTAKES, Judgement, share
from kzoo.training.judging.tokens import judge_tokens

# N pairs

MEASURES = ("bleu", "chrf", "rouge_1", "rouge_2", "rouge_l", "exact_match")


def judge_texts(task, examples, batch_size) -> Judgement:
    """Lets a model answer every prompt, greedily, and compares with the right answers.

    Args:
        task: a ``Generate``.
        examples: with the columns ``prompt`` and ``answer``.
        batch_size: prompts at once.

    Returns:
        ``loss``, ``perplexity`` and ``accuracy`` of the right answers' tokens given the prompts; of what the model
        wrote ``bleu`` and ``chrf`` (0 to 100), ``rouge_1``, ``rouge_2``, ``rouge_l`` (0 to 1) and ``exact_match`` (a
        share, white space at the ends apart), each with its interval; the same of the prompts themselves as
        ``copy_...``; how all of it was computed as ``signatures``. Pairs without an answer are left out and counted.
    """
    rows = [row for row, answer in enumerate(examples["answer"].tolist()) if str(answer).strip()]
    if not rows:
        raise UserError(f"{examples.source} holds no answer to compare with.")
    left_out = len(examples) - len(rows)
    examples = examples.take(rows) if left_out else examples
    found = judge_tokens(task, examples, batch_size)
    prompts, right = examples["prompt"].tolist(), [answer.strip() for answer in examples["answer"].tolist()]
    written = task.generate(prompts, batch_size=batch_size, temperature=0.0, top_k=0, top_p=1.0)
    written = [text.strip() for text in written]
    figures, signatures = _compared(written, right)
    copied, _ = _compared([prompt.strip() for prompt in prompts], right)
    figures |= {f"copy_{name}": value for name, value in copied.items()}
    figures |= {"pairs": len(right), "signatures": signatures} | ({"left_out": left_out} if left_out else {})
    closeness = metrics.chrf_of_each(written, right)
    note = "Greedy answers; what copying the prompt would give is the least that a model has to beat."
    drawn = Plot(
        title="chrF of each answer",
        svg=plots.histogram(
            [
                ("the model", closeness / 100),
                ("the prompt copied", metrics.chrf_of_each([prompt.strip() for prompt in prompts], right) / 100),
            ],
            "chrF, as a share of 100",
            within=(0.0, 1.0),
        ),
        note=note,
    )
    tables = [_measures(figures, note, signatures), _examples(examples, written, closeness)]
    return found + Judgement(figures=figures, plots=[drawn], tables=tables)


def _compared(written: list[str], right: list[str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Figures with their intervals, and how they were computed."""
    overlaps = {"bleu": metrics.bleu(written, right), "chrf": metrics.chrf(written, right)}
    overlaps |= metrics.rouge(written, right)
    figures: dict[str, Any] = {}
    for name, overlap in overlaps.items():
        figures[name] = overlap.value
        figures[f"{name}_interval_95"] = overlap.interval()
    figures |= share("exact_match", np.array([one == other for one, other in zip(written, right, strict=True)]))
    return figures, {name: overlap.signature for name, overlap in overlaps.items()}


def _measures(figures: dict[str, Any], note: str, signatures: dict[str, str]) -> Table:
    def both(name: str) -> list[Any]:
        return [figures[name], between(figures[f"{name}_interval_95"])]

    how = "; ".join(f"{name.replace('_', ' ')}: {signatures[name]}" for name in ("bleu", "chrf", "rouge_1"))
    return Table(
        title="The model beside a copy of the prompt",
        columns=["measure", "the model", "95%", "copy", "95%"],
        rows=[[name.replace("_", " "), *both(name), *both(f"copy_{name}")] for name in MEASURES],
        note=f"{note} {how}.",
    )


def _examples(examples: Examples, written: list[str], closeness: np.ndarray) -> Table:
    """Some pairs drawn by lot, the worst first."""
    drawn = np.sort(shuffled(len(examples), seed=0)[:MISTAKES])
    drawn = drawn[np.argsort(closeness[drawn], kind="stable")].tolist()
    return Table(
        title="Answers",
        columns=["prompt", "right", "written", "chrF"],
        rows=[[examples["prompt"][row], examples["answer"][row], written[row], float(closeness[row])] for row in drawn],
        note=f"{len(drawn)} of {len(examples)} pairs, drawn by lot; those farthest from the right answer first.",
    )
