"""Times peers against each other: one process each, asked in turn, so that no peer's threads disturb another's.

A benchmark defines workers: functions that set a peer up and return a function to be timed. ``main`` runs each worker
in a process of its own, warms it up, then alternates rounds over all of them and reports medians, and medians of the
ratios round by round, which hold when the machine's speed drifts.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path


class Peer:
    """A worker in its own process.

    Args:
        script: the benchmark's file.
        name: of the worker.
        case: of the inputs.
        further: arguments of the benchmark's own.
    """

    def __init__(self, script: str, name: str, case: str, further: Sequence[str] = ()):
        self.name = name
        environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "TRANSFORMERS_VERBOSITY": "error"}
        command = [sys.executable, script, "--worker", name, "--case", case, *further]
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._process = subprocess.Popen(command, **pipes, text=True, env=environment)
        self.ready = self._read()

    def _read(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the worker {self.name} ended; run it with --worker to see why")
        return json.loads(line)

    def run(self) -> dict:
        """One timed round: ``seconds`` and what the worker reports."""
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return self._read()

    def stop(self) -> None:
        """Ends the process."""
        self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:  # a big one on a loaded machine: what it measured is not lost for that
            self._process.kill()


def serve_worker(setup: Callable[[str], Callable[[], dict | None]], case: str) -> None:
    """The loop of a worker's process: sets up, says so, then runs once for each line it reads."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints does not disturb the protocol
    run = setup(case)
    report = run() or {}  # warm-up
    run()
    out.write(json.dumps(report) + "\n")
    out.flush()
    for _ in sys.stdin:
        begin, worked = time.perf_counter(), time.process_time()
        report = run() or {}
        taken = {"seconds": time.perf_counter() - begin, "core_seconds": time.process_time() - worked}
        out.write(json.dumps(taken | report) + "\n")
        out.flush()


def compare(script: str, names: list[str], case: str, rounds: int, further: Sequence[str] = ()) -> list[dict]:
    """Alternates rounds over the workers; the first name is the one the ratios refer to.

    A worker whose rounds do not all do the same amount of work reports it as ``amount``; times are then those of one
    unit.

    Returns:
        For each worker its name, ``median`` seconds, ``low`` and ``high``, and ``ratio``: the median over rounds of its
        time over the first worker's in the same round (above 1: slower than the first), with ``ratio_low`` and
        ``ratio_high``; what it reported of its last round; and ``core_seconds`` of a round and ``core_ratio``, medians
        of what all its threads worked, which another process on the machine disturbs less than the time.
    """
    peers = [Peer(script, name, case, further) for name in names]
    last: dict[str, dict] = {}
    try:
        times: dict[str, list[float]] = {name: [] for name in names}
        work: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(rounds):
            for peer in peers:
                last[peer.name] = one = peer.run()
                times[peer.name].append(one["seconds"] / one.get("amount", 1))
                work[peer.name].append(one["core_seconds"] / one.get("amount", 1))
    finally:
        for peer in peers:
            peer.stop()

    def over_first(measured: dict[str, list[float]], name: str) -> list[float]:
        return [one / other for one, other in zip(measured[name], measured[names[0]], strict=True)]

    ratios = {name: over_first(times, name) for name in names}
    return [
        peer.ready
        | last[name]
        | {
            "name": name,
            "median": statistics.median(taken),
            "low": min(taken),
            "high": max(taken),
            "ratio": statistics.median(ratios[name]),
            "ratio_low": min(ratios[name]),
            "ratio_high": max(ratios[name]),
            "core_seconds": statistics.median(work[name]) * last[name].get("amount", 1),
            "core_ratio": statistics.median(over_first(work, name)),
        }
        for peer, (name, taken) in zip(peers, times.items(), strict=True)
    ]


def machine(packages: list[str]) -> str:
    """One line on the machine and the versions."""
    model = "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":")[1].strip() if lines else platform.machine()
    versions = []
    for package in packages:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{package} absent")
    return f"{date.today()}, {model}, {os.cpu_count()} cores, Python {platform.python_version()}, {', '.join(versions)}"


def table(rows: list[dict], columns: dict[str, Callable[[dict], str]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(columns) + " |", "| " + " | ".join("---" for _ in columns) + " |"]
    lines += ["| " + " | ".join(show(row) for show in columns.values()) + " |" for row in rows]
    return "\n".join(lines)


def arguments(description: str, cases: list[str], further: Sequence[tuple[str, dict]] = ()) -> argparse.Namespace:
    """The command line that all benchmarks share, and ``further`` options: names and arguments of ``add_argument``."""
    parser = argparse.ArgumentParser(description=description)
    for name, options in further:
        parser.add_argument(name, **options)
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds")
    parser.add_argument("--worker", help="run one worker in this process")
    parser.add_argument("--case", default=cases[0], choices=cases, help="inputs of that worker")
    return parser.parse_args()
