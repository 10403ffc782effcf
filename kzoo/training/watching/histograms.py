"""How the weights are spread, while they are learned."""

import keras
import numpy as np

from kzoo.training.progress import Progress
from kzoo.training.watching.curves import Curves

TAG = "weights/"


class Histograms(keras.callbacks.Callback):
    """Writes a histogram of each weight that learns, at the end of each epoch and every so many steps.

    Reads all of them from the device: seconds for a large model.

    Args:
        progress: the run's.
        curves: where to write.
        every: steps between them, or None.
    """

    def __init__(self, progress: Progress, curves: Curves, *, every: int | None = None):
        super().__init__()
        self.progress = progress
        self.curves = curves
        self.every = every
        self._written_at = -1

    def on_train_batch_end(self, batch, logs=None):
        """Writes where it is due."""
        if self.every and self.progress.total % self.every == 0:
            self._write()

    def on_epoch_end(self, epoch, logs=None):
        """Writes at the end of an epoch."""
        if self._written_at != self.progress.total:
            self._write()

    def _write(self) -> None:
        self._written_at = self.progress.total
        values = {f"{TAG}{weight.path}": np.asarray(weight) for weight in self.model.inner.trainable_weights}
        self.curves.write_histograms(values, self.progress.total)
        self.curves.resume_clock()
