"""A profile of a few steps, for TensorBoard's Profile tab, which needs the plugin ``tensorboard-plugin-profile``."""

import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from kzoo.training.progress import Progress

PLUGIN = Path("plugins") / "profile"
FIRST = 6
"""Where a number of steps alone is asked for: the steps before it trace and fill caches."""


class Profile(keras.callbacks.Callback):
    """Lets TensorFlow's profiler watch some steps; stands behind all other callbacks that do work.

    Args:
        folder: of the training curves; the profile goes to ``plugins/profile/`` in it.
        progress: the run's.
        steps: the first and the last, counted since the run began.
        say: told when another profiler is at work.
    """

    def __init__(self, folder: Path, progress: Progress, steps: tuple[int, int], *, say: Callable[[str], None]):
        super().__init__()
        self.folder = folder
        self.progress = progress
        self.first, self.last = steps
        self.say = say
        self._runs = False
        self._step: tf.profiler.experimental.Trace | None = None

    def on_train_batch_begin(self, batch, logs=None):
        """Begins before the first step, or where a resumed run is in the midst of them."""
        number = self.progress.total + 1
        if not self._runs and self.first <= number <= self.last:
            shutil.rmtree(self.folder / PLUGIN, ignore_errors=True)  # of a process that was killed
            try:
                tf.profiler.experimental.start(str(self.folder))
            except tf.errors.AlreadyExistsError:
                self.say("No profile is written: another profiler is at work in this process.")
                self.last = 0
                return
            self._runs = True
        if self._runs:
            self._step = tf.profiler.experimental.Trace("train", step_num=number, _r=1)
            self._step.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        """Ends after the last step."""
        self._end_step()
        if self._runs and self.progress.total >= self.last:
            self.close()

    def on_train_end(self, logs=None):
        """Ends where the run was shorter."""
        self.close()

    def close(self) -> None:
        """Writes what was seen so far."""
        self._end_step()
        if self._runs:
            self._runs = False
            tf.profiler.experimental.stop()

    def _end_step(self) -> None:
        if self._step is not None:
            self._step.__exit__(None, None, None)
            self._step = None


def steps_of(asked: int | tuple[int, int]) -> tuple[int, int]:
    """The first and the last step: as asked for, or so many from ``FIRST`` on."""
    return (FIRST, FIRST + asked - 1) if isinstance(asked, int) else asked
