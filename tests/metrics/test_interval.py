import pytest

from kzoo.metrics import accuracy, perplexity, wilson_interval


def test_wilson_interval_matches_published_values():
    # Newcombe 1998, table I: 81 of 263 and 15 of 148
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


@pytest.mark.parametrize("successes", [0, 1, 7, 10])
def test_wilson_interval_solves_its_equation(successes):
    """At both ends the score test is on its edge: |share - p| = z sqrt(p (1 - p) / n)."""
    low, high = wilson_interval(successes, 10)
    share = successes / 10
    assert 0 <= low <= share <= high <= 1
    for end in (low, high):
        if 0 < end < 1:
            assert abs(share - end) == pytest.approx(1.959964 * (end * (1 - end) / 10) ** 0.5, rel=1e-6)


def test_wilson_interval_narrows_with_trials_and_widens_with_confidence():
    widths = [high - low for low, high in (wilson_interval(n * 0.8, n) for n in (10, 100, 1000))]
    assert widths[0] > widths[1] > widths[2]
    wide, narrow = wilson_interval(8, 10, confidence=0.99), wilson_interval(8, 10, confidence=0.5)
    assert wide[0] < narrow[0] and narrow[1] < wide[1]


def test_wilson_interval_without_trials_says_nothing():
    assert wilson_interval(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize(("arguments", "message"), [((3, 2), "successes must lie"), ((-1, 2), "successes must lie")])
def test_wilson_interval_refuses_impossible_counts(arguments, message):
    with pytest.raises(ValueError, match=message):
        wilson_interval(*arguments)
    with pytest.raises(ValueError, match="confidence must lie between 0 and 1. Received confidence=95"):
        wilson_interval(1, 2, confidence=95)


def test_accuracy_counts_and_carries_its_interval():
    measured = accuracy(["a", "b", "a", "a"], ["a", "b", "b", "a"])
    assert (measured.value, measured.count) == (0.75, 4)
    assert (measured.low, measured.high) == wilson_interval(3, 4)
    assert str(measured).startswith("0.7500 (95% interval 0.30")
    with pytest.raises(ValueError, match="Received 1 expected and 2 answered"):
        accuracy(["a"], ["a", "b"])


def test_perplexity_of_a_fair_die():
    from math import inf, log

    assert perplexity(log(6)) == pytest.approx(6)
    assert perplexity(0.0) == 1.0
    assert perplexity(1e4) == inf
