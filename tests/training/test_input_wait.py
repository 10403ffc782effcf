"""The wait for batches as a share of the step: measured on a clock of the test's own."""

import json
import time

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.framework.config import disable_op_determinism

from kzoo.training.progress import Progress
from kzoo.training.run import fit
from kzoo.training.watching.input_wait import InputWait
from tests.training.letter_tasks import LetterTask, words


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Written:
    def __init__(self):
        self.points = []

    def write(self, part, values, step):
        self.points.append((part, values, step))


def steps_of(wait, clock, dataset, times, *, per_step=1):
    """Steps that wait and compute so many seconds."""
    options = tf.data.Options()
    options.experimental_optimization.inject_prefetch = False  # this clock knows nothing of threads
    iterator = iter(dataset.with_options(options))
    for step, (waited, computed) in enumerate(times):
        wait.on_train_batch_begin(step)
        clock.now += waited
        for _ in range(per_step):
            next(iterator)
        clock.now += computed
        wait.progress.total += 1
        wait.on_train_batch_end(step)


@pytest.mark.parametrize("per_step", [1, 2])
def test_the_share_of_the_steps_after_the_first(per_step):
    clock, curves = Clock(), Written()
    wait = InputWait(Progress(), curves=curves, every=2, clock=clock)
    assert wait.share is None
    for epoch, times in enumerate(([(9.0, 1.0), (1.0, 3.0)], [(0.0, 4.0), (3.0, 1.0)])):
        wait.on_epoch_begin(epoch)
        dataset = wait.watch(tf.data.Dataset.range(2 * per_step), per_step)
        steps_of(wait, clock, dataset, times, per_step=per_step)
        logs = {}
        wait.on_epoch_end(epoch, logs)
        assert logs == {"input_wait": [0.25, 0.375][epoch]}
    assert wait.share == pytest.approx(4 / 12)
    assert curves.points == [("train", {"input_wait": 0.25}, 2), ("train", {"input_wait": 0.375}, 4)]


def test_what_came_before_it_was_asked_for_was_not_waited_for():
    disable_op_determinism()  # which another test of this process may have asked for; it leaves no prefetching
    clock = Clock()
    wait = InputWait(Progress(), clock=clock)
    dataset = wait.watch(tf.data.Dataset.range(3)).prefetch(3)
    iterator = iter(dataset)
    next(iterator)
    deadline = time.monotonic() + 20
    while len(wait._arrivals) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    wait.on_train_batch_begin(0)
    wait.on_train_batch_end(0)
    clock.now = 50.0
    wait.on_train_batch_begin(1)
    clock.now = 52.0
    wait.on_train_batch_end(1)
    assert wait.share == 0.0


def test_elements_pass_as_they_are():
    given = tf.data.Dataset.from_tensors(({"a": np.arange(3)}, np.ones(2), np.zeros(1))).repeat(2)
    seen = InputWait(Progress()).watch(given)
    assert seen.element_spec == given.element_spec
    for one, other in zip(given, seen, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)


def test_a_run_reports_it(tmp_path):
    run = fit(
        LetterTask(), words(), run_folder=tmp_path, epochs=2, batch_size=8, logging={"progress": "none", "every": 5}
    )
    assert all(0 <= entry["input_wait"] <= 1 for entry in run.history)
    assert 0 <= json.loads((tmp_path / "metrics.json").read_text())["input_wait"] <= 1
    tags = {
        value.tag
        for file in (tmp_path / "tensorboard" / "train").iterdir()
        for event in tf.compat.v1.train.summary_iterator(str(file))
        for value in event.summary.value
    }
    assert {"input_wait", "loss"} <= tags
