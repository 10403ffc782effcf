"""A server as a child process: started, watched, ended in order."""

import os
import subprocess
from pathlib import Path

import kzoo

GRACE = 30.0  # seconds that a server gets to end by itself
_TAIL = 15  # lines of the log that an error quotes


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

    def failure(self) -> str | None:
        """The exit code and the end of the log once the process has ended, else None."""
        if self._child.poll() is None:
            return None
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:]
        return f"Exit code {self._child.returncode}; its last lines:\n" + "\n".join(lines)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL when that is not heeded; returns when the process has ended."""
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


def _environment() -> dict[str, str]:
    """This process's, with kzoo itself importable where it runs from a checkout that is not installed."""
    paths = [str(Path(kzoo.__file__).parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
