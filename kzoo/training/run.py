"""``kzoo.fit``: a task learns from examples, and what remains of it is a ``Run``."""

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from kzoo.data.batching import Batches
from kzoo.data.document_rows import spoken
from kzoo.data.plan import poisson_places
from kzoo.data.token_folder import as_examples
from kzoo.errors import UserError
from kzoo.models import lora
from kzoo.training import bad_batch
from kzoo.training import strategy as strategies
from kzoo.training.agreement import check_same, content_of, number_of
from kzoo.training.best import Best
from kzoo.training.checkpoint import Checkpoints
from kzoo.training.config import LoggingConfig, TrainingConfig
from kzoo.training.config_file import check
from kzoo.training.evaluate import Validation, measures
from kzoo.training.feeding import fed
from kzoo.training.freezing import freeze
from kzoo.training.guard import Guard
from kzoo.training.history import Recorder
from kzoo.training.interrupt import StopRequest
from kzoo.training.learner import give_back, make_learner
from kzoo.training.making import check_divides, length_of, training_model
from kzoo.training.outcome import Run, completed, identity, metrics_of
from kzoo.training.privacy import Epsilon, check_private, fresh_seed, mechanism
from kzoo.training.progress import Advance, KeepMetrics, Progress, RunCallbacks
from kzoo.training.run_folder import RunFolder
from kzoo.training.stopping import StopTogether
from kzoo.training.team import Team
from kzoo.training.watching.watch import Watch


def fit(
    task,
    train,
    validation=None,
    *,
    run_folder: str | Path | None = None,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    logging: Mapping[str, Any] | LoggingConfig | None = None,
    optimizer: Callable[[Sequence[keras.Variable], Any], keras.optimizers.Optimizer] | Mapping[str, Any] | None = None,
    config: Mapping[str, Any] | None = None,
    own_rows: bool = False,
    say: Callable[[str], None] = print,
    **settings,
) -> Run:
    """Trains a task with Keras's ``fit``.

    Args:
        task: ``kzoo.Classify(...)``, ``kzoo.Generate(...)``; its model's weights are those trained when this returns.
        train: examples, as ``kzoo.data.read`` gives them; or a ``kzoo.data.TokenFolder``.
        validation: more of them, measured after each epoch.
        run_folder: for checkpoints, curves, metrics and the final model. A run that was stopped goes on when the same
            call is made again. None keeps nothing.
        callbacks: of Keras; the model that they see holds the task's as ``inner``.
        logging: fields of ``LoggingConfig``: ``every``, ``graph``, ``progress``, ``samples``, ...
        optimizer: another of Keras's by name and arguments, ``{"name": "lion"}``, or a function that makes one from the
            trainable variables and the schedule.
        config: what ``config.yaml`` is to say; by default the task's options and the settings.
        own_rows: of several workers each brings examples of its own; by default all bring the same ones, and each
            batch is divided among them.
        say: told in a few lines what happens.
        settings: fields of ``TrainingConfig``: ``epochs`` or ``steps``, ``batch_size``, ``learning_rate``,
            ``schedule``, ``warmup``, ``weight_decay``, ``clip_norm``, ``precision``, ``seed``, ``strategy``, ...
            ``strategy`` may be a ``tf.distribute.Strategy``.

    Raises:
        UserError: a setting that does not exist, a run folder of another run, a loss that is not a number, ...
        Interrupted: by Ctrl-C or SIGTERM, after a checkpoint was saved.
        WorkerLost: of several workers another is gone.
    """
    if isinstance(optimizer, Mapping):
        settings["optimizer"], optimizer = dict(optimizer), None
    training, strategy = _settings(settings)
    if not isinstance(logging, LoggingConfig):
        logging = check(logging or {}, LoggingConfig, where="fit(logging=...)")
    if logging.samples is not None and not hasattr(task, "generate"):
        raise UserError(f"Samples need a task that writes text, such as generate. This task is {task.name}.")
    folder = RunFolder(run_folder) if run_folder is not None else None
    team = Team(strategies.choose(strategy, device=training.device))
    with team.noticing_loss(), folder.lock if folder is not None else nullcontext():
        return _fit(
            team,
            task,
            as_examples(train),
            as_examples(validation) if validation is not None else None,
            folder=folder,
            callbacks=callbacks,
            training=training,
            logging=logging,
            optimizer=optimizer,
            config=config or _describe(task, training, logging),
            own_rows=own_rows,
            say=say if team.is_chief else _nothing,
        )


