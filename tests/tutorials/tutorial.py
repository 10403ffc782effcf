"""A tutorial as a person follows it: its files saved, its commands given one after the other, its Python run.

What it says is done word for word, in an empty folder, on tiny models and data under the names of the real ones;
``record.py`` does the same with the real ones.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import yaml
from typer.testing import CliRunner

from kzoo.cli import main as cli
from kzoo.serving.ports import check_ports

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "docs" / "tutorials"
TUTORIALS = sorted(path.stem for path in FOLDER.glob("*.md") if path.stem != "README")
GOES_ON = {"operate": "classify"}  # in the folder of another
FEW_STEPS = ["training.steps=4", "training.warmup=1", "training.checkpoint_every=4", "training.validate_every=4"]
FILES = ("csv", "jsonl", "txt", "yaml")
OFTEN = """
from kzoo.serving import launch
serve = launch.serve
launch.serve = lambda *given, **options: serve(*given, config_poll_seconds=1, **options)
from kzoo.cli.main import main
main()
"""  # kzoo, with a server that looks for another version each second; a person's does every ten
_BLOCK = re.compile(r"(?P<before>[^\n]*\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Step:
    """A file to save, Python to run, or a command to give.

    Args:
        kind: of the block: one of `FILES`, ``python`` or ``sh``.
        text: what is in the file, the code, or one command.
        file: its name.
        heading: the one it stands under.
    """

    kind: str
    text: str
    file: str = ""
    heading: str = ""


def steps(text: str) -> Iterator[Step]:
    """What the Markdown of a tutorial asks for, in its order."""
    for block in _BLOCK.finditer(text):
        before = text[: block.start("kind")]
        heading = ([""] + re.findall(r"^## (.+)$", before, re.MULTILINE))[-1]
        kind, file = block["kind"], _name_of_file(before)
        if kind in FILES and file:
            yield Step(kind, block["text"], file, heading)
        elif kind == "python":
            yield Step(kind, block["text"], heading=heading)
        elif kind == "sh":
            lines = (line.strip() for line in block["text"].replace("\\\n", " ").splitlines())
            yield from (Step(kind, line, heading=heading) for line in lines if line and not line.startswith("#"))


def read(name: str) -> str:
    """The tutorial's Markdown."""
    return (FOLDER / f"{name}.md").read_text(encoding="utf-8")


class Failed(AssertionError):
    """A step of the tutorial that did not work, with what it said."""


class Follower:
    """Follows tutorials in a folder.

    Args:
        folder: where files and runs go; has ``configs``.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.names: dict = {"__name__": "tutorial"}
        self.said: list[str] = []
        self._servers: list[subprocess.Popen] = []
        self._ports = dict(zip(("8501", "8500"), check_ports("127.0.0.1", rest_port=0, grpc_port=0), strict=True))

    def follow(self, text: str) -> None:
        """Does all that the Markdown says."""
        try:
            for step in steps(text):
                self.do(step)
        finally:
            for server in self._servers:
                end(server)

    def do(self, step: Step) -> None:
        """Does one step."""
        if step.kind in FILES:
            (self.folder / step.file).write_text(step.text, encoding="utf-8")
        elif step.kind == "python":
            self.python(step.text)
        else:
            self._command(step.text)

    def _command(self, line: str) -> None:
        for written, free in self._ports.items():
            line = line.replace(written, str(free))
        if line == "kill %1":
            self.kill()
        elif line.endswith("&"):
            self.serve(line.removesuffix("&").strip())
        elif line.startswith("kzoo "):
            self.kzoo(line)
        else:
            self.shell(line)

    def python(self, code: str) -> None:
        exec(compile(code, "tutorial", "exec"), self.names)  # the tutorial is this project's own

    def kzoo(self, line: str) -> None:
        words = shlex.split(line)[1:]
        if words[0] == "train" and "steps" in yaml.safe_load((self.folder / words[1]).read_text())["training"]:
            words = [*words, *FEW_STEPS]
        result = CliRunner().invoke(cli.app, words, prog_name="kzoo")
        self._check(" ".join(words), result.exit_code, result.output, result.exception)

    def shell(self, line: str) -> None:
        done = subprocess.run(["bash", "-c", line], cwd=self.folder, capture_output=True, text=True, timeout=300)
        self._check(line, done.returncode, done.stdout + done.stderr)

    def serve(self, line: str) -> None:
        words = [sys.executable, "-c", OFTEN, *shlex.split(line)[1:]]
        environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
        server = subprocess.Popen(
            words, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._servers.append(server)
        for said in server.stdout or ():
            self.said.append(said)
            if "Ctrl-C" in said:
                return
        self._check(line, server.wait() or 1, "".join(self.said))

    def kill(self) -> None:
        end(self._servers.pop())

    def _check(self, line: str, code: int, output: str, error: BaseException | None = None) -> None:
        self.said.append(f"$ {line}\n{output}")
        if code or "curl" in line and '"error"' in output:
            raise Failed(f"{line}\nended with {code}, {error!r}:\n{output[-3000:]}") from error


def _name_of_file(before: str) -> str | None:
    """The file that the sentence before a block says it is."""
    last = before.rstrip("`").rstrip().rsplit("\n\n", 1)[-1]
    named = re.findall(r"[Ss]ave[^`]*\bas\s+`([\w.-]+)`", last)
    return named[-1] if named else None


def end(server: subprocess.Popen) -> None:
    """Ends a server as `kill` does."""
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
