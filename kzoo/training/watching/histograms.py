"""How the weights are spread, while they are learned."""

import numpy as np

from kzoo.training.periodic import Periodic
from kzoo.training.progress import Progress
from kzoo.training.watching.curves import Curves

TAG = "weights/"


class Histograms(Periodic):
    """Writes a histogram of each weight that learns, at the end of each epoch and every so many steps.

    Reads all of them from the device: seconds for a large model.

    Args:
        progress: the run's.
        curves: where to write.
        every: steps between them, or None.
    """

    def __init__(self, progress: Progress, curves: Curves, *, every: int | None = None):
        super().__init__(progress, every=every)
        self.curves = curves

    def act(self) -> None:
        """Writes now."""
        values = {f"{TAG}{weight.path}": np.asarray(weight) for weight in self.model.inner.trainable_weights}
        self.curves.write_histograms(values, self.progress.total)
        self.curves.resume_clock()
