r"""Automata of patterns against Python's ``re``."""

import random
import re

import pytest

from kzoo.errors import UserError
from kzoo.generation.automaton import avoiding, both, whole
from kzoo.generation.patterns import parse

ATOMS = [*"abc", ".", r"\d", r"\w", r"\s", r"\D", r"\W", "[ab]", "[^a]", "[a-c]", "é", "日", "[é-日]", r"\.", r"[^\d]"]
ATOMS += ["😀", "(?i:aB)", " ", r"\x62", r"[\]\-a]", "[]a]", "x{"]
ALPHABET = "abcABx1 .é日😀\n-]{"


def pattern_of(choice: random.Random, depth: int) -> str:
    if depth == 0:
        return choice.choice(ATOMS)
    kind = choice.random()
    inner = pattern_of(choice, depth - 1)
    if kind < 0.35:
        return inner + pattern_of(choice, depth - 1)
    if kind < 0.55:
        return f"({inner}|{pattern_of(choice, depth - 1)})"
    if kind < 0.8:
        return f"(?:{inner})" + choice.choice(["*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "{,2}", "*?"])
    return inner


@pytest.mark.parametrize("seed", range(8))
def test_the_automaton_reads_what_python_matches(seed):
    choice = random.Random(seed)
    for _ in range(10):
        pattern = pattern_of(choice, choice.randint(1, 3))
        expected, automaton = re.compile(pattern, re.ASCII), whole(parse(pattern))
        without = None if expected.fullmatch("") else avoiding(parse(pattern))
        for _ in range(50):
            text = "".join(choice.choices(ALPHABET, k=choice.randint(0, 6)))
            assert automaton.matches(text.encode()) == bool(expected.fullmatch(text)), (pattern, text)
            if without:
                assert without.matches(text.encode()) == (expected.search(text) is None), (pattern, text)


def test_both_is_what_each_reads():
    automaton = both(whole(parse(r"\w{1,4}")), avoiding(parse("(?i:bad)")))
    for text, expected in {"good": True, "Bad": False, "abad": False, "ba": True, "": False, "badly": False}.items():
        assert automaton.matches(text.encode()) == expected


def test_what_is_no_utf8_matches_nothing():
    automaton = whole(parse(".*"))
    assert automaton.matches("日".encode())
    for text in (b"\xff", b"\xed\xa0\x80", b"\xc0\x80", "日".encode()[:2]):
        assert not automaton.matches(text)


def test_an_automaton_has_no_more_states_than_needed():
    assert len(whole(parse("(a|b)*(a|b)*")).next) == 1
    assert len(whole(parse(r"\d{1,40}")).next) == 41


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("^a", r"an anchor '\^' at 0"),
        ("a$", "an anchor"),
        ("(?=a)", r"a group '\(\?=a' at 0"),
        (r"\bx", r"an escape '\\\\b' at 0"),
        (r"(a)\1", "an escape"),
        ("a**", "a quantifier after a quantifier at 2"),
        ("a++", "a possessive quantifier"),
        ("*a", "a quantifier of nothing at 0"),
        ("[z-a]", "a range that is none"),
        ("(a", "a group at 0 that does not end"),
        ("a)", r"an unexpected '\)' at 1"),
        ("[a", "a class at 0 that does not end"),
        ("a{3,1}", "whose most is below its least"),
        ("a{2000}", "more than 1000 repetitions"),
        ("a\\", "it breaks off"),
        (3, "A pattern is a text"),
    ],
)
def test_what_cannot_be_followed_is_named(pattern, message):
    with pytest.raises(UserError, match=message):
        parse(pattern)


def test_what_blocks_everything_is_refused():
    with pytest.raises(UserError, match="matches the empty text"):
        avoiding(parse("a*"))
    with pytest.raises(UserError, match="No text matches"):
        both(whole(parse("bad")), avoiding(parse("a")))


def test_an_automaton_that_grows_too_large_is_refused():
    with pytest.raises(UserError, match="at most 8,000 states"):
        whole(parse("(a|b)*a(a|b){16}"))
