"""Follows tutorials in full, with the real models and data, and writes down what was said and how long it took.

    python -m tests.tutorials.record classify operate --data DOWNLOADS --into docs/tutorials/recorded

Each command is given to a shell with a terminal, as a person would. What a machine says of itself (paths, its name,
times of the day) is made neutral, and of progress bars the last state is kept. A record has the tutorial's steps as
they were, so a test can say when it has gone stale.
"""

import argparse
import contextlib
import datetime
import fcntl
import io
import json
import os
import pty
import re
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import textwrap
import time
from dataclasses import dataclass
from pathlib import Path

from kzoo.cli.output import duration
from kzoo.errors import UserError
from kzoo.serving.ports import check_ports
from kzoo.version import __version__
from tests.tutorials.tutorial import CHECKOUT, GOES_ON, TUTORIALS, Failed, Follower, Step, end, read

MACHINE = "two CPU cores shared with other jobs, no GPU"
COLUMNS, LINES = 100, 50
LONGEST_LINE = 600
FETCHED = {  # what a tutorial says one has to fetch: where it says it is saved, and the name that it has as it comes
    "entities": {f"data/wnut17.{part}.conll": f"wnut17.{part}.conll" for part in ("train", "dev", "test")},
    "questions": {"squad-v2.sample.json": "squad-v2.sample.json"},
}
NOT_RUN = {
    "from-transformers": "The classes of transformers 4, in the table's left column, are not run.",
    "several-devices": "Two workers on one machine's CPU; several GPUs and several machines are not run.",
}
KEPT = ("kzoo pull", "kzoo train", "kzoo launch", "kzoo index", "kzoo data")  # not done again in the same folder


@dataclass
class Told:
    """A step that was done: what it printed, and the seconds it took."""

    step: Step
    output: str
    seconds: float


class Recorder(Follower):
    """Follows tutorials as they stand, and remembers.

    Args:
        folder: where files and runs go; has ``configs``.
    """

    def __init__(self, folder: Path):
        super().__init__(folder)
        with contextlib.suppress(UserError):  # one of them is taken
            check_ports("127.0.0.1", rest_port=8501, grpc_port=8500)
            self._ports = {}  # as written
        self.told: list[Told] = []
        self._journal = folder / ".recorded.json"
        self._before = json.loads(self._journal.read_text()) if self._journal.exists() else {}
        self._outputs: dict[int, list[str]] = {}
        self._screens: list[int] = []

    def do(self, step: Step) -> None:
        """Does one step, unless it takes long and was done here before."""
        if step.text.startswith(KEPT) and step.text in self._before:
            self.told.append(Told(step, **self._before[step.text]))
            return
        print(f"$ {step.file or step.text}", flush=True)
        self._output = ""
        start = time.perf_counter()
        super().do(step)
        told = Told(step, neutral(self._output, self.folder, self._ports), time.perf_counter() - start)
        print(told.output, f"[{told.seconds:.1f} s]", flush=True)
        self.told.append(told)
        if step.kind == "sh":
            self._before[step.text] = {"output": told.output, "seconds": told.seconds}
            self._journal.write_text(json.dumps(self._before))

    def python(self, code: str) -> None:
        """Runs a block, and keeps what it prints."""
        printed = io.StringIO()
        with contextlib.chdir(self.folder), contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            super().python(code)
        self._output = printed.getvalue()

    def kzoo(self, line: str) -> None:
        self.shell(line)

    def shell(self, line: str) -> None:
        process, screen = self._give(line)
        self._output = "".join(_lines(screen))
        self._check(line, process.wait(), self._output)

    def serve(self, line: str) -> None:
        process, screen = self._give(f"exec {line}")
        self._servers.append(process)
        self._screens.append(screen)
        for said in _lines(screen):
            self._output += said
            if "Ask it" in said:  # the last line before it serves
                return
        raise Failed(f"{line}\nended with {process.wait()}:\n{self._output[-3000:]}")

    def kill(self) -> None:
        end(self._servers.pop())
        self._output = "".join(_lines(self._screens.pop()))

    def _give(self, line: str) -> tuple[subprocess.Popen, int]:
        """A shell that was given the line, and what reads its terminal."""
        screen, terminal = pty.openpty()
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TF_")}
        environment |= {
            "PATH": f"{Path(sys.executable).parent}:{environment['PATH']}",
            "PYTHONPATH": str(CHECKOUT),
            "TERM": "dumb",
            "COLUMNS": str(COLUMNS),
            "LINES": str(LINES),
        }
        process = subprocess.Popen(
            ["bash", "-c", line], cwd=self.folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal
        )
        os.close(terminal)
        return process, screen


def _lines(screen: int):
    """The lines that come on a terminal, until nobody writes to it any more."""
    rest = b""
    while True:
        try:
            came = os.read(screen, 65536)
        except OSError:  # the last writer has closed it
            came = b""
        *whole, rest = (rest + came).split(b"\n")
        yield from (line.decode("utf-8", "replace") + "\n" for line in whole)
        if not came:
            yield rest.decode("utf-8", "replace")
            return


