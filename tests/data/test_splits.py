"""Splits and orders are the same everywhere, for ever."""

import numpy as np
import pytest

from kzoo.data.examples import Examples
from kzoo.data.orders import shuffled
from kzoo.data.splits import split
from kzoo.errors import UserError


def numbered(count, **columns):
    return Examples({"number": list(range(count)), **columns})


def test_the_order_of_a_seed_never_changes():
    # Written down once: runs of other machines and later versions must agree.
    assert shuffled(10, seed=0).tolist() == [0, 8, 7, 3, 5, 6, 9, 1, 2, 4]
    assert shuffled(10, seed=7, epoch=3, stream=1).tolist() == [0, 3, 9, 5, 8, 4, 6, 2, 7, 1]


@pytest.mark.parametrize("arguments", [{"seed": 1}, {"seed": 0, "epoch": 1}, {"seed": 0, "stream": 1}])
def test_seed_epoch_and_stream_each_change_the_order(arguments):
    order = shuffled(1000, **arguments)
    assert sorted(order) == list(range(1000))
    assert (order == shuffled(1000, seed=0)).sum() < 20


def test_orders_are_fair():
    places = np.stack([np.argsort(shuffled(8, seed=seed)) for seed in range(4000)])
    counts = np.stack([np.bincount(places[:, row], minlength=8) for row in range(8)])
    assert np.abs(counts - 500).max() < 100  # 4.8 standard deviations


def test_a_split_is_whole_disjoint_and_keeps_the_order():
    train, held_out = split(numbered(100), held_out=0.2, seed=3)
    assert (len(train), len(held_out)) == (80, 20)
    assert sorted([*train["number"], *held_out["number"]]) == list(range(100))
    assert list(train["number"]) == sorted(train["number"])
    again = split(numbered(100), held_out=20, seed=3)[1]
    assert again["number"].tolist() == held_out["number"].tolist()
    assert split(numbered(100), held_out=0.2, seed=4)[1]["number"].tolist() != held_out["number"].tolist()


def test_a_stratified_split_keeps_shares_exactly():
    labels = ["a"] * 70 + ["b"] * 20 + ["c"] * 10
    train, held_out = split(numbered(100, label=labels), held_out=0.3, seed=0, stratify="label")
    names, counts = np.unique(held_out["label"].astype(str), return_counts=True)
    assert dict(zip(names, counts, strict=True)) == {"a": 21, "b": 6, "c": 3}
    assert len(train) == 70
    uneven = split(numbered(10, label=list("aaabbbbccc")), held_out=0.5, seed=0, stratify="label")[1]
    assert len(uneven) == 5


def test_one_long_text_is_cut_at_a_line():
    text = "".join(f"line {number}\n" for number in range(100))
    train, held_out = split(Examples({"text": [text]}), held_out=0.1)
    assert train["text"][0] + held_out["text"][0] == text
    assert train["text"][0].endswith("\n")
    assert 0.05 < len(held_out["text"][0]) / len(text) < 0.12


@pytest.mark.parametrize("held_out", [0, 1.5, 10, -0.1, 0.01])
def test_a_split_that_leaves_nothing_is_refused(held_out):
    with pytest.raises(UserError, match=f"must leave examples on both sides.*Received held_out={held_out} for 10"):
        split(numbered(10), held_out=held_out)


def test_a_column_to_stratify_by_that_is_not_there():
    with pytest.raises(UserError, match="no column 'label'"):
        split(numbered(10), stratify="label")


def test_a_sample_is_drawn_by_the_seed_in_order():
    examples = numbered(100).sample(10, seed=5)
    assert examples["number"].tolist() == sorted(examples["number"].tolist())
    assert len(numbered(3).sample(10)) == 3


def test_groups_stay_together():
    examples = numbered(100, author=[f"author {row % 7}" for row in range(100)])
    train, held_out = split(examples, held_out=0.3, seed=1, group="author")
    assert not set(train["author"]) & set(held_out["author"])
    assert len(train) + len(held_out) == 100 and abs(len(held_out) - 30) <= 8
    assert {
        tuple(sorted(set(split(examples, held_out=0.3, seed=seed, group="author")[1]["author"]))) for seed in range(9)
    } > {tuple(sorted(set(held_out["author"])))}


def test_groups_of_unequal_size_leave_examples_on_both_sides():
    examples = numbered(100, author=["one"] * 95 + ["other"] * 5)
    for seed in range(4):
        train, held_out = split(examples, held_out=0.5, seed=seed, group="author")
        assert (set(train["author"]), set(held_out["author"])) in [({"one"}, {"other"}), ({"other"}, {"one"})]


def test_groups_that_cannot_be_held_out():
    with pytest.raises(UserError, match="needs two different values of author or more. the examples has only 'one'"):
        split(numbered(4, author=["one"] * 4), group="author")
    with pytest.raises(UserError, match="by group or by stratify, one of the two"):
        split(numbered(4, author=["one"] * 4), group="author", stratify="author")
