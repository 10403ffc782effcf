"""A small client of a model server, the embedded or the genuine one: REST and gRPC behind the same four methods.

    client = connect("http://127.0.0.1:8501")      # or grpc://127.0.0.1:8500
    client.wait_until_available("reviews")
    client.predict("reviews", {"text": ["a fine film", "a waste of time"]})["label"]

Outputs are numpy arrays, strings among them arrays of ``str`` (of ``bytes`` where an output is not text). TensorFlow
is not loaded.
"""

from __future__ import annotations

import os
import ssl
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

import numpy as np

from kzoo.errors import UserError
from kzoo.serving.replies import Inputs
from kzoo.serving.replies import ReplyError as ReplyError
from kzoo.serving.rest_client import RestClient


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
