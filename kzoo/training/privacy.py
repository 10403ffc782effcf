"""What differential privacy a run gives: noise for an epsilon, and the epsilon of the steps taken.

The mechanism is DP-SGD (Abadi et al. 2016): at each step every example joins by itself with the probability ``rate``
(Poisson sampling), its gradient is clipped, and Gaussian noise is added to the sum. Neighbours are data sets that
differ by one example more or less. ``dp-accounting`` composes the steps' privacy loss distributions.
"""

import logging
import secrets
from dataclasses import dataclass
from typing import Any

import keras

from kzoo.errors import UserError
from kzoo.training.config import PrivacyConfig, TrainingConfig

# N examples, L expected examples of a step

_LEAST, _MOST = 0.05, 1e3  # noise multipliers that are tried
_ROWS_OF_EXAMPLES = ("classify", "regress")
_NEAR = 0.005  # of the noise multiplier that an epsilon needs
_EXACT_BELOW = 40.0  # larger epsilons promise nothing, and the distributions of their losses would fill the memory


@dataclass(frozen=True, kw_only=True)
class Mechanism:
    """The noise of a run, and what it is worth.

    Attributes:
        noise_multiplier: standard deviation of the noise, in lengths to which gradients are clipped.
        clip: longest gradient of one example.
        rate: with which probability an example is in a step.
        lot: expected examples of a step, L.
        delta: the probability with which epsilon may not hold.
        steps: of the whole run.
        seed: of noise and sampling; whoever knows it knows the noise.
    """

    noise_multiplier: float
    clip: float
    rate: float
    lot: float
    delta: float
    steps: int
    seed: int

    def __str__(self) -> str:
        return (
            f"With privacy: epsilon {self.epsilon(self.steps):.3f} at delta {self.delta:.2g} after {self.steps} steps, "
            f"by noise of {self.noise_multiplier:.3f} x {self.clip:g}."
        )

    def epsilon(self, steps: int) -> float:
        """Epsilon after so many steps: by privacy loss distributions where it is small, else a bound by Renyi's."""
        return _spent(self.noise_multiplier, self.rate, steps, self.delta)

    def summary(self, steps: int) -> dict[str, Any]:
        """What a run says of its privacy, for ``kzoo.json``, ``metrics.json`` and the card."""
        return {
            "epsilon": round(self.epsilon(steps), 4),
            "delta": self.delta,
            "noise_multiplier": round(self.noise_multiplier, 4),
            "clip": self.clip,
            "sampling": "poisson",
            "sampling_rate": self.rate,
            "steps": steps,
            "neighbours": "one example added or removed",
            "accountant": "dp-accounting",
        }


def mechanism(said: PrivacyConfig, *, examples: int, batch_size: int, steps: int, seed: int) -> Mechanism:
    """The noise that a config asks for.

    Args:
        said: the config.
        examples: to learn from, N.
        batch_size: expected examples of a step, L.
        steps: of the run.
        seed: see ``Mechanism``.

    Raises:
        UserError: delta is not below 1 / N; no noise is enough, or little enough; ``dp-accounting`` is not installed.
    """
    delta = said.delta if said.delta is not None else 1 / (10 * examples)
    if delta >= 1 / examples:
        raise UserError(
            f"privacy.delta must lie below 1 / {examples}, one by the number of examples: else it allows to publish "
            f"one of them. Received {delta:g}."
        )
    if batch_size > examples:
        raise UserError(f"batch_size must not exceed the {examples} examples. Received {batch_size}.")
    rate = batch_size / examples
    accounting = _accounting()
    noise = said.noise_multiplier
    if noise is None:
        noise = _calibrated(accounting, float(said.epsilon or 0), rate, steps, delta)
    return Mechanism(
        noise_multiplier=noise, clip=said.clip, rate=rate, lot=float(batch_size), delta=delta, steps=steps, seed=seed
    )


def fresh_seed(said: PrivacyConfig, training: TrainingConfig) -> int:
    """The seed of noise and sampling: a secret one, or that of the run."""
    return secrets.randbits(62) if said.secret else training.seed


