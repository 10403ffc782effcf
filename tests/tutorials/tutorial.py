"""A tutorial as a person follows it: its files saved, its commands given one after the other, its Python run.

What it says is done word for word, in an empty folder, on tiny models and data under the names of the real ones.
"""

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from typer.testing import CliRunner

from kzoo.cli import main as cli
from kzoo.serving.ports import check_ports

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / "docs" / "tutorials"
FEW_STEPS = ["training.steps=4", "training.warmup=1", "training.checkpoint_every=4", "training.validate_every=4"]
_BLOCK = re.compile(r"(?P<before>[^\n]*\n\n)?```(?P<kind>\w+)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)


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
            for block in _BLOCK.finditer(text):
                self._do(block["kind"], block["text"], _name_of_file(text[: block.start("kind")]))
        finally:
            for server in self._servers:
                _end(server)

    def _do(self, kind: str, text: str, file: str | None) -> None:
        if kind in ("csv", "jsonl", "txt", "yaml") and file:
            (self.folder / file).write_text(text, encoding="utf-8")
        elif kind == "python":
            exec(compile(text, "tutorial", "exec"), self.names)  # the tutorial is this project's own
        elif kind == "sh":
            for line in text.replace("\\\n", " ").splitlines():
                self._command(line.strip())

    def _command(self, line: str) -> None:
        for written, free in self._ports.items():
            line = line.replace(written, str(free))
        if line == "kill %1":
            _end(self._servers.pop())
        elif line.endswith("&"):
            self._serve(line.removesuffix("&"))
        elif line.startswith("kzoo "):
            self._kzoo(shlex.split(line)[1:])
        elif line and not line.startswith("#"):
            done = subprocess.run(["bash", "-c", line], cwd=self.folder, capture_output=True, text=True, timeout=300)
            self._check(line, done.returncode, done.stdout + done.stderr)

    def _kzoo(self, words: list[str]) -> None:
        if words[0] == "train" and "steps" in yaml.safe_load((self.folder / words[1]).read_text())["training"]:
            words = [*words, *FEW_STEPS]
        result = CliRunner().invoke(cli.app, words, prog_name="kzoo")
        self._check(" ".join(words), result.exit_code, result.output, result.exception)

    def _serve(self, line: str) -> None:
        words = [sys.executable, "-m", "kzoo", *shlex.split(line)[1:]]
        environment = os.environ | {"PYTHONPATH": str(CHECKOUT)}
        server = subprocess.Popen(
            words, cwd=self.folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._servers.append(server)
        for said in server.stdout:
            self.said.append(said)
            if "Ctrl-C" in said:
                return
        self._check(line, server.wait() or 1, "".join(self.said))

    def _check(self, line: str, code: int, output: str, error: BaseException | None = None) -> None:
        self.said.append(f"$ {line}\n{output}")
        if code or "curl" in line and '"error"' in output:
            raise Failed(f"{line}\nended with {code}, {error!r}:\n{output[-3000:]}") from error


def _name_of_file(before: str) -> str | None:
    """The file that the sentence before a block says it is."""
    last = before.rstrip("`").rstrip().rsplit("\n\n", 1)[-1]
    named = re.findall(r"[Ss]ave[^`]*\bas\s+`([\w.-]+)`", last)
    return named[-1] if named else None


def _end(server: subprocess.Popen) -> None:
    with contextlib.suppress(ProcessLookupError):
        server.send_signal(signal.SIGTERM)
    try:
        server.wait(30)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
