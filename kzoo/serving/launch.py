"""Starts a server over a bundle: the real one where it is installed, a container when asked, else kzoo's own.

The real server and kzoo's own take the same flags, and a copy of models.config with this machine's paths.
"""

import contextlib
import json
import shutil
import signal
import ssl
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import yaml

from kzoo.errors import UserError
from kzoo.serving import bundle as bundles
from kzoo.serving import tls as certificates
from kzoo.serving.ports import check_ports
from kzoo.serving.process import ServerProcess
from kzoo.serving.resolved_config import resolved
from kzoo.serving.tls import Certificate

Runner = Literal["auto", "tensorflow_model_server", "docker", "embedded"]
RUNNERS = ("auto", "tensorflow_model_server", "docker", "embedded")
BINARY = "tensorflow_model_server"


def _own_child() -> ssl.SSLContext:
    """For asking the server that this process started: its certificate need not be made out to this address."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


_direct = urllib.request.build_opener(  # this machine is not behind a proxy
    urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=_own_child())
)


class Served:
    """A running server over a bundle; a context manager that stops it.

    Attributes:
        runner: ``tensorflow_model_server``, ``docker`` or ``embedded``.
        models: names of the models.
        rest_address: ``http://HOST:PORT``.
        grpc_address: ``HOST:PORT``.
    """

    def __init__(self, *, runner: str, models: list[str], rest_address: str, grpc_address: str):
        self.runner = runner
        self.models = models
        self.rest_address = rest_address
        self.grpc_address = grpc_address
        self._cleanup = contextlib.ExitStack()
        self._process: ServerProcess | None = None

    @property
    def pid(self) -> int:
        """The process that was started: the server, or the client of Docker that runs it."""
        assert self._process is not None
        return self._process.pid

    def wait(self) -> None:
        """Returns when the process is told to end (Ctrl-C, SIGTERM). UserError when the server ends by itself."""
        with contextlib.suppress(KeyboardInterrupt, _Terminated):
            while True:
                self._check_alive()
                time.sleep(0.5)

    def stop(self) -> None:
        """Ends the server and removes what was written for it."""
        self._cleanup.close()

    def __enter__(self) -> "Served":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _check_alive(self) -> None:
        reason = self._process.failure() if self._process else None
        if reason is not None:
            raise UserError(f"The server ({self.runner}) has ended. {reason}")

    def _wait_until_available(self, patience: float) -> None:
        waiting, deadline = list(self.models), time.monotonic() + patience
        while waiting:
            self._check_alive()
            waiting = [model for model in waiting if not self._is_available(model)]
            if waiting and time.monotonic() > deadline:
                raise UserError(
                    f"The server ({self.runner}) has not loaded {', '.join(waiting)} within {patience:.0f} seconds. "
                    "Give it longer with timeout, or look into its log."
                )
            if waiting:
                time.sleep(0.05)

    def _is_available(self, model: str) -> bool:
        """Whether a version answers. UserError when every version has failed to load."""
        try:
            with _direct.open(f"{self.rest_address}/v1/models/{model}", timeout=5) as reply:
                states = json.load(reply)["model_version_status"]
        except (OSError, ValueError, KeyError):
            return False
        if any(one["state"] == "AVAILABLE" for one in states):
            return True
        if states and all(one["state"] == "END" for one in states):
            reasons = {one.get("status", {}).get("error_message", "") for one in states}
            raise UserError(
                f"The server ({self.runner}) could not load {model}: {' '.join(reasons) or 'no reason given'}"
            )
        return False


def serve(
    bundle: Path | str,
    *,
    rest_port: int = 8501,
    grpc_port: int = 8500,
    runner: Runner = "auto",
    host: str = "127.0.0.1",
    timeout: float = 600.0,
    config_poll_seconds: int = 10,
    tls: Certificate | None = None,
    further_flags: Sequence[str] = (),
    say: Callable[[str], None] = print,
) -> Served:
    """Starts a server over a bundle and returns when every model answers.

    Args:
        bundle: the folder that ``kzoo.bundle`` wrote.
        rest_port: port of REST and metrics; 0 takes a free one.
        grpc_port: port of gRPC; 0 takes a free one.
        runner: ``auto`` takes ``tensorflow_model_server`` when it is on PATH, else kzoo's own server; ``docker`` runs
            the image that the bundle's compose file names.
        host: address to listen on. ``tensorflow_model_server`` always listens on all of them.
        timeout: seconds until every model must be available.
        config_poll_seconds: how often the server reads models.config again.
        tls: certificate and key. kzoo's own server speaks TLS over REST and gRPC then, TensorFlow Serving over gRPC.
        further_flags: of the server, after those of ``server_flags``; of two with one name the last counts.
        say: is told which server runs, and where.

    Returns:
        The running server. Use it in a ``with`` statement, or call its ``stop``; ``wait`` blocks until Ctrl-C.

    Raises:
        UserError: not a bundle, a taken port, no such runner here, a model that does not load.
    """
    directory = Path(bundle).absolute()
    names = [one.name for one in bundles.read_models_config(directory).model_config_list.config]
    chosen = _choose(runner)
    rest_port, grpc_port = check_ports(host, rest_port=rest_port, grpc_port=grpc_port)
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    address = f"[{address}]" if ":" in address else address
    scheme = "https" if tls is not None and chosen == "embedded" else "http"
    served = Served(
        runner=chosen,
        models=names,
        rest_address=f"{scheme}://{address}:{rest_port}",
        grpc_address=f"{address}:{grpc_port}",
    )
    served._cleanup.enter_context(_ended_by_sigterm())
    try:
        state = Path(served._cleanup.enter_context(tempfile.TemporaryDirectory(prefix="kzoo-serve-")))
        say(f"{_title(chosen)} serves {', '.join(names)}: REST {served.rest_address}, gRPC {served.grpc_address}")
        if chosen == BINARY:
            say("It listens on every interface of this machine, and its ports have no password.")
        kill = None
        if tls is not None:
            certificates.write(state / certificates.FILE, tls)
            if chosen != "embedded":
                say("gRPC speaks TLS. TensorFlow Serving has none over REST: keep that port behind a proxy that does.")
        if chosen == "docker":
            name = f"kzoo-serve-{uuid.uuid4().hex[:8]}"
            ssl_config = state / certificates.FILE if tls is not None else None
            command = _docker(
                directory, name, host=host, rest_port=rest_port, grpc_port=grpc_port, ssl_config=ssl_config
            )
            command += further_flags
            kill = ["docker", "kill", name]
        else:
            models_config = served._cleanup.enter_context(resolved(directory, state / bundles.MODELS_CONFIG))
            program = [BINARY] if chosen == BINARY else [sys.executable, "-m", "kzoo.serving.server", f"--host={host}"]
            flags = server_flags(
                directory,
                models_config=models_config,
                rest_port=rest_port,
                grpc_port=grpc_port,
                config_poll_seconds=config_poll_seconds,
                xla=bundles.has_compiled(directory),
            )
            if tls is not None:
                flags.append(f"--ssl_config_file={state / certificates.FILE}")
                if chosen == "embedded":  # the flags for REST over TLS, which kzoo's own server alone has
                    flags += [f"--rest_certificate_file={tls.certificate.absolute()}"]
                    flags += [f"--rest_key_file={tls.key.absolute()}"]
            command = [*program, *flags, *further_flags]
        served._process = ServerProcess(command, log=state / "server.log", kill=kill)
        served._cleanup.callback(served._process.stop)
        served._wait_until_available(timeout)
    except BaseException:
        served.stop()
        raise
    return served


def server_flags(
    configs: Path | str,
    *,
    models_config: Path | str,
    rest_port: int,
    grpc_port: int,
    config_poll_seconds: int = 10,
    xla: bool = False,
) -> list[str]:
    """The flags of ``tensorflow_model_server``; the bundle's compose.yaml explains each.

    Args:
        configs: the folder of batching.config and monitoring.config, as the server sees it.
        models_config: the models.config it reads.
        rest_port: REST and metrics.
        grpc_port: gRPC.
        config_poll_seconds: how often models.config is read again.
        xla: whether a model has signatures that the server must compile (``bundle.has_compiled``).
    """
    flags = [
        f"--port={grpc_port}",
        f"--rest_api_port={rest_port}",
        f"--model_config_file={models_config}",
        f"--model_config_file_poll_wait_seconds={config_poll_seconds}",
        "--enable_batching=true",
        f"--batching_parameters_file={configs}/{bundles.BATCHING_CONFIG}",
        "--enable_per_model_batching_parameters=true",
        f"--monitoring_config_file={configs}/{bundles.MONITORING_CONFIG}",
        "--allow_version_labels_for_unavailable_models=true",
        "--max_num_load_retries=0",
    ]
    return flags + (["--xla_cpu_compilation_enabled=true"] if xla else [])


def container_flags(directory: Path, *, configs: str = "/bundle") -> list[str]:
    """The flags inside a container that sees the bundle at /bundle.

    Args:
        directory: the bundle, here.
        configs: the folder of batching.config and monitoring.config, as the container sees it.
    """
    return server_flags(
        configs,
        models_config=f"/bundle/{bundles.MODELS_CONFIG}",
        rest_port=8501,
        grpc_port=8500,
        xla=bundles.has_compiled(directory),
    )


def _choose(runner: str) -> str:
    if runner not in RUNNERS:
        raise UserError(f"runner must be one of {', '.join(RUNNERS)}. Received {runner!r}.")
    if runner == "auto":
        return BINARY if shutil.which(BINARY) else "embedded"
    if runner in (BINARY, "docker") and not shutil.which(runner):
        raise UserError(f"{runner} is not on PATH. Install it, or take kzoo's own server (--runner embedded).")
    return runner


def _title(runner: str) -> str:
    return {
        BINARY: f"TensorFlow Serving ({shutil.which(BINARY)})",
        "docker": "TensorFlow Serving in Docker",
        "embedded": "kzoo's embedded server",
    }[runner]


def _docker(
    directory: Path, name: str, *, host: str, rest_port: int, grpc_port: int, ssl_config: Path | None = None
) -> list[str]:
    """The command that runs the bundle's image, as its compose file does."""
    flags = container_flags(directory)
    interface = f"[{host}]" if ":" in host else host
    command = ["docker", "run", "--rm", "--init", f"--name={name}"]
    command += [f"--publish={interface}:{rest_port}:8501", f"--publish={interface}:{grpc_port}:8500"]
    command += [f"--volume={directory / bundles.MODELS}:{bundles.CONTAINER}:ro", f"--volume={directory}:/bundle:ro"]
    if ssl_config is not None:
        command.append(f"--volume={ssl_config}:/tls/{certificates.FILE}:ro")
        flags.append(f"--ssl_config_file=/tls/{certificates.FILE}")
    return [*command, f"--entrypoint={BINARY}", image(directory), *flags]


def image(directory: Path) -> str:
    """The image that the bundle's compose file names."""
    path = directory / bundles.COMPOSE
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))["services"]["serving"]["image"]
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return bundles.IMAGE


class _Terminated(SystemExit):
    """SIGTERM, as an exception, so that what was started is stopped."""


@contextlib.contextmanager
def _ended_by_sigterm():
    """While a server runs, SIGTERM raises SystemExit in the main thread, as Ctrl-C raises KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, frame: Any) -> None:
        raise _Terminated(128 + number)

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
