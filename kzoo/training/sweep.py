"""``kzoo sweep``: the same run with other values, one after the other, each in a folder of its own.

Imports neither TensorFlow nor Keras: each run is a process, so that none inherits another's memory or random state.
"""

import hashlib
import itertools
import json
import math
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from kzoo.errors import UserError
from kzoo.exit_codes import INTERRUPTED, TERMINATED
from kzoo.training.better import less_is_better
from kzoo.training.config import RunConfig
from kzoo.training.config_file import parse_yaml, read_config, to_yaml
from kzoo.training.interrupt import Interrupted, StopRequest
from kzoo.training.run_folder import RunFolder, write_text

SUMMARY = "sweep.json"
MOST = 1000  # runs
LONGEST = 100  # characters of a folder's name
FORBIDDEN = ("output", "logging")


@dataclass(kw_only=True)
class Trial:
    """A run of a sweep.

    Attributes:
        name: of its folder.
        values: dotted key to value.
        folder: of the run.
        state: ``waits``, ``done``, ``failed`` or ``interrupted``.
        metrics: of the last validation, by ``val_...``, and ``loss`` of the last epoch.
        message: why it failed.
    """

    name: str
    values: dict[str, Any]
    folder: str
    state: str = "waits"
    metrics: dict[str, float] = field(default_factory=dict)
    message: str = ""


def grid(given: Sequence[str]) -> dict[str, list[Any]]:
    """The values of ``key=a,b,c``, read as YAML: commas within brackets, braces and quotes belong to a value.

    Raises:
        UserError: it is not written so, a key is given twice, a value stands twice, or it is not the run's to vary.
    """
    values: dict[str, list[Any]] = {}
    for one in given:
        key, equals, text = one.partition("=")
        key = key.strip()
        if not equals or not key or not text.strip():
            raise UserError(f"--grid is written key=a,b,c, as in training.learning_rate=1e-5,5e-5. Received: {one!r}.")
        if key in values:
            raise UserError(f"--grid gives {key} twice. Give all its values at once.")
        if key.split(".")[0] in FORBIDDEN:
            raise UserError(f"--grid varies what a run learns by. {key} is not of that kind.")
        values[key] = [parse_yaml(part, where=f"--grid {key}") for part in _split(text)]
        if len({json.dumps(value) for value in values[key]}) < len(values[key]):
            raise UserError(f"--grid gives a value of {key} twice: {text}.")
    if not values:
        raise UserError("A sweep needs at least one --grid key=a,b,c.")
    return values


def plan(
    config: str | Path, given: Sequence[str], overrides: Sequence[str] = (), *, output: str | None = None
) -> tuple[Path, list[tuple[Trial, RunConfig]]]:
    """The trials of a sweep with their checked configs: every product of the values, the last key varying fastest.

    Args:
        config: the YAML file.
        given: ``key=a,b,c`` each.
        overrides: ``key=value`` for all runs.
        output: the folder of all runs; by default the config's own with ``-sweep``.

    Raises:
        UserError: a value that the config does not take, or too many runs.
    """
    values = grid(given)
    count = math.prod(map(len, values.values()))
    if count > MOST:
        raise UserError(f"That makes {count} runs, which is more than {MOST}. Give fewer values.")
    folder = Path(output or f"{read_config(config, list(overrides)).output}-sweep")
    planned: list[tuple[Trial, RunConfig]] = []
    for chosen in itertools.product(*values.values()):
        named = dict(zip(values, chosen, strict=True))
        said = [f"{key}={json.dumps(value)}" for key, value in named.items()]
        name = _name(named)
        place = str(folder / name)
        checked = read_config(config, [*overrides, *said, f"output={json.dumps(place)}"])
        planned.append((Trial(name=name, values=named, folder=place), checked))
    names = [trial.name for trial, _ in planned]
    if len(set(names)) < len(names):  # values that differ in what a folder's name cannot say
        for number, (trial, _) in enumerate(planned):
            trial.name = f"{number + 1:03d},{trial.name}"
            trial.folder = str(folder / trial.name)
            planned[number] = (trial, planned[number][1].model_copy(update={"output": trial.folder}))
    return folder, planned