def _fit(
    team: Team, task, train, validation, *, folder, callbacks, training, logging, optimizer, config, own_rows, say
) -> Run:
    check_same(team, config, {"train": train, "validation": validation}, own_rows=own_rows)
    if folder is not None:
        team.in_chief(functools.partial(folder.claim, config))
        team.in_chief(functools.partial(folder.lock.take, say))
        team.check_shared(folder.path)
        if team.from_chief(folder.is_complete):
            return completed(task, folder, say)

    if training.deterministic:
        keras.utils.set_random_seed(training.seed)
        tf.config.experimental.enable_op_determinism()
    strategy = team.strategy
    say(strategies.describe(strategy))
    if training.privacy is None:  # else it is the expected number of rows, and there are places enough for all
        check_divides(training.batch_size, strategy.num_replicas_in_sync, training.accumulate)
    seed, places = training.seed, 0
    if training.privacy is not None:
        check_private(task, training, own_rows=own_rows)
        seed = team.from_chief(fresh_seed(training.privacy, training))
        places = poisson_places(training.batch_size, strategy.num_replicas_in_sync * training.accumulate)
    batches = Batches(task, train, batch_size=training.batch_size, training=True, seed=seed, poisson=places)
    if batches.left_out:
        say(f"Left out: {spoken(batches.left_out)}.")
    if own_rows:
        batches.join(team.gather)
    epochs, total = length_of(training, batches.steps)
    private = None
    if training.privacy is not None:
        private = mechanism(
            training.privacy, examples=len(train), batch_size=training.batch_size, steps=total, seed=seed
        )
        say(str(private))
    learner = make_learner(task, strategy, training.precision)
    frozen = freeze(learner.model, training.freeze)
    if training.recompute:
        learner.backbone.recompute = True
    with strategy.scope():
        model = training_model(learner, training, total, optimizer, private)

    progress, checkpoints, history = Progress(), None, []
    if folder is not None:
        facts = {
            "steps_of_an_epoch": batches.steps,
            "number_of_examples": number_of(team, train, own_rows=own_rows),
            "content_of_the_examples": content_of(team, train, own_rows=own_rows),
        }
        checkpoints = Checkpoints(
            folder.checkpoints, model.state, keep=training.keep_checkpoints, facts=facts, team=team
        )
        position = checkpoints.restore(say=say)
        if position is not None:
            progress.go_to(position)
            history = folder.read_history(epochs=position.epoch)
            say(f"Going on from epoch {position.epoch + 1}, step {position.step} ({position.total} of {total} steps).")
        if team.is_chief:
            folder.clear()
    examples = 0 if validation is None else number_of(team, validation, own_rows=own_rows)
    best = _best(team, folder, training, model, learner, checkpoints, progress, examples)
    measured = validate = None
    if examples:
        measured = Batches(task, validation, batch_size=training.batch_size, training=False)
        if own_rows:
            measured.join(team.gather)
    watch = Watch(
        logging,
        folder=None if folder is None else folder.tensorboard,
        team=team,
        learner=learner,
        model=model,
        batches=batches,
        progress=progress,
        measured=measured,
        examples=(train, validation),
        own_rows=own_rows,
        precision=training.precision,
        config=config,
        note=checkpoints.notes.get("curves") if checkpoints is not None else None,
        say=say,
    )
    if measured is not None:
        shown = {"examples": validation, "curves": watch.curves, "pictures": watch.pictures}
        validate = Validation(learner, measured, progress, every=training.validate_every, **shown)
        if best is not None:
            validate.on_measured = best.consider
    recorder = Recorder(progress, history, folder if team.is_chief else None, best=best)
    stop = StopRequest(alone=team.size == 1)
    together = None if stop.alone else StopTogether(stop)
    guard = Guard(
        progress,
        stop,
        checkpoints=checkpoints,
        every=training.checkpoint_every,
        notes=lambda: {"curves": watch.note, "best": best.record if best else None},
        identify=functools.partial(bad_batch.tell, folder, batches, train) if team.is_chief else None,
        on_save=functools.partial(best.tidy, checkpoints) if best and checkpoints else None,
    )
    first = [Advance(progress), KeepMetrics(model, resumed=progress.step > 0)]
    first += [Epsilon(private, progress)] if private is not None else []
    first += [*watch.first, validate, *watch.later]
    parts = [one for one in (*first, *callbacks, recorder, together, guard) if one is not None]
    verbose = {"none": 0, "bar": 1, "line": 2, "auto": 1 if sys.stdout.isatty() else 2}[logging.progress]
    verbose = verbose if team.is_chief else 0
    try:
        with stop:
            seen = RunCallbacks(parts, model=model, epochs=epochs, verbose=verbose)
            _run_epochs(model, batches, progress, seen, total, watch.wait)
        model.finish()
        if validate is not None and not validate.results:  # the run had come to its end before
            validate.measure()
        if best and best.record and validate and training.result == "best":
            validate.results = best.restore()
        watch.end()
    finally:
        watch.close()
        if training.recompute:
            learner.backbone.recompute = False
        for weight in frozen:
            weight.trainable = True
        give_back(learner, task)
    metrics = metrics_of(model, validate, history, training) | {"input_wait": watch.wait.share}
    metrics["data"] = {"train": identity(train)} | ({"validation": identity(validation)} if validation else {})
    if best is not None:
        metrics |= {"best": best.summary, "result": training.result}
    if private is not None:
        task.privacy = metrics["privacy"] = private.summary(progress.total)
    if folder is not None:
        team.in_chief(functools.partial(folder.write_model, task.save))
        team.in_chief(functools.partial(folder.write_metrics, metrics))
    return Run(task=task, history=history, metrics=metrics, folder=folder.path if folder else None)


