"""A small client of a model server, the embedded or the genuine one: REST and gRPC behind the same four methods.

    client = connect("http://127.0.0.1:8501")      # or grpc://127.0.0.1:8500
    client.wait_until_available("reviews")
    client.predict("reviews", {"text": ["a fine film", "a waste of time"]})["label"]

Outputs are numpy arrays, strings among them arrays of ``str`` (of ``bytes`` where an output is not text). TensorFlow
is not loaded.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import ssl
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

import numpy as np

from kzoo.errors import UserError

Inputs = Mapping[str, Any]


class ReplyError(UserError):
    """The server answered with an error: ``code`` is its name (``NOT_FOUND``), ``message`` the server's text."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


class Client(Protocol):
    """What both clients do. A version or a label chooses among a model's versions; without, the newest answers."""

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        signature: str | None = None,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Named outputs for named inputs, each with a batch dimension first."""
        ...

    def status(self, model: str, *, version: int | None = None) -> dict[int, str]:
        """The state of each version: ``{2: "AVAILABLE", 1: "END"}``."""
        ...

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Signatures by name: ``{"serving_default": {"inputs": {"text": {"dtype": ..., "shape": ...}}, ...}}``."""
        ...

    def problems(self, model: str) -> dict[int, str]:
        """What went wrong with each version that could not be loaded, in the server's words."""
        ...

    def labelled(self, model: str, label: str) -> int:
        """The version that a label names, as requests find it."""
        ...

    def wait_until_available(self, model: str, *, timeout: float = 60.0) -> None:
        """Return once the model can be asked."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def connect(address: str, *, timeout: float = 60.0, ca: str | os.PathLike[str] | None = None) -> Client:
    """A client for ``http://host:port`` (REST) or ``grpc://host:port``; ``https`` and ``grpcs`` speak TLS.

    Args:
        address: scheme, host and port; without a scheme it is REST.
        timeout: seconds for each request.
        ca: a PEM file of the certificates to trust instead of the system's (and so TLS, whatever the scheme says): the
            authority that signed the server's certificate, or that certificate itself where it signed itself.

    Raises:
        UserError: the address is neither, or the file holds no certificate.
    """
    parts = urlsplit(address if "://" in address else f"http://{address}")
    try:
        complete = bool(parts.hostname and parts.port)
    except ValueError:
        complete = False
    if parts.scheme not in ("http", "https", "grpc", "grpcs") or not complete:
        raise UserError(f"A server's address is http://host:port or grpc://host:port. Received {address!r}.")
    certificates = None if ca is None else pem(ca)
    is_secure = parts.scheme in ("https", "grpcs") or ca is not None
    if parts.scheme in ("grpc", "grpcs"):
        from kzoo.serving.grpc_client import GrpcClient

        return GrpcClient(parts.netloc, timeout=timeout, secure=is_secure, certificates=certificates)
    scheme = "https" if is_secure else "http"
    return RestClient(f"{scheme}://{parts.netloc}", timeout=timeout, certificates=certificates)


def pem(path: str | os.PathLike[str]) -> str:
    """The PEM text of a file of certificates."""
    try:
        text = Path(path).read_text(encoding="ascii")
        ssl.create_default_context(cadata=text)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        reason = getattr(error, "strerror", None) or str(error)
        raise UserError(f"{path} is not a file of PEM certificates: {reason}.") from None
    return text


class Waiting:
    """Waiting for a model by asking its status."""

    def status(self, model: str, *, version: int | None = None) -> dict[int, str]:
        raise NotImplementedError

    def wait_until_available(self, model: str, *, timeout: float = 60.0) -> None:
        """Return once a version of the model is available.

        Raises:
            UserError: none was within ``timeout`` seconds; says what the server said last.
        """
        deadline = time.monotonic() + timeout
        while True:
            try:
                states = self.status(model)
                if "AVAILABLE" in states.values():
                    return
                last = ", ".join(f"version {version} is {state}" for version, state in states.items())
            except UserError as error:
                last = str(error)
            if time.monotonic() > deadline:
                raise UserError(f"Model {model!r} was not available within {timeout:g} seconds: {last}")
            time.sleep(0.2)


class RestClient(Waiting):
    """Speaks to the REST API over one connection, which it opens again when the server has closed it."""

    def __init__(self, address: str, *, timeout: float = 60.0, certificates: str | None = None):
        parts = urlsplit(address)
        self.address = f"{parts.scheme}://{parts.netloc}"
        host = parts.hostname or ""
        self._connection = http.client.HTTPConnection(host, parts.port, timeout=timeout)
        if parts.scheme == "https":
            context = ssl.create_default_context(cadata=certificates)
            self._connection = http.client.HTTPSConnection(host, parts.port, timeout=timeout, context=context)
        self._names: dict[tuple[str, int | None, str | None, str], str] = {}

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        signature: str | None = None,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Named outputs for named inputs, each with a batch dimension first.

        Raises:
            ReplyError: the server refused. UserError: no server answers.
        """
        body: dict[str, Any] = {"inputs": {name: _to_json(value) for name, value in inputs.items()}}
        if signature is not None:
            body["signature_name"] = signature
        reply = self._ask("POST", f"{_path(model, version, label)}:predict", json.dumps(body).encode())
        outputs = reply["outputs"]
        if isinstance(outputs, dict) and not _is_base64(outputs):
            return {name: _from_json(value) for name, value in outputs.items()}
        # A single output comes back without its name.
        target = (model, version, label, signature or "serving_default")
        if target not in self._names:
            self._names[target] = next(iter(self.metadata(model, version=version, label=label)[target[3]]["outputs"]))
        return {self._names[target]: _from_json(outputs)}

    def status(self, model: str, *, version: int | None = None) -> dict[int, str]:
        """The state of each version."""
        reply = self._ask("GET", _path(model, version, None))
        return {int(entry["version"]): entry["state"] for entry in reply["model_version_status"]}

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Signatures by name."""
        reply = self._ask("GET", f"{_path(model, version, label)}/metadata")
        return described(reply["metadata"]["signature_def"]["signature_def"])

    def problems(self, model: str) -> dict[int, str]:
        """What went wrong with each version that could not be loaded."""
        reply = self._ask("GET", _path(model, None, None))
        told = {int(entry["version"]): entry.get("status", {}) for entry in reply["model_version_status"]}
        return {
            version: status.get("error_message", "")
            for version, status in told.items()
            if status.get("error_code", "OK") != "OK"
        }

    def labelled(self, model: str, label: str) -> int:
        """The version that a label names. (The status of a label lists all versions, so its metadata is asked.)"""
        return int(self._ask("GET", f"{_path(model, None, label)}/metadata")["model_spec"]["version"])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _ask(self, method: str, path: str, body: bytes | None = None) -> Any:
        try:
            try:
                status, text = self._exchange(method, path, body)
            except (http.client.RemoteDisconnected, BrokenPipeError, ConnectionResetError):
                self._connection.close()  # an idle connection, closed by the server: once more on a fresh one
                status, text = self._exchange(method, path, body)
        except TimeoutError:
            self._connection.close()
            raise UserError(f"{self.address} did not answer within {self._connection.timeout:g} seconds.") from None
        except ssl.SSLError as error:
            self._connection.close()
            raise UserError(
                f"{self.address} and this client do not agree on TLS: {error.reason or error}. Give the certificate to "
                "trust (--ca), or http:// where the server has none."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            raise UserError(
                f"No server answers at {self.address}: {str(error) or type(error).__name__}. Start one with "
                "`kzoo serve`, or give the address of its REST port."
            ) from None
        try:
            reply = json.loads(text.decode("utf-8", "surrogateescape"))
        except ValueError:
            reply = None
        if status != 200:
            message = reply.get("error") if isinstance(reply, dict) else None
            raise ReplyError(f"HTTP {status}", message or f"{self.address}{path} is not there")
        if not isinstance(reply, dict):
            raise UserError(f"{self.address} is no model server: its reply is not JSON.")
        return reply

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        self._connection.request(method, path, body, {"Content-Type": "application/json"} if body else {})
        response = self._connection.getresponse()
        return response.status, response.read()


def _path(model: str, version: int | None, label: str | None) -> str:
    if version is not None and label is not None:
        raise UserError(f"A request names a version or a label. Received version {version} and label {label!r}.")
    chosen = f"/versions/{version}" if version is not None else f"/labels/{quote(label, '')}" if label else ""
    return f"/v1/models/{quote(model, '')}{chosen}"


def choose(spec: Any, model: str, version: int | None, label: str | None) -> None:
    """Writes model, version or label into a ``ModelSpec``."""
    if version is not None and label is not None:
        raise UserError(f"A request names a version or a label. Received version {version} and label {label!r}.")
    spec.name = model
    if version is not None:
        spec.version.value = version
    elif label:
        spec.version_label = label


def described(signatures: Mapping[str, Any]) -> dict[str, Any]:
    """Signatures from their JSON, without the server's inner names: element type and shape (None: any size)."""

    def tensors(infos: Mapping[str, Any]) -> dict[str, Any]:
        return {
            name: {
                "dtype": re.sub("^DT_", "", info.get("dtype", "")).lower(),
                "shape": None
                if info.get("tensor_shape", {}).get("unknown_rank")
                else [
                    None if int(dimension.get("size", 0)) < 0 else int(dimension.get("size", 0))
                    for dimension in info.get("tensor_shape", {}).get("dim", ())
                ],
            }
            for name, info in sorted(infos.items())
        }

    return {
        name: {
            "inputs": tensors(signature["inputs"]),
            "outputs": tensors(signature.get("outputs", {})),
            "optional": sorted(signature.get("defaults", {})),
        }
        for name, signature in sorted(signatures.items())
        if signature.get("inputs")
    }


