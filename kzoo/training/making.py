"""From the settings of a run to the model that ``fit`` trains: loss, optimizer, schedule, step."""

import functools
from typing import Any

import keras

from kzoo.errors import UserError
from kzoo.training.config import TrainingConfig
from kzoo.training.losses import smoothed
from kzoo.training.optimizer import adamw, layer_rates, named
from kzoo.training.privacy import Mechanism
from kzoo.training.private_step import PrivateTrainingModel
from kzoo.training.schedule import WarmupSchedule
from kzoo.training.step import TrainingModel


def length_of(training: TrainingConfig, steps_of_an_epoch: int) -> tuple[int, int]:
    """Epochs and steps of the run."""
    if training.steps is not None:
        return -(-training.steps // steps_of_an_epoch), training.steps
    epochs = training.epochs or 1
    return epochs, epochs * steps_of_an_epoch


def check_divides(batch_size: int, replicas: int, parts: int) -> None:
    """UserError unless each part of each device gets the same number of rows."""
    if batch_size % (replicas * parts):
        raise UserError(
            f"batch_size counts the rows of all devices and parts together and must be a multiple of their number. "
            f"Received batch_size={batch_size} for {replicas} device{'s' if replicas > 1 else ''}"
            f"{f' and accumulate={parts}' if parts > 1 else ''}."
        )


def training_model(
    learner, training: TrainingConfig, total: int, make_optimizer, private: Mechanism | None = None
) -> TrainingModel:
    """The model that ``fit`` trains, in the strategy's scope.

    Args:
        learner: the task that learns.
        training: the settings.
        total: steps of the run, for the schedule.
        make_optimizer: from trainable variables and schedule to an optimizer, or None for what the settings say.
        private: the noise of a run with privacy.
    """
    variables = learner.model.trainable_variables
    schedule = WarmupSchedule(
        training.learning_rate,
        kind=training.schedule,
        warmup_steps=_warmup(training.warmup, total),
        total_steps=total,
        end_factor=training.end_factor,
    )
    if make_optimizer:
        optimizer = make_optimizer(variables, schedule)
    elif training.optimizer:
        optimizer = named(_averaging(training) | training.optimizer, schedule)
    else:
        optimizer = _adamw(learner, variables, schedule, training)
    if training.precision == "mixed_float16":
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    kind = TrainingModel if private is None else functools.partial(PrivateTrainingModel, mechanism=private)
    return kind(
        learner.model,
        loss=smoothed(learner.loss(), training.label_smoothing),
        metrics=learner.metrics(),
        optimizer=optimizer,
        clip_norm=training.clip_norm if private is None else None,
        accumulate=training.accumulate,
        seed=training.seed,
        jit=training.jit,
    )


def _warmup(warmup: float, total: int) -> int:
    steps = round(warmup * total) if warmup < 1 else int(warmup)
    if steps > total:
        raise UserError(f"warmup must not be longer than the run. Received {steps} steps of warmup in {total} steps.")
    return steps


def _averaging(training) -> dict[str, Any]:
    return {"use_ema": True, "ema_momentum": training.ema} if training.ema else {}


def _adamw(learner, variables, schedule, training):
    decay = training.layer_decay
    return adamw(
        variables,
        learning_rate=schedule,
        weight_decay=training.weight_decay,
        no_decay=training.no_decay,
        beta_1=training.beta_1,
        beta_2=training.beta_2,
        epsilon=training.epsilon,
        rates=layer_rates(variables, decay, num_layers=len(learner.backbone.blocks)) if decay else None,
        **_averaging(training),
    )