def _run_epochs(model, batches, progress, callbacks, total, wait):
    """Calls Keras's ``fit`` once an epoch, each with the batches of that epoch."""
    callbacks.begin()
    while progress.total < total:
        steps = min(batches.steps - progress.step, total - progress.total)
        if not steps:  # stopped between the last step of an epoch and what ends it
            callbacks.expect(batches.steps)
            callbacks.on_epoch_begin(progress.epoch)
            results = {name: float(value) for name, value in model.get_metrics_result().items()}
            callbacks.on_epoch_end(progress.epoch, results)
            continue
        callbacks.expect(steps)
        strategy = model.distribute_strategy
        at = {"epoch": progress.epoch, "start_step": progress.step, "steps": steps}
        data, said = fed(strategy, batches, **at, watch=wait.watch)
        model.fit(
            data,
            steps_per_epoch=said,
            initial_epoch=progress.epoch,
            epochs=progress.epoch + 1,
            shuffle=False,
            callbacks=callbacks,
        )
        if model.stop_training:
            break
    callbacks.end()


def _best(team, folder, training, model, learner, checkpoints, progress, examples) -> Best | None:
    """Who keeps the best weights, when the run is to."""
    if training.best is None:
        return None
    if folder is None or not examples:
        raise UserError("training.best keeps the best weights by the validation in the run's folder: it needs both.")
    weights = {"weights": [variable.value for variable in model.inner.variables]}
    of_weights = Checkpoints(folder.best, weights, keep=sys.maxsize, team=team)
    best = Best(training.best, of_weights, progress, note=checkpoints.notes.get("best"))
    best.check(measures(model, learner))
    best.tidy(checkpoints)  # what a killed process left, of steps before and after the one that training goes on from
    return best


def _nothing(text: str) -> None:
    """Only the chief speaks."""


def _settings(given: dict[str, Any]) -> tuple[TrainingConfig, Any]:
    """The checked settings, and the strategy: a name or an instance."""
    strategy = given.pop("strategy", "auto")
    name = strategy if isinstance(strategy, str) else "auto"
    return check({**given, "strategy": name}, TrainingConfig, where="fit"), strategy


def _describe(task, training: TrainingConfig, logging: LoggingConfig) -> dict[str, Any]:
    adapters = lora.describe(task)
    return {
        "task": {"name": task.name, "options": task.options(), "source": task.pretrained.source},
        **({"adapters": adapters} if adapters else {}),
        "training": training.model_dump(mode="json"),
        "logging": logging.model_dump(mode="json"),
    }
