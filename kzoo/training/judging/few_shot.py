"""Answers of a language model that was shown demonstrations."""

from typing import Any

import numpy as np

from kzoo import metrics
from kzoo.data.examples import Examples
from kzoo.metrics.report import Table
from kzoo.tasks.labels import numbers_of_labels
from kzoo.training.judging.classes import judge_scores
from kzoo.training.judging.judgement import MISTAKES, Judgement

# N texts


def judge_few_shot(task, examples: Examples, batch_size: int) -> Judgement:
    """As a classifier's; of free text how often, and how far, it is the right one."""
    texts, right = examples["text"].tolist(), [str(label) for label in examples["label"].tolist()]
    if task.free_text:
        return _judge_texts(texts, right, [one["text"] for one in task.predict(texts, batch_size=batch_size)])
    numbers = numbers_of_labels(task.labels, right)
    targets = np.array([numbers[label] for label in right])
    scores = np.array([one["scores"] for one in task.predict(texts, batch_size=batch_size)], np.float64)
    losses = -np.log(np.maximum(scores[np.arange(len(targets)), targets], 1e-30))
    return judge_scores(task, examples, targets, scores, losses)


def _judge_texts(texts: list[str], right: list[str], given: list[str]) -> Judgement:
    exact = np.array([metrics.answer_exact(one, [wanted]) for one, wanted in zip(given, right, strict=True)])
    f1 = np.array([metrics.answer_f1(one, [wanted]) for one, wanted in zip(given, right, strict=True)])
    figures: dict[str, Any] = {}
    for name, values in (("exact_match", exact), ("f1", f1)):
        figures[name] = float(values.mean())
        figures[f"{name}_interval_95"] = list(metrics.bootstrap_interval(np.mean, values))
    worst = np.argsort(f1, kind="stable")[:MISTAKES]
    rows = [[texts[row], right[row], given[row], float(f1[row])] for row in worst.tolist() if f1[row] < 1]
    table = Table(title="The worst answers", columns=["text", "right", "answered", "F1"], rows=rows)
    return Judgement(figures=figures | {"examples": len(right)}, tables=[table])
