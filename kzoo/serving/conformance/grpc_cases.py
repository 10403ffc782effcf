"""Predict over gRPC."""

from __future__ import annotations

from typing import Any

import numpy as np

from kzoo.serving.conformance.case import Case, case, predict
from kzoo.serving.conformance.expected import described_columns
from kzoo.serving.conformance.judging import Failure, Outputs
from kzoo.serving.conformance.models import NUMBERS
from kzoo.serving.conformance.predict_cases import TEXTS


def calls() -> list[Case]:
    """Good calls, and calls that name what is not there or send what does not fit."""
    area = "predict over gRPC"
    hi = _described(["hi"])
    low = _described(["hi"], version=1)
    unknown = "Unrecognized servable version label: nosuch"
    pair = ["ab", "c"]
    numbers: dict[str, Any] = {name: np.array([0, 1], dtype=name) for name in NUMBERS}
    return [
        case(area, "texts", predict("echo", text=TEXTS), _described(TEXTS)),
        case(area, "a version", predict("echo", version=1, text=["hi"]), low),
        case(area, "a label", predict("echo", label="stable", text=["hi"]), low),
        case(
            area,
            "an input with a default left out",
            predict("echo", "repeat", prompt=pair),
            _repeated(["abab", "cc"]),
            Failure("INVALID_ARGUMENT", "Batching Run() input tensors must have equal 0th-dimension size"),
        ),
        case(
            area,
            "both inputs",
            predict("echo", "repeat", prompt=pair, times=np.array([2, 3], np.int32)),
            _repeated(["abab", "ccc"]),
        ),
        case(
            area,
            "wrong type",
            predict("echo", text=np.array([1.0], np.float32)),
            Failure("INVALID_ARGUMENT", "Expects arg[0] to be string but float is provided"),
        ),
        case(  # an oddity: the rank is not checked
            area, "a dimension more than the shape says", predict("echo", text=[["hi"]]), _described([["hi"]])
        ),
        case(
            area,
            "an input that is not there",
            predict("echo", more=["x"], text=["hi"]),
            Failure(
                "INVALID_ARGUMENT",
                "input size does not match signature: 2!=1 len({more,text}) != len({text}). Sent extra: {more}. "
                "Missing but required: {}.",
            ),
        ),
        case(
            area,
            "unknown model",
            predict("nosuch", text=["hi"]),
            Failure("NOT_FOUND", "Servable not found for request: Latest(nosuch)"),
        ),
        case(area, "unknown label", predict("echo", label="nosuch", text=["hi"]), Failure("INVALID_ARGUMENT", unknown)),
        case(
            area,
            "no model",
            predict("", text=["hi"]),
            Failure("INVALID_ARGUMENT", "ModelSpec has no name specified."),
        ),
        case(  # an oddity: the inner size is not checked
            area,
            "more numbers in a row than the shape says",
            predict("adder", x=np.array([[1, 2, 3]], np.float32)),
            Outputs({"sum": ("float", [6.0])}, _spec("adder", 1)),
        ),
        case(area, "the newest version", predict("echo", text=["hi"]), hi, recorded=False),
        case(
            area,
            "unknown version",
            predict("echo", version=9, text=["hi"]),
            Failure("NOT_FOUND", "Servable not found for request: Specific(echo, 9)"),
            recorded=False,
        ),
        case(
            area,
            "unknown signature",
            predict("echo", "nosuch", text=["hi"]),
            Failure("FAILED_PRECONDITION", 'Serving signature key "nosuch" not found.'),
            recorded=False,
        ),
        case(
            area,
            "every type, half precision among them",
            predict("adder", "same", **numbers),
            Outputs(
                {f"{name}_out": (_tensorflow_name(name), array.tolist()) for name, array in numbers.items()},
                _spec("adder", 1, "same"),
            ),
            recorded=False,
        ),
    ]


def _spec(model: str, version: int, signature: str = "serving_default") -> dict[str, str]:
    return {"name": model, "version": str(version), "signature_name": signature}


def _described(texts: list[Any], version: int = 2) -> Outputs:
    nested = [described_columns(row, version) for row in texts] if texts and isinstance(texts[0], list) else []
    columns = (
        {name: [row[name] for row in nested] for name in nested[0]} if nested else described_columns(texts, version)
    )
    dtypes = {"label": "string", "scores": "float", "length": "int32"}
    return Outputs({name: (dtypes[name], values) for name, values in columns.items()}, _spec("echo", version))


def _repeated(texts: list[str]) -> Outputs:
    return Outputs({"text": ("string", texts)}, _spec("echo", 2, "repeat"))


def _tensorflow_name(name: str) -> str:
    return {"float32": "float", "float64": "double", "float16": "half"}.get(name, name)
