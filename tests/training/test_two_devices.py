"""MirroredStrategy on two logical CPU devices, whose replicas see unequal numbers of real targets."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def trained(which):
    process = subprocess.run(
        [sys.executable, "-m", "tests.training.two_devices", which],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.partition("RESULTS")[2])


@pytest.fixture(scope="module")
def results():
    return trained("usual")


@pytest.fixture(scope="module")
def more():
    return trained("more")


def furthest(one, two):
    return max(np.abs(np.subtract(a, b)).max() for a, b in zip(one["weights"], two["weights"], strict=True))


def assert_equal_runs(one, two):
    assert (one["metrics"]["devices"], two["metrics"]["devices"]) == (1, 2)
    assert furthest(one, two) < 1e-5
    for before, after in zip(one["history"], two["history"], strict=True):
        assert after == pytest.approx(before, abs=1e-5)
    for name, value in one["metrics"]["validation"].items():
        assert two["metrics"]["validation"][name] == pytest.approx(value, abs=1e-5), name
    assert two["metrics"]["tokens"] == one["metrics"]["tokens"]


@pytest.mark.parametrize("kind", ["classify", "predict"])
def test_the_same_losses_and_weights_as_one_device(results, kind):
    assert_equal_runs(*results[kind])


@pytest.mark.slow
def test_the_same_with_xla(more):
    assert_equal_runs(*more["jit"])


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision(more, precision):
    exact, mixed = more["jit"][0]["metrics"], more[precision]["metrics"]
    assert mixed["precision"] == precision and mixed["devices"] == 2
    assert mixed["train"]["loss"] == pytest.approx(exact["train"]["loss"], rel=0.2)
    assert furthest(more["jit"][0], more[precision]) < 0.1
    assert not more[precision]["mirrored"]


def test_the_task_is_given_back_on_one_device(results):
    assert not any(run["mirrored"] for run in results["classify"])


def test_the_devices_are_said(results):
    assert results["classify"][1]["said"][0].startswith("2 devices: CPU:0, CPU:1 (TensorFlow 2.")
    assert results["classify"][0]["said"][0].startswith("1 device: CPU:0 (")


def test_a_task_made_under_the_strategy_is_trained_where_it_is(results):
    assert all(run["mirrored"] and run["metrics"]["devices"] == 2 for run in results["within"])


def test_dropout_follows_the_seed_on_every_replica(results):
    first, again = results["within"]
    assert furthest(first, again) == 0.0


def test_the_batch_must_divide_among_the_devices(results):
    assert results["error"].endswith("Received batch_size=7 for 2 devices.")
