"""The work spread over processes: results in the order of the records, whatever their number."""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from kzoo.data.formats import Record
from kzoo.data.preparing.config import Preparation
from kzoo.data.preparing.work import Outcome, Worker
from kzoo.errors import UserError

Done = Callable[[Iterable[Sequence[Record]], bool, bool], Iterator[list[Outcome]]]

_ROWS, _CHARACTERS = 1024, 1 << 19


def in_batches(records: Iterable[Record], column: str) -> Iterator[list[Record]]:
    """Lists of records of hardly more than half a million characters."""
    batch: list[Record] = []
    held = 0
    for record in records:
        batch.append(record)
        text = record[1].get(column)
        held += len(text) if isinstance(text, str | list) else 1
        if held >= _CHARACTERS or len(batch) >= _ROWS:
            yield batch
            batch, held = [], 0
    if batch:
        yield batch


@contextmanager
def working(preparation: Preparation, processes: int) -> Iterator[Done]:
    """Yields what works on batches: ``done(batches, plain, held_out)`` yields a list of outcomes a batch, in order.

    Args:
        preparation: what to do.
        processes: 1 works in this one.

    Raises:
        UserError: what ``Work`` refuses, or a process that was killed.
    """
    if processes <= 1:
        worker = Worker(preparation)
        yield lambda batches, plain, held_out: (worker(batch, plain, held_out) for batch in batches)
        return
    pool = ProcessPoolExecutor(
        processes,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_begin,
        initargs=(preparation.model_dump(),),
    )

    def done(batches: Iterable[Sequence[Record]], plain: bool, held_out: bool) -> Iterator[list[Outcome]]:
        waiting: deque[Future[list[Outcome]]] = deque()
        for batch in batches:
            waiting.append(pool.submit(_work, batch, plain, held_out))
            if len(waiting) > 2 * processes:  # no more of the input in memory than this
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield done
    except BrokenProcessPool:
        raise UserError(
            "A worker process died, perhaps for want of memory. Nothing was written. Use fewer: --workers 1."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


_WORKER: list[Worker] = []


def _begin(preparation: dict[str, Any]) -> None:
    """Readies a process: Ctrl-C is for the one that started it, and it ends when that one was killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _WORKER[:] = [Worker(Preparation.model_validate(preparation))]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(records: Sequence[Record], plain: bool, held_out: bool) -> list[Outcome]:
    return _WORKER[0](records, plain, held_out)
