"""The embedded server: REST and gRPC over the models of a config, in this process.

with Server("models.config", rest_port=0, grpc_port=0) as server:
    print(server.rest_address, server.grpc_address)
    server.wait()
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from kzoo.errors import UserError
from kzoo.serving import protos
from kzoo.serving.server import metrics as metrics_module
from kzoo.serving.server import runtime
from kzoo.serving.server.batch_scheduler import BatchingOptions, BatchScheduler
from kzoo.serving.server.errors import Code, StatusError
from kzoo.serving.server.loading import Loader
from kzoo.serving.server.metrics import Metrics
from kzoo.serving.server.options import Options
from kzoo.serving.server.registry import Registry

logger = logging.getLogger("kzoo.serving")
PathLike = str | os.PathLike[str]


class Server:
    """Serves the models of a config over REST and gRPC, as ``tensorflow_model_server`` does.

    Args:
        model_config: a ``ModelServerConfig`` or the path of one in text format. Base paths must be absolute.
        rest_port: port of the REST API; 0 chooses a free one, None leaves REST out.
        grpc_port: port of the gRPC API, likewise.
        host: the address to listen on. The default is this machine alone; "0.0.0.0" is everyone.
        batching: ``BatchingParameters``, the path of a file of them, or True for the genuine server's defaults;
            None runs each request by itself.
        monitoring: ``MonitoringConfig`` or the path of one; Prometheus reads the REST port where it says so.
        ssl: ``SSLConfig`` or the path of one, for gRPC.
        rest_tls: paths of a PEM certificate and its key, for REST over TLS (the genuine server has none).
        **options: the fields of ``Options``.

    Raises:
        UserError: a config cannot be read or contradicts itself. From ``start``: a port is taken, or a model cannot
            be loaded.
    """

    def __init__(
        self,
        model_config: Any,
        *,
        rest_port: int | None = 8501,
        grpc_port: int | None = 8500,
        host: str = "127.0.0.1",
        batching: Any = None,
        monitoring: Any = None,
        ssl: Any = None,
        rest_tls: tuple[PathLike, PathLike] | None = None,
        **options: Any,
    ):
        self.options = Options(**options)
        self.host = host
        self.metrics = Metrics()
        self._config_path = None if isinstance(model_config, protos.ModelServerConfig) else Path(model_config)
        self._config, where = _given(model_config, protos.ModelServerConfig, "the model config")
        protos.check_model_config(self._config, where=where)
        self._batching = _batching_options(batching)
        if self.options.per_model_batching and self._batching is None:
            raise UserError("per_model_batching needs batching to be on. Received no batching.")
        self._monitoring = _given(monitoring, protos.MonitoringConfig, "the monitoring config")[0]
        self._ssl = _given(ssl, protos.SSLConfig, "the SSL config")[0] if ssl is not None else None
        self._rest_tls = rest_tls
        self._wanted = {"REST": rest_port, "gRPC": grpc_port}
        self._rest: Any = None
        self._rest_thread: threading.Thread | None = None
        self._grpc: Any = None
        self._ports: dict[str, int] = {}
        self._threads = self.options.request_threads(self._batching.max_batch_size if self._batching else 0)
        self._executor: ThreadPoolExecutor | None = None
        self._scheduler: BatchScheduler | None = None
        self._registry: Registry | None = None
        self._watchers: list[threading.Thread] = []
        self._stopping = threading.Event()
        self._stopped = threading.Event()
        self._stop_lock = threading.Lock()

    @property
    def rest_address(self) -> str:
        """Where the REST API answers: ``http://127.0.0.1:8501``."""
        return f"{'https' if self._rest_tls else 'http'}://{self._address('REST')}"

    @property
    def grpc_address(self) -> str:
        """Where gRPC answers, as a channel's target: ``127.0.0.1:8500``."""
        return self._address("gRPC")

    def _address(self, api: str) -> str:
        if api not in self._ports:
            raise RuntimeError(f"The {api} address is known once the server has started with a port for it.")
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        return f"[{host}]:{self._ports[api]}" if ":" in host else f"{host}:{self._ports[api]}"

    @property
    def registry(self) -> Registry:
        """The models and their states."""
        if self._registry is None:
            raise RuntimeError("The server has no models before start().")
        return self._registry

    def start(self) -> Server:
        """Load all models, then open the ports. Returns once requests are answered."""
        if self._registry is not None:
            raise RuntimeError("A server starts once. Make another.")
        self._check_ports()
        runtime.load()
        if self._batching is not None:
            self._scheduler = BatchScheduler(self._batching.threads)
        loader = Loader(self.options, self.metrics, scheduler=self._scheduler, batching=self._batching)
        self._registry = Registry(
            loader,
            labels_for_unavailable=self.options.allow_version_labels_for_unavailable_models,
            max_load_retries=self.options.max_load_retries,
            load_retry_seconds=self.options.load_retry_seconds,
        )
        try:
            try:
                self._registry.reload(self._config)
            except StatusError as error:
                remedy = ""
                if error.code is Code.FAILED_PRECONDITION:
                    remedy = " At the start no version is; allow_version_labels_for_unavailable_models permits it."
                raise UserError(f"The server cannot start: {error.message}.{remedy}") from None
            self._start_grpc()
            self._start_rest()
        except BaseException:
            self.stop(0)
            raise
        self._watch("kzoo-versions", self.options.poll_seconds, self._registry.poll)
        if self._config_path is not None:
            self._watch("kzoo-config", self.options.config_poll_seconds, self._reload_file)
        return self

    def __enter__(self) -> Server:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until the server has stopped; whether it has."""
        return self._stopped.wait(timeout)

    def stop(self, drain: float | None = None) -> None:
        """Take no more requests, let those at work finish for up to ``drain`` seconds, unload the models."""
        drain = self.options.drain_seconds if drain is None else drain
        with self._stop_lock:
            if self._stopped.is_set():
                return
            self._stopping.set()
            deadline = time.monotonic() + drain
            grpc_done = self._grpc.stop(drain) if self._grpc is not None else None
            if self._rest is not None:
                self._rest.config.timeout_graceful_shutdown = max(0.1, drain)
                self._rest.should_exit = True
            if self._rest_thread is not None:
                self._rest_thread.join(drain + 5)
            if grpc_done is not None:
                grpc_done.wait(drain + 5)
            if self._executor is not None:
                self._executor.shutdown(wait=False, cancel_futures=True)
            for watcher in self._watchers:
                watcher.join(max(0.1, deadline - time.monotonic()))
            if self._registry is not None:
                self._registry.stop(max(0.1, deadline - time.monotonic()))
            if self._scheduler is not None:
                self._scheduler.stop(max(0.1, deadline - time.monotonic()))
            self._stopped.set()

    def reload(self, model_config: Any) -> None:
        """Replace the whole config, as HandleReloadConfigRequest does.

        Raises:
            UserError: the config is wrong, and the old one stays; or a new model cannot be loaded.
        """
        config, where = _given(model_config, protos.ModelServerConfig, "the model config")
        protos.check_model_config(config, where=where)
        try:
            self.registry.reload(config)
        except StatusError as error:
            raise UserError(f"{where}: {error.message}") from None

    def _reload_file(self) -> None:
        try:
            config = protos.read(self._config_path, protos.ModelServerConfig)  # type: ignore[arg-type]
            if config != self._config:
                self._config = config  # also when it fails: the same mistake is told once, not at every poll
                self.reload(config)
                logger.info("Reloaded %s", self._config_path)
        except UserError as error:
            logger.error("The old model config stays: %s", error)

    def _watch(self, name: str, seconds: float, look: Any) -> None:
        if seconds <= 0:
            return

        def repeat() -> None:
            while not self._stopping.wait(seconds):
                try:
                    look()
                except Exception:
                    logger.exception("%s failed and will be tried again", name)

        thread = threading.Thread(target=repeat, name=name, daemon=True)
        thread.start()
        self._watchers.append(thread)

    # Ports

    def _check_ports(self) -> None:
        """Find out that a port is taken before the models are loaded, which may take minutes."""
        rest, grpc = self._wanted["REST"], self._wanted["gRPC"]
        if rest is None and grpc is None:
            raise UserError("A server needs a REST port or a gRPC port. Received neither.")
        if rest == grpc and rest:
            raise UserError(f"REST and gRPC need two ports. Received {rest} for both.")
        for api, port in self._wanted.items():
            if port:
                self._bind(api, port).close()

    def _bind(self, api: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        # The protocol is spelled out because asyncio sends small writes at once only where it sees TCP named.
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            bound.bind((self.host, port))
            bound.listen(socket.SOMAXCONN)  # two sockets may bind a port, but only one may listen
        except OSError as error:
            bound.close()
            raise _taken(api, self.host, port, error.strerror or str(error)) from None
        return bound

    def _start_rest(self) -> None:
        port = self._wanted["REST"]
        if port is None:
            return
        import uvicorn

        from kzoo.serving.server.http_protocol import LimitedProtocol
        from kzoo.serving.server.rest import RestApp

        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="kzoo-rest")
        app = RestApp(
            self.registry,
            self.metrics,
            executor=self._executor,
            timeout=self.options.rest_timeout,
            max_request_bytes=self.options.max_request_bytes,
            max_concurrent_requests=self.options.max_concurrent_requests,
            receive_timeout=self.options.receive_timeout,
            cors=self.options.cors,
            pages=self._pages(),
        )
        config = uvicorn.Config(
            app,
            http=LimitedProtocol.within(self.options.receive_timeout),
            log_config=None,
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            ssl_certfile=self._rest_tls[0] if self._rest_tls else None,
            ssl_keyfile=self._rest_tls[1] if self._rest_tls else None,
        )
        bound = self._bind("REST", port)
        self._ports["REST"] = bound.getsockname()[1]
        self._rest = uvicorn.Server(config)
        self._rest_thread = threading.Thread(
            target=self._rest.run, kwargs={"sockets": [bound]}, name="kzoo-rest-loop", daemon=True
        )
        self._rest_thread.start()
        while not self._rest.started:
            if not self._rest_thread.is_alive():
                raise RuntimeError("The REST API ended as it started.")
            time.sleep(0.005)
        logger.info("Exporting HTTP/REST API at %s", self.rest_address)

    def _pages(self) -> dict[str, Any]:
        pages: dict[str, Any] = {}
        prometheus = self._monitoring.prometheus_config
        if prometheus.enable:
            pages[prometheus.path or metrics_module.PATH] = lambda: ("text/plain", self.metrics.page())
        if self.options.front_page:
            from kzoo.serving.server.front_page import front_page

            pages["/"] = lambda: ("text/html; charset=utf-8", front_page(self.registry))
        return pages

    def _start_grpc(self) -> None:
        port = self._wanted["gRPC"]
        if port is None:
            return
        import grpc

        from kzoo.serving.server.grpc_services import add_health_service, add_services

        limit = self.options.max_request_bytes
        self._grpc = grpc.server(
            ThreadPoolExecutor(self._threads, thread_name_prefix="kzoo-grpc"),
            maximum_concurrent_rpcs=self.options.max_concurrent_requests,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limit),
                ("grpc.max_send_message_length", -1),
            ],
        )
        add_services(self._grpc, self.registry, self.metrics, tensor_content=self.options.tensor_content)
        if self.options.health_service:
            add_health_service(self._grpc)
        target = f"[{self.host}]:{port}" if ":" in self.host else f"{self.host}:{port}"
        try:
            if self._ssl is None:
                bound = self._grpc.add_insecure_port(target)
            else:
                bound = self._grpc.add_secure_port(target, _credentials(self._ssl))
        except RuntimeError as error:
            raise _taken("gRPC", self.host, port, str(error)) from None
        self._ports["gRPC"] = bound
        self._grpc.start()
        logger.info("Running gRPC at %s", self.grpc_address)


def _credentials(ssl: Any) -> Any:
    import grpc

    return grpc.ssl_server_credentials(
        [(ssl.server_key.encode(), ssl.server_cert.encode())],
        root_certificates=ssl.custom_ca.encode() or None,
        require_client_auth=ssl.client_verify,
    )


def _taken(api: str, host: str, port: int, reason: str) -> UserError:
    flag = {"REST": "rest_port", "gRPC": "grpc_port"}[api]
    return UserError(
        f"The {api} API cannot listen on {host} port {port}: {reason.lower()}. Stop what uses that port, or choose "
        f"another {flag} (0 finds a free one)."
    )


def _given(value: Any, message_class: Any, name: str) -> tuple[Any, str]:
    """A message as given, or read from its file; and what to call it in errors."""
    if value is None:
        return message_class(), name
    if isinstance(value, message_class):
        return value, name
    return protos.read(value, message_class), str(value)


def _batching_options(batching: Any) -> BatchingOptions | None:
    if batching is None or batching is False:
        return None
    parameters, where = _given(None if batching is True else batching, protos.BatchingParameters, "the batching config")
    protos.check_batching(parameters, where=where)
    return BatchingOptions.from_proto(parameters)
