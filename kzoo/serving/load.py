"""Load: clients that each ask again as soon as they are answered, and how long every answer took.

    calls = [predict_call("http://127.0.0.1:8501", "reviews", {"text": ["a fine film"]})]
    measured = put_load("http://127.0.0.1:8501", calls, clients=32, seconds=10.0)
    measured.rate, measured.milliseconds(99), measured.failures

Written to take little of the machine that it shares with the server: requests are made beforehand, every client keeps
its connection, and of an answer only the status line and the length are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from kzoo.errors import UserError
from kzoo.serving.grpc_client import choose
from kzoo.serving.rest_client import path_of

_PREDICT = "/tensorflow.serving.PredictionService/Predict"
_PAUSE = 0.05  # before a client that lost its connection opens another


@dataclass(frozen=True, slots=True)
class Call:
    """A request that is ready to be sent: for REST the whole of its bytes, for gRPC a serialized message."""

    method: str
    body: bytes


@dataclass
class Measured:
    """What came of it; times in seconds. N is the number of requests that were answered as they should be.

    Attributes:
        seconds: from the first request to the last answer.
        latencies: of each answer, N.
        ends: when each came, from the start on, N.
        failures: what came instead of an answer, and of requests that got none.
    """

    seconds: float = 0.0
    latencies: np.ndarray = field(default_factory=lambda: np.zeros(0))
    ends: np.ndarray = field(default_factory=lambda: np.zeros(0))
    failures: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds if self.seconds else 0.0

    def milliseconds(self, percent: float) -> float:
        """The percentile of the latencies, in milliseconds; NaN where nothing was answered."""
        return float(np.percentile(self.latencies, percent)) * 1e3 if len(self.latencies) else float("nan")


def post(address: str, path: str, body: bytes) -> Call:
    """A POST request to a REST address, as bytes."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {urlsplit(address).netloc}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return Call("POST", head.encode() + body)


def predict_call(
    address: str,
    model: str,
    inputs: Mapping[str, Sequence[Any]],
    *,
    signature: str | None = None,
    label: str | None = None,
) -> Call:
    """A predict request for ``http://host:port`` (row format) or ``grpc://host:port``; inputs of one batch size."""
    if urlsplit(address).scheme == "grpc":
        return _grpc_call(model, inputs, signature, label)
    names = list(inputs)
    rows = [dict(zip(names, row, strict=True)) for row in zip(*inputs.values(), strict=True)]
    body: dict[str, Any] = {"instances": rows if len(names) > 1 else list(inputs[names[0]])}
    if signature is not None:
        body["signature_name"] = signature
    return post(address, f"{path_of(model, None, label)}:predict", json.dumps(body, ensure_ascii=False).encode())


def _grpc_call(model: str, inputs: Mapping[str, Sequence[Any]], signature: str | None, label: str | None) -> Call:
    from kzoo.serving import stubs
    from kzoo.serving.tensors import fill, strings

    request = stubs.load("predict_pb2").PredictRequest()
    choose(request.model_spec, model, None, label)
    request.model_spec.signature_name = signature or ""
    for name, values in inputs.items():
        is_text = isinstance(values[0], (str, bytes))
        fill(request.inputs[name], strings(values) if is_text else np.asarray(values))
    return Call(_PREDICT, request.SerializeToString())


def put_load(
    address: str,
    calls: Sequence[Call],
    *,
    clients: int = 1,
    seconds: float | None = None,
    count: int | None = None,
    timeout: float = 60.0,
    until: Callable[[], bool] | None = None,
) -> Measured:
    """Let clients ask, each its next request once it is answered, and measure.

    Args:
        address: ``http://host:port`` or ``grpc://host:port``.
        calls: the requests, taken in turn by all clients, and again from the first.
        clients: how many ask at once, each over a connection of its own.
        seconds: no request begins later.
        count: no more requests than these.
        timeout: seconds for one answer; none in that time is a failure.
        until: asked before each request; no further one begins once it says True.

    Raises:
        UserError: neither seconds, count nor until are given, or nobody listens at the address.
    """
    if not calls or (seconds is None and count is None and until is None):
        raise UserError("A load needs requests, and an end: seconds, count or until. Received one of them at most.")
    parts = urlsplit(address)
    if parts.scheme not in ("http", "grpc") or not parts.port:
        raise UserError(f"A load is put on http://host:port or grpc://host:port. Received {address!r}.")
    run = _Run(calls, seconds, count, until)
    client = _grpc_clients if parts.scheme == "grpc" else _rest_clients
    with asyncio.Runner(loop_factory=_loop if parts.scheme == "http" else None) as runner:
        runner.run(client(parts.hostname or "", parts.port, clients, run, timeout))
    return run.measured()


def _loop() -> asyncio.AbstractEventLoop:
    with contextlib.suppress(ImportError):
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


