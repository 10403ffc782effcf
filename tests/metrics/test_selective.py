"""Risk and coverage by hand."""

import numpy as np
import pytest

from kzoo.metrics import risk_coverage


def test_the_surest_come_first_and_equal_scores_together():
    found = risk_coverage([0.9, 0.6, 0.6, 0.8], [True, False, True, False])
    np.testing.assert_allclose(found.thresholds, [0.9, 0.8, 0.6])
    np.testing.assert_allclose(found.coverage, [0.25, 0.5, 1.0])
    np.testing.assert_allclose(found.risk, [0.0, 0.5, 0.5])
    assert found.area == pytest.approx((0.0 + 0.5 + 0.5 + 0.5) / 4)


def test_the_area_is_the_mean_risk_of_all_beginnings():
    generator = np.random.default_rng(0)
    scores, right = generator.random(50), generator.random(50) < 0.7
    order = np.argsort(-scores)
    risks = [np.mean(~right[order[: count + 1]]) for count in range(50)]
    assert risk_coverage(scores, right).area == pytest.approx(np.mean(risks))


def test_answers_need_scores():
    with pytest.raises(ValueError, match="needs its score"):
        risk_coverage([0.5], [])
