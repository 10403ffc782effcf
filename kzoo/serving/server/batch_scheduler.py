"""When requests run together: the queues, the pool of threads, and the rules of the genuine server's scheduler.

Requests of a queue fill its last batch. A batch runs once it is full, once the next request does not fit, or once its
first request has waited for the time-out; the queues of all models take turns in one pool of threads.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from kzoo.serving.server.errors import Code, StatusError, invalid


@dataclass(frozen=True, slots=True)
class BatchingOptions:
    """``BatchingParameters`` with the genuine server's defaults filled in."""

    max_batch_size: int = 1000
    timeout: float = 0.0  # seconds
    max_enqueued_batches: int = 10
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    split_large_batches: bool = False
    max_execution_batch_size: int = 1000
    thread_pool_name: str = ""
    threads: int = field(default_factory=lambda: os.cpu_count() or 1)

    @classmethod
    def from_proto(cls, parameters: object) -> BatchingOptions:
        """Options from a ``BatchingParameters`` message; raises ``StatusError`` where they contradict each other."""

        def given(name: str, default: int) -> int:
            return getattr(parameters, name).value if parameters.HasField(name) else default  # type: ignore[attr-defined]

        default = cls()
        max_batch_size = given("max_batch_size", default.max_batch_size)
        split = bool(given("enable_large_batch_splitting", False))
        allowed = tuple(parameters.allowed_batch_sizes)  # type: ignore[attr-defined]
        if allowed and allowed[-1] != max_batch_size:
            raise invalid(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{allowed[-1]}; expected {max_batch_size}"
            )
        return cls(
            max_batch_size=max_batch_size,
            timeout=given("batch_timeout_micros", 0) / 1e6,
            max_enqueued_batches=given("max_enqueued_batches", default.max_enqueued_batches),
            allowed_batch_sizes=allowed,
            pad_variable_length_inputs=parameters.pad_variable_length_inputs,  # type: ignore[attr-defined]
            split_large_batches=split,
            max_execution_batch_size=given("max_execution_batch_size", max_batch_size) if split else max_batch_size,
            thread_pool_name=parameters.thread_pool_name.value,  # type: ignore[attr-defined]
            threads=given("num_batch_threads", default.threads),
        )

    def padded_size(self, size: int) -> int:
        """The smallest allowed size that holds ``size`` rows."""
        return next((allowed for allowed in self.allowed_batch_sizes if allowed >= size), size)


