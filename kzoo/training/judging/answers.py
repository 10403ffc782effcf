"""Answers to questions about passages, as SQuAD measures them."""

from typing import Any

import numpy as np

from kzoo import metrics
from kzoo.data.examples import Examples
from kzoo.data.squad import checked_answers
from kzoo.metrics import plots
from kzoo.metrics.report import Plot, Table
from kzoo.training.judging.drawing import reliability
from kzoo.training.judging.judgement import MISTAKES, Judgement

# N questions

ARTICLES = 10
"""With fewer articles intervals are over passages: a handful of articles says nothing of other ones."""
KINDS = 10
"""First words of questions that the report tells apart."""


def judge_answers(task, examples: Examples, batch_size: int) -> Judgement:
    """Exact match and F1, of questions with and without an answer, with the task's threshold and with the best one."""
    right = [
        [answer["text"] for answer in checked_answers(f"Row {number + 1} of {examples.source}", answers, context)]
        for number, (answers, context) in enumerate(zip(examples["answers"], examples["context"], strict=True))
    ]
    has_answer = np.array([bool(answers) for answers in right])
    asked = {name: examples[name].tolist() for name in task.inputs}
    found = task.best_answers(asked, batch_size=batch_size)
    best = [one["answer"][0] if one["count"] else "" for one in found]
    margins = np.array([one["margin"] if one["count"] else np.inf for one in found])
    given = [task.chosen(one) for one in found]
    answered = np.array([bool(text) for text in given])
    scores = np.where(answered, *_scores(found))
    exact, f1 = _measured(given, right)
    figures: dict[str, Any] = {}
    groups, over = _groups(examples)
    for name, values in (("exact_match", exact), ("f1", f1)):
        figures[name] = float(values.mean())
        figures[f"{name}_interval_95"] = list(metrics.bootstrap_groups(values, groups))
    figures |= {"examples": len(right), "intervals_over": over}
    for name, some in (("has_answer", has_answer), ("no_answer", ~has_answer)):
        if some.any() and not some.all():
            figures |= {
                f"{name}_exact_match": float(exact[some].mean()),
                f"{name}_f1": float(f1[some].mean()),
                f"{name}_examples": int(some.sum()),
            }
    drawn = [reliability(metrics.calibration(scores, exact > 0), "A score is right where the answer matches exactly.")]
    if task.no_answer:
        figures |= {"threshold": task.threshold, "answered": float(answered.mean())}
        span_exact, span_f1 = _measured(best, right)
        figures |= _best(span_exact, span_f1, margins, has_answer)
        if has_answer.any():  # how well it finds answers, apart from whether it gives them
            figures |= {
                "span_exact_match": float(span_exact[has_answer].mean()),
                "span_f1": float(span_f1[has_answer].mean()),
            }
        drawn = [*_drawn(margins, has_answer, span_f1, task.threshold), *drawn]
    tables = [_kinds(asked["question"], exact, f1), _mistakes(examples, right, given, scores, f1)]
    return Judgement(figures=figures, plots=drawn, tables=[*_articles(examples, exact, f1), *tables])


def _scores(found: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray]:
    """The scores of the best spans and of no answer ``[N]``."""
    spans = [one["score"][0] if one["count"] else 0.0 for one in found]
    return np.array(spans), np.array([one["no_answer_score"] for one in found])


def _measured(given: list[str], right: list[list[str]]) -> tuple[np.ndarray, np.ndarray]:
    """Exact match and F1 of each question ``[N]``."""
    pairs = list(zip(given, right, strict=True))
    return np.array([metrics.answer_exact(*pair) for pair in pairs]), np.array(
        [metrics.answer_f1(*pair) for pair in pairs]
    )


def _best(exact: np.ndarray, f1: np.ndarray, margins: np.ndarray, has_answer: np.ndarray) -> dict[str, float]:
    """What the best threshold for each measure would give, if all questions are answered so well."""
    figures = {"answering_nothing": float((~has_answer).mean())}
    margins = np.where(np.isfinite(margins), margins, np.nanmax(np.where(np.isfinite(margins), margins, 0.0)) + 1.0)
    for name, values in (("best_exact_match", exact), ("best_f1", f1)):
        found = metrics.best_threshold(values, margins, has_answer)
        figures |= {name: found.value, f"{name}_threshold": found.threshold}
    return figures


def _groups(examples: Examples) -> tuple[list[str], str]:
    """What each question belongs to, and how that is called: questions of one passage are no independent tries."""
    if "title" in examples and len(set(titles := examples["title"].tolist())) >= ARTICLES:
        return titles, "articles"
    passages = examples["context"].tolist()
    if len(set(passages)) > 1:
        return passages, "passages"
    return [str(number) for number in range(len(examples))], "questions"


def _drawn(margins, has_answer, f1, threshold: float) -> list[Plot]:
    finite = np.isfinite(margins)
    groups = [("has an answer", margins[finite & has_answer]), ("has none", margins[finite & ~has_answer])]
    groups = [(name, values) for name, values in groups if len(values)]
    if not groups:
        return []
    order = np.argsort(margins[finite], kind="stable")
    edges, gains = margins[finite][order], np.where(has_answer, f1, f1 - 1.0)[finite][order]
    curve = ((~has_answer).sum() + np.cumsum(gains)) / len(margins)
    return [
        Plot(
            title="Margins of no answer",
            svg=plots.histogram(groups, "logit of no answer above the best span's"),
            note=f"Questions right of the threshold, {threshold:.3g}, are not answered.",
        ),
        Plot(
            title="F1 by threshold",
            svg=plots.lines([("F1 of all questions", edges, curve)], "threshold", "F1"),
            note="What other thresholds would give on these questions.",
        ),
    ]


def _table(title: str, first: str, names: list[str], exact, f1, most: int | None = None) -> Table:
    """Exact match and F1 of the questions of each name, the most frequent names first."""
    column = np.array(names, dtype=object)
    kinds, counts = np.unique(column, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:most]
    rows = [
        [kinds[at], int(counts[at]), float(exact[column == kinds[at]].mean()), float(f1[column == kinds[at]].mean())]
        for at in order.tolist()
    ]
    return Table(title=title, columns=[first, "questions", "exact match", "F1"], rows=rows)


def _articles(examples: Examples, exact, f1) -> list[Table]:
    titles = examples["title"].tolist() if "title" in examples else []
    return [_table("Articles", "article", titles, exact, f1, most=50)] if len(set(titles)) > 1 else []


def _kinds(questions: list[str], exact, f1) -> Table:
    firsts = [(question.split() or [""])[0].lower() for question in questions]
    return _table("Kinds of questions", "first word", firsts, exact, f1, most=KINDS)


def _mistakes(examples: Examples, right, given, scores, f1) -> Table:
    wrong = np.flatnonzero(f1 < 1.0)
    worst = wrong[np.lexsort((-scores[wrong], f1[wrong]))][:MISTAKES]
    rows = [
        [
            examples["question"][row],
            examples["context"][row],
            " | ".join(dict.fromkeys(right[row])) or "no answer",
            given[row] or "no answer",
            float(scores[row]),
        ]
        for row in worst.tolist()
    ]
    return Table(
        title="The worst mistakes",
        columns=["question", "passage", "right", "answered", "score"],
        rows=rows,
        note=f"{len(rows)} of {len(wrong)} answers that are not wholly right, the worst and surest first.",
    )
