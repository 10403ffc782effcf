"""The REST API, as an ASGI app: paths, bodies and replies of the genuine server.

Only reading the body happens in the event loop; parsing, running and printing happen in a thread.

Oddities of the genuine server, kept: any Content-Type will do; a query string is ignored; a body that claims to be
gzip and is not counts as empty; a path below /v1/ that fits no pattern is a 400 "Malformed request", any other a 404
page; the status of a label lists all versions.
"""

from __future__ import annotations

import asyncio
import re
import time
import zlib
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Any
from urllib.parse import unquote

from google.protobuf import json_format
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from kzoo.serving import stubs
from kzoo.serving.server import examples, json_reader, json_tensors, json_walk, json_writer
from kzoo.serving.server.errors import Code, invalid, status_of
from kzoo.serving.server.metrics import Metrics
from kzoo.serving.server.registry import Registry
from kzoo.serving.server.rest_examples import input_from_json
from kzoo.serving.server.servable import find_signature, predict
from kzoo.serving.server.signatures import DEFAULT

_POST = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?:(classify|regress|predict)", re.IGNORECASE
)
_GET = re.compile(r"/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+)|/labels/([^/:]+))?(?:/(metadata))?", re.IGNORECASE)
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_NOT_FOUND = b"<HTML><HEAD>\n<TITLE>404 Not Found</TITLE>\n</HEAD><BODY>\n<H1>Not Found</H1>\n</BODY></HTML>\n"
_CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, GET",
    "Access-Control-Allow-Headers": "Content-Type",
}
_DISCARDED = 64 << 20
Page = Callable[[], tuple[str, bytes]]


