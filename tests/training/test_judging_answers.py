"""Figures of answers to questions: against the answers that the task gives, by hand."""

import numpy as np
import pytest

import kzoo
from kzoo import metrics
from kzoo.data.examples import Examples
from kzoo.training.evaluate import evaluate
from kzoo.training.judging import judge
from tests import tiny

CONTEXT = "it was a bad film. the good film was not bad at all. " * 2
QUESTIONS = ["what was bad", "what was good", "was it good", "what", "who", "what was it"] * 2
RIGHT = ["film", "the good film", None, "a bad film", None, "good"] * 2
ANSWERS = [[] if one is None else [{"text": one, "answer_start": CONTEXT.index(one)}] for one in RIGHT]


@pytest.fixture(scope="module")
def task():
    made = kzoo.Answer(tiny.bert(num_layers=1), max_length=24, stride=8, max_question_tokens=4, max_answer_tokens=4)
    made.head.kernel.assign(np.random.default_rng(7).normal(size=made.head.kernel.shape))
    return made


@pytest.fixture(scope="module")
def asked():
    contexts = [CONTEXT if number % 2 else CONTEXT[:52] for number in range(12)]
    return {"question": QUESTIONS, "context": contexts, "answers": ANSWERS, "title": ["a"] * 6 + ["b"] * 6}


@pytest.fixture(scope="module")
def found(task, asked):
    """With a threshold that leaves about half of the questions without an answer."""
    margins = [one["margin"] for one in task.best_answers({name: asked[name] for name in task.inputs})]
    task.threshold = float(np.median(margins))
    task.forget_traces()
    return judge(task, Examples(asked), batch_size=5)


def test_figures_are_those_of_the_answers(task, asked, found):
    given = [one["answer"] for one in task.predict({name: asked[name] for name in task.inputs})]
    assert 0 < sum(map(bool, given)) < 12
    right = [[one["text"] for one in answers] for answers in ANSWERS]
    exact = np.array([metrics.answer_exact(*pair) for pair in zip(given, right, strict=True)])
    f1 = np.array([metrics.answer_f1(*pair) for pair in zip(given, right, strict=True)])
    figures, has = found.figures, np.array([bool(one) for one in RIGHT])
    assert (figures["exact_match"], figures["f1"]) == pytest.approx((exact.mean(), f1.mean()))
    assert (figures["has_answer_f1"], figures["no_answer_f1"]) == pytest.approx((f1[has].mean(), f1[~has].mean()))
    assert figures["answered"] == pytest.approx(np.mean([bool(one) for one in given]))
    assert figures["answering_nothing"] == pytest.approx(1 / 3) and figures["no_answer_examples"] == 4
    best = [one["answer"][0] for one in task.best_answers({name: asked[name] for name in task.inputs})]
    spans = [metrics.answer_f1(*pair) for pair in zip(best, right, strict=True) if pair[1]]
    assert figures["span_f1"] == pytest.approx(np.mean(spans)) and figures["span_f1"] >= figures["has_answer_f1"]
    assert figures["intervals_over"] == "passages"
    low, high = figures["f1_interval_95"]
    assert 0 <= low <= figures["f1"] <= high <= 1
    again = evaluate(task, Examples(asked), batch_size=4)
    assert (again["exact_match"], again["f1"]) == pytest.approx((exact.mean(), f1.mean()))
    assert {"loss", "start_accuracy", "end_accuracy"} <= set(again)


def test_the_best_threshold_gives_what_it_promises(task, asked, found):
    figures, before = found.figures, task.threshold
    assert figures["best_f1"] >= max(figures["f1"], figures["answering_nothing"])
    for name, measure in (("best_f1", "f1"), ("best_exact_match", "exact_match")):
        task.threshold = figures[f"{name}_threshold"]
        assert judge(task, Examples(asked)).figures[measure] == pytest.approx(figures[name])
    task.threshold = before


def test_the_report_shows_where_it_fails(found):
    assert [plot.title for plot in found.plots] == ["Margins of no answer", "F1 by threshold", "Reliability"]
    articles, kinds, worst = found.tables
    assert [row[:2] for row in articles.rows] == [["a", 6], ["b", 6]]
    assert {row[0]: row[1] for row in kinds.rows} == {"what": 8, "was": 2, "who": 2}
    assert worst.columns == ["question", "passage", "right", "answered", "score"] and worst.rows
    assert all(row[2] != row[3] for row in worst.rows)


def test_many_articles_are_what_intervals_are_over(task, asked):
    titles = [f"article {number}" for number in range(12)]
    assert judge(task, Examples(asked | {"title": titles})).figures["intervals_over"] == "articles"


def test_where_an_answer_is_always_given_there_is_no_threshold(asked):
    task = kzoo.Answer(tiny.bert(num_layers=1), max_length=24, stride=8, no_answer=False)
    rows = [row for row, one in enumerate(RIGHT) if one]
    found = judge(task, Examples(asked).take(rows))
    assert not {"threshold", "best_f1", "answering_nothing", "has_answer_f1", "span_f1"} & set(found.figures)
    assert [plot.title for plot in found.plots] == ["Reliability"]
    assert found.figures["examples"] == 8
