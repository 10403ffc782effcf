"""How to join a model's requests on this machine: batch sizes, time-out and threads, found by load.

Each setting is tried on the server itself: the model under a copy of the bundle's configs, asked by many clients at
once and then by one. The search goes one knob at a time, threads first, then the largest batch, then the time-out, and
starts from what the model brings, so that the first trial is what it does now.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from kzoo import resources
from kzoo.errors import UserError
from kzoo.serving import batching, launch, load, protos, saved_model
from kzoo.serving import bundle as bundles
from kzoo.serving.placing import write_text

TIMEOUTS = (0, 1000, 5000)  # microseconds
_WARM = 0.3  # of a trial's seconds, before anything counts
_AS_GOOD = 0.97  # of the best rate: the difference between two runs of the same setting


@dataclass(frozen=True, slots=True)
class Setting:
    """What is tuned.

    Attributes:
        threads: batches that run at once (``num_batch_threads``, of the whole server).
        largest: rows of a batch (``max_execution_batch_size``); 1 joins nothing.
        timeout: microseconds that the first row of a batch waits for others.
    """

    threads: int
    largest: int
    timeout: int

    def __str__(self) -> str:
        """For a table and a plot."""
        return f"{self.threads} thread{'s' * (self.threads > 1)}, {self.largest} rows, {self.timeout} µs"


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting and what came of it; milliseconds."""

    setting: Setting
    rate: float
    p50: float
    p99: float
    alone: float
    failed: int


@dataclass
class Tuned:
    """What was tried, the first as the model was, and what is proposed.

    Attributes:
        model: its name.
        clients: how many asked at once.
        given: the model's ``BatchingParameters`` as they are.
        sizes: the batch sizes to choose the largest from.
        trials: in the order they were made.
        best: the one that is proposed.
        limit: milliseconds that the 99th percentile was to keep within, None where none was given.
    """

    model: str
    clients: int
    given: Any
    sizes: tuple[int, ...]
    trials: list[Trial] = field(default_factory=list)
    best: Trial | None = None
    limit: float | None = None

    def parameters(self) -> Any:
        """The ``BatchingParameters`` that are proposed for the model."""
        assert self.best is not None
        return _parameters(self.given, self.sizes, self.best.setting)


def tune(
    source: Path | str,
    *,
    model: str | None = None,
    requests: Sequence[Mapping[str, Sequence[Any]]] | None = None,
    clients: int = 32,
    seconds: float = 5.0,
    limit: float | None = None,
    timeouts: Sequence[int] = TIMEOUTS,
    threads: Sequence[int] | None = None,
    grpc: bool = False,
    runner: launch.Runner = "auto",
    say: Callable[[str], None] = lambda line: None,
) -> Tuned:
    """Tries settings of batching and proposes the one that answers most requests.

    Args:
        source: a bundle, or a SavedModel.
        model: which model of a bundle that has several.
        requests: inputs of the default signature, a request each; by default sentences of mixed length.
        clients: how many ask at once.
        seconds: of load for each setting; as long as it takes that figures repeat.
        limit: milliseconds; settings whose 99th percentile is longer are proposed only where all are.
        timeouts: microseconds to try.
        threads: numbers of batch threads to try; by default 1 and the number of cores, and twice that.
        grpc: ask over gRPC, not REST.
        runner: as of ``serve``.
        say: is told what is tried, and what came of it.

    Raises:
        UserError: neither bundle nor SavedModel, a model that cannot be batched, requests that are refused.
    """
    if clients < 1 or seconds <= 0:
        raise UserError(f"A load needs clients and seconds, both above 0. Received {clients} and {seconds:g}.")
    name, version, cores = _chosen(Path(source), model)
    given = _given(version)
    if given is None:
        raise UserError(
            f"{name} is not batched, for a request of one size cannot be joined with one of another (kzoo audit says "
            "which input): there is nothing to tune."
        )
    sizes, start = _now(given, cores or os.cpu_count() or 1)
    asked = requests if requests is not None else example_requests(version)
    found = Tuned(name, clients, given, sizes, limit=limit)
    tried: dict[Setting, Trial] = {}

    def attempt(setting: Setting) -> Trial:
        if setting not in tried:
            tried[setting] = trial = _try(
                version, _parameters(given, sizes, setting), setting, asked, clients, seconds, grpc, runner
            )
            found.trials.append(trial)
            say(
                f"{setting}: {trial.rate:.1f} requests a second, p50 {trial.p50:.1f} ms, p99 {trial.p99:.1f} ms, "
                f"a client alone {trial.alone:.1f} ms"
            )
        return tried[setting]

    best = attempt(start)
    number = os.cpu_count() or 1
    for knob, values in {
        "threads": threads or sorted({1, number, 2 * number}),
        "largest": sizes,
        "timeout": timeouts,
    }.items():
        here = best.setting
        for value in values:
            attempt(replace(here, **{knob: value}))
        best = _best(found.trials, limit)
    found.best = best
    return found


