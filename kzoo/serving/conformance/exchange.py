"""Requests and replies over REST and gRPC, as they stand on the wire; nothing is retried or smoothed over."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

from google.protobuf import json_format

from kzoo.errors import UserError
from kzoo.serving import stubs


@dataclass(frozen=True, slots=True)
class RestRequest:
    """One HTTP request; ``body`` as it is sent."""

    method: str
    path: str
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        body = self.body.decode("utf-8", "backslashreplace")
        headers = "".join(f" {name}: {value}" for name, value in self.headers.items())
        return f"{self.method} {self.path}{headers} {_short(body)}".rstrip()


@dataclass(frozen=True, slots=True)
class RestReply:
    """What came back over HTTP."""

    status: int
    content_type: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.status} {self.content_type} {_short(self.body.decode('utf-8', 'backslashreplace'))}".rstrip()


@dataclass(frozen=True, slots=True)
class GrpcRequest:
    """One call: the method's name and its message."""

    method: str
    message: Any

    def __str__(self) -> str:
        return f"{self.method} {_short(json.dumps(message_dict(self.message), ensure_ascii=False))}"


@dataclass(frozen=True, slots=True)
class GrpcReply:
    """What came back over gRPC: the code's name, and the error's text or the message."""

    code: str
    details: str = ""
    message: Any = None

    def __str__(self) -> str:
        told = self.details if self.message is None else json.dumps(message_dict(self.message), ensure_ascii=False)
        return f"{self.code} {_short(told)}".rstrip()


Request = RestRequest | GrpcRequest
Reply = RestReply | GrpcReply


class Target(Protocol):
    """What requests are put to: a server, or a record of one."""

    def send(self, request: Request) -> Reply | None:
        """The reply; None where this target cannot be asked that (no address for the API, nothing recorded)."""


class LiveServer:
    """A server by its addresses.

    Args:
        rest: ``HOST:PORT`` or ``http(s)://HOST:PORT``; empty: REST is not asked.
        grpc: ``HOST:PORT`` or ``grpc(s)://HOST:PORT``; empty: gRPC is not asked.
        ca: PEM text of the certificates to trust; TLS then.
        timeout: seconds for each request.
    """

    def __init__(self, rest: str = "", grpc: str = "", *, ca: str | None = None, timeout: float = 60.0):
        self._timeout, self._ca = timeout, ca
        self._rest = _parts(rest, "http", "https") if rest else None
        self._grpc = _parts(grpc, "grpc", "grpcs") if grpc else None
        self._channel: Any = None

    def send(self, request: Request) -> Reply | None:
        """See ``Target``. UserError: no server answers."""
        return self._over_rest(request) if isinstance(request, RestRequest) else self._over_grpc(request)

    def close(self) -> None:
        """Closes the connection for gRPC."""
        if self._channel is not None:
            self._channel.close()

    def _over_rest(self, request: RestRequest) -> RestReply | None:
        if self._rest is None:
            return None
        scheme, host, port = self._rest
        connection = http.client.HTTPConnection(host, port, timeout=self._timeout)
        if scheme == "https" or self._ca:
            context = ssl.create_default_context(cadata=self._ca)
            connection = http.client.HTTPSConnection(host, port, timeout=self._timeout, context=context)
        try:
            body = request.body if request.method == "POST" else None
            connection.request(request.method, request.path, body, dict(request.headers))
            reply = connection.getresponse()
            return RestReply(reply.status, reply.headers.get("Content-Type", ""), reply.read())
        except (TimeoutError, ConnectionResetError, http.client.HTTPException) as error:  # a fault of this one reply
            return RestReply(0, "", f"no reply: {error!r}".encode())
        except OSError as error:
            raise UserError(f"No server answers REST at {host}:{port}: {error}.") from None
        finally:
            connection.close()

    def _over_grpc(self, request: GrpcRequest) -> GrpcReply | None:
        if self._grpc is None:
            return None
        import grpc

        scheme, host, port = self._grpc
        if self._channel is None:
            options = [("grpc.max_receive_message_length", -1)]
            credentials = grpc.ssl_channel_credentials(self._ca.encode() if self._ca else None)
            is_secure = scheme == "grpcs" or self._ca
            target = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
            self._channel = (
                grpc.secure_channel(target, credentials, options)
                if is_secure
                else grpc.insecure_channel(target, options)
            )
        is_model_service = request.method in ("GetModelStatus", "HandleReloadConfigRequest")
        stub = (
            stubs.load("model_service_pb2_grpc").ModelServiceStub(self._channel)
            if is_model_service
            else stubs.load("prediction_service_pb2_grpc").PredictionServiceStub(self._channel)
        )
        try:
            return GrpcReply("OK", message=getattr(stub, request.method)(request.message, timeout=self._timeout))
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise UserError(f"No server answers gRPC at {host}:{port}: {error.details()}.") from None
            return GrpcReply(error.code().name, error.details())


def message_dict(message: Any) -> dict[str, Any]:
    """A message as protobuf's JSON, by the names of its fields."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def b64(data: bytes) -> dict[str, str]:
    """Bytes as the API's JSON writes them."""
    return {"b64": base64.b64encode(data).decode()}


def _parts(address: str, plain: str, secure: str) -> tuple[str, str, int]:
    parts = urlsplit(address if "://" in address else f"{plain}://{address}")
    try:
        port = parts.port
    except ValueError:
        port = None
    if parts.scheme not in (plain, secure) or not parts.hostname or not port:
        raise UserError(f"A server's address is HOST:PORT or {plain}://HOST:PORT. Received {address!r}.")
    return parts.scheme, parts.hostname, port


def _short(text: str, most: int = 300) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[:most]} ... ({len(text)} characters)"
