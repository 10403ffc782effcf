"""Predict over REST: rows and columns, every kind of value, which version and which signature answer."""

from __future__ import annotations

import math
from typing import Any

from kzoo.serving.conformance.case import Case, case, named, post
from kzoo.serving.conformance.exchange import b64
from kzoo.serving.conformance.expected import copied, described, described_columns, single
from kzoo.serving.conformance.judging import Answer, Page, Refusal

TEXTS = ["hi", "a much longer sentence", ""]
ECHO, ADDER = "echo:predict", "adder:predict"
_OTHERS = ["你好，世界", "naïve café", "👩‍👩‍👧", "\0nul"]
_ESCAPED = ["你好", 'tab\tquote"', "surrogate 😀"]


def rows(*texts: str, version: int = 2) -> Answer:
    """``echo``'s reply in row format."""
    return Answer({"predictions": [described(text, version) for text in texts]})


def formats() -> list[Case]:
    """Row and column format, strings and base64, and which version answers."""
    area = "predict over REST"
    as_hi = {"instances": ["hi"]}
    copies = {"signature_name": "copies"}
    repeat = {"signature_name": "repeat"}
    half = b"\xff\xfe half"
    return [
        case(area, "rows", post(ECHO, {"instances": TEXTS}), rows(*TEXTS)),
        case(area, "rows, input named", post(ECHO, {"instances": named(TEXTS, "text")}), rows(*TEXTS)),
        case(
            area,
            "columns, input named",
            post(ECHO, {"inputs": {"text": TEXTS}}),
            Answer({"outputs": described_columns(TEXTS)}),
        ),
        case(
            area,
            "a column that is no list",
            post(ECHO, {"inputs": "hi"}),
            Answer({"outputs": described("hi")}),
            Refusal(400, "Batching Run() input tensors must have at least one dimension"),
        ),
        case(
            area,
            "signature named",
            post(ECHO, {"signature_name": "serving_default", "instances": TEXTS}),
            rows(*TEXTS),
        ),
        case(area, "text beyond ASCII", post(ECHO, {"instances": _OTHERS}), rows(*_OTHERS)),
        case(area, "text with escapes", post(ECHO, {"instances": _ESCAPED}), rows(*_ESCAPED)),
        case(
            area,
            "base64 in",
            post(ECHO, {"instances": [b64(b"hi"), b64("你好".encode())]}),
            rows("hi", "你好"),
        ),
        case(area, "base64 in, input named", post(ECHO, {"instances": [{"text": b64(b"hi")}]}), rows("hi")),
        case(
            area,
            "base64 out, rows",
            post(ECHO, {**copies, "instances": ["hi", "é"]}),
            Answer({"predictions": [copied("hi"), copied("é")]}),
        ),
        case(
            area,
            "base64 out, columns",
            post(ECHO, {**copies, "inputs": {"text": ["hi", "é"]}}),
            Answer({"outputs": {"text": ["hi", "é"], "data_bytes": [b64(b"hi"), b64("é".encode())]}}),
        ),
        case(  # an oddity: a text that is not UTF-8 comes back as it is, and the reply is no JSON
            area,
            "bytes that are no text come back",
            post(ECHO, {**copies, "instances": [b64(half)]}),
            Page(200, "application/json", (b'"text": "' + half + b'"', b'"b64": "//4gaGFsZg=="')),
        ),
        case(
            area,
            "two inputs, rows; one output stands alone",
            post(ECHO, {**repeat, "instances": [{"prompt": "ab", "times": 2}, {"prompt": "c", "times": 3}]}),
            Answer({"predictions": ["abab", "ccc"]}),
        ),
        case(
            area,
            "two inputs, columns",
            post(ECHO, {**repeat, "inputs": {"prompt": ["ab", "c"], "times": [2, 3]}}),
            Answer({"outputs": ["abab", "ccc"]}),
        ),
        case(area, "version 1", post("echo/versions/1:predict", as_hi), rows("hi", version=1)),
        case(area, "version 2", post("echo/versions/2:predict", as_hi), rows("hi")),
        case(area, "no version: the newest", post(ECHO, as_hi), rows("hi")),
        case(area, "label stable", post("echo/labels/stable:predict", as_hi), rows("hi", version=1)),
        case(area, "label canary", post("echo/labels/canary:predict", as_hi), rows("hi")),
        case(area, "no columns", post(ECHO, {"inputs": []}), Answer({"outputs": described_columns([])}), None),
        case(  # an oddity: deeper lists than the signature's shape pass
            area,
            "rows nested deeper",
            post(ECHO, {"instances": [["hi", "you"]]}),
            Answer({"predictions": [described_columns(["hi", "you"])]}),
        ),
        case(area, "a key more at the top", post(ECHO, {"instances": ["hi"], "more": 1}), rows("hi")),
        case(area, "body not UTF-8", post(ECHO, b'{"instances": ["\xff\xfe"]}'), rows("\udcff\udcfe")),
        case(area, "any Content-Type", post(ECHO, as_hi, Content_Type="text/plain"), rows("hi")),
        case(
            area,
            "a serialized example",
            post(ECHO, {"signature_name": "regress", "instances": [b64(_example("hi"))]}),
            Answer({"predictions": [2.0]}),
        ),
    ]


