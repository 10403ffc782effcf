"""``kzoo.fit``: a task learns from examples, and what remains of it is a ``Run``."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from kzoo.data.batching import Batches
from kzoo.errors import UserError
from kzoo.tasks.load import load_task
from kzoo.training import strategy as strategies
from kzoo.training.checkpoint import Checkpoints
from kzoo.training.config import LoggingConfig, TrainingConfig
from kzoo.training.config_file import check
from kzoo.training.evaluate import Validation
from kzoo.training.guard import Guard
from kzoo.training.interrupt import StopRequest
from kzoo.training.optimizer import adamw
from kzoo.training.progress import Advance, Progress, RunCallbacks
from kzoo.training.run_folder import RunFolder
from kzoo.training.samples import Samples
from kzoo.training.schedule import WarmupSchedule
from kzoo.training.step import TrainingModel
from kzoo.training.tensorboard import Curves


@dataclass(kw_only=True)
class Run:
    """What came of a run.

    Attributes:
        task: the task, its model trained.
        history: one dict an epoch: ``epoch``, ``step``, ``loss``, the metrics, ``val_...``, ``seconds``.
        metrics: the last validation's results, and how much was learned from.
        folder: where it lies, or None.
    """

    task: Any
    history: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    folder: Path | None = None

    @property
    def model(self) -> Path | None:
        """The folder of the final model, which ``kzoo.load_task`` reads."""
        return self.folder / "model" if self.folder else None

    @property
    def tensorboard(self) -> Path | None:
        """The folder to give to ``tensorboard --logdir``."""
        return self.folder / "tensorboard" if self.folder else None


def fit(
    task,
    train,
    validation=None,
    *,
    run_folder: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    logging: Mapping[str, Any] | LoggingConfig | None = None,
    optimizer: Callable[[Sequence[keras.Variable], Any], keras.optimizers.Optimizer] | None = None,
    config: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
    **settings,
) -> Run:
    """Trains a task with Keras's ``fit``.

    Args:
        task: ``kzoo.Classify(...)``, ``kzoo.Generate(...)``; its model's weights are those trained when this returns.
        train: examples, as ``kzoo.data.read`` gives them.
        validation: more of them, measured after each epoch.
        run_folder: for checkpoints, curves, metrics and the final model. A run that was stopped goes on when the same
            call is made again. None keeps nothing.
        callbacks: of Keras; the model that they see holds the task's as ``inner``.
        logging: fields of ``LoggingConfig``: ``every``, ``graph``, ``progress``, ``samples``, ...
        optimizer: makes another Keras optimizer from the trainable variables and the schedule.
        config: what ``config.yaml`` is to say; by default the task's options and the settings.
        say: told in a few lines what happens.
        settings: fields of ``TrainingConfig``: ``epochs`` or ``steps``, ``batch_size``, ``learning_rate``,
            ``schedule``, ``warmup``, ``weight_decay``, ``clip_norm``, ``precision``, ``seed``, ``strategy``, ...
            ``strategy`` may be a ``tf.distribute.Strategy``.

    Raises:
        UserError: a setting that does not exist, a run folder of another run, a loss that is not a number, ...
        Interrupted: by Ctrl-C or SIGTERM, after a checkpoint was saved.
    """
    given = settings.pop("strategy", "auto")
    name = given if isinstance(given, str) else "auto"
    training = check({**settings, "strategy": name}, TrainingConfig, where="fit")
    if not isinstance(logging, LoggingConfig):
        logging = check(logging or {}, LoggingConfig, where="fit(logging=...)")
    if logging.samples is not None and not hasattr(task, "generate"):
        raise UserError(f"Samples need a task that writes text, such as generate. This task is {task.name}.")
    folder = RunFolder(run_folder) if run_folder is not None else None
    if folder is not None:
        folder.claim(config or _describe(task, training, logging))
        if folder.is_complete:
            return _completed(task, folder, say)

    if training.deterministic:
        keras.utils.set_random_seed(training.seed)
        tf.config.experimental.enable_op_determinism()
    strategy = strategies.choose(given, device=training.device)
    say(strategies.describe(strategy))
    replicas = strategy.num_replicas_in_sync
    if training.batch_size % replicas:
        raise UserError(
            f"batch_size counts the rows of all devices together and must be a multiple of their number. "
            f"Received batch_size={training.batch_size} for {replicas} devices."
        )
    batches = Batches(task, train, batch_size=training.batch_size, training=True, seed=training.seed)
    epochs, total = _length(training, batches.steps)
    progress = Progress()
    learner = _learner(task, strategy, training.precision)
    with strategy.scope():
        variables = learner.model.trainable_variables
        schedule = WarmupSchedule(
            training.learning_rate,
            kind=training.schedule,
            warmup_steps=_warmup(training.warmup, total),
            total_steps=total,
            end_factor=training.end_factor,
        )
        made = optimizer(variables, schedule) if optimizer else _adamw(variables, schedule, training)
        if training.precision == "mixed_float16":
            made = keras.optimizers.LossScaleOptimizer(made)
        model = TrainingModel(
            learner.model,
            loss=learner.loss(),
            metrics=learner.metrics(),
            optimizer=made,
            clip_norm=training.clip_norm,
            seed=training.seed,
            jit=training.jit,
        )
    checkpoints, history = None, []
    if folder is not None:
        facts = {"steps_of_an_epoch": batches.steps, "number_of_examples": len(train)}
        checkpoints = Checkpoints(folder.checkpoints, model.state, keep=training.keep_checkpoints, facts=facts)
        position = checkpoints.restore(say=say)
        if position is not None:
            progress.go_to(position)
            history = folder.read_history(until=position.total)
            say(f"Going on from epoch {position.epoch + 1}, step {position.step} ({position.total} of {total} steps).")

    curves = Curves(folder.tensorboard, progress, every=logging.every) if folder and logging.tensorboard else None
    if curves is not None and logging.graph:
        curves.write_graph(learner.model, batches.dataset().element_spec[0])
    validate = None
    if validation is not None and len(validation):
        measured = Batches(task, validation, batch_size=training.batch_size, training=False)
        validate = Validation(learner, measured, progress, every=training.validate_every, curves=curves)
    recorder = _Recorder(progress, history, folder)
    stop = StopRequest()
    guard = Guard(progress, stop, checkpoints=checkpoints, every=training.checkpoint_every)
    verbose = {"none": 0, "bar": 1, "line": 2, "auto": 1 if sys.stdout.isatty() else 2}[logging.progress]
    samples = Samples(learner, logging.samples, progress, curves=curves, say=say) if logging.samples else None
    parts = [Advance(progress), _KeepMetrics(model, resumed=progress.step > 0), validate, curves, samples]
    parts += [*callbacks, recorder, guard]
    try:
        with stop:
            _run_epochs(model, batches, progress, [one for one in parts if one], epochs=epochs, total=total, verbose=verbose)
    finally:
        if curves is not None:
            curves.close()
        _give_back(learner, task)
    metrics = _metrics(model, validate, recorder, training)
    if folder is not None:
        folder.write_model(task.save)
        folder.write_metrics(metrics)
    return Run(task=task, history=history, metrics=metrics, folder=folder.path if folder else None)


def _run_epochs(model, batches, progress, parts, *, epochs, total, verbose):
    """Calls Keras's ``fit`` once an epoch, each with the batches of that epoch."""
    callbacks = RunCallbacks(parts, model=model, epochs=epochs, verbose=verbose)
    callbacks.begin()
    while progress.total < total:
        steps = min(batches.steps - progress.step, total - progress.total)
        callbacks.expect(steps)
        model.fit(
            batches.dataset(progress.epoch, progress.step).take(steps),
            initial_epoch=progress.epoch,
            epochs=progress.epoch + 1,
            shuffle=False,
            callbacks=callbacks,
        )
        if model.stop_training:
            break
    callbacks.end()


