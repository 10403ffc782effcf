"""Compiled signatures answer as the plain ones do, whatever number and length of texts is asked."""

import numpy as np
import pytest
import tensorflow as tf

import kzoo
from kzoo.errors import UserError
from kzoo.tasks import compiled
from kzoo.tasks.knobs import COMPILED_KNOBS
from tests import tiny

TEXTS = ["a good film", "", "the film was not good at all " * 3, "bad"] + ["it was a bad, bad film!"] * 6


def test_few_shapes():
    assert compiled.lengths_up_to(32) == (32,)
    assert compiled.lengths_up_to(896) == (32, 128, 512, 896)
    assert [int(compiled.next_of((1, 8, 32), size)) for size in (0, 1, 2, 8, 9, 32)] == [1, 1, 8, 8, 32, 32]
    assert compiled.shapes((1, 8), 40) == ((1, 32), (8, 32), (1, 40), (8, 40))


def answered(signature, **inputs):
    found = signature.function(**{name: tf.constant(value) for name, value in inputs.items()})
    return {name: value.numpy() for name, value in found.items()}


@pytest.mark.parametrize("count", [1, 10])
def test_a_classifier(classifier, count):
    plain, by_xla = classifier
    here, there = answered(plain, text=TEXTS[:count]), answered(by_xla, text=TEXTS[:count])
    assert here["label"].tolist() == there["label"].tolist() and len(here["label"]) == count
    np.testing.assert_allclose(here["scores"], there["scores"], atol=1e-5)


@pytest.fixture(scope="module")
def classifier():
    task = kzoo.Classify(tiny.bert(num_layers=1), labels=["bad", "good"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled, "LENGTHS", (8,))  # so that there are two lengths
        return task.signatures()["serving_default"], task.compiled_signatures()["serving_default_xla"]


PROMPTS = ["the film", "", "it was a bad", "good film at", "the film was not good at all, it was bad"] * 2


def test_what_is_written(made):
    task = kzoo.Generate(made, max_length=32, max_new_tokens=6, knobs={"blocked_words": "good", "logit_bias": "9 -50"})
    plain, by_xla = task.writer.function("generate"), task.writer.function("generate_xla")
    knobs = [
        {},
        {"max_new_tokens": 3, "min_new_tokens": 2},
        {"repetition_penalty": 2.0, "presence_penalty": 0.5, "frequency_penalty": 0.3},
        {"temperature": 1.3, "top_k": 40, "top_p": 0.9, "min_p": 0.01, "seed": 11},
    ]
    rows = {name: np.array([task.writer.values(**one)[name].numpy()[0] for one in knobs]) for name in COMPILED_KNOBS}
    for prompts in (PROMPTS[:1], PROMPTS):
        asked = {name: tf.constant(np.resize(value, len(prompts))) for name, value in rows.items()}
        strings = {name: value for name, value in task.writer.values().items() if name not in COMPILED_KNOBS}
        here = plain(prompt=tf.constant(prompts), **asked, **strings)
        there = by_xla(prompt=tf.constant(prompts), **asked)
        for name, value in here.items():
            close = np.testing.assert_allclose if value.dtype.is_floating else np.testing.assert_array_equal
            close(value.numpy(), there[name].numpy(), **({"atol": 1e-4} if value.dtype.is_floating else {}))
    assert len(set(there["count"].numpy().tolist())) > 1


def test_several_sequences(made):
    task = kzoo.Generate(made, max_length=32, max_new_tokens=5, num_sequences=2, temperature=1.0)
    here, there = (
        answered(task.signatures()["serving_default"], prompt=PROMPTS),
        answered(task.compiled_signatures()["serving_default_xla"], prompt=PROMPTS),
    )
    assert here["text"].tolist() == there["text"].tolist() and here["text"].shape == (10, 2)


def test_what_has_no_compiled_form(made):
    with pytest.raises(UserError, match="no loop that looks for stop strings.*without compiled=True"):
        kzoo.Generate(made, knobs={"stop": "\n"}).compiled_signatures()
    with pytest.raises(UserError, match="The task fill_mask has no compiled form"):
        kzoo.FillMask(tiny.bert()).compiled_signatures()


@pytest.fixture(scope="module")
def made():
    return tiny.talkative(tiny.gpt2(num_layers=1))
