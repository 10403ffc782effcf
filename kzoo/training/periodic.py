"""A callback that acts at the end of each epoch and every so many steps, once at a step."""

import keras

from kzoo.training.progress import Progress


class Periodic(keras.callbacks.Callback):
    """Subclasses say in ``act`` what is done.

    Args:
        progress: the run's.
        every: steps between two times beside the epochs' ends, or None.
    """

    def __init__(self, progress: Progress, *, every: int | None = None):
        super().__init__()
        self.progress = progress
        self.every = every
        self._acted_at = -1

    def act(self) -> None:
        """What is done when it is due."""
        raise NotImplementedError

    def on_train_batch_end(self, batch, logs=None):
        """Acts where it is due."""
        if self.every and self.progress.total % self.every == 0:
            self._act()

    def on_epoch_end(self, epoch, logs=None):
        """Acts at the end of an epoch, unless its last step was due."""
        if self._acted_at != self.progress.total:
            self._act()

    def _act(self) -> None:
        self._acted_at = self.progress.total
        self.act()
