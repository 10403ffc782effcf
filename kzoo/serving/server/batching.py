"""Batching: requests that arrive together run as one.

Merging, padding and messages are those of the genuine server's batching session: one queue for each set of tensors
fed and fetched, rows put one after another, the batch padded with copies of a real row up to the next allowed size.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from kzoo.serving.server.batch_scheduler import Batch, BatchingOptions, BatchScheduler, Queue, Task
from kzoo.serving.server.errors import Code, StatusError, invalid
from kzoo.serving.server.metrics import Metrics


class Runner(Protocol):
    """What runs a graph: a session, or a session behind a queue."""

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], timeout: float | None = None
    ) -> list[np.ndarray]:
        """The tensors ``fetches`` for what is fed, by tensor name; ``timeout`` in seconds."""
        ...


class BatchingRunner:
    """A session behind queues."""

    def __init__(self, runner: Runner, scheduler: BatchScheduler, options: BatchingOptions, metrics: Metrics):
        self._runner = runner
        self._scheduler = scheduler
        self._options = options
        self._metrics = metrics
        self._queues: dict[tuple[frozenset[str], tuple[str, ...]], Queue] = {}
        self._lock = threading.Lock()

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], timeout: float | None = None
    ) -> list[np.ndarray]:
        """As a session's ``run``, together with whoever asks the same at the same moment."""
        task = Task(feeds, _batch_size(feeds), timeout)
        in_order = tuple(sorted(set(fetches)))
        self._scheduler.schedule(self._queue(feeds, in_order), task)
        outputs = dict(zip(in_order, task.wait(), strict=True))
        return [outputs[name] for name in fetches]

    def close(self) -> None:
        """Leave the scheduler; nothing may be running any more."""
        self._scheduler.remove(list(self._queues.values()))

    def _queue(self, feeds: Mapping[str, np.ndarray], fetches: tuple[str, ...]) -> Queue:
        key = (frozenset(feeds), fetches)
        with self._lock:
            queue = self._queues.get(key)
            if queue is None:
                queue = Queue(self._options, lambda batch: self._process(batch, fetches))
                self._scheduler.add(queue)
                self._queues[key] = queue
            return queue

    def _process(self, batch: Batch, fetches: tuple[str, ...]) -> None:
        """Run a batch and hand each of its requests its rows, or the error they share."""
        try:
            outputs = self._run(batch, fetches)
            error = None
        except StatusError as failure:
            outputs, error = None, failure
        except Exception as failure:  # a thread that dies would leave its callers waiting
            outputs, error = None, StatusError(Code.INTERNAL, f"{type(failure).__name__}: {failure}")
        start = 0
        for piece in batch.pieces:
            stop = start + piece.size
            part = None if outputs is None else [array[start:stop] for array in outputs]
            piece.task.finish(piece.index, part, error)
            start = stop

    def _run(self, batch: Batch, fetches: tuple[str, ...]) -> list[np.ndarray]:
        now = time.monotonic()
        for piece in batch.pieces:
            self._metrics.queuing_latency(self._options.thread_pool_name, now - piece.task.enqueued)
        deadlines = [piece.task.deadline for piece in batch.pieces]
        if all(deadline is not None and deadline <= now for deadline in deadlines):
            raise StatusError(Code.RESOURCE_EXHAUSTED, "Run() timeout exceeded while waiting in batching queue")
        # The batch has as long as its most patient request.
        latest = None if None in deadlines else max(deadline for deadline in deadlines if deadline is not None)
        size = self._options.padded_size(batch.size) if batch.size else 0
        feeds = {name: self._merged(name, batch, size) for name in batch.pieces[0].task.feeds}
        outputs = self._runner.run(feeds, fetches, None if latest is None else latest - now)
        self._metrics.batch(size, size - batch.size)
        for array in outputs:
            if array.ndim == 0:
                raise StatusError(Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions")
            if len(array) != size:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th dimension sizes of the "
                    "input tensors",
                )
        return outputs

    def _merged(self, name: str, batch: Batch, size: int) -> np.ndarray:
        """The rows of all requests of one tensor, padded to ``size`` with copies of one of them."""
        arrays = [piece.feed(name) for piece in batch.pieces]
        inner = {array.shape[1:] for array in arrays}
        if len(inner) > 1:
            if not self._options.pad_variable_length_inputs or len({len(shape) for shape in inner}) > 1:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    f"Tensors with name '{name}' from different tasks have different shapes and padding is turned "
                    "off. Set pad_variable_length_inputs to true, or ensure that all tensors with the same name have "
                    "equal dimensions starting with the first dim.",
                )
            largest = tuple(max(sizes) for sizes in zip(*inner, strict=True))
            arrays = [_padded(array, largest) for array in arrays]
        if size > batch.size:
            # Rows of the last request, as in the genuine server; an empty request has none to give.
            row = next(array[:1] for array in reversed(arrays) if len(array))
            arrays.append(np.repeat(row, size - batch.size, axis=0))
        return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _batch_size(feeds: Mapping[str, np.ndarray]) -> int:
    sizes = set()
    for array in feeds.values():
        if array.ndim == 0:
            raise invalid("Batching Run() input tensors must have at least one dimension")
        sizes.add(len(array))
        if len(sizes) > 1:
            raise invalid("Batching Run() input tensors must have equal 0th-dimension size")
    if not sizes:
        raise invalid("Batching Run() must have at least one input tensor")
    return sizes.pop()


def _padded(array: np.ndarray, inner: tuple[int, ...]) -> np.ndarray:
    """An array grown to the inner sizes of its batch, with its own first element."""
    if array.shape[1:] == inner:
        return array
    if not array.size:
        raise invalid("Got empty tensor in batch of non-empty tensors.")
    grown = np.full((len(array), *inner), array.flat[0], dtype=array.dtype)
    grown[tuple(slice(size) for size in array.shape)] = array
    return grown
