"""How long the training step waits for its batch: the share of the step's time, which more readers could save."""

import time

import keras
import numpy as np
import tensorflow as tf

from kzoo.training.progress import Progress


class InputWait(keras.callbacks.Callback):
    """Measures the wait between the begin of a step and the arrival of its batch; adds ``input_wait`` to the logs.

    The first step of a process is left out: it traces.

    Args:
        progress: the run's.
        curves: where to write the share, or None.
        every: steps between points of the curve.
        clock: seconds.
    """

    def __init__(self, progress: Progress, *, curves=None, every: int = 10, clock=time.perf_counter):
        super().__init__()
        self.progress = progress
        self.curves = curves
        self.every = every
        self.clock = clock
        self._arrivals: list[float] = []
        self._per_step = 1
        self._step = 0
        self._begun = 0.0
        self._traced = False
        self._sums = {"point": np.zeros(2), "epoch": np.zeros(2), "run": np.zeros(2)}  # seconds of waiting, of steps

    @property
    def share(self) -> float | None:
        """Waiting as a share of all steps of this process; None before there was one."""
        return _share(self._sums["run"])

    def watch(self, dataset: tf.data.Dataset, per_step: int = 1) -> tf.data.Dataset:
        """The same dataset, which notes when each batch leaves it; for the next call of ``fit``.

        Args:
            dataset: of batches.
            per_step: how many of them a step takes.
        """
        arrivals: list[float] = []
        self._arrivals, self._per_step, self._step = arrivals, per_step, 0

        def note() -> np.int32:
            arrivals.append(self.clock())
            return np.int32(0)

        def noted(*batch):
            with tf.control_dependencies([tf.numpy_function(note, [], tf.int32)]):
                return tf.nest.map_structure(tf.identity, batch)

        return dataset.map(noted)

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the epoch's sums."""
        self._sums["epoch"][:] = 0.0

    def on_train_batch_begin(self, batch, logs=None):
        """A step begins."""
        self._begun = self.clock()

    def on_train_batch_end(self, batch, logs=None):
        """Adds the step, and writes a point where one is due."""
        self._step += 1
        last = self._step * self._per_step - 1
        if self._traced and last < len(self._arrivals):
            waited = max(self._arrivals[last] - self._begun, 0.0)
            for sums in self._sums.values():
                sums += (waited, self.clock() - self._begun)
        self._traced = True
        if self.progress.total % self.every == 0:
            share = _share(self._sums["point"])
            if self.curves is not None and share is not None:
                self.curves.write("train", {"input_wait": share}, self.progress.total)
            self._sums["point"][:] = 0.0

    def on_epoch_end(self, epoch, logs=None):
        """Adds the epoch's share to the logs of the callbacks that follow."""
        share = _share(self._sums["epoch"])
        if logs is not None and share is not None:
            logs["input_wait"] = round(share, 4)


def _share(sums: np.ndarray) -> float | None:
    waited, steps = sums
    return float(waited / steps) if steps > 0 else None
