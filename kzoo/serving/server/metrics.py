"""What the server counts, under the genuine server's names, as Prometheus reads it.

Names keep TensorFlow's slashes as colons (``:tensorflow:serving:request_count``); times are in microseconds. Written
here and not with ``prometheus_client``, which appends ``_total`` to every counter's name and prints other limits.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_right
from collections.abc import Sequence

PATH = "/monitoring/prometheus/metrics"


def _exponential(start: float, factor: float, count: int) -> tuple[float, ...]:
    return tuple(start * factor**index for index in range(count))


_MOST_CELLS = 10_000  # names of models come from requests, and anyone can ask for a model that is not there
_LATENCY = _exponential(10, 1.8, 33)  # 10 microseconds to about twenty minutes


class _Counter:
    def __init__(self, name: str, labels: Sequence[str]):
        self.name = ":" + name.strip("/").replace("/", ":")
        self.labels = tuple(labels)
        self.values: dict[tuple[str, ...], int] = {}
        self._lock = threading.Lock()

    def add(self, labels: tuple[str, ...], amount: int = 1) -> None:
        """Count."""
        with self._lock:
            if labels in self.values or len(self.values) < _MOST_CELLS:
                self.values[labels] = self.values.get(labels, 0) + amount

    def lines(self) -> list[str]:
        """The exposition of all its cells."""
        with self._lock:
            cells = sorted(self.values.items())
        if not cells:
            return []
        return [f"# TYPE {self.name} counter"] + [
            f"{self.name}{{{_labels(self.labels, labels)}}} {value}" for labels, value in cells
        ]


class _Histogram:
    """Like the genuine server's sampler: counts between limits, the last cell open to infinity."""

    def __init__(self, name: str, labels: Sequence[str], limits: Sequence[float]):
        self.name = ":" + name.strip("/").replace("/", ":")
        self.labels = tuple(labels)
        self.limits = tuple(limits)
        self.cells: dict[tuple[str, ...], tuple[list[int], list[float]]] = {}
        self._lock = threading.Lock()

    def add(self, labels: tuple[str, ...], value: float) -> None:
        """Record one value."""
        with self._lock:
            cell = self.cells.get(labels)
            if cell is None:
                if len(self.cells) >= _MOST_CELLS:
                    return
                cell = self.cells[labels] = ([0] * (len(self.limits) + 1), [0.0])
            cell[0][bisect_right(self.limits, value)] += 1
            cell[1][0] += value

    def lines(self) -> list[str]:
        """The exposition of all its cells."""
        with self._lock:
            cells = sorted((labels, list(counts), total[0]) for labels, (counts, total) in self.cells.items())
        lines = [f"# TYPE {self.name} histogram"] if cells else []
        for labels, counts, total in cells:
            prefix = _labels(self.labels, labels)
            seen = 0
            for limit, count in zip([*(f"{limit:g}" for limit in self.limits), "+Inf"], counts, strict=True):
                seen += count
                comma = "," if prefix else ""
                lines.append(f'{self.name}_bucket{{{prefix}{comma}le="{limit}"}} {seen}')
            lines.append(f"{self.name}_sum{{{prefix}}} {total:g}")
            lines.append(f"{self.name}_count{{{prefix}}} {seen}")
        return lines


def _labels(names: Sequence[str], values: Sequence[str]) -> str:
    return ",".join(
        '{}="{}"'.format(
            re.sub(r"[^a-zA-Z0-9_]", "_", name), value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        )
        for name, value in zip(names, values, strict=True)
    )


class Metrics:
    """One server's counters."""

    def __init__(self) -> None:
        serving = "/tensorflow/serving/"
        self._requests = _Counter(serving + "request_count", ("model_name", "status"))
        self._latency = _Histogram(serving + "request_latency", ("model_name", "API", "entrypoint"), _LATENCY)
        self._runtime = _Histogram(serving + "runtime_latency", ("model_name", "API", "runtime"), _LATENCY)
        examples = _exponential(1, 2, 15)
        self._example_counts = _Histogram(serving + "request_example_counts", ("model",), examples)
        self._examples = _Counter(serving + "request_example_count_total", ("model",))
        self._loads = _Counter("/tensorflow/cc/saved_model/load_attempt_count", ("model_path", "status"))
        self._load_latency = _Counter("/tensorflow/cc/saved_model/load_latency", ("model_path",))
        self._warmup = _Histogram(serving + "model_warmup_latency", ("model_path", "status"), _LATENCY)
        self._warmup_records = _Counter(serving + "model_warmup_records_read", ("model_path", "status"))
        queuing = _exponential(100, 1.2, 52)
        self._queuing = _Histogram(serving + "batching_session/queuing_latency", ("thread_pool_name",), queuing)
        self._batches = _Counter(serving + "batching_session/wrapped_run_count", ())
        sizes = _exponential(1, 2, 14)
        self._processed = _Histogram(serving + "batching/processed_batch_size", (), sizes)
        self._padding = _Histogram(serving + "batching/padding_size", ("execution_batch_size",), sizes)

    def request(self, model: str, status: str) -> None:
        """A request has been answered, with this code."""
        self._requests.add((model, status))

    def request_latency(self, model: str, api: str, entrypoint: str, seconds: float) -> None:
        """A request that succeeded took this long."""
        self._latency.add((model, api, entrypoint), seconds * 1e6)

    def runtime_latency(self, model: str, api: str, seconds: float) -> None:
        """TensorFlow (and the wait for a batch) took this long of it."""
        self._runtime.add((model, api, "TF1"), seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """A request carried this many ``tf.Example``."""
        self._example_counts.add((model,), count)
        self._examples.add((model,), count)

    def load(self, path: str, status: str, seconds: float) -> None:
        """A version has been loaded, or failed to."""
        self._loads.add((path, status))
        self._load_latency.add((path,), int(seconds * 1e6))

    def warmup(self, path: str, status: str, records: int, seconds: float) -> None:
        """A version's warm-up requests have run."""
        self._warmup.add((path, status), seconds * 1e6)
        self._warmup_records.add((path, status), records)

    def queuing_latency(self, pool: str, seconds: float) -> None:
        """A request waited this long for its batch."""
        self._queuing.add((pool,), seconds * 1e6)

    def batch(self, size: int, padding: int) -> None:
        """A batch of this size, padding included, has run."""
        self._batches.add(())
        self._processed.add((), size)
        self._padding.add((str(size),), padding)

    def page(self) -> bytes:
        """Everything, in Prometheus's text format."""
        series = sorted((vars(self).values()), key=lambda metric: metric.name)
        return ("\n".join(line for metric in series for line in metric.lines()) + "\n").encode("utf-8", "replace")
