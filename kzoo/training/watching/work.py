"""How much of what the devices can do a run does: operations a second, and their share of the peak."""

from collections.abc import Callable

import numpy as np

from kzoo.data.batching import Batches
from kzoo.models.operations import Operations
from kzoo.training.progress import Progress

# S steps, B batch size, T length

TERA = 1e12


class Work:
    """Operations of the model, forward and back, in the steps of a run.

    Two counts: those that real tokens need, and those that were done, padding included. The first over the devices'
    peak is the model FLOP utilisation (Chowdhery et al. 2022, appendix B).

    Args:
        operations: of training the model.
        batches: of training.
        progress: the run's.
        replicas: devices of the run.
        peak_teraflops: of one of them, or None where it is not known: no utilisation is given.
        places: for a model that guesses masked places: how many it guesses of so many tokens.
        workers: how many bring batches of their own, of whose work this worker's is then taken as an equal share.
    """

    def __init__(
        self,
        operations: Operations,
        batches: Batches,
        progress: Progress,
        *,
        replicas: int = 1,
        peak_teraflops: float | None = None,
        places: Callable[[int], int] | None = None,
        workers: int = 1,
    ):
        self.operations = operations
        self.batches = batches
        self.progress = progress
        self.peak = None if peak_teraflops is None else peak_teraflops * replicas
        self.places = places or (lambda tokens: 0)
        self.workers = workers
        self._epoch = -1
        self._done: dict[str, np.ndarray] = {}

    def of_epoch(self, epoch: int) -> dict[str, np.ndarray]:
        """Operations of each step of an epoch, float64 ``[S]``: of ``real`` tokens, and ``all`` with padding."""
        plan = self.batches.plan(epoch)
        is_real = np.arange(plan.rows.shape[1]) < plan.counts[:, None]  # [S, B]
        each = self.batches.rows_each
        tokens = (self.batches.token_counts[plan.rows] * is_real[..., None]).reshape(len(plan), -1)
        rows, size = is_real.sum(1) * each, plan.rows.shape[1] * each
        lengths = plan.lengths.astype(np.float64)  # [S]
        places = np.array([self.places(int(length)) for length in plan.lengths])  # as many in each row of a length
        of = self.operations.of
        real = of(rows=rows, tokens=tokens.sum(1), squares=(tokens.astype(float) ** 2).sum(1), places=rows * places)
        padded = of(rows=size, tokens=size * lengths, squares=size * lengths**2, places=size * places)
        return {"real": real * self.workers, "all": padded * self.workers}

    def rates(self, steps: int, seconds: float) -> dict[str, float]:
        """Scalars for the last so many steps of the epoch under way, which took so many seconds."""
        if self._epoch != self.progress.epoch:
            self._epoch, self._done = self.progress.epoch, self.of_epoch(self.progress.epoch)
        part = slice(max(self.progress.step - steps, 0), self.progress.step)
        real, padded = (float(self._done[name][part].sum()) / seconds / TERA for name in ("real", "all"))
        values = {"teraflops": real, "teraflops_with_padding": padded}
        if self.peak:
            values["model_flop_utilisation"] = real / self.peak
            values["model_flop_utilisation_with_padding"] = padded / self.peak
        return values
