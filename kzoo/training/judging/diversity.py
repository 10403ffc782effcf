"""How much the texts that a model writes differ from one another."""

from collections.abc import Iterable

from kzoo import metrics
from kzoo.data.examples import Examples
from kzoo.data.token_folder import TokenFolder
from kzoo.errors import UserError
from kzoo.metrics.report import Table
from kzoo.training.judging.judgement import Judgement

SHOWN = 10
"""Samples that stand in the report."""


def judge_samples(
    task, examples: Examples | TokenFolder, count: int, *, words: int = 5, temperature: float = 1.0, seed: int = 0
) -> Judgement:
    """Lets a model go on from the beginnings of texts, and measures what it writes.

    Args:
        task: a ``Generate``.
        examples: with the column ``text``.
        count: texts to write, two or more; each from another line.
        words: of a line that the model is given.
        temperature: of the sampling, without further cuts.
        seed: of the lines drawn and of the sampling.

    Returns:
        ``distinct_1``, ``distinct_2`` and ``self_bleu`` of what was written (without its beginning), ``samples``; a
        table of some of them.

    Raises:
        UserError: not a language model, or fewer lines of so many words than samples.
    """
    if task.name != "generate":
        raise UserError(f"Samples need a model that writes text. This task is {task.name}.")
    if not isinstance(examples, Examples):
        raise UserError(f"Samples begin as texts do. {examples.source} holds token ids: name texts to begin from.")
    if count < 2:
        raise UserError(f"Samples are compared with one another: 2 or more. Received {count}.")
    lines = Examples({"text": list(_beginnings(examples["text"].tolist(), words))}, source=examples.source)
    if len(lines) < count:
        raise UserError(
            f"{examples.source} has {len(lines)} different beginnings of {words} words, too few for {count} samples."
        )
    prompts = lines.sample(count, seed=seed)["text"].tolist()
    written = task.generate(prompts, temperature=temperature, top_k=0, top_p=1.0, seed=seed)
    figures = {
        "distinct_1": metrics.distinct(written, 1),
        "distinct_2": metrics.distinct(written, 2),
        "self_bleu": metrics.self_bleu(written),
        "samples": count,
    }
    pairs = list(zip(prompts, written, strict=True))[:SHOWN]
    note = f"{len(pairs)} of {count}, at temperature {temperature:g}."
    return Judgement(
        figures=figures, tables=[Table(title="Samples", columns=["given", "written"], rows=pairs, note=note)]
    )


def _beginnings(texts: Iterable[str], words: int) -> Iterable[str]:
    """The first words of each line that has more, each beginning once."""
    found: dict[str, None] = {}
    for text in texts:
        for line in text.splitlines():
            parts = line.split()
            if len(parts) > words:
                found[" ".join(parts[:words])] = None
    return found
