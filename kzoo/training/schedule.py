"""Learning rates that rise at first and fall after."""

from typing import Literal, get_args

import keras
from keras import ops

Kind = Literal["linear", "cosine", "constant", "inverse_square_root"]


@keras.saving.register_keras_serializable(package="kzoo")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """The learning rate at each update: a straight rise to the peak, then constant or falling.

    Update ``i`` counts from 0. While ``i < warmup_steps`` the rate is ``peak * (i + 1) / warmup_steps``, so that the
    first update already moves. After that, with ``p = (i - warmup_steps) / (total_steps - warmup_steps)``:

    - ``linear``: from the peak to ``peak * end_factor`` at ``p = 1``;
    - ``cosine``: the same ends along half a cosine (Loshchilov and Hutter 2017, equation 5);
    - ``constant``: the peak;
    - ``inverse_square_root``: ``peak * sqrt(warmup_steps / (i + 1))`` (Vaswani et al. 2017, equation 3).

    Args:
        peak: the highest rate.
        kind: one of the four.
        warmup_steps: updates until the peak; 0 starts at it.
        total_steps: updates of the whole run.
        end_factor: what is left of the peak at the end, for linear and cosine.
    """

    def __init__(self, peak, *, kind="linear", warmup_steps=0, total_steps, end_factor=0.0):
        super().__init__()
        if kind not in get_args(Kind):
            raise ValueError(f"kind must be one of {', '.join(get_args(Kind))}. Received: kind={kind!r}.")
        if not 0 <= warmup_steps <= total_steps:
            raise ValueError(
                "warmup_steps must lie between 0 and total_steps. "
                f"Received: warmup_steps={warmup_steps}, total_steps={total_steps}."
            )
        self.peak = float(peak)
        self.kind = kind
        self.warmup_steps = int(warmup_steps)
        self.total_steps = int(total_steps)
        self.end_factor = float(end_factor)

    def __call__(self, step):
        """Returns the rate of the update that follows ``step`` updates."""
        step = ops.cast(step, "float32")
        if self.kind == "constant":
            factor = ops.ones_like(step)
        elif self.kind == "inverse_square_root":
            start = float(max(self.warmup_steps, 1))
            factor = ops.sqrt(start / ops.maximum(step + 1.0, start))
        else:
            length = float(max(self.total_steps - self.warmup_steps, 1))
            progress = ops.clip((step - self.warmup_steps) / length, 0.0, 1.0)
            fall = progress if self.kind == "linear" else 0.5 * (1.0 - ops.cos(3.141592653589793 * progress))
            factor = 1.0 - (1.0 - self.end_factor) * fall
        if self.warmup_steps:
            factor = ops.where(step < self.warmup_steps, (step + 1.0) / self.warmup_steps, factor)
        return self.peak * factor

    def get_config(self):
        return {
            "peak": self.peak,
            "kind": self.kind,
            "warmup_steps": self.warmup_steps,
            "total_steps": self.total_steps,
            "end_factor": self.end_factor,
        }