class RestApp:
    """The ASGI app. ``pages`` are what else the port serves, by path: a content type and a body each."""

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        *,
        executor: Executor,
        timeout: float | None = 30.0,
        max_request_bytes: int = 256 << 20,
        max_concurrent_requests: int = 1000,
        receive_timeout: float = 30.0,
        cors: bool = False,
        pages: dict[str, Page] | None = None,
    ):
        self._registry = registry
        self._metrics = metrics
        self._executor = executor
        self._timeout = timeout
        self._max_request_bytes = max_request_bytes
        self._max_concurrent_requests = max_concurrent_requests
        self._receive_timeout = receive_timeout
        self._at_work = 0
        self._headers = _CORS if cors else {}
        self._pages = pages or {}

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One HTTP request."""
        if scope["type"] != "http":
            return
        request = Request(scope, receive)
        try:
            response = await self._respond(request)
        except ClientDisconnect:
            return
        await response(scope, receive, send)

    async def _respond(self, request: Request) -> Response:
        path = request.scope.get("raw_path", request.url.path.encode()).decode("latin-1")
        if _API.fullmatch(path) is None:
            page = self._pages.get(path) if request.method in ("GET", "HEAD") else None
            if page is None:
                return Response(_NOT_FOUND, 404, {"content-type": "text/html"})
            content_type, body = page()
            return Response(body, 200, {"content-type": content_type})
        if request.method == "OPTIONS":
            return self._preflight(request)
        try:
            body = await self._body(request)
        except _TooLarge:
            message = f"Request body is larger than the limit of {self._max_request_bytes} bytes"
            return self._reply(413, json_writer.error(message), {"connection": "close"})
        except TimeoutError:
            message = f"Nothing of the request body came for {self._receive_timeout:g} seconds"
            return self._reply(408, json_writer.error(message), {"connection": "close"})
        if self._at_work >= self._max_concurrent_requests:
            message = f"The server has {self._at_work} requests at work or waiting, and takes no more"
            return self._reply(503, json_writer.error(message))
        self._at_work += 1
        try:
            deadline = None if self._timeout is None else time.monotonic() + self._timeout
            answer = asyncio.get_running_loop().run_in_executor(
                self._executor, self._answer, request.method, path, body, deadline
            )
            return self._reply(*await answer)
        finally:
            self._at_work -= 1

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> Response:
        return Response(body, status, {"content-type": "application/json", **self._headers, **(headers or {})})

    def _preflight(self, request: Request) -> Response:
        if re.search("https?://", request.headers.get("origin", "")):
            return Response(b"", 200, self._headers)
        return Response(b"", 400, self._headers)

    async def _body(self, request: Request) -> bytes:
        limit, size = self._max_request_bytes, 0
        chunks: list[bytes] = []
        stream = request.stream()
        while True:
            async with asyncio.timeout(self._receive_timeout):
                chunk = await anext(stream, None)
            if chunk is None:
                break
            size += len(chunk)
            if size <= limit:
                chunks.append(chunk)
            elif size <= limit + _DISCARDED:
                chunks.clear()  # read on: a caller cut off while sending would see no reply but a broken connection
            else:
                break
        if size > limit:
            raise _TooLarge
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if body and "gzip" in request.headers.get("content-encoding", ""):
            return _unzipped(body, limit)
        return body

    def _answer(self, method: str, path: str, body: bytes, deadline: float | None) -> tuple[int, bytes]:
        start = time.perf_counter()
        model = api = ""
        try:
            model, version, label, api = _target(method, path)
            if method == "POST":
                reply = getattr(self, f"_{api}")(body, model, version, label, deadline)
            elif api == "metadata":
                reply = self._metadata(model, version, label)
            else:
                reply = self._status(model, version)
        except Exception as error:  # whatever happens, the caller gets JSON and the server goes on
            status = status_of(error)
            self._metrics.request(model, status.code.name)
            return status.http_status, json_writer.error(status.message)
        self._metrics.request(model, "OK")
        self._metrics.request_latency(model, api, "REST", time.perf_counter() - start)
        return 200, reply

    def _predict(
        self, body: bytes, model: str, version: int | None, label: str | None, deadline: float | None
    ) -> bytes:
        document = json_reader.parse(body, deadline)
        signature_name = _signature_name(document)
        with self._registry.use(model, version, label) as servable:
            signature = find_signature(servable, signature_name)
            if signature is None:
                raise invalid(f'Serving signature name: "{signature_name or DEFAULT}" not found in signature def')
            if not signature.inputs:
                raise invalid(f"Failed to get input map for signature: {signature_name or 'DEFAULT'}")
            by_row = _is_row_format(document)
            inputs = _inputs(document, by_row, signature.inputs, body, deadline)
            outputs = predict(servable, signature, inputs, timeout=_left(deadline))
        return json_writer.predictions(outputs) if by_row else json_writer.outputs(outputs)

    def _classify(
        self, body: bytes, model: str, version: int | None, label: str | None, deadline: float | None
    ) -> bytes:
        signature_name, given = _examples(body, deadline)
        with self._registry.use(model, version, label) as servable:
            result = examples.classify(servable, signature_name, given, _left(deadline))
        return json_writer.classifications(result.classes, result.scores)

    def _regress(
        self, body: bytes, model: str, version: int | None, label: str | None, deadline: float | None
    ) -> bytes:
        signature_name, given = _examples(body, deadline)
        with self._registry.use(model, version, label) as servable:
            return json_writer.regressions(examples.regress(servable, signature_name, given, _left(deadline)))

    def _status(self, model: str, version: int | None) -> bytes:
        if not model:
            raise invalid("Missing model name in request.")
        return _json(status_response(self._registry, model, version), proto_names=False) + b"\n"

    def _metadata(self, model: str, version: int | None, label: str | None) -> bytes:
        if not model:
            raise invalid("Missing model name in request.")
        with self._registry.use(model, version, label) as servable:
            spec = stubs.load("model_pb2").ModelSpec(name=servable.name)
            spec.version.value = servable.version
            signatures = stubs.load("get_model_metadata_pb2").SignatureDefMap.FromString(servable.metadata())
        return (
            b'{\n"model_spec":' + _json(spec) + b'\n,\n"metadata": {"signature_def": ' + _json(signatures) + b"\n}\n}\n"
        )


def _left(deadline: float | None) -> float | None:
    """Seconds until then: the time in which a request waited for a thread and was read counts."""
    return None if deadline is None else deadline - time.monotonic()


class _TooLarge(Exception):
    """A body past the limit."""


def _unzipped(body: bytes, limit: int) -> bytes:
    decompressor = zlib.decompressobj(wbits=31)
    try:
        plain = decompressor.decompress(body, limit)
    except zlib.error:
        return b""
    if decompressor.unconsumed_tail:
        raise _TooLarge
    return plain if decompressor.eof else b""


def _target(method: str, path: str) -> tuple[str, int | None, str | None, str]:
    """The model, version, label and what is asked of it, from a path."""
    match = {"POST": _POST, "GET": _GET}[method].fullmatch(path) if method in ("POST", "GET") else None
    name, number, label, asked = match.groups() if match else ("", None, None, "")
    if number is not None and int(number) >= 1 << 63:
        raise invalid(f"Failed to convert version: {number} to numeric.")
    if match is None or (method == "POST" and asked not in ("classify", "regress", "predict")):
        raise invalid(f"Malformed request: {method} {path}")  # a verb in capitals fits the pattern and means nothing
    return (
        unquote(name or "", errors="surrogateescape"),
        None if number is None else int(number),
        None if label is None else unquote(label, errors="surrogateescape"),
        asked or "",
    )


def _signature_name(document: dict[str, Any]) -> str:
    name = document.get("signature_name", "")
    if not isinstance(name, (str, bytes)):
        raise invalid(
            f"JSON Value: {json_reader.debug_string(document)} not formatted correctly. 'signature_name' key must be "
            "a string value."
        )
    return name if isinstance(name, str) else name.decode("utf-8", "surrogateescape")


def _examples(body: bytes, deadline: float | None) -> tuple[str, Any]:
    document = json_reader.parse(body, deadline)
    try:
        return _signature_name(document), input_from_json(document)
    except UnicodeEncodeError:  # half a surrogate pair, which Python lets pass
        return _signature_name(document), input_from_json(json_reader.parse_exactly(body, deadline))


def _is_row_format(document: dict[str, Any]) -> bool:
    if "instances" not in document:
        if "inputs" not in document:
            raise invalid("Missing 'inputs' or 'instances' key")
        return False
    wrong = None
    if "inputs" in document:
        wrong = "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
    elif not isinstance(document["instances"], list):
        wrong = "Expecting 'instances' to be an list/array"
    elif not document["instances"]:
        wrong = "No values in 'instances' array"
    if wrong:
        raise invalid(f"JSON Value: {json_reader.debug_string(document)} {wrong}")
    return True


def _inputs(
    document: dict[str, Any], by_row: bool, wanted: dict[str, Any], body: bytes, deadline: float | None
) -> dict[str, Any]:
    fast, exact = (json_tensors.rows, json_walk.rows) if by_row else (json_tensors.columns, json_walk.columns)
    key = "instances" if by_row else "inputs"
    inputs = fast(document[key], wanted)
    if inputs is None:
        # Python read the body more leniently than the genuine server would; what it says counts.
        inputs = exact(json_reader.parse_exactly(body, deadline)[key], wanted)
    return inputs


def status_response(registry: Registry, model: str, version: int | None) -> Any:
    """A ``GetModelStatusResponse`` for one version of a model or for all of them."""
    response = stubs.load("get_model_status_pb2").GetModelStatusResponse()
    for number, state, error in registry.status(model, version):
        status = response.model_version_status.add(version=number, state=int(state))
        status.status.error_code = int(error.code if error else Code.OK)
        status.status.error_message = error.message if error else ""
    return response


def _json(message: Any, *, proto_names: bool = True) -> bytes:
    return json_format.MessageToJson(
        message, preserving_proto_field_name=proto_names, always_print_fields_with_no_presence=True, indent=1
    ).encode()
