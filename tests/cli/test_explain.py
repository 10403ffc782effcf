"""``kzoo explain``: JSON into a pipe, coloured tokens for a person, mistakes in one sentence."""

import json

import pytest

import kzoo
from kzoo.cli.explain import coloured, sentence
from tests import tiny

TOKENS = [
    {"token": "a", "attribution": 0.1, "start": 0, "end": 1},
    {"token": "good", "attribution": 0.4, "start": 2, "end": 6},
    {"token": "bad", "attribution": -0.4, "start": 7, "end": 10, "text_index": 0},
    {"token": "x", "attribution": 0.2, "start": 0, "end": 1, "text_index": 1},
]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    task = kzoo.Classify(tiny.pretrained("bert", num_layers=1), labels=["bad", "good"])
    return str(task.save(tmp_path_factory.mktemp("saved") / "classifier"))


def test_one_json_object_a_text(run, classifier):
    answer = run("explain", classifier, "a good film", "Schön", "--steps", "4", "--target", "bad")
    assert answer.exit_code == 0, answer.output
    first, second = map(json.loads, answer.stdout.splitlines())
    assert (first["text"], second["text"], first["label"]) == ("a good film", "Schön", "bad")
    assert [token["token"] for token in first["tokens"]] == ["a", "good", "film"]
    assert set(first) == {"text", "label", "score", "baseline_score", "gap", "tokens"}


def test_mistakes(run, classifier):
    answer = run("explain", classifier, "a film", "--target", "fine")
    assert answer.exit_code == 2 and "target must be one of the model's labels, 'bad', 'good'" in answer.stderr
    assert "There is no text to ask about" in run("explain", classifier).stderr


def test_a_tokens_colour_says_what_it_is_for_and_how_much():
    spans = {(span.start, span.end): str(span.style) for span in coloured("a good bad", TOKENS).spans}
    assert spans == {
        (0, 1): "black on rgb(211,235,215)",
        (2, 6): "black on rgb(77,174,95)",
        (7, 10): "black on rgb(224,84,82)",
    }
    assert [(span.start, span.end) for span in coloured("x", TOKENS, 1).spans] == [(0, 1)]
    assert not coloured("", []).spans


def test_the_sentence():
    found = {"label": "good", "score": 0.98, "baseline_score": 0.5, "gap": -0.00012}
    assert sentence(found) == "good 0.9800 (a text that says nothing: 0.5000; not explained: -1.2e-04)"
