"""``python -m kzoo.serving.server``: the embedded server, started with the genuine server's flags.

SIGTERM and Ctrl-C let running requests finish, then end it; a second one ends it at once.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence

from kzoo.errors import UserError
from kzoo.serving.server import flags, runtime


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until told to stop; returns the exit code."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if any(argument in ("-h", "--help", "-help") for argument in arguments):
        print(flags.usage())
        return 0
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    # What callers do wrong is told to them and not in the log, where gRPC would write a traceback for each.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
    logging.getLogger("grpc").setLevel(logging.CRITICAL)
    stop = threading.Event()

    def ask_to_stop(number: int, _: object) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, ask_to_stop)
    try:
        given = flags.parse(arguments)
        for name in given.unheeded:
            logging.getLogger("kzoo.serving").info("--%s has no effect on the embedded server", name)
        server = given.server()
        _load_runtime(arguments)
        failures: list[BaseException] = []
        starting = threading.Thread(target=_start, args=(server, failures), daemon=True)
        starting.start()
        while starting.is_alive() and not stop.is_set():  # loading may take minutes, and may be given up
            starting.join(0.1)
        if failures:
            raise failures[0]
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    stop.wait()
    logging.getLogger("kzoo.serving").info("Stopping: running requests may finish")
    if starting.is_alive():
        os._exit(0)  # nothing is served yet
    server.stop()
    return 0


def _load_runtime(arguments: Sequence[str]) -> None:
    """Load as little of TensorFlow as a server needs; all of it, in a fresh process, should that not work."""
    if os.environ.get("KZOO_SERVER_LEAN") == "0":
        return
    try:
        runtime.lean()
    except Exception as error:
        logging.getLogger("kzoo.serving").warning("Starting again with all of TensorFlow: %s", error)
        command = [sys.executable, "-m", "kzoo.serving.server", *arguments]
        os.execve(sys.executable, command, {**os.environ, "KZOO_SERVER_LEAN": "0"})


def _start(server: flags.Server, failures: list[BaseException]) -> None:
    try:
        server.start()
    except BaseException as error:
        failures.append(error)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # a request that would not finish must not keep the process
