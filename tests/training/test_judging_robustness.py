"""Slices, counterfactuals and typos of a tiny classifier, held against its own answers."""

import json

import numpy as np
import pytest

import kzoo
from kzoo.data.examples import Examples
from kzoo.errors import UserError
from kzoo.metrics.counterfactuals import Terms
from kzoo.metrics.typos import with_typos
from kzoo.training.judging.counterfactuals import judge_counterfactuals
from kzoo.training.judging.membership import judge_membership
from kzoo.training.judging.slices import judge_slices
from kzoo.training.judging.typos import judge_typos
from tests import tiny

LABELS = ["bad", "good"]
TEXTS = ["the film was good", "Bad film", "it was not bad at all", "good", "a film", "all good, all bad"] * 6
FILMS = Terms("words", (("good", "bad"),), ("good", "bad"))


@pytest.fixture(scope="module")
def task():
    task = kzoo.Classify(tiny.pretrained("bert", num_layers=1), labels=LABELS)
    task.head.kernel.assign(np.random.default_rng(5).normal(size=(16, 2)) * 3)
    return task


@pytest.fixture(scope="module")
def examples():
    given = np.random.default_rng(0).integers(0, 2, len(TEXTS))
    columns = {"text": TEXTS, "label": [LABELS[one] for one in given], "source": ["a", "b", "c", "a", "b", "a"] * 6}
    return Examples(columns, source="films.csv")


@pytest.fixture(scope="module")
def right(task, examples):
    answers = task.predict(TEXTS)
    return np.array([one["label"] for one in answers]) == examples["label"]


def test_slices(task, examples, right):
    found = judge_slices(task, examples, ["source", "length", "label"])
    sources = found.figures["slices"]["source"]
    assert list(sources) == ["a", "b", "c"]
    for name, one in sources.items():
        of = examples["source"] == name
        assert one["accuracy"] == pytest.approx(right[of].mean()) and one["examples"] == of.sum()
        assert one["accuracy_interval_95"][0] <= one["accuracy"] <= one["accuracy_interval_95"][1]
    assert sum(one["examples"] for one in found.figures["slices"]["length"].values()) == len(TEXTS)
    assert "slice_gap_source" not in found.figures  # two of its slices are too small to say
    assert [table.title for table in found.tables] == ["Accuracy by source", "Accuracy by length", "Accuracy by label"]
    with pytest.raises(UserError, match="There is no column 'author' in films.csv"):
        judge_slices(task, examples, ["author"])


def test_counterfactuals(task, examples):
    found = judge_counterfactuals(task, examples, [FILMS], templates=["this is a good film"]).figures
    there, back = (found["counterfactuals"][f"words: {pair}"] for pair in ("good -> bad", "bad -> good"))
    assert (there["texts"], back["texts"]) == (6 * 3 + 1, 6 * 2)  # "all good, all bad" once; and the template
    pairs = [
        ("the film was good", "the film was bad"),
        ("good", "bad"),
        ("all good, all bad", "all bad, all good"),
    ] * 6 + [("this is a good film", "this is a bad film")]
    before, after = (task.predict([pair[side] for pair in pairs]) for side in (0, 1))
    flips = [one["label"] != other["label"] for one, other in zip(before, after, strict=True)]
    assert there["flips"] == sum(flips) > 0
    moves = [
        abs(one["scores"][place] - other["scores"][place])
        for one, other in zip(before, after, strict=True)
        for place in [int(np.argmax(one["scores"]))]
    ]
    assert there["mean_move"] == pytest.approx(np.mean(moves), abs=1e-5)
    assert there["moves"]["good"] == pytest.approx(
        np.mean([other["scores"][1] - one["scores"][1] for one, other in zip(before, after, strict=True)]), abs=1e-5
    )
    assert found["counterfactual_texts"] == 31
    assert found["counterfactual_flip_rate"] == pytest.approx((there["flips"] + back["flips"]) / 31)
    with pytest.raises(UserError, match="None of the 36 texts has any of the terms of names"):
        judge_counterfactuals(task, examples, [Terms("names", (("Ann", "Bob"),), ("Ann", "Bob"))])


def test_typos(task, examples, right):
    found = judge_typos(task, examples, rates=[0.3], seed=1)
    each = found.figures["typos"]
    assert list(each) == ["0", "0.3"]
    assert each["0"]["accuracy"] == pytest.approx(right.mean()) and each["0"]["changed"] == 0
    random = np.random.default_rng([1, 300_000])
    mistyped = task.predict([with_typos(text, 0.3, random) for text in TEXTS])
    given = np.array([one["label"] for one in mistyped])
    assert each["0.3"]["accuracy"] == pytest.approx((given == examples["label"]).mean())
    assert found.figures["accuracy_with_30%_typos"] == each["0.3"]["accuracy"]
    assert "polyline" in found.plots[0].svg
    assert json.dumps(found.figures)


def test_membership(task, examples):
    others = Examples({"text": ["a", "b", "c"], "label": ["good", "bad", "good"]})
    found = judge_membership(task, examples, others)
    losses = [
        [-np.log(answer["scores"][LABELS.index(label)]) for answer, label in zip(answers, group["label"], strict=True)]
        for group in (examples, others)
        for answers in [task.predict(group["text"].tolist())]
    ]
    expected = np.mean([(one < other) + (one == other) / 2 for one in losses[0] for other in losses[1]])
    assert found.figures["membership_area"] == pytest.approx(expected, abs=0.02)  # ties are told apart by rounding
    assert (found.figures["members"], found.figures["others"]) == (36, 3)
    assert set(found.figures) >= {"membership_advantage", "members_found_at_0.01", "member_accuracy"}


def test_other_tasks_are_refused():
    with pytest.raises(UserError, match="Only a classifier is measured so. This model is for regress"):
        judge_typos(
            kzoo.Regress(tiny.pretrained("bert", num_layers=1)), Examples({"text": ["a"], "label": [1.0]}), rates=[0.1]
        )