def _length(training: TrainingConfig, steps_of_an_epoch: int) -> tuple[int, int]:
    """Epochs and steps of the run."""
    if training.steps is not None:
        return -(-training.steps // steps_of_an_epoch), training.steps
    return training.epochs, training.epochs * steps_of_an_epoch


def _warmup(warmup: float, total: int) -> int:
    steps = round(warmup * total) if warmup < 1 else int(warmup)
    if steps > total:
        raise UserError(f"warmup must not be longer than the run. Received {steps} steps of warmup in {total} steps.")
    return steps


def _adamw(variables, schedule, training):
    return adamw(
        variables,
        learning_rate=schedule,
        weight_decay=training.weight_decay,
        no_decay=training.no_decay,
        beta_1=training.beta_1,
        beta_2=training.beta_2,
        epsilon=training.epsilon,
    )


def _learner(task, strategy, precision: str):
    """The task itself, or a copy whose weights lie where the strategy wants them and that computes in the precision."""
    extended = strategy.extended
    if precision == "float32" and all(extended.variable_created_in_scope(one.value) for one in task.model.weights):
        return task
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy(precision)
    try:
        with strategy.scope():
            learner = task.rebuild()
    finally:
        keras.config.set_dtype_policy(policy)
    # what the user froze stays frozen
    pairs = zip(learner.model._flatten_layers(), task.model._flatten_layers(), strict=True)
    for new, old in pairs:
        new.trainable = old.trainable
    return learner


def _give_back(learner, task) -> None:
    if learner is not task:
        for weight, new in zip(task.model.weights, learner.model.weights, strict=True):
            weight.assign(np.asarray(new))


def _describe(task, training: TrainingConfig, logging: LoggingConfig) -> dict[str, Any]:
    return {
        "task": {"name": task.name, "options": task.options(), "source": task.pretrained.source},
        "training": training.model_dump(mode="json"),
        "logging": logging.model_dump(mode="json"),
    }


def _completed(task, folder: RunFolder, say) -> Run:
    say(f"{folder.path} holds this run already, complete. Remove it to train anew.")
    _give_back(load_task(folder.model), task)
    history = folder.read_history(until=sys.maxsize)
    return Run(task=task, history=history, metrics=folder.read_metrics(), folder=folder.path)


def _metrics(model, validate, recorder, training) -> dict[str, Any]:
    counts = model.counts
    metrics: dict[str, Any] = {"validation": validate.results} if validate is not None else {}
    last = recorder.history[-1] if recorder.history else {}
    metrics["train"] = {name: value for name, value in last.items() if name in {one.name for one in model.metrics}}
    return metrics | {
        "steps": counts["step"],
        "examples": counts["examples"],
        "tokens": counts["tokens"],
        "seconds": round(sum(one["seconds"] for one in recorder.history), 1),
        "precision": training.precision,
        "devices": model.distribute_strategy.num_replicas_in_sync,
    }


class _KeepMetrics(keras.callbacks.Callback):
    """Puts the restored sums of metrics back after Keras reset them at the start of the epoch under way."""

    def __init__(self, model: TrainingModel, *, resumed: bool):
        super().__init__()
        self.values = [variable.numpy() for variable in model.state["metrics"]] if resumed else None

    def on_epoch_begin(self, epoch, logs=None):
        if self.values is not None:
            for variable, value in zip(self.model.state["metrics"], self.values, strict=True):
                variable.assign(value)
            self.values = None


class _Recorder(keras.callbacks.Callback):
    """Keeps one entry an epoch, in memory and in the run's folder."""

    def __init__(self, progress: Progress, history: list[dict], folder: RunFolder | None):
        super().__init__()
        self.progress = progress
        self.history = history
        self.folder = folder
        self._started = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._started = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        entry = {"epoch": epoch + 1, "step": self.progress.total}
        entry |= {name: float(value) for name, value in (logs or {}).items()}
        entry["seconds"] = round(time.perf_counter() - self._started, 3)
        self.history.append(entry)
        if self.folder is not None:
            self.folder.write_history(self.history)