def neutral(output: str, folder: Path, ports: dict[str, int]) -> str:
    """What was printed, as it would be on any machine and after the last progress bar has come to its end."""
    output = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", output)
    lines = [_last_state(line) for line in output.split("\n")]
    text = "\n".join(line.rstrip() for line in lines)
    for path, name in (
        (str(folder.resolve()) + "/", ""),
        (str(folder.resolve()), "."),
        (str(CHECKOUT) + "/", ""),
        (sys.prefix, ".venv"),
        (str(Path.home()), "~"),
        *((str(free), written) for written, free in ports.items()),
    ):
        text = text.replace(path, name)
    text = re.sub(rf"\b{re.escape(socket.gethostname())}\b", "HOST", text)
    text = re.sub(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d)?(\.\d+)?(Z|[+-]\d\d:?\d\d)?", "(time)", text)
    text = re.sub(r"\b([EWI])\d{4} \d\d:\d\d:[\d.]+ +\d+ ", r"\1 ", text)  # TensorFlow's log
    cut = [line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + " ..." for line in text.split("\n")]
    return "\n".join(_without_repetition(cut)).strip("\n")


def _last_state(line: str) -> str:
    """A line that was written over and over, as it stood at last."""
    states = [state for state in re.split(r"\r|\x08+", line) if state.strip()]
    return states[-1] if states else ""


def _without_repetition(lines: list[str]) -> list[str]:
    """Of many lines that differ in their figures alone, the first two and the last."""
    kept: list[str] = []
    run: list[str] = []
    for line in [*lines, None]:
        shape = None if line is None else re.sub(r"\d[\d.e+-]*", "0", line)
        if run and shape != re.sub(r"\d[\d.e+-]*", "0", run[0]):
            kept += run if len(run) <= 5 or not run[0] else [*run[:2], "...", run[-1]]
            run = []
        if line is not None:
            run.append(line)
    return kept


def page(name: str, told: list[Told], date: datetime.date, machine: str = MACHINE) -> str:
    """The record as Markdown: the steps of the tutorial, each with what it said."""
    title = read(name).partition("\n")[0].removeprefix("# ")
    total = duration(sum(one.seconds for one in told))
    about = (
        f"[The tutorial](../{name}.md), followed word for word with the real models and data by "
        f"`tests/tutorials/record.py`: {date.isoformat()}, kzoo {__version__}, {machine}; what is pulled was in the "
        f"cache. All of it took {total}. {NOT_RUN.get(name, '')}"
    )
    parts = [f"# {title}: recorded", textwrap.fill(about, 120, break_long_words=False, break_on_hyphens=False)]
    heading = ""
    for one in told:
        if one.step.heading != heading:
            heading = one.step.heading
            parts.append(f"## {heading}")
        if one.step.file:
            parts.append(f"Saved as `{one.step.file}`:")
        parts.append(f"```{one.step.kind}\n{one.step.text.rstrip()}\n```")
        if one.output:
            parts.append(f"```text\n{one.output}\n```")
        if not one.step.file and one.seconds >= 1:
            parts.append(f"Took {duration(one.seconds)}.")
    return "\n\n".join(parts) + "\n"


def furnish(name: str, folder: Path, data: Path | None) -> None:
    """What a reader has in the folder before the first step."""
    folder.mkdir(parents=True, exist_ok=True)
    for room in ("configs", "training"):
        if not (folder / room).exists():
            (folder / room).symlink_to(CHECKOUT / room)
    for saved, came in FETCHED.get(name, {}).items():
        if data is None:
            sys.exit(f"{name} wants {came}, which a reader has to fetch: name its folder with --data.")
        (folder / saved).parent.mkdir(exist_ok=True)
        if not (folder / saved).exists():
            (folder / saved).symlink_to((data / came).resolve())


def main() -> None:
    """Records the tutorials that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="+", choices=TUTORIALS, metavar="NAME", help=", ".join(TUTORIALS))
    parser.add_argument("--into", type=Path, required=True, help="the folder of the records")
    parser.add_argument("--data", type=Path, help="the folder of what a tutorial says has to be fetched")
    parser.add_argument("--machine", default=MACHINE, help="what it runs on, in words")
    parser.add_argument("--at", type=Path, help="where to follow them; what was trained there is not trained again")
    arguments = parser.parse_args()
    at = (arguments.at or Path(tempfile.mkdtemp())).resolve()
    arguments.into.mkdir(parents=True, exist_ok=True)
    for name in arguments.names:
        folder = at / GOES_ON.get(name, name)
        furnish(name, folder, arguments.data)
        recorder = Recorder(folder)
        recorder.follow(read(name))
        text = page(name, recorder.told, datetime.date.today(), arguments.machine)
        (arguments.into / f"{name}.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
