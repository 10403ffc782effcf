"""A run that is killed at any moment, and started again, ends with the bits of a run never killed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from kzoo.training.watching.event_files import FILES

ROOT = Path(__file__).parents[2]
MEASURED = {"seconds", "input_wait", "examples_per_second", "tokens_per_second"}
MEASURED |= {"teraflops", "teraflops_with_padding", "memory_gigabytes"}


def killed(folder, kills, seed, *kinds):
    """Runs ``killed_run`` and returns what it said; it leaves ``straight`` and one folder a run that was killed."""
    process = subprocess.run(
        [sys.executable, "-m", "tests.training.killed_run", str(folder), str(kills), str(seed), *kinds],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    assert process.returncode == 0, process.stdout + process.stderr
    return process.stdout


def weights(folder):
    stored = np.load(folder / "model" / "weights.npz")
    return [stored[name] for name in stored.files]


def results(path):
    found = json.loads(path.read_text())
    entries = found if isinstance(found, list) else [found]
    return [{name: value for name, value in one.items() if name not in MEASURED} for one in entries]


def points(folder):
    """Every point of the curves in the order of the steps; a step that was written twice stands twice."""
    found = {}
    for path in sorted(folder.glob(FILES)):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                found.setdefault(value.tag, []).append((event.step, tf.make_ndarray(value.tensor).tolist()))
    return {tag: sorted(values) for tag, values in found.items()}


def assert_same(folder, straight):
    for one, expected in zip(weights(folder), weights(straight), strict=True):
        np.testing.assert_array_equal(one, expected)
    assert results(folder / "history.json") == results(straight / "history.json")
    assert results(folder / "metrics.json") == results(straight / "metrics.json")
    for name in ("best", "checkpoints"):
        assert {path.name for path in (folder / name).iterdir()} == {path.name for path in (straight / name).iterdir()}
    for part in ("train", "validation"):
        curves, expected = points(folder / "tensorboard" / part), points(straight / "tensorboard" / part)
        for tag in set(expected) - {"input_wait"}:  # which leaves out the first step of each process
            if tag in MEASURED:
                assert [step for step, _ in curves[tag]] == [step for step, _ in expected[tag]], (part, tag)
            else:
                assert curves[tag] == expected[tag], (part, tag)
    train = points(straight / "tensorboard" / "train")
    assert [step for step, _ in train["loss"]] == list(range(3, 39, 3))
    assert not list(folder.rglob(".*"))


def test_three_kills_one_of_them_inside_the_write_of_a_checkpoint(tmp_path):
    said = killed(tmp_path, 3, 5, "save", "line", "clock")
    assert "3 kills" in said and "checkpoint.py" in said
    for folder in tmp_path.glob("killed-*"):
        assert_same(folder, tmp_path / "straight")


@pytest.mark.slow
def test_twenty_kills_at_random_moments(tmp_path):
    said = killed(tmp_path, 20, 1, "line", "clock", "save", "line")
    print(said)
    assert "20 kills" in said
    for folder in tmp_path.glob("killed-*"):
        assert_same(folder, tmp_path / "straight")
