"""Slices, typos and counterfactual texts: what they are made of, by hand."""

import numpy as np
import pytest

from kzoo.errors import UserError
from kzoo.metrics.counterfactuals import Terms, exchanged, read_terms
from kzoo.metrics.membership import membership
from kzoo.metrics.slices import MOST, by_size, by_value, by_words
from kzoo.metrics.typos import NEIGHBOURS, with_typos

GENDER = Terms("gender", (("he", "she"), ("him", "her"), ("his", "her"), ("actor", "actress")), ("he", "she"))


def named(slices):
    return {one.name: one.rows.tolist() for one in slices}


def test_slices_of_values():
    assert named(by_value(["b", "a", "b", ""])) == {"b": [0, 2], "(empty)": [3], "a": [1]}
    assert named(by_value(np.array([True, False, True]))) == {"True": [0, 2], "False": [1]}
    many = by_value([f"author {number // 2}" for number in range(2 * MOST)] + ["x"] * 3)
    assert len(many) == MOST and many[0].name == "x" and many[-1].name == "(2 others)"
    assert sorted(np.concatenate([one.rows for one in many])) == list(range(2 * MOST + 3))


def test_slices_of_numbers_and_lengths():
    slices = by_size(np.arange(100) / 10)
    assert [one.name for one in slices] == ["0 to 2.4", "2.5 to 4.9", "5 to 7.4", "7.5 to 9.9"]
    assert [len(one.rows) for one in slices] == [25] * 4
    assert named(by_size([3, 3, 3, 3, 9])) == {"3": [0, 1, 2, 3], "9": [4]}
    assert named(by_words(["", "a b", "a", "a b c"])) == {
        "0 words": [0],
        "1 words": [2],
        "2 words": [1],
        "3 words": [3],
    }
    assert len(by_value(np.arange(50.0))) == 4


def test_typos_are_those_of_the_seed_and_of_letters_only():
    text = "The film was good, 12 of 10! " * 40
    assert with_typos(text, 0.0, np.random.default_rng(0)) == text
    some = with_typos(text, 0.1, np.random.default_rng(0))
    assert some == with_typos(text, 0.1, np.random.default_rng(0)) != with_typos(text, 0.1, np.random.default_rng(1))
    assert [letter for letter in some if letter.isdigit()] == [letter for letter in text if letter.isdigit()]
    assert 0.5 < len(some) / len(text) < 1.5
    every = with_typos("qq", 1.0, np.random.default_rng(3))
    assert every != "qq"
    with pytest.raises(ValueError, match="rate must lie between 0 and 1. Received 2"):
        with_typos("a", 2, np.random.default_rng(0))


def test_one_slip_is_one_of_four_kinds():
    seen = set()
    for seed in range(900):
        typed = with_typos("Gab", 0.4, np.random.default_rng(seed))
        seen.add(typed)
    assert {"Gaab", "aGb", "ab", "Gb"} <= seen  # doubled, exchanged, left out
    assert {letter.upper() + "ab" for letter in NEIGHBOURS["g"]} <= seen
    assert NEIGHBOURS["g"] and set(NEIGHBOURS["g"]) == set("fhvbty") and set(NEIGHBOURS["q"]) == set("wa")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("He saw him.", "She saw her."),
        ("The ACTOR and his dog", "The ACTRESS and her dog"),
        ("the theatre", None),  # whole words only
        ("She and he", "He and she"),
        ("her film", None),  # nothing of the first side
    ],
)
def test_terms_are_exchanged(text, expected):
    assert exchanged(text, GENDER, 0, 1) == expected


def test_the_way_back():
    assert exchanged("her film", GENDER, 1, 0) == "him film"  # the first row that has a term decides
    assert exchanged("She and he", GENDER, 1, 0) is None  # counted once
    names = Terms("names", (("Ann", "Aïcha", "C++"),), ("Ann", "Aïcha", "C++"))
    assert exchanged("Aïcha, Ann!", names, 0, 2) == "Aïcha, C++!"
    assert exchanged("C++ is", names, 2, 1) == "Aïcha is"
    assert len(names.pairs()) == 6 and names.pair_name(0, 2) == "Ann -> C++"


def test_files_of_terms(tmp_path):
    file = tmp_path / "terms.yaml"
    file.write_text(
        "gender: [[he, she], [his, her]]\nplaces: [[Rome, Oslo, Cairo]]\n"
        'templates: ["{gender} came from {places} with {gender.2} film."]\n'
    )
    lists, templates = read_terms(file)
    assert [(one.name, one.sides, len(one.rows)) for one in lists] == [
        ("gender", ("he", "she"), 2),
        ("places", ("Rome", "Oslo", "Cairo"), 1),
    ]
    assert templates == ["he came from Rome with his film."]
    table = tmp_path / "sides.csv"
    table.write_text("male,female\nhe,she\nson,daughter\n")
    (terms,), none = read_terms(table)
    assert terms == Terms("sides", (("he", "she"), ("son", "daughter")), ("male", "female")) and none == []


@pytest.mark.parametrize(
    "content, message",
    [
        ("[[he, she]]", "must map names to rows of terms"),
        ("gender: [[he]]", "must hold a term for each of two or more sides.*Received \\[\\['he'\\]\\]"),
        ("gender: [[he, she], [him]]", "must hold a term for each of two or more sides"),
        ("gender: he", "must hold a term for each"),
        ("templates: [a]", "has no terms"),
        ("a: [[b, c]]\ntemplates: [d]", "has no place for a term, such as {a}"),
        ("a: [[b, c]]\ntemplates: ['{a.2}']", "names {a.2}; there is no such row"),
        ("a: [", "is not YAML"),
    ],
)
def test_files_that_are_none(content, message, tmp_path):
    file = tmp_path / "terms.yaml"
    file.write_text(content)
    with pytest.raises(UserError, match=message):
        read_terms(file)
    with pytest.raises(UserError, match="cannot be read: No such file"):
        read_terms(tmp_path / "other.yaml")


def test_membership_by_the_loss():
    found = membership([0.1, 0.2, 0.3, 0.9], [0.25, 0.8, 1.0, 2.0, 3.0])
    assert found.area == pytest.approx((5 + 5 + 4 + 3) / 20)
    assert found.interval[0] <= found.area <= found.interval[1]
    assert found.found[0.1] == 0.5 and found.advantage == pytest.approx(1.0 - 0.4)
    assert found.false_positives[0] == found.true_positives[0] == 0
    assert found.false_positives[-1] == found.true_positives[-1] == 1
    assert membership([1, 1], [1, 1]).area == 0.5
    same = np.random.default_rng(0).normal(size=(2, 400))
    low, high = membership(*same).interval
    assert low < 0.5 < high
    with pytest.raises(ValueError, match="Both groups need losses that are numbers. Received 1 and 0"):
        membership([1.0], [])
