"""The client of the REST API."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
from typing import Any
from urllib.parse import quote, urlsplit

import numpy as np

from kzoo.errors import UserError
from kzoo.serving.replies import Inputs, ReplyError, Waiting, check_choice, described, text_where_it_is


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
        reply = self._ask("POST", f"{path_of(model, version, label)}:predict", json.dumps(body).encode())
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
        reply = self._ask("GET", path_of(model, version, None))
        return {int(entry["version"]): entry["state"] for entry in reply["model_version_status"]}

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Signatures by name."""
        reply = self._ask("GET", f"{path_of(model, version, label)}/metadata")
        return described(reply["metadata"]["signature_def"]["signature_def"])

    def problems(self, model: str) -> dict[int, str]:
        """What went wrong with each version that could not be loaded."""
        reply = self._ask("GET", path_of(model, None, None))
        told = {int(entry["version"]): entry.get("status", {}) for entry in reply["model_version_status"]}
        return {
            version: status.get("error_message", "")
            for version, status in told.items()
            if status.get("error_code", "OK") != "OK"
        }

    def labelled(self, model: str, label: str) -> int:
        """The version that a label names. (The status of a label lists all versions, so its metadata is asked.)"""
        return int(self._ask("GET", f"{path_of(model, None, label)}/metadata")["model_spec"]["version"])

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


def path_of(model: str, version: int | None, label: str | None) -> str:
    """Where a model, a version of it or a label is asked, ``/v1/models/...``."""
    check_choice(version, label)
    chosen = f"/versions/{version}" if version is not None else f"/labels/{quote(label, '')}" if label else ""
    return f"/v1/models/{quote(model, '')}{chosen}"


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
