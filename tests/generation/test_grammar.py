"""Decoding held to patterns: random models, random patterns, Python's ``re`` as the judge."""

import re

import numpy as np
import pytest
import tensorflow as tf

from kzoo import Generate
from kzoo.errors import UserError
from kzoo.generation import grammar as grammars
from kzoo.generation.controls import plain
from kzoo.generation.decode import decode
from kzoo.generation.grammar import Grammar, automaton_of
from tests import tiny

PATTERNS = [
    r"yes|no|perhaps",
    r"\d{1,3}(\.\d{2})?",
    r'\{"film": "[^"\\]{1,6}", "good": (true|false)\}',
    r"( ?the| good| bad| film)+",
    r"[\wéü日]{2,5}!",
    r".{3}",
    r"(ab|a)*b?c",
]


@pytest.fixture(scope="module")
def pretrained():
    return tiny.talkative(tiny.gpt2(num_positions=64))


def held(made, pattern=None, **limits):
    automaton = automaton_of(pattern=pattern, **limits)
    return Grammar(automaton, *made.tokenizer.written(), made.backbone.vocabulary_size)


def decoded(made, grammar, most, **knobs):
    """Text of each row, and whether it came to an end."""
    ids = tf.constant([[5, 6, 7], [8, 0, 0], [9, 10, 0], [30, 2, 40]])
    end = made.tokenizer.special_ids["eos"]
    controls = plain(4, max_new_tokens=most, grammar=grammar, **knobs)
    found = decode(made.backbone, ids, tf.constant([3, 1, 2, 3]), controls, end_ids=(end,), copies=2)
    texts = made.tokenizer.detokenize(tf.RaggedTensor.from_tensor(found.token_ids, found.counts))
    return [text.decode() for text in texts.numpy()], found.ended.numpy().tolist()


@pytest.mark.parametrize("pattern", PATTERNS)
def test_every_answer_matches(pretrained, pattern):
    grammar = held(pretrained, pattern)
    most = [grammar.shortest, grammar.shortest + 1, grammar.shortest + 5, max(14, grammar.shortest)]
    for knobs in ({}, {"temperature": [1.0, 1.5, 3.0, 9.0], "seed": [1, 2, 3, 4], "top_k": [0, 5, 0, 0]}):
        texts, _ = decoded(pretrained, grammar, most, **knobs)
        assert [text for text in texts if not re.fullmatch(pattern, text, re.ASCII)] == []


def test_a_request_that_leaves_no_room_gets_the_beginning_of_a_match(pretrained):
    texts, ended = decoded(pretrained, held(pretrained, "abcdefgh"), 3)
    assert set(texts) == {"abc"}
    assert not any(ended)


def test_a_match_that_is_complete_ends(pretrained):
    texts, ended = decoded(pretrained, held(pretrained, choices=["a", "good film", "a good film"]), 12)
    assert set(texts) <= {"a", "good film", "a good film"}
    assert all(ended)


def test_what_a_request_asks_cannot_lift_the_grammar(pretrained):
    tokens = [ids[0] for ids in pretrained.tokenizer.tokenize(["n", "y", "o", "e"]).ids.to_list()]
    blocked = tf.constant([[[one] for one in tokens]] * 4, tf.int32)
    texts, _ = decoded(pretrained, held(pretrained, choices=["yes", "no"]), 9, blocked=blocked, min_new_tokens=8)
    assert set(texts) <= {"yes", "no"}


def test_blocked_patterns_never_come(pretrained):
    free, _ = decoded(pretrained, None, 24)
    letters = {letter for text in free for letter in text if letter.isalnum()}
    pattern = "[" + "".join(sorted(letters)) + "]"
    grammar = Grammar(
        automaton_of(blocked=[pattern, "  "]),
        *pretrained.tokenizer.written(),
        pretrained.backbone.vocabulary_size,
        is_whole=False,
    )
    for knobs in ({}, {"temperature": 2.0, "seed": 3}):
        texts, _ = decoded(pretrained, grammar, 24, **knobs)
        assert letters and not any(re.search(pattern, text) or "  " in text for text in texts)


def test_distances_count_tokens_and_what_cannot_be_spelled_is_refused(pretrained):
    assert held(pretrained, "film( bad)*").shortest == 1
    assert held(pretrained, "ffilm").shortest == 2
    first = [b"a", b"b", None]
    with pytest.raises(UserError, match="cannot spell"):
        Grammar(automaton_of(pattern="abc"), first, first, 4)


def test_the_first_token_may_be_written_otherwise():
    made = Grammar(automaton_of(pattern="x( x)*"), [b"x", b"y"], [b" x", b"y"], 2)
    states = made.begin(1)
    for _ in range(3):
        scores = made.allow(tf.zeros([1, 2]), tf.zeros([1, 2]), states, tf.constant([5]), []).numpy()
        assert np.isfinite(scores).tolist() == [[True, False]]
        states = made.follow(states, tf.constant([0]))


def test_a_table_that_grows_too_large_is_refused(pretrained, monkeypatch):
    monkeypatch.setattr(grammars, "MOST_ENTRIES", 50)
    with pytest.raises(UserError, match="at most 50 entries"):
        held(pretrained, r"\w{1,30}")


def test_a_task_holds_beams_and_sequences_and_its_own_answers(pretrained):
    pattern = r"(good|bad)( film)?!{1,2}"
    task = Generate(pretrained, max_length=40, max_new_tokens=8, num_beams=3, pattern=pattern)
    found = [*task.search(["a", "the film"], batch_size=2), *(one["text"] for one in task.predict(["it was"]))]
    assert [text for text in found if not re.fullmatch(pattern, text)] == []
    assert task.options()["pattern"] == pattern
    with pytest.raises(UserError, match="stop cannot cut"):
        task.generate("a", stop=["!"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pattern": "a", "choices": ["a"]}, "not both"),
        ({"choices": ["a", "a"]}, "different texts"),
        ({"choices": "ab"}, "lists of texts"),
        ({"pattern": "a", "knobs": {"stop": ["x"]}}, "stop would cut"),
        ({"pattern": "a{30}", "max_new_tokens": 4}, "shortest answer that matches has 30 tokens"),
        ({"blocked_patterns": ["a?"]}, "matches the empty text"),
    ],
)
def test_limits_that_make_no_sense(pretrained, options, message):
    with pytest.raises(UserError, match=message):
        Generate(pretrained, **{"max_length": 40, **options})


def test_a_compiled_loop_is_held_as_well(pretrained):
    grammar = held(pretrained, r"(good|bad)( film)?!{1,2}")
    end = pretrained.tokenizer.special_ids["eos"]

    @tf.function(jit_compile=True, autograph=False)
    def run(ids, lengths):
        controls = plain(2, max_new_tokens=8, temperature=2.0, seed=5, grammar=grammar)
        return decode(pretrained.backbone, ids, lengths, controls, end_ids=(end,), room=8)

    found = run(tf.constant([[5, 6, 7], [8, 0, 0]]), tf.constant([3, 1]))
    texts = pretrained.tokenizer.detokenize(tf.RaggedTensor.from_tensor(found.token_ids, found.counts)).numpy()
    assert all(re.fullmatch(r"(good|bad)( film)?!{1,2}", text.decode()) for text in texts)