class Task:
    """One request: its rows, and where its caller waits for the answer."""

    def __init__(self, feeds: Mapping[str, np.ndarray], size: int, timeout: float | None):
        self.feeds = feeds
        self.size = size
        self.enqueued = time.monotonic()
        self.deadline = None if timeout is None else self.enqueued + timeout
        self.error: StatusError | None = None
        self.outputs: list[list[np.ndarray] | None] = []  # one a piece
        self._missing = 0
        self._lock = threading.Lock()
        self._done = threading.Event()

    def expect(self, pieces: int) -> None:
        """Say in how many pieces the request runs."""
        self._missing = pieces
        self.outputs = [None] * pieces

    def finish(self, index: int, outputs: list[np.ndarray] | None, error: StatusError | None) -> None:
        """A piece has run, or failed."""
        with self._lock:
            self.outputs[index] = outputs
            self.error = self.error or error
            self._missing -= 1
            if self._missing:
                return
        self._done.set()

    def wait(self) -> list[np.ndarray]:
        """The request's outputs, once all its pieces have run."""
        self._done.wait()
        if self.error is not None:
            raise self.error
        pieces = [piece for piece in self.outputs if piece is not None]
        return pieces[0] if len(pieces) == 1 else [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


@dataclass(slots=True, eq=False)
class Piece:
    """Some rows of a task; all of them, unless it was too large for one batch."""

    task: Task
    index: int
    start: int
    stop: int

    @property
    def size(self) -> int:
        """How many rows."""
        return self.stop - self.start

    def feed(self, name: str) -> np.ndarray:
        """Its rows of one tensor."""
        array = self.task.feeds[name]
        return array if self.size == len(array) else array[self.start : self.stop]


@dataclass(slots=True, eq=False)
class Batch:
    """Pieces that will run as one; ``opened`` is when the first of them came."""

    opened: float
    pieces: list[Piece] = field(default_factory=list)
    size: int = 0
    closed: bool = False


@dataclass(slots=True, eq=False)
class Queue:
    """The requests that feed and fetch the same tensors of one model; ``process`` runs one of its batches."""

    options: BatchingOptions
    process: Callable[[Batch], None]
    batches: deque[Batch] = field(default_factory=deque)  # the scheduler's


class BatchScheduler:
    """The pool of threads that run the batches of all queues, in turn."""

    def __init__(self, num_threads: int):
        self._changed = threading.Condition()
        self._queues: list[Queue] = []
        self._next = 0
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"kzoo-batch-{index}", daemon=True) for index in range(num_threads)
        ]
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float | None = None) -> None:
        """End the threads; what is still queued runs first. Waits ``timeout`` seconds at most."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        deadline = None if timeout is None else time.monotonic() + timeout
        for thread in self._threads:
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))

    def add(self, queue: Queue) -> None:
        """Run this queue's batches too."""
        with self._changed:
            self._queues.append(queue)

    def remove(self, queues: Sequence[Queue]) -> None:
        """Forget queues whose model is gone (and which are empty: a model is unloaded when its requests are done)."""
        with self._changed:
            self._queues = [queue for queue in self._queues if queue not in queues]

    def _work(self) -> None:
        while True:
            found = self._wait_for_batch()
            if found is None:
                return
            queue, batch = found
            queue.process(batch)

    def _wait_for_batch(self) -> tuple[Queue, Batch] | None:
        with self._changed:
            while True:
                now = time.monotonic()
                earliest: float | None = None
                for offset in range(len(self._queues)):
                    queue = self._queues[(self._next + offset) % len(self._queues)]
                    if not queue.batches:
                        continue
                    batch = queue.batches[0]
                    due = batch.opened + queue.options.timeout
                    if batch.closed or due <= now or self._stopped:
                        queue.batches.popleft()
                        self._next = (self._next + offset + 1) % len(self._queues)
                        return queue, batch
                    earliest = due if earliest is None else min(earliest, due)
                if self._stopped:
                    return None
                self._changed.wait(None if earliest is None else earliest - now)

    def schedule(self, queue: Queue, task: Task) -> None:
        """Put a request into its queue's open batch, or open another."""
        options = queue.options
        if task.size > options.max_batch_size:
            raise invalid(f"Task size {task.size} is larger than maximum input batch size {options.max_batch_size}")
        with self._changed:
            if self._stopped:
                raise StatusError(Code.UNAVAILABLE, "The server is shutting down")
            room = -1  # no batch is open; with 0 an open one would take an empty request
            if queue.batches and not queue.batches[-1].closed:
                room = options.max_execution_batch_size - queue.batches[-1].size
            sizes = _piece_sizes(task.size, room, options)
            opening = len(sizes) - (sizes[0] <= room)
            if opening and len(queue.batches) + opening > options.max_enqueued_batches:
                raise StatusError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full; currently "
                    f"{len(queue.batches)} batches enqueued and max_enqueued_batches is {options.max_enqueued_batches}",
                )
            task.expect(len(sizes))
            start = 0
            for index, size in enumerate(sizes):
                if size > room:
                    if queue.batches:
                        queue.batches[-1].closed = True
                    queue.batches.append(Batch(opened=task.enqueued))
                    room = options.max_execution_batch_size
                batch = queue.batches[-1]
                batch.pieces.append(Piece(task, index, start, start + size))
                batch.size += size
                start += size
                room -= size
                batch.closed = batch.size >= options.max_execution_batch_size
            self._changed.notify_all()


def _piece_sizes(size: int, room: int, options: BatchingOptions) -> list[int]:
    """How a request of ``size`` rows is cut: the open batch's ``room`` first, then whole batches."""
    if size <= max(room, 0) or not options.split_large_batches:  # no rows at all are one piece, too
        return [size]
    sizes = [room] if room > 0 else []
    size -= sum(sizes)
    whole, rest = divmod(size, options.max_execution_batch_size)
    return sizes + [options.max_execution_batch_size] * whole + ([rest] if rest else [])