def _best(trials: Sequence[Trial], limit: float | None) -> Trial:
    """The one of the highest rate; of those that are as good, the one of the lowest 99th percentile."""
    sound = [one for one in trials if not one.failed] or list(trials)
    within = [one for one in sound if limit is None or one.p99 <= limit] or [min(sound, key=lambda one: one.p99)]
    most = max(one.rate for one in within)
    return min((one for one in within if one.rate >= _AS_GOOD * most), key=lambda one: one.p99)


def apply(source: Path | str, tuned: Tuned) -> list[Path]:
    """Writes what is proposed into a bundle, or into a SavedModel's folder; returns the files that were written.

    In a bundle the newest version's ``batching_params.pbtxt`` and the threads of ``batching.config``; both are read
    when a server starts. (A version's other files never change.)
    """
    assert tuned.best is not None
    directory = Path(source)
    if not (directory / bundles.MODELS_CONFIG).exists():
        batching.write_parameters(directory, tuned.parameters())
        return [directory / batching.FILE]
    with bundles.locked(directory):
        version = directory / bundles.MODELS / tuned.model / str(bundles.versions(directory, tuned.model)[-1])
        batching.write_parameters(version, tuned.parameters())
        path = directory / bundles.BATCHING_CONFIG
        config = protos.read(path, protos.BatchingParameters)
        config.num_batch_threads.value = tuned.best.setting.threads
        comment = "The threads that run batches (BatchingParameters, text format), as kzoo tune found them."
        protos.write(path, config, comment=comment)
    return [version / batching.FILE, path]


def example_requests(version: Path) -> list[dict[str, list[Any]]]:
    """A request of one row each for a SavedModel's default signature: sentences of 3 to 60 words, ones for numbers."""
    entry = _usual_signature(version)
    words = (
        "the film that nobody at the festival had waited for turned out to be a quiet and honest story of two people "
        "who lose each other in a city they do not know and its last scene alone is worth the price of a ticket"
    ).split()
    lengths = [3, 25, 9, 14, 41, 6, 18, 11, 60, 21, 8, 30]
    made = []
    for number, length in enumerate(lengths):
        text = " ".join(words[(number + at) % len(words)] for at in range(length))
        inputs: dict[str, list[Any]] = {}
        for name, one in entry["inputs"].items():
            if name in entry.get("defaults", {}):
                continue
            value: Any = text if one["dtype"] == "string" else one["dtype"] == "bool" or 1
            for size in reversed([8 if size is None else size for size in one["shape"][1:]]):
                value = [value] * size
            inputs[name] = [value]
        made.append(inputs)
    return made


def input_of_text(source: Path | str, model: str | None = None) -> str:
    """The name of the one text that a model's default signature takes. UserError where it takes others."""
    entry = _usual_signature(_chosen(Path(source), model)[1])
    names = [name for name in entry["inputs"] if name not in entry.get("defaults", {})]
    if len(names) != 1 or entry["inputs"][names[0]]["dtype"] != "string":
        raise UserError(
            f"The model takes {', '.join(names)}: give a file .jsonl with an object of them a line. Received texts."
        )
    return names[0]


def _usual_signature(version: Path) -> Mapping[str, Any]:
    """The default signature, or the first where none has that name."""
    signatures = saved_model.signatures_of(version)
    return signatures.get("serving_default") or next(iter(signatures.values()))


