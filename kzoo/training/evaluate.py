"""Loss and metrics over examples, nothing dropped."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf

from kzoo.data.batching import Batches
from kzoo.data.token_folder import as_examples
from kzoo.errors import UserError
from kzoo.metrics import perplexity
from kzoo.metrics.accuracy import from_share
from kzoo.training.feeding import fed
from kzoo.training.periodic import Periodic
from kzoo.training.step import TrainingModel


def evaluate(task, examples, *, batch_size: int = 32, verbose: int = 0) -> dict[str, Any]:
    """Measures a task on examples.

    Args:
        task: any task that can be trained.
        examples: columns of the task's kind, as for training.
        batch_size: rows at once; the result does not depend on it.
        verbose: 1 shows Keras's progress bar.

    Returns:
        ``loss`` per real target and the task's metrics by name; for ``classify`` with ``accuracy_interval_95`` (Wilson)
        and ``examples``, for a language model with ``perplexity`` and ``tokens`` (those predicted).
    """
    examples = as_examples(examples)
    if len(examples) == 0:
        raise UserError("There is nothing to evaluate: the examples are empty.")
    replicas = tf.distribute.get_strategy().num_replicas_in_sync
    batch_size = -(-batch_size // replicas) * replicas
    batches = Batches(task, examples, batch_size=batch_size, training=False)  # first: some tasks learn by the examples
    model = TrainingModel(task.model, loss=task.loss(), metrics=task.metrics())
    return measure(model, task, batches, examples=examples, verbose=verbose)


def measure(model: TrainingModel, task, batches: Batches, *, examples=None, verbose: int = 0) -> dict[str, Any]:
    """Measures with a model that exists; its metrics so far are as before afterwards.

    With the ``examples`` of the batches also what the task's whole answers to them are worth, where it measures that.
    """
    variables = [variable for metric in model.metrics for variable in metric.variables]
    before = [variable.numpy() for variable in variables]
    try:
        data, steps = fed(model.distribute_strategy, batches)
        results = model.evaluate(data, steps=steps, verbose=verbose, return_dict=True)
        results = {name: float(value) for name, value in results.items()}
        results |= _derived(task, results, model.targets_seen)
        if examples is not None and getattr(task, "answer_measures", None):
            results |= task.answer_figures(examples, batch_size=batches.batch_size)
        return results
    finally:
        for variable, value in zip(variables, before, strict=True):
            variable.assign(value)


def _derived(task, results: dict[str, float], targets: int) -> dict[str, Any]:
    if task.name == "classify" and "accuracy" in results:  # one target a row: independent tries
        measured = from_share(results["accuracy"], targets)
        return {"accuracy_interval_95": [measured.low, measured.high], "examples": targets}
    if task.name == "generate":
        return {"perplexity": perplexity(results["loss"]), "tokens": targets}
    return {"examples" if task.name in ("classify", "regress") else "targets": targets}


def measures(model: TrainingModel, task) -> list[str]:
    """What ``measure`` measures in numbers, the loss first."""
    names = ["loss", *(metric.name for metric in model.metrics if metric.name != "loss")]
    derived = _derived(task, dict.fromkeys(names, 0.5), 1)
    names += [name for name, value in derived.items() if isinstance(value, float)]
    return names + list(getattr(task, "answer_measures", None) or ())


class Validation(Periodic):
    """Measures at the end of each epoch and every so many steps; adds ``val_...`` to the epoch's logs.

    Args:
        task: whose model learns.
        batches: of the validation examples.
        examples: these, for a task that measures whole answers.
        progress: the run's.
        every: steps between validations beside the epochs' ends, or None.
        curves: where to write them, or None.
        pictures: of the answers, or None.
        on_measured: called with the results while the model has the weights that were measured.
    """

    def __init__(
        self,
        task,
        batches: Batches,
        progress,
        *,
        examples=None,
        every: int | None = None,
        curves=None,
        pictures=None,
        on_measured: Callable[[dict[str, Any]], None] = lambda results: None,
    ):
        super().__init__(progress, every=every)
        self.task = task
        self.batches = batches
        self.examples = examples
        self.curves = curves
        self.pictures = pictures
        self.on_measured = on_measured
        self.results: dict[str, Any] = {}

    def on_epoch_end(self, epoch, logs=None):
        """Measures and adds the results to the logs of the callbacks that follow."""
        super().on_epoch_end(epoch, logs)
        numbers = {name: value for name, value in self.results.items() if isinstance(value, float)}
        if logs is not None:
            logs.update({f"val_{name}": value for name, value in numbers.items()})

    def act(self) -> None:
        """Measures now, and writes it down."""
        if self.pictures is not None:
            self.pictures.begin()
        self.measure()
        if self.curves is not None:
            numbers = {name: value for name, value in self.results.items() if isinstance(value, float)}
            self.curves.write("validation", numbers, self.progress.total)
            if self.pictures is not None:
                self.pictures.write(self.progress.total)
            self.curves.resume_clock()

    def measure(self) -> None:
        """Measures now, and writes nothing: of a step whose curves are written."""
        with self.model.averaged():
            self.results = measure(self.model, self.task, self.batches, examples=self.examples)
            self.on_measured(self.results)
