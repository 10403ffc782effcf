"""Curves of a run for TensorBoard, in ``tensorboard/train`` and ``tensorboard/validation``.

Tags: ``loss`` and the task's metrics in both; ``learning_rate``, ``gradient_norm``, ``examples_per_second``,
``tokens_per_second`` (real ones, not padding) and what ``work.py`` and ``memory.py`` say in ``train``. The step counts
updates since the run began, across interruptions. A training point is the mean over the steps since the last one.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from tensorboard.plugins.histogram.summary_v2 import histogram_pb

from kzoo.training.progress import Progress


class Curves(keras.callbacks.Callback):
    """Writes the curves; needs a ``TrainingModel``.

    Args:
        folder: the run's ``tensorboard`` folder; None to write nothing, as workers do beside the chief: to read the
            sums of metrics takes all of them.
        progress: the run's.
        every: steps between points of the training curves.
        note: of the checkpoint from which the run goes on.
        clock: seconds, for the rates.

    Attributes:
        rates: functions that give further scalars for the last so many steps, which took so many seconds.
    """

    def __init__(
        self,
        folder: str | Path | None,
        progress: Progress,
        *,
        every: int = 10,
        note: Mapping[str, Any] | None = None,
        clock=time.perf_counter,
    ):
        super().__init__()
        self.folder = Path(folder) if folder is not None else None
        self.progress = progress
        self.every = every
        self.clock = clock
        self.rates: list[Callable[[int, float], Mapping[str, float]]] = []
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        self._counts: dict[str, int] = {}
        self._sums: dict[str, tuple[float, float]] = {}
        self._resumed = note if note and progress.step else None
        self._started = 0.0

    def on_epoch_begin(self, epoch, logs=None):
        """Starts the sums and the clock anew: Keras has reset the metrics."""
        self.resume_clock()
        self._sums = {name: (total, count) for name, (total, count) in (self._resumed or self._read_sums()).items()}
        self._resumed = None

    @property
    def writes(self) -> bool:
        """Whether this worker writes."""
        return self.folder is not None

    @property
    def note(self) -> dict[str, Any]:
        """What the next point is measured from, for a checkpoint."""
        return self._sums

    def on_train_batch_end(self, batch, logs=None):
        """Writes a point where one is due."""
        if self.progress.total % self.every:
            return
        counts, sums, seconds = self.model.counts, self._read_sums(), max(self.clock() - self._started, 1e-9)
        values = {name: float(value) for name, value in (logs or {}).items()} | self.model.latest
        for name, (total, count) in sums.items():
            total_before, count_before = self._sums.get(name, (0.0, 0.0))
            if count > count_before:
                values[name] = (total - total_before) / (count - count_before)
        for name in ("examples", "tokens"):
            values[f"{name}_per_second"] = (counts[name] - self._counts[name]) / seconds
        for rate in self.rates:
            values |= rate(counts["step"] - self._counts["step"], seconds)
        self.write("train", values, counts["step"])
        self._sums = sums
        self.resume_clock()

    def on_train_end(self, logs=None):
        """Closes the files."""
        self.close()

    def resume_clock(self) -> None:
        """Leaves out of the rates what was done since the last step: validation, samples, a checkpoint."""
        self._started, self._counts = self.clock(), self.model.counts

    def write(self, part: str, values: Mapping[str, float], step: int) -> None:
        """Writes scalars of ``train`` or ``validation``."""
        writer = self._writer(part)
        with writer.as_default(step=step):
            for name, value in values.items():
                tf.summary.scalar(name, value)
        writer.flush()

    def write_texts(self, tag: str, texts: list[str], step: int) -> None:
        """Writes texts (Markdown), shown under TensorBoard's Text tab."""
        writer = self._writer("train")
        with writer.as_default(step=step):
            tf.summary.text(tag, texts)
        writer.flush()

    def write_image(self, tag: str, image: np.ndarray, step: int, *, description: str = "") -> None:
        """Writes a picture uint8 ``[H, W, 3]`` of the validation."""
        with self._writer("validation").as_default(step=step):
            tf.summary.image(tag, image[np.newaxis], description=description)

    def write_tensor(self, part: str, tag: str, tensor: tf.Tensor, metadata, step: int) -> None:
        """Writes what a plugin of TensorBoard reads, as its metadata says."""
        writer = self._writer(part)
        with writer.as_default(step=step):
            tf.summary.write(tag, tensor, metadata=metadata)
        writer.flush()

    def write_histograms(self, values: Mapping[str, np.ndarray], step: int) -> None:
        """Writes how numbers are spread, one histogram a tag."""
        writer = self._writer("train")
        with writer.as_default(step=step):
            for tag, numbers in values.items():  # tf.summary.histogram would need 240 bytes a number
                message = histogram_pb(tag, numbers.astype(np.float64))
                tf.summary.experimental.write_raw_pb(message.SerializeToString())
        writer.flush()

    def write_graph(self, model: keras.Model, features) -> None:
        """Writes the graph of the model's forward pass on features of these specs."""
        forward = tf.function(lambda given: model(given, training=False), autograph=False)
        with self._writer("train").as_default(step=0):
            tf.summary.graph(forward.get_concrete_function(features).graph.as_graph_def())

    def close(self) -> None:
        """Closes the files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}

    def _read_sums(self) -> dict[str, tuple[float, float]]:
        means = [metric for metric in self.model.metrics if isinstance(metric, keras.metrics.Mean)]
        return {metric.name: (float(metric.total.numpy()), float(metric.count.numpy())) for metric in means}

    def _writer(self, part: str) -> tf.summary.SummaryWriter:
        if part not in self._writers:
            self._writers[part] = (
                tf.summary.create_noop_writer()
                if self.folder is None
                else tf.summary.create_file_writer(str(self.folder / part))
            )
        return self._writers[part]