class _Run:
    """The requests that are left, and what has come of the others."""

    def __init__(self, calls: Sequence[Call], seconds: float | None, count: int | None, until: Any):
        self._calls: Iterator[Call] = itertools.cycle(calls)
        self._left = count
        self._seconds = seconds
        self._until = until
        self.start = time.perf_counter()
        self._latencies: list[float] = []
        self._ends: list[float] = []
        self._failures: list[str] = []

    def take(self) -> Call | None:
        """The next request, None where there is none."""
        if self._seconds is not None and time.perf_counter() - self.start >= self._seconds:
            return None
        if self._until is not None and self._until():
            return None
        if self._left is not None:
            if self._left <= 0:
                return None
            self._left -= 1
        return next(self._calls)

    def answered(self, began: float) -> None:
        now = time.perf_counter()
        self._latencies.append(now - began)
        self._ends.append(now - self.start)

    def failed(self, reason: str) -> None:
        self._failures.append(reason)

    def measured(self) -> Measured:
        seconds = max(self._ends, default=0.0)
        return Measured(seconds, np.array(self._latencies), np.array(self._ends), self._failures)


async def _rest_clients(host: str, port: int, clients: int, run: _Run, timeout: float) -> None:
    async def client() -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                _, connection = await loop.create_connection(lambda: _Connection(run), host, port)
            except OSError as error:
                if run.take() is None:
                    return
                run.failed(f"no connection: {error.strerror or error}")
                await asyncio.sleep(_PAUSE)
                continue
            if await connection.ask_on(timeout):
                return
            await asyncio.sleep(_PAUSE)

    try:
        first, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)
    except OSError as error:
        raise UserError(f"Nobody listens at {host} port {port}: {error.strerror or error}.") from None
    first.close()
    run.start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))


class _Connection(asyncio.Protocol):
    """A client's connection: writes a request, and at its answer the next."""

    def __init__(self, run: _Run):
        self._run = run
        self._transport: Any = None
        self._received = b""
        self._wanted = 0  # bytes of the answer, its head included; 0 before the head has come
        self._began = 0.0
        self._is_waiting = False
        self._done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    async def ask_on(self, timeout: float) -> bool:
        """Ask until no request is left (True) or the connection is lost (False)."""
        self._ask()
        try:
            while not self._done.done():
                await asyncio.wait([self._done], timeout=min(1.0, timeout))
                if not self._done.done() and time.perf_counter() - self._began > timeout:
                    self._end(f"no answer within {timeout:g} seconds")
            return self._done.result()
        finally:
            self._transport.abort()

    def _ask(self) -> None:
        call = self._run.take()
        if call is None:
            self._done.set_result(True)
            return
        self._received, self._wanted, self._is_waiting = b"", 0, True
        self._began = time.perf_counter()
        self._transport.write(call.body)

    def data_received(self, data: bytes) -> None:
        if self._done.done():
            return
        self._received = self._received + data if self._received else data
        if not self._wanted:
            end = self._received.find(b"\r\n\r\n")
            if end < 0:
                return
            length = self._received[:end].lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            if not length:
                self._end(f"an answer of no length: {self._received[:100]!r}")
                return
            self._wanted = end + 4 + int(length)
        if len(self._received) < self._wanted:
            return
        self._is_waiting = False
        if self._received[9:12] == b"200":
            self._run.answered(self._began)
        else:
            head, _, body = self._received.partition(b"\r\n\r\n")
            self._run.failed(f"{head[9:12].decode('latin-1')}: {body[:200].decode('utf-8', 'replace')}")
        self._ask()

    def _end(self, reason: str) -> None:
        self._run.failed(reason)
        if not self._done.done():
            self._done.set_result(False)

    def connection_lost(self, error: Exception | None) -> None:
        if self._done.done():
            return
        if self._is_waiting:
            self._end(f"connection lost: {error or 'closed by the server'}")
        else:
            self._done.set_result(False)


async def _grpc_clients(host: str, port: int, clients: int, run: _Run, timeout: float) -> None:
    import grpc.aio

    async def client(channel: Any) -> None:
        ways: dict[str, Any] = {}
        while (call := run.take()) is not None:
            if call.method not in ways:
                ways[call.method] = channel.unary_unary(call.method)
            began = time.perf_counter()
            try:
                await ways[call.method](call.body, timeout=timeout)
            except grpc.aio.AioRpcError as error:
                run.failed(f"{error.code().name}: {(error.details() or '')[:200]}")
                await asyncio.sleep(_PAUSE)
                continue
            run.answered(began)

    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    channels = [grpc.aio.insecure_channel(f"{host}:{port}", options) for _ in range(clients)]
    try:
        try:
            await asyncio.wait_for(asyncio.gather(*(one.channel_ready() for one in channels)), timeout)
        except TimeoutError:
            raise UserError(f"Nobody answers gRPC at {host} port {port}.") from None
        run.start = time.perf_counter()
        await asyncio.gather(*map(client, channels))
    finally:
        await asyncio.gather(*(one.close() for one in channels))
