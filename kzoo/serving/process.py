"""A server as a child process: started, watched, ended in order, and ended too when kzoo itself is killed."""

import os
import subprocess
from pathlib import Path

import kzoo

GRACE = 30.0  # seconds that a server gets to end by itself
_TAIL = 15  # lines of the log that an error quotes

# Reads a pipe that only kzoo holds open: it ends when kzoo does, even by SIGKILL. (Linux can signal a child when its
# parent dies, but means the thread that started it, which may end long before.)
_GUARD = """
read -r _
kill -TERM "$1" 2>/dev/null || exit 0
for _ in 1 2 3 4 5 6 7 8 9 10; do sleep 1; kill -0 "$1" 2>/dev/null || exit 0; done
kill -KILL "$1" 2>/dev/null
if [ "$#" -gt 1 ]; then shift; "$@"; fi
"""


class ServerProcess:
    """A command that serves until it is told to stop.

    Args:
        command: program and arguments.
        log: the file that its output goes to.
        kill: a command that ends what the program has started elsewhere, when the program itself had to be killed.
    """

    def __init__(self, command: list[str], *, log: Path, kill: list[str] | None = None):
        self._log = log
        self._kill = kill
        with log.open("wb") as output:
            # A session of its own: Ctrl-C in a terminal reaches kzoo alone, which then ends the server in order.
            self._child = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, start_new_session=True, env=_environment()
            )
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "kzoo-guard", str(self._child.pid), *(kill or [])],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self._child.pid

    def failure(self) -> str | None:
        """The exit code and the end of the log once the process has ended, else None."""
        if self._child.poll() is None:
            return None
        self._dismiss_guard()
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        return f"Exit code {self._child.returncode}; its last lines:\n" + "\n".join(lines)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not heeded; returns when the process has ended."""
        try:
            if self._child.poll() is not None:
                return
            self._child.terminate()
            try:
                self._child.wait(GRACE)
            except subprocess.TimeoutExpired:
                self._child.kill()
                self._child.wait()
                if self._kill:
                    subprocess.run(self._kill, capture_output=True, check=False)
        finally:
            self._dismiss_guard()

    def _dismiss_guard(self) -> None:
        """The server has ended, and its process number may come to mean another."""
        self._guard.kill()
        self._guard.wait()
        if self._guard.stdin is not None:
            self._guard.stdin.close()


def _environment() -> dict[str, str]:
    """This process's, with kzoo itself importable where it runs from a checkout that is not installed."""
    paths = [str(Path(kzoo.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
