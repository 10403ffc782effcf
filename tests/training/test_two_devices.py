"""MirroredStrategy on two logical CPU devices, whose replicas see unequal numbers of real targets.

Each test runs a process of its own and then looks at all that came of it: under xdist a fixture would run it twice.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest


def trained(which, module="tests.training.two_devices"):
    process = subprocess.run(
        [sys.executable, "-m", module, which],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "TF_NUM_INTEROP_THREADS": "4"},  # with one thread two replicas wait for each other forever
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout.partition("RESULTS")[2])


def furthest(one, two):
    return max(np.abs(np.subtract(a, b)).max() for a, b in zip(one["weights"], two["weights"], strict=True))


def assert_equal_runs(one, two):
    """The same losses and weights on one device and on two."""
    assert (one["metrics"]["devices"], two["metrics"]["devices"]) == (1, 2)
    assert furthest(one, two) < 1e-5
    for before, after in zip(one["history"], two["history"], strict=True):
        assert after == pytest.approx(before, abs=1e-5)
    for name, value in one["metrics"].get("validation", {}).items():
        assert two["metrics"]["validation"][name] == pytest.approx(value, abs=1e-5), name
    assert two["metrics"]["tokens"] == one["metrics"]["tokens"]


def test_two_devices_learn_what_one_does():
    results = trained("usual")
    assert_equal_runs(*results["classify"])
    assert_equal_runs(*results["predict"])
    assert_equal_runs(*results["parts"])  # two parts a device, moving averages, smoothed labels
    assert furthest(results["parts"][0], results["predict"][0]) > 1e-3
    assert_equal_runs(*results["lion"])

    one, two = results["classify"]
    assert one["said"][0].startswith("1 device: CPU:0 (")
    assert two["said"][0].startswith("2 devices: CPU:0, CPU:1 (TensorFlow 2.")
    assert not one["mirrored"] and not two["mirrored"]  # the task is given back on one device

    first, again = results["within"]  # made under the strategy: trained where it is
    assert first["mirrored"] and first["metrics"]["devices"] == 2
    assert furthest(first, again) == 0.0  # dropout follows the seed on every replica

    assert results["error"].endswith("Received batch_size=7 for 2 devices.")


def test_every_head_of_a_text_learns_on_two_devices_what_it_does_on_one():
    for name, (one, two) in trained("heads").items():
        assert_equal_runs(one, two)
        assert one["history"][-1]["loss"] < one["history"][0]["loss"], name


@pytest.mark.slow
def test_two_devices_with_xla_and_mixed_precision_and_a_real_language_model():
    results = trained("more")
    one, two = results["jit"]
    assert_equal_runs(one, two)
    for precision in ("mixed_bfloat16", "mixed_float16"):
        mixed = results[precision]
        assert mixed["metrics"]["precision"] == precision and mixed["metrics"]["devices"] == 2
        assert mixed["metrics"]["train"]["loss"] == pytest.approx(one["metrics"]["train"]["loss"], rel=0.2)
        assert furthest(one, mixed) < 0.1
        assert not mixed["mirrored"]
    # a key's bias has no effect, so its gradient is rounding alone, which AdamW makes as large as any other
    distances = {path: distance for path, distance in results["real"].items() if not path.endswith("key/bias")}
    assert len(distances) > 20 and max(distances.values()) < 1e-5


@pytest.mark.slow
def test_two_devices_and_parts_learn_with_privacy_what_one_does():
    pytest.importorskip("dp_accounting")
    one, two = trained("", module="tests.training.private_devices")
    assert (one["devices"], two["devices"]) == (1, 2)
    assert furthest(one, two) < 1e-5  # the same rows, clipped one by one, and the same noise
    assert one["loss"] == pytest.approx(two["loss"], abs=1e-5)
