"""One request and what a conforming server replies, without batching and with it."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from kzoo.serving import stubs
from kzoo.serving.conformance.exchange import GrpcRequest, Request, RestRequest
from kzoo.serving.conformance.judging import Expectation
from kzoo.serving.tensors import STRING, dtype_of, fill, strings

PLAIN, BATCHING = "plain", "batching"  # how the server was started


@dataclass(frozen=True, slots=True)
class Case:
    """A request and its expected reply.

    Attributes:
        area, name: where it stands in the report.
        request: what is sent.
        plain: what a server without batching replies.
        batching: what one with batching replies; None: it is not asked that.
        recorded: whether the genuine server's reply was recorded; else its source says so.
    """

    area: str
    name: str
    request: Request
    plain: Expectation
    batching: Expectation | None
    recorded: bool = True

    def expected(self, profile: str) -> Expectation | None:
        """What a server that was started so replies."""
        return self.batching if profile == BATCHING else self.plain


class Same:
    """With batching as without it."""


SAME = Same()


def case(
    area: str,
    name: str,
    request: Request,
    plain: Expectation,
    batching: Expectation | Same | None = SAME,
    *,
    recorded: bool = True,
) -> Case:
    """A case whose reply is the same with batching, unless said otherwise."""
    return Case(area, name, request, plain, plain if isinstance(batching, Same) else batching, recorded)


def post(path: str, body: Any, **headers: str) -> RestRequest:
    """A POST to a path beneath ``/v1/models/``; bytes are sent as they are, else as JSON."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return RestRequest(
        "POST", f"/v1/models/{path}", data, {name.replace("_", "-"): one for name, one in headers.items()}
    )


def get(path: str, method: str = "GET") -> RestRequest:
    """A GET of a path beneath ``/v1/models/``, or of the path itself where it starts with ``/``."""
    return RestRequest(method, path if path.startswith("/") else f"/v1/models/{path}")


def named(rows: Iterable[Any], name: str) -> list[dict[str, Any]]:
    """Rows of one named input."""
    return [{name: row} for row in rows]


def predict(model: str, signature: str = "", *, version: int = 0, label: str = "", **inputs: Any) -> GrpcRequest:
    """A call of Predict; texts, or arrays whose dtype counts."""
    message = stubs.load("predict_pb2").PredictRequest()
    set_spec(message.model_spec, model, signature, version, label)
    for name, value in inputs.items():
        array = value if isinstance(value, np.ndarray) else strings(value)
        fill(message.inputs[name], array, as_content=array.size > 1 and dtype_of(array) is not STRING)
    return GrpcRequest("Predict", message)


def over_examples(method: str, model: str, signature: str, texts: Iterable[str]) -> GrpcRequest:
    """A call of Classify or Regress with an example a text."""
    module, name = {
        "Classify": ("classification_pb2", "ClassificationRequest"),
        "Regress": ("regression_pb2", "RegressionRequest"),
    }[method]
    message = getattr(stubs.load(module), name)()
    set_spec(message.model_spec, model, signature)
    add_examples(message.input, texts)
    return GrpcRequest(method, message)


def add_examples(given: Any, texts: Iterable[str]) -> None:
    """Adds an example a text, with the feature ``text``, to an ``Input``."""
    for text in texts:
        example = given.example_list.examples.add()
        example.features.feature["text"].bytes_list.value.append(text.encode())


def about(method: str, model: str, *, version: int = 0, label: str = "", fields: Iterable[str] = ()) -> GrpcRequest:
    """A call of GetModelStatus or GetModelMetadata."""
    module = {"GetModelStatus": "get_model_status_pb2", "GetModelMetadata": "get_model_metadata_pb2"}[method]
    message = getattr(stubs.load(module), f"{method}Request")()
    set_spec(message.model_spec, model, "", version, label)
    if fields:
        message.metadata_field.extend(fields)
    return GrpcRequest(method, message)


def set_spec(spec: Any, model: str, signature: str = "", version: int = 0, label: str = "") -> None:
    """Names model, signature, and version or label in a ``ModelSpec``."""
    spec.SetInParent()
    if model:
        spec.name = model
    if signature:
        spec.signature_name = signature
    if version:
        spec.version.value = version
    if label:
        spec.version_label = label
