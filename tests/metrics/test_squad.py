"""SQuAD's exact match and F1, by hand and against the definition; thresholds; intervals of groups."""

import numpy as np
import pytest

from kzoo import metrics
from kzoo.metrics import plots


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  Normans!", "normans"),
        ("an apple, a day", "apple day"),
        ("\tU.S. Army\n", "us army"),
        ("Theatre of a-the thing", "theatre of athe thing"),  # punctuation goes before articles
        ("the", ""),
        ("«Café»", "«café»"),  # punctuation is that of ASCII
        ("$3.4 million", "34 million"),
    ],
)
def test_answers_are_compared_without_what_does_not_matter(text, expected):
    assert metrics.normalized_answer(text) == expected


@pytest.mark.parametrize(
    ("given", "right", "exact", "f1"),
    [
        ("the Norman dynasty", ["Norman dynasty!"], 1.0, 1.0),
        ("Norman", ["Norman dynasty", "Rollo"], 0.0, 2 / 3),
        ("in the 10th century", ["10th century", "the 10th"], 0.0, 0.8),  # the nearest counts
        ("good good film", ["good film"], 0.0, 0.8),  # a word counts as often as both have it
        ("film", ["bad"], 0.0, 0.0),
        ("", [], 1.0, 1.0),
        ("film", [], 0.0, 0.0),
        ("", ["film"], 0.0, 0.0),
        ("the", [], 1.0, 1.0),  # nothing is left of it
        ("", ["the", "film"], 0.0, 0.0),  # an answer of which nothing is left does not count
        ("", ["the"], 1.0, 1.0),
    ],
)
def test_exact_match_and_f1(given, right, exact, f1):
    assert metrics.answer_exact(given, right) == exact
    assert metrics.answer_f1(given, right) == pytest.approx(f1)


def totals(scores, margins, answerable, threshold):
    return np.mean(
        [
            score if margin <= threshold else 0.0 if has else 1.0
            for score, margin, has in zip(scores, margins, answerable, strict=True)
        ]
    )


@pytest.mark.parametrize("seed", range(5))
def test_the_best_threshold_is_that_of_a_plain_search(seed):
    random = np.random.default_rng(seed)
    answerable = random.random(40) < 0.6
    margins = np.round(random.normal(size=40), 1) - answerable  # some are equal
    scores = np.where(answerable, random.random(40), 0.0)
    found = metrics.best_threshold(scores, margins, answerable)
    tried = [totals(scores, margins, answerable, one) for one in [*margins, margins.min() - 1]]
    assert found.value == pytest.approx(max(tried))
    assert totals(scores, margins, answerable, found.threshold) == pytest.approx(found.value)


def test_thresholds_at_the_ends():
    scores, margins = np.array([1.0, 0.5]), np.array([-3.0, 2.0])
    everything = metrics.best_threshold(scores, margins, np.array([True, True]))
    assert everything.value == 0.75 and everything.threshold > 2.0
    nothing = metrics.best_threshold(np.zeros(2), margins, np.array([False, False]))
    assert nothing.value == 1.0 and nothing.threshold < -3.0


def test_an_interval_of_groups_is_wider_where_their_examples_are_alike():
    groups = [group for group in range(20) for _ in range(50)]
    values = np.repeat(np.arange(20) % 2, 50).astype(float)
    low, high = metrics.bootstrap_groups(values, groups)
    alone_low, alone_high = metrics.bootstrap_groups(values, list(range(1000)))
    assert high - low == pytest.approx(4 * 0.5 / np.sqrt(20), rel=0.2)  # of 20 tries
    assert alone_high - alone_low == pytest.approx(4 * 0.5 / np.sqrt(1000), rel=0.2)
    assert metrics.bootstrap_groups(values, groups) == (low, high)


def test_groups_of_unequal_size_keep_their_weight():
    low, high = metrics.bootstrap_groups([1.0] * 9 + [0.0], ["a"] * 9 + ["b"])
    assert (low, high) == (0.0, 1.0)
    with pytest.raises(ValueError, match="Each value needs its group"):
        metrics.bootstrap_groups([1.0], [])


def test_lines_are_drawn():
    svg = plots.lines([("F1 <of> all", np.array([-1.0, 2.0]), np.array([0.2, 0.4]))], "threshold", "F1")
    assert svg.startswith("<svg") and svg.count("<polyline") == 1 and "F1 &lt;of&gt; all" in svg and "threshold" in svg