def numbers() -> list[Case]:
    """Numbers of every kind."""
    area = "numbers over REST"
    infinity, nothing = math.inf, math.nan
    special = {"signature_name": "special"}
    row = {"float32": 1.0, "float64": 2, "float16": 3, "int8": 4, "int16": 5, "int32": 6, "int64": 7, "uint8": 8}
    row |= {"uint32": 9, "uint64": 10, "bool": True}
    every: dict[str, list[Any]] = {
        "float32": [1.5, -2],
        "float64": [1.5, 1e300],
        "float16": [0.5, 65504],
        "int8": [-128, 127],
        "int16": [-(2**15), 2**15 - 1],
        "int32": [-(2**31), 2**31 - 1],
        "int64": [-(2**53) - 1, 2**53 + 1],
        "uint8": [0, 255],
        "uint32": [0, 2**32 - 1],
        "uint64": [0, 2**64 - 1],
        "bool": [True, False],
    }
    limits = {name: values for name, values in every.items() if name != "float16"}
    no_half = "Conversion of JSON Value: 3 to type: half"
    return [
        case(area, "rows", post(ADDER, {"instances": [[1, 2], [3.5, -4]]}), Answer({"predictions": [3.0, -0.5]})),
        case(
            area,
            "rows, input named",
            post(ADDER, {"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}),
            Answer({"predictions": [3.0, 7.0]}),
        ),
        case(area, "columns", post(ADDER, {"inputs": [[1, 2], [3, 4]]}), Answer({"outputs": [3.0, 7.0]})),
        case(  # an oddity: the inner size is not checked
            area,
            "more numbers in a row than the shape says",
            post(ADDER, {"instances": [[1, 2, 3]]}),
            Answer({"predictions": [6.0]}),
        ),
        case(
            area,
            "larger than a float",
            post(ADDER, {"instances": [[1e39, 1]]}),
            Answer({"predictions": [infinity]}),
        ),
        case(  # an oddity: NaN and Infinity are bare words in both directions
            area,
            "NaN and Infinity",
            post(ADDER, {**special, "instances": [nothing, infinity, -infinity]}),
            Answer(
                {
                    "predictions": [
                        {"quotient": nothing, "matrix": [[nothing, nothing]]},
                        {"quotient": infinity, "matrix": [[infinity, -infinity]]},
                        {"quotient": -infinity, "matrix": [[-infinity, infinity]]},
                    ]
                }
            ),
        ),
        case(
            area,
            "three dimensions out",
            post(ADDER, {**special, "instances": [1.0, 2.0]}),
            Answer({"predictions": [{"quotient": infinity, "matrix": [[x, -x]]} for x in (1.0, 2.0)]}),
        ),
        case(
            area,
            "half precision in columns",
            post(
                ADDER,
                {
                    "signature_name": "same",
                    "inputs": every,
                },
            ),
            Refusal(501, "Conversion of JSON Value: 0.5 to type: half"),
        ),
        case(
            area,
            "half precision in rows",
            post(ADDER, {"signature_name": "same", "instances": [row]}),
            Refusal(
                400, f"Failed to process element: 0 key: float16 of 'instances' list. Error: UNIMPLEMENTED: {no_half}"
            ),
        ),
        case(
            area,
            "half precision before a number out of range",
            post(ADDER, {"signature_name": "same", "instances": [row | {"int8": 400}]}),
            Refusal(
                400, f"Failed to process element: 0 key: float16 of 'instances' list. Error: UNIMPLEMENTED: {no_half}"
            ),
        ),
        case(
            area,
            "every other type, columns",
            post("probe:predict", {"signature_name": "numbers", "inputs": limits}),
            Answer({"outputs": {f"{name}_out": values for name, values in limits.items()}}),
            recorded=False,
        ),
        case(
            area,
            "every other type, rows",
            post(
                "probe:predict",
                {"signature_name": "numbers", "instances": [{name: one[0] for name, one in limits.items()}]},
            ),
            Answer({"predictions": [{f"{name}_out": one[0] for name, one in limits.items()}]}),
            recorded=False,
        ),
        case(
            area,
            "a float to its last digit",
            post(ADDER, {"instances": [[0.1, 0]]}),
            Answer({"predictions": [single(0.1)]}),
            recorded=False,
        ),
    ]


def _example(text: str) -> bytes:
    from kzoo.serving import stubs

    example = stubs.load("example_pb2").Example()
    example.features.feature["text"].bytes_list.value.append(text.encode())
    return example.SerializeToString()
