"""How far a run is, and callbacks that see it as one though Keras's ``fit`` is called once an epoch."""

from dataclasses import dataclass

import keras

from kzoo.training.checkpoint import Position


@dataclass
class Progress:
    """How far a run is.

    Attributes:
        epoch: passes over the data that are done.
        step: steps of the pass under way that are done.
        total: steps since the run began.
    """

    epoch: int = 0
    step: int = 0
    total: int = 0

    @property
    def position(self) -> Position:
        """Where training would go on."""
        return Position(epoch=self.epoch, step=self.step, total=self.total)

    def go_to(self, position: Position) -> None:
        """Goes on from there."""
        self.epoch, self.step, self.total = position.epoch, position.step, position.total


class Advance(keras.callbacks.Callback):
    """Counts the steps; stands before all other callbacks."""

    def __init__(self, progress: Progress):
        super().__init__()
        self.progress = progress

    def on_train_batch_end(self, batch, logs=None):
        """Counts a step."""
        self.progress.step += 1
        self.progress.total += 1


class KeepMetrics(keras.callbacks.Callback):
    """Puts the restored sums of metrics back after Keras reset them at the start of the epoch under way."""

    def __init__(self, model, *, resumed: bool):
        super().__init__()
        self.values = [variable.numpy() for variable in model.state["metrics"]] if resumed else None

    def on_epoch_begin(self, epoch, logs=None):
        """Puts them back, once."""
        if self.values is not None:
            for variable, value in zip(self.model.state["metrics"], self.values, strict=True):
                variable.assign(value)
            self.values = None


class RunCallbacks(keras.callbacks.CallbackList):
    """Callbacks of a run of several calls of ``fit``: the run begins and ends once.

    Each epoch is a ``fit`` of its own, because its batches are a function of the epoch; user callbacks such as early
    stopping must not notice.
    """

    def __init__(self, callbacks, *, model, epochs: int, verbose: int):
        self._parameters = {"epochs": epochs, "verbose": verbose}
        super().__init__(
            callbacks, add_history=True, add_progbar=verbose != 0, model=model, steps=None, **self._parameters
        )

    def begin(self) -> None:
        """The run begins."""
        super().on_train_begin()

    def end(self) -> None:
        """The run ends."""
        super().on_train_end()

    def expect(self, steps: int) -> None:
        """Says how many steps the next call of ``fit`` will take."""
        self.set_params({**self._parameters, "steps": steps})

    def on_train_begin(self, logs=None):
        """Nothing: a call of ``fit`` is not the run."""

    def on_train_end(self, logs=None):
        """Nothing: likewise."""