def sweep(
    folder: Path,
    planned: Sequence[tuple[Trial, RunConfig]],
    *,
    metric: str = "val_loss",
    say: Callable[[str], None] = print,
    run: Callable[[Path], int] | None = None,
) -> list[Trial]:
    """Runs what is not complete yet; the same call goes on with a sweep that was stopped.

    Args:
        folder: of all runs; receives ``sweep.json``.
        planned: see ``plan``.
        metric: by which the runs are ranked.
        say: told in a few lines what happens.
        run: trains a config file, and returns an exit code; by default ``kzoo train`` in a process of its own.

    Returns:
        The trials, the best first, those without the metric last.

    Raises:
        Interrupted: by Ctrl-C or SIGTERM, after the run at work has saved.
        UserError: the folder holds another sweep.
    """
    run = run or _train
    trials = [trial for trial, _ in planned]
    _claim(folder, planned)
    for number, (trial, config) in enumerate(planned, start=1):
        at = f"[{number}/{len(planned)}] {trial.name}"
        if RunFolder(trial.folder).is_complete:
            say(f"{at}: complete")
            _read(trial)
        else:
            say(at)
            file = folder / f"{trial.name}.yaml"
            write_text(file, to_yaml(config))
            code = run(file)
            if code in (INTERRUPTED, TERMINATED):
                trial.state = "interrupted"
                _write(folder, trials, metric)
                raise Interrupted(f"{trial.name} was stopped. The same command goes on from there.", code)
            if code == 0:
                _read(trial)
            else:
                trial.state, trial.message = "failed", f"exit code {code}"
                say(f"{at}: failed with exit code {code}; the others go on")
        _write(folder, trials, metric)
    return ranked(trials, metric)


def ranked(trials: Sequence[Trial], metric: str) -> list[Trial]:
    """The best first: the least of losses, errors and perplexities, the greatest of all else; then those without."""
    sign = 1 if less_is_better(metric) else -1

    def place(trial: Trial) -> tuple[bool, float]:
        value = trial.metrics.get(metric)
        return (True, 0.0) if value is None or not math.isfinite(value) else (False, sign * value)

    return sorted(trials, key=place)


def _train(file: Path) -> int:
    """``kzoo train`` in a process of its own, to which Ctrl-C and SIGTERM are passed on: it saves first."""
    command = [sys.executable, "-m", "kzoo", "train", str(file)]
    passed_on = False
    with StopRequest() as stop, subprocess.Popen(command, stdout=2, start_new_session=True) as process:
        while process.poll() is None:
            time.sleep(0.2)
            if stop.received is not None and not passed_on:
                passed_on = True
                process.send_signal(stop.received)
        return process.returncode


def _read(trial: Trial) -> None:
    """What came of a run that is complete."""
    folder = RunFolder(trial.folder)
    metrics = folder.read_metrics()
    validation = metrics.get("validation", {})
    found = {f"val_{name}": value for name, value in validation.items()} | metrics.get("train", {})
    found["seconds"] = metrics.get("seconds")
    trial.metrics = {name: value for name, value in found.items() if isinstance(value, float | int)}
    trial.state, trial.message = "done", ""


def _claim(folder: Path, planned: Sequence[tuple[Trial, RunConfig]]) -> None:
    """Makes sure that what lies in the folder is of this sweep."""
    path = folder / SUMMARY
    if path.is_file():
        try:
            known = [one["name"] for one in json.loads(path.read_text(encoding="utf-8"))["runs"]]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{path} cannot be read as a sweep. Remove it, or give another --output.") from error
        if sorted(known) != sorted(trial.name for trial, _ in planned):
            raise UserError(
                f"{folder} holds a sweep of other values ({', '.join(known[:3])}{', ...' if len(known) > 3 else ''}). "
                "Give another --output; runs that both have can be copied there."
            )
    for trial, config in planned:
        there = RunFolder(trial.folder)
        if there.config.is_file() and there.has_work:
            lines = there.differences(config.model_dump(mode="json"))
            if config.task.labels is None:  # the run found them in its data
                lines = [line for line in lines if not line.startswith("task.labels: ")]
            if lines:
                raise UserError(
                    f"{trial.folder} holds a run of another config. What differs (there -> here):\n  "
                    + "\n  ".join(lines)
                    + "\nGive another --output, or remove that folder."
                )
    folder.mkdir(parents=True, exist_ok=True)


def _write(folder: Path, trials: Sequence[Trial], metric: str) -> None:
    content = {"metric": metric, "runs": [asdict(trial) for trial in ranked(trials, metric)]}
    write_text(folder / SUMMARY, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _split(text: str) -> Iterator[str]:
    """The parts between commas that stand in no bracket and no quotes."""
    depth, quote, start = 0, "", 0
    for place, character in enumerate(text):
        if quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "[{(":
            depth += 1
        elif character in "]})":
            depth -= 1
        elif character == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _name(values: dict[str, Any]) -> str:
    """A folder's name that a person can read: ``learning_rate=1e-05,batch_size=16``."""
    shorts = [key.rpartition(".")[2] for key in values]
    keys = shorts if len(set(shorts)) == len(shorts) else list(values)
    said = ",".join(f"{key}={_short(value)}" for key, value in zip(keys, values.values(), strict=True))
    name = re.sub(r"[^\w.=,+-]+", "_", said)
    if len(name) <= LONGEST:
        return name
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
    return f"{name[: LONGEST - 9]}-{digest}"


def _short(value: Any) -> str:
    if isinstance(value, str):
        return value.strip("/").rpartition("/")[2]
    return json.dumps(value)
