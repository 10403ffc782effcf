import math

import numpy as np
import pytest

from kzoo.training.schedule import WarmupSchedule


def values(steps, **arguments):
    schedule = WarmupSchedule(2.0, **arguments)
    return [float(schedule(step)) for step in steps]


def test_linear_rises_to_the_peak_and_falls_to_nothing():
    got = values([0, 1, 3, 4, 12, 19, 20, 99], kind="linear", warmup_steps=4, total_steps=20)
    assert got == pytest.approx([0.5, 1.0, 2.0, 2.0, 1.0, 0.125, 0.0, 0.0])


def test_cosine_follows_half_a_cosine():
    steps = range(4, 21)
    expected = [1.0 + math.cos(math.pi * (step - 4) / 16) for step in steps]
    assert values(steps, kind="cosine", warmup_steps=4, total_steps=20) == pytest.approx(expected, abs=1e-6)


def test_end_factor_is_what_is_left():
    for kind in ("linear", "cosine"):
        assert values([20, 30], kind=kind, total_steps=20, end_factor=0.1) == pytest.approx([0.2, 0.2])


def test_constant_stays_at_the_peak_after_warmup():
    got = values([0, 1, 2, 1000], kind="constant", warmup_steps=2, total_steps=10)
    assert got == pytest.approx([1.0, 2.0, 2.0, 2.0])


def test_inverse_square_root_is_continuous_and_quarters_the_rate_of_sixteen_times_the_steps():
    got = values([99, 100, 399, 1599], kind="inverse_square_root", warmup_steps=100, total_steps=2000)
    assert got == pytest.approx([2.0, 2.0 * math.sqrt(100 / 101), 1.0, 0.5])


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "inverse_square_root"])
def test_without_warmup_the_first_update_is_at_the_peak(kind):
    assert values([0], kind=kind, total_steps=10) == pytest.approx([2.0])


@pytest.mark.parametrize("kind", ["linear", "cosine", "constant", "inverse_square_root"])
def test_never_above_the_peak_and_never_negative(kind):
    got = np.array(values(range(0, 60), kind=kind, warmup_steps=7, total_steps=50))
    assert got.max() == pytest.approx(2.0) and got.min() >= 0.0
    assert (np.diff(got[7:]) <= 1e-6).all() and (np.diff(got[:7]) > 0).all()


def test_config_round_trip():
    schedule = WarmupSchedule(2.0, kind="cosine", warmup_steps=3, total_steps=9, end_factor=0.5)
    again = WarmupSchedule.from_config(schedule.get_config())
    assert [float(again(step)) for step in range(9)] == [float(schedule(step)) for step in range(9)]


def test_mistakes():
    with pytest.raises(ValueError, match="kind must be one of linear, .* Received: kind='poly'"):
        WarmupSchedule(1.0, kind="poly", total_steps=3)
    with pytest.raises(ValueError, match="warmup_steps=4, total_steps=3"):
        WarmupSchedule(1.0, warmup_steps=4, total_steps=3)
