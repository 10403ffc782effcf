"""Choices behind prompts: one pass over a tree gives what a pass for each choice gives."""

import numpy as np
import pytest
import tensorflow as tf

from kzoo.generation.choices import ChoiceScorer, Rows, read_shared
from tests import tiny

SHARED = [5, 6, 7, 8, 9]
CHOICES = [[20], [21, 22, 23], [21, 24]]
CONTENT_FREE = [40, 41]
TRUNKS = [[10, 11], [], [12]]
PROMPTS = [[30, 31, 32], [33], [34, 35, 36, 37]]
SEEN = [5, 3, 0]


@pytest.fixture(scope="module", params=["gpt2", "llama"])
def decoder(request):
    return tiny.pretrained(request.param).backbone


def log_probability(decoder, before, choice):
    ids = np.array([[*before, *choice]], np.int32)
    hidden = decoder({"token_ids": ids, "padding_mask": np.ones_like(ids)})["sequence_output"]
    table = tf.nn.log_softmax(decoder.logits(hidden)).numpy()[0]
    return sum(table[len(before) - 1 + place, token] for place, token in enumerate(choice))


@pytest.mark.parametrize("content_free", [[], CONTENT_FREE])
def test_scores_are_those_of_each_choice_read_alone(decoder, content_free):
    own = tf.ragged.constant([trunk + prompt for trunk, prompt in zip(TRUNKS, PROMPTS, strict=True)], tf.int32)
    rows = Rows(
        own.to_tensor(0),
        tf.cast(own.row_lengths(), tf.int32),
        tf.constant([len(trunk) for trunk in TRUNKS]),
        tf.constant(SEEN),
    )
    scores = ChoiceScorer(CHOICES, content_free)(decoder, rows, read_shared(decoder, SHARED))
    for row, (trunk, prompt, seen) in enumerate(zip(TRUNKS, PROMPTS, SEEN, strict=True)):
        before = SHARED[:seen] + trunk
        wanted = [log_probability(decoder, before + prompt, choice) for choice in CHOICES]
        np.testing.assert_allclose(scores.prompt[row], wanted, atol=1e-4)
        if content_free:
            wanted = [log_probability(decoder, before + content_free, choice) for choice in CHOICES]
            np.testing.assert_allclose(scores.content_free[row], wanted, atol=1e-4)
    assert (scores.content_free is None) == (not content_free)


def test_nothing_need_be_shared(decoder):
    rows = Rows(tf.constant([PROMPTS[0]]), tf.constant([3]), tf.constant([0]), tf.constant([0]))
    scores = ChoiceScorer(CHOICES)(decoder, rows)
    wanted = [log_probability(decoder, PROMPTS[0], choice) for choice in CHOICES]
    np.testing.assert_allclose(scores.prompt[0], wanted, atol=1e-4)