def _chosen(source: Path, model: str | None) -> tuple[str, Path, int | None]:
    """A model's name, its newest version's folder, and the threads that its bundle has."""
    if not (source / bundles.MODELS_CONFIG).exists():
        return model or "model", saved_model.check(source), None
    names = [one.name for one in bundles.read_models_config(source).model_config_list.config]
    if model is None and len(names) > 1:
        raise UserError(f"{source} has {len(names)} models. Name one with --model: {', '.join(names)}.")
    name = model or names[0]
    if name not in names:
        raise UserError(f"{source} has no model {name!r}. It has {', '.join(names)}.")
    versions = bundles.versions(source, name)
    if not versions:
        raise UserError(f"{source} has no version of {name}.")
    config = protos.read(source / bundles.BATCHING_CONFIG, protos.BatchingParameters)
    threads = config.num_batch_threads.value if config.HasField("num_batch_threads") else None
    return name, source / bundles.MODELS / name / str(versions[-1]), threads


def _given(version: Path) -> Any:
    """A version's ``BatchingParameters``, kzoo's own where it has none, or None where it may not be batched."""
    path = version / batching.FILE
    if not path.is_file():
        return batching.parameters() if batching.can_be_batched(saved_model.signatures_of(version)) else None
    given = protos.read(path, protos.BatchingParameters)
    protos.check_batching(given, where=str(path))
    return given


def _now(given: Any, threads: int) -> tuple[tuple[int, ...], Setting]:
    """The batch sizes to choose from, and the setting that is given."""
    largest = given.max_execution_batch_size.value or given.max_batch_size.value or max(batching.SIZES)
    sizes = {1, *(given.allowed_batch_sizes or batching.SIZES), largest}
    return tuple(sorted(size for size in sizes if size <= largest)), Setting(
        threads, largest, given.batch_timeout_micros.value
    )


def _parameters(given: Any, sizes: Sequence[int], setting: Setting) -> Any:
    """``BatchingParameters`` with a setting, in all else like those given."""
    few = [size for size in sizes if size <= setting.largest]
    parameters = batching.parameters(few, pads=given.pad_variable_length_inputs)
    parameters.batch_timeout_micros.value = setting.timeout
    if given.allowed_batch_sizes:
        parameters.allowed_batch_sizes.extend([*few, parameters.max_batch_size.value])
    if given.HasField("max_enqueued_batches"):
        parameters.max_enqueued_batches.value = given.max_enqueued_batches.value
    return parameters


@contextlib.contextmanager
def _bench(version: Path, parameters: Any, threads: int) -> Iterator[Path]:
    """A bundle of one version, whose files are links to the real ones, batched so."""
    with tempfile.TemporaryDirectory(prefix="kzoo-tune-") as folder:
        directory = Path(folder)
        copy = directory / bundles.MODELS / "model" / "1"
        copy.mkdir(parents=True)
        for child in version.iterdir():
            if child.name != batching.FILE:
                (copy / child.name).symlink_to(child.absolute())
        write_text(copy / batching.FILE, protos.to_text(parameters))
        config = protos.ModelServerConfig()
        base = f"{bundles.CONTAINER}/model"
        config.model_config_list.config.add(name="model", base_path=base, model_platform="tensorflow")
        protos.write(directory / bundles.MODELS_CONFIG, config)
        config = protos.BatchingParameters(num_batch_threads={"value": threads})
        protos.write(directory / bundles.BATCHING_CONFIG, config)
        monitoring = resources.find("serving", "bundle", bundles.MONITORING_CONFIG).read_text(encoding="utf-8")
        write_text(directory / bundles.MONITORING_CONFIG, monitoring)
        yield directory


def _try(
    version: Path,
    parameters: Any,
    setting: Setting,
    requests: Sequence[Mapping[str, Sequence[Any]]],
    clients: int,
    seconds: float,
    grpc: bool,
    runner: launch.Runner,
) -> Trial:
    with (
        _bench(version, parameters, setting.threads) as directory,
        launch.serve(directory, rest_port=0, grpc_port=0, runner=runner, say=lambda line: None) as served,
    ):
        address = f"grpc://{served.grpc_address}" if grpc else served.rest_address
        calls = [load.predict_call(address, "model", one) for one in requests]
        first = load.put_load(address, calls, count=1)
        if first.failures:
            raise UserError(f"The server refuses the requests it is to be tuned with: {first.failures[0]}")
        load.put_load(address, calls, clients=clients, seconds=_WARM * seconds)
        together = load.put_load(address, calls, clients=clients, seconds=seconds)
        alone = load.put_load(address, calls, clients=1, seconds=_WARM * seconds)
    return Trial(
        setting=setting,
        rate=together.rate,
        p50=together.milliseconds(50),
        p99=together.milliseconds(99),
        alone=alone.milliseconds(50),
        failed=len(together.failures) + len(alone.failures),
    )