def check_private(task: Any, training: TrainingConfig, *, own_rows: bool) -> None:
    """UserError for what would void the guarantee, or what cannot be done example by example."""
    if task.name not in _ROWS_OF_EXAMPLES:
        raise UserError(
            f"Training with privacy clips the gradient of each example, so an example must be one row by itself: the "
            f"tasks {' and '.join(_ROWS_OF_EXAMPLES)}. The task {task.name} packs, cuts or joins them."
        )
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in task.model._flatten_layers()):
        raise UserError("Training with privacy cannot have batch normalization: it mixes the examples of a batch.")
    if getattr(task, "class_weights", None) == "balanced":
        raise UserError("Training with privacy cannot balance classes by counting them. Give class_weights as numbers.")
    if own_rows:
        raise UserError("Training with privacy draws from all examples at each step. Use data.share: rows.")
    if training.precision == "mixed_float16":
        raise UserError("Training with privacy clips each gradient before its scale is known. Use mixed_bfloat16.")
    if training.jit:
        raise UserError("Training with privacy takes examples one by one, which jit does not compile. Leave it out.")


class Epsilon(keras.callbacks.Callback):
    """Adds ``epsilon``, what was spent so far, to the logs of each epoch.

    Args:
        mechanism: of the run.
        progress: how many steps were taken.
    """

    def __init__(self, mechanism: Mechanism, progress):
        super().__init__()
        self.mechanism = mechanism
        self.progress = progress

    def on_epoch_end(self, epoch, logs=None):
        """Stands before the callbacks that read the logs."""
        if logs is not None:
            logs["epsilon"] = self.mechanism.epsilon(self.progress.total)


def _accounting() -> Any:
    try:
        import dp_accounting
        import dp_accounting.pld
        import dp_accounting.rdp
    except ImportError:
        raise UserError("Training with privacy needs dp-accounting: pip install 'kzoo[privacy]'.") from None
    logging.getLogger("absl").setLevel(logging.ERROR)  # it tells of each order of a divergence that it leaves out
    return dp_accounting


def _event(noise: float, rate: float, steps: int) -> Any:
    accounting = _accounting()
    step = accounting.PoissonSampledDpEvent(rate, accounting.GaussianDpEvent(noise))
    return accounting.SelfComposedDpEvent(step, steps)


def _spent(noise: float, rate: float, steps: int, delta: float) -> float:
    if not steps:
        return 0.0
    accounting, event = _accounting(), _event(noise, rate, steps)
    bound = float(accounting.rdp.RdpAccountant().compose(event).get_epsilon(delta))
    if bound > _EXACT_BELOW:
        return bound
    return float(accounting.pld.PLDAccountant().compose(event).get_epsilon(delta))


def _calibrated(accounting: Any, epsilon: float, rate: float, steps: int, delta: float) -> float:
    """The least noise for an epsilon: near the bound of Renyi's divergence, which is quick, then the tighter one."""

    def search(accountant: Any, low: float, high: float, tolerance: float) -> float:
        return accounting.calibrate_dp_mechanism(
            accountant,
            lambda noise: _event(noise, rate, steps),
            epsilon,
            delta,
            accounting.ExplicitBracketInterval(low, high),
            tol=tolerance,
        )

    try:
        rough = search(accounting.rdp.RdpAccountant, _LEAST, _MOST, 0.01)
        low = max(0.7 * rough, _LEAST)
        if rough <= _LEAST or epsilon > _EXACT_BELOW / 2:
            return float(rough)
        if _spent(low, rate, steps, delta) <= epsilon:
            return low
        return float(search(accounting.pld.PLDAccountant, low, rough, _NEAR))
    except Exception as error:
        if type(error).__module__.startswith("dp_accounting"):
            raise UserError(
                f"No noise gives privacy.epsilon {epsilon:g} at delta {delta:g} in {steps} steps: {error}."
            ) from None
        raise
