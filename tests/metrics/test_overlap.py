"""BLEU, chrF and ROUGE: by hand where that is possible, and against the libraries' own corpus scores."""

import numpy as np
import pytest
import sacrebleu

from kzoo import metrics

RIGHT = ["the cat sat on the mat", "a dog", "it was a bad film , at all"]
WRITTEN = ["the cat sat on a mat", "dog", "it was not a bad film at all"]


def test_the_figures_are_sacrebleu_s_and_the_same_texts_are_perfect():
    for measure, theirs in ((metrics.bleu, sacrebleu.corpus_bleu), (metrics.chrf, sacrebleu.corpus_chrf)):
        found = measure(WRITTEN, RIGHT)
        assert found.value == pytest.approx(theirs(WRITTEN, [RIGHT]).score)
        assert found.measure(found.statistics.sum(0), 3) == pytest.approx(found.value)
        assert measure(RIGHT, RIGHT).value == pytest.approx(100.0)
        assert "version:" in found.signature
        low, high = found.interval(resamples=200)
        assert low < found.value < high and found.interval(resamples=200) == [low, high]


def test_rouge_by_hand():
    found = metrics.rouge(["the cat sat"], ["the cat slept here"])
    assert found["rouge_1"].value == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    assert found["rouge_2"].value == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    assert found["rouge_l"].value == pytest.approx(2 * (2 / 3) * (2 / 4) / (2 / 3 + 2 / 4))
    several = metrics.rouge(WRITTEN, RIGHT)
    assert several["rouge_l"].value == pytest.approx(several["rouge_l"].statistics.mean())
    assert several["rouge_1"].value != several["rouge_2"].value != several["rouge_l"].value
    low, high = several["rouge_1"].interval(resamples=200)
    assert low < several["rouge_1"].value < high


def test_each_text_s_chrf():
    each = metrics.chrf_of_each([*WRITTEN, "a dog"], [*RIGHT, "a dog"])
    assert each.shape == (4,) and each[3] == pytest.approx(100.0)
    assert each[2] == pytest.approx(sacrebleu.sentence_chrf(WRITTEN[2], [RIGHT[2]]).score)
    assert np.all(each[:3] < 100)
