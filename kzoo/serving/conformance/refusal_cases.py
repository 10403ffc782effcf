"""Bad requests over REST: the status, and the error's words."""

from __future__ import annotations

from kzoo.serving.conformance.case import Case, case, get, post
from kzoo.serving.conformance.judging import Page, Refusal
from kzoo.serving.conformance.predict_cases import ADDER, ECHO, rows

_NOT_FOUND = Page(404, "text/html", (b"<TITLE>404 Not Found</TITLE>",))


def refusals() -> list[Case]:
    """Requests that name what is not there, and values that do not fit."""
    area = "bad requests over REST"
    as_hi = {"instances": ["hi"]}
    repeat = {"signature_name": "repeat"}
    first = "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "

    def refused(name: str, path: str, body: object, text: str, status: int = 400) -> Case:
        return case(area, name, post(path, body), Refusal(status, text))

    def malformed(name: str, path: str) -> Case:
        return refused(name, path, as_hi, f"Malformed request: POST /v1/models/{path}")

    return [
        refused("unknown label", "echo/labels/nosuch:predict", as_hi, "Unrecognized servable version label: nosuch"),
        refused(
            "unknown version",
            "echo/versions/9:predict",
            as_hi,
            "Servable not found for request: Specific(echo, 9)",
            404,
        ),
        refused("unknown model", "nosuch:predict", as_hi, "Servable not found for request: Latest(nosuch)", 404),
        refused(
            "unknown signature",
            ECHO,
            {"signature_name": "nosuch", **as_hi},
            'Serving signature name: "nosuch" not found in signature def',
        ),
        refused(
            "signature name not a string",
            ECHO,
            {"signature_name": 3, **as_hi},
            'JSON Value: {\n    "signature_name": 3,\n    "instances": ["hi"]\n} not formatted correctly. '
            "'signature_name' key must be a string value.",
        ),
        malformed("version not a number", "echo/versions/one:predict"),
        malformed("unknown verb", "echo:nosuch"),
        malformed("a slash in the model's name", "ec/ho:predict"),
        case(area, "GET on predict", get(ECHO), Refusal(400, f"Malformed request: GET /v1/models/{ECHO}")),
        case(
            area,
            "DELETE on a model",
            get("echo", "DELETE"),
            Refusal(400, "Malformed request: DELETE /v1/models/echo"),
        ),
        case(area, "slash at the end", get("echo/"), Refusal(400, "Malformed request: GET /v1/models/echo/")),
        case(area, "unknown path", get("/nosuch"), _NOT_FOUND),
        case(area, "unknown version of the API", get("/v2/health/ready"), _NOT_FOUND),
        refused(
            "an input with a default left out, rows",
            ECHO,
            {**repeat, "instances": [{"prompt": "ab"}]},
            "Failed to process element: 0 of 'instances' list. JSON object: {\n"
            '    "prompt": "ab"\n} keys must be equal to: prompt,times',
        ),
        refused(
            "an input with a default left out, columns",
            ECHO,
            {**repeat, "inputs": {"prompt": ["ab"]}},
            "Missing named input: times in 'inputs' object.",
        ),
        case(
            area,
            "inputs of unequal length",
            post(ECHO, {**repeat, "inputs": {"prompt": ["ab", "c", "d"], "times": [2, 3]}}),
            Refusal(400, "Incompatible shapes: [2] vs. [3]"),
            Refusal(400, "Batching Run() input tensors must have equal 0th-dimension size"),
        ),
        case(
            area,
            "an assertion in the graph",
            post(ECHO, {**repeat, "instances": [{"prompt": "ab", "times": 0}]}),
            Refusal(400, _assertion("0")),
            Refusal(400, _assertion("0 0 0...")),
        ),
        refused(
            "a fraction for an integer",
            ECHO,
            {**repeat, "instances": [{"prompt": "ab", "times": 2.5}]},
            "Failed to process element: 0 key: times of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 2.5 "
            "Type: Number is not of expected type: int32",
        ),
        case(
            area,
            "nine rows",
            post(ECHO, {"instances": ["row"] * 9}),
            rows(*["row"] * 9),
            Refusal(400, "Task size 9 is larger than maximum input batch size 8"),
        ),
        case(
            area,
            "a thousand rows",
            post(ECHO, {"instances": ["row"] * 1000}),
            rows(*["row"] * 1000),
            Refusal(400, "Task size 1000 is larger than maximum input batch size 8"),
        ),
        refused(
            "rows of unequal length",
            ADDER,
            {"instances": [[1, 2], [3]]},
            "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 "
            "but got: 1",
        ),
        refused(
            "a string for a number",
            ADDER,
            {"instances": [["one", "two"]]},
            f'{first}JSON Value: "one" Type: String is not of expected type: float',
        ),
        refused(
            "a boolean for a number",
            ADDER,
            {"instances": [[True, False]]},
            f"{first}JSON Value: true Type: True is not of expected type: float",
        ),
        refused(
            "NaN as a string",
            ADDER,
            {"signature_name": "special", "instances": ["NaN", "inf"]},
            f'{first}JSON Value: "NaN" Type: String is not of expected type: float',
        ),
        refused(
            "a number for a string",
            ECHO,
            {"instances": [1, 2]},
            f"{first}JSON Value: 1 Type: Number is not of expected type: string",
        ),
        refused(
            "null",
            ECHO,
            {"instances": [None]},
            f"{first}JSON Value: null Type: Null is not of expected type: string",
        ),
        refused(
            "lists sixty deep",
            ECHO,
            b'{"instances": ' + b"[" * 60 + b"1" + b"]" * 60 + b"}",
            f"{first}JSON Value: 1 Type: Number is not of expected type: string",
        ),
        refused("bad base64", ECHO, {"instances": [{"b64": "***"}]}, f"{first}Unable to base64 decode"),
        refused(
            "an unknown input, rows",
            ECHO,
            {"instances": [{"nosuch": "hi"}]},
            "Failed to process element: 0 key: nosuch of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does "
            "not have named input: nosuch",
        ),
        refused(
            "an unknown input, columns",
            ECHO,
            {"inputs": {"nosuch": ["hi"]}},
            "Missing named input: text in 'inputs' object.",
        ),
    ]