def _to_json(value: Any) -> Any:
    """Lists of what JSON has; bytes as base64, since not every string of bytes is text."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, (list, tuple)):
        return [_to_json(element) for element in value]
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return value.item() if isinstance(value, np.generic) else value


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"}


def _from_json(value: Any) -> np.ndarray:
    """A numpy array of a list of numbers, strings or base64 objects."""

    def plain(value: Any) -> Any:
        if isinstance(value, list):
            return [plain(element) for element in value]
        return base64.b64decode(value["b64"]) if _is_base64(value) else value

    value = plain(value)
    array = np.asarray(value)
    if array.dtype.kind not in "SUO":
        return array
    return text_where_it_is(np.asarray(value, dtype=object))


def text_where_it_is(array: np.ndarray) -> np.ndarray:
    """A string array as ``str``, or as ``bytes`` when one of them is not text."""
    if array.dtype != object:
        return array
    values = [value if isinstance(value, str) else value.decode("utf-8", "surrogateescape") for value in array.flat]
    is_text = not any("\ud800" <= character <= "\udfff" for value in values for character in value)
    decoded = np.empty(len(values), dtype=object)
    decoded[:] = values if is_text else [value.encode("utf-8", "surrogateescape") for value in values]
    return decoded.reshape(array.shape)
