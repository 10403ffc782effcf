"""What the REST client and the gRPC client share: errors, waiting, the form of what they give back."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from kzoo.errors import UserError

Inputs = Mapping[str, Any]


class ReplyError(UserError):
    """The server answered with an error: ``code`` is its name (``NOT_FOUND``), ``message`` the server's text."""

    def __init__(self, code: str, message: str):
        super().__init__(f"{message} ({code})")
        self.code = code
        self.message = message


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


def check_choice(version: int | None, label: str | None) -> None:
    """UserError when a request names both a version and a label."""
    if version is not None and label is not None:
        raise UserError(f"A request names a version or a label. Received version {version} and label {label!r}.")


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


def text_where_it_is(array: np.ndarray) -> np.ndarray:
    """A string array as ``str``, or as ``bytes`` when one of them is not text."""
    if array.dtype != object:
        return array
    values = [value if isinstance(value, str) else value.decode("utf-8", "surrogateescape") for value in array.flat]
    is_text = not any("\ud800" <= character <= "\udfff" for value in values for character in value)
    decoded = np.empty(len(values), dtype=object)
    decoded[:] = values if is_text else [value.encode("utf-8", "surrogateescape") for value in values]
    return decoded.reshape(array.shape)