def bodies() -> list[Case]:
    """Bodies that are not what the API reads."""
    area = "bad bodies over REST"

    def refused(name: str, body: object, text: str) -> Case:
        return case(area, name, post(ECHO, body), Refusal(400, text))

    return [
        refused("not JSON", b"hello", "JSON Parse error: Invalid value. at offset: 0"),
        refused("empty", b"", "JSON Parse error: The document is empty"),
        refused(
            "JSON cut off",
            b'{"instances": ["hi"',
            "JSON Parse error: Missing a comma or ']' after an array element. at offset: 19",
        ),
        case(
            area,
            "said to be gzip and is not",
            post(ECHO, {"instances": ["hi"]}, Content_Encoding="gzip"),
            Refusal(400, "JSON Parse error: The document is empty"),
        ),
        refused("a list at the top", ["hi"], 'JSON Value: ["hi"] Is not object'),
        refused("neither rows nor columns", {"text": ["hi"]}, "Missing 'inputs' or 'instances' key"),
        refused(
            "rows and columns",
            {"instances": ["hi"], "inputs": ["hi"]},
            'JSON Value: {\n    "instances": ["hi"],\n    "inputs": ["hi"]\n} Not formatted correctly expecting '
            "only one of 'inputs' or 'instances' keys to exist ",
        ),
        refused("no rows", {"instances": []}, "JSON Value: {\n    \"instances\": []\n} No values in 'instances' array"),
        refused(
            "rows that are no list",
            {"instances": "hi"},
            'JSON Value: {\n    "instances": "hi"\n} Expecting \'instances\' to be an list/array',
        ),
        refused(
            "rows of two kinds",
            {"instances": ["hi", {"text": "hi"}]},
            "Expecting value/list but got object at item 1 of input list",
        ),
    ]


def _assertion(values: str) -> str:
    return (
        "assertion failed: [times must be positive.  ] [Condition x > 0 did not hold element-wise:] "
        f"[x (times:0) = ] [{values}]"
    )
