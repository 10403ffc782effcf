"""JSON in and out: the fast readers against the exact ones, and both against the genuine server's words."""

import json
import math
import random

import numpy as np
import pytest

from kzoo.serving.server import json_reader, json_tensors, json_walk, json_writer
from kzoo.serving.server.errors import Code, StatusError
from kzoo.serving.tensors import BY_NAME

TEXT, FLOAT, INT32 = BY_NAME["string"], BY_NAME["float"], BY_NAME["int32"]


def _error(function, *arguments):
    with pytest.raises(StatusError) as caught:
        function(*arguments)
    return caught.value


# Reading

MALFORMED = {
    b" ": "The document is empty. at offset: 1",
    b"]": "The document is empty. at offset: 0",
    b"hello": "Invalid value. at offset: 0",
    b"nulk": "Invalid value. at offset: 3",
    b"-x": "Invalid value. at offset: 1",
    b"Infinite": "Invalid value. at offset: 7",
    b'{"a" 1}': "Missing a colon after a name of object member. at offset: 5",
    b"{1: 2}": "Missing a name for object member. at offset: 1",
    b'{"a": 1,}': "Missing a name for object member. at offset: 8",
    b'{"a": }': "Invalid value. at offset: 6",
    b'{"a": 1 "b"}': "Missing a comma or '}' after an object member. at offset: 8",
    b'{"a": [1 2]}': "Missing a comma or ']' after an array element. at offset: 9",
    b'{"a": [1,]}': "Invalid value. at offset: 9",
    b'{"a": [,]}': "Invalid value. at offset: 7",
    b'{"a": "x': "Missing a closing quotation mark in string. at offset: 8",
    b'{"a": "\\x"}': "Invalid escape character in string. at offset: 7",
    b'{"a": "\x01"}': "Invalid escape character in string. at offset: 7",
    b'{"a": "\\u12g4"}': "Incorrect hex digit after \\u escape in string. at offset: 7",
    b'{"a": "\\ud800"}': "The surrogate pair in string is invalid. at offset: 7",
    b'{"a": "\\ud800\\u0041"}': "The surrogate pair in string is invalid. at offset: 7",
    b'{"a": 1.}': "Miss fraction part in number. at offset: 8",
    b'{"a": 1e}': "Miss exponent in number. at offset: 8",
    b'{"a": 1e+}': "Miss exponent in number. at offset: 9",
    b'{"a": 1e309}': "Number too big to be stored in double. at offset: 6",
    b'{"a": ' + b"9" * 400 + b"}": "Number too big to be stored in double. at offset: 6",
    b'{"a": 01}': "Missing a comma or '}' after an object member. at offset: 7",
    b'\xef\xbb\xbf{"a"': "Missing a colon after a name of object member. at offset: 7",
    b'{"a": 1\x00}': "Missing a comma or '}' after an object member. at offset: 7",
}


@pytest.mark.parametrize("body", MALFORMED, ids=repr)
def test_what_is_not_json_is_told_by_offset(body):
    error = _error(json_reader.parse_exactly, body)
    assert error.code is Code.INVALID_ARGUMENT
    assert error.message == f"JSON Parse error: {MALFORMED[body]}"


@pytest.mark.parametrize(
    "body, document",
    [
        (b'{"a": 1} and more', {"a": 1}),
        (b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
        (b'{"a": [Inf, -Inf, Infinity, NaN]}', {"a": [math.inf, -math.inf, math.inf, math.nan]}),
        (b'{"a": "\xff\xfe"}', {"a": b"\xff\xfe"}),
        (b'{"a": 1, "a": 2} x', {"a": 1}),
        (b'{"a": 18446744073709551616} x', {"a": 18446744073709551616.0}),
        (b'{"a": "\\u00e9\\ud83d\\ude00\\n\\/"} x', {"a": "é😀\n/".encode()}),
    ],
)
def test_what_the_genuine_server_reads_though_python_does_not(body, document):
    np.testing.assert_equal(json_reader.parse(body), document)


def test_no_depth_is_too_deep():
    document = json_reader.parse(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    depth, value = 0, document["a"]
    while value:
        depth, value = depth + 1, value[0]
    assert depth == 99_999
    assert _error(json_walk.columns, document["a"], {"x": INT32}).message


def _any_value(random_source, depth=0):
    kinds = ["text", "integer", "float", "literal"] + (["list", "object"] if depth < 4 else [])
    kind = random_source.choice(kinds)
    if kind == "text":
        return "".join(random_source.choice('aé世😀"\\/\n\t\x7f\u2028 ') for _ in range(random_source.randrange(6)))
    if kind == "integer":
        return random_source.choice([0, -1, 2**31, -(2**63), 2**64 - 1, random_source.randrange(-1000, 1000)])
    if kind == "float":
        return random_source.choice([0.5, -1e-300, 1.7976931348623157e308, random_source.uniform(-1e6, 1e6)])
    if kind == "literal":
        return random_source.choice([True, False, None])
    if kind == "list":
        return [_any_value(random_source, depth + 1) for _ in range(random_source.randrange(4))]
    return {f"k{i}": _any_value(random_source, depth + 1) for i in range(random_source.randrange(4))}


def _as_text(value):
    if isinstance(value, dict):
        return {key: _as_text(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_as_text(element) for element in value]
    return value.decode() if isinstance(value, bytes) else value


def test_the_exact_reader_reads_what_python_reads():
    random_source = random.Random(0)
    for _ in range(300):
        value = {"a": _any_value(random_source)}
        for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
            assert _as_text(json_reader.parse_exactly(text.encode())) == value


@pytest.mark.parametrize(
    "value, text",
    [
        ({"a": ["x", 1], "b": {}}, '{\n    "a": ["x", 1],\n    "b": {}\n}'),
        ([1e39, 0.1, -2.5, 1e21, 123456789.0, 1e-7, 0.0], "[1e39, 0.1, -2.5, 1e21, 123456789.0, 1e-7, 0.0]"),
        ([9.9999999e5, 5e-324], "[999999.99, 5e-324]"),
        ([True, None, "é\n\x1f"], '[true, null, "é\\n\\u001f"]'),
    ],
)
def test_values_are_quoted_in_errors(value, text):
    assert json_reader.debug_string(value) == text


def test_quoted_values_are_cut():
    assert len(json_reader.debug_string(["some text"] * 1000)) < 300


# Values to tensors


def test_rows_of_the_common_kinds():
    assert json_tensors.rows(["a", "é"], {"t": TEXT})["t"].tolist() == [b"a", "é".encode()]
    assert json_tensors.rows([{"b64": "/w=="}, "a"], {"t": TEXT})["t"].tolist() == [b"\xff", b"a"]
    named = json_tensors.rows([{"t": "a", "n": [1, 2]}, {"n": [3, 4], "t": "b"}], {"t": TEXT, "n": INT32})
    assert named["n"].tolist() == [[1, 2], [3, 4]] and named["n"].dtype == np.int32
    with np.errstate(over="raise"):
        assert json_tensors.rows([1e39, -1, 2.5], {"x": FLOAT})["x"].tolist() == [math.inf, -1.0, 2.5]


def _pairs(random_source, dtype):
    """A plausible request body for one input of this type: right, nearly right, and wrong."""
    scalars = {
        "string": ["a", "é", "", {"b64": "aGk="}, {"b64": "***"}, 1, None],
        "float": [1, -2.5, 1e39, True, "x", 2**70],
        "double": [1, -2.5, 1e300, "x"],
        "int32": [1, -(2**31), 2**31 - 1, 2**31, 1.0, False],
        "int8": [1, 127, 128, 400, -(2**31) - 1],
        "uint8": [1, -1, 255, 256],
        "int64": [1, 2**63 - 1, 2**63],
        "uint32": [1, 2**32 - 1, 2**32, -1],
        "uint64": [1, 2**64 - 1, -1],
        "bool": [True, False, 1],
        "half": [1.0],
    }[dtype]
    good = 3 if random_source.random() < 0.7 else len(scalars)

    def value(shape):
        if not shape:
            return random_source.choice(scalars[:good])
        size = shape[0] if random_source.random() < 0.95 else shape[0] + 1
        return [value(shape[1:]) for _ in range(size)]

    return [
        value([2, 2][: random_source.randrange(3)]) if random_source.random() < 0.2 else value([2])
        for _ in range(random_source.randrange(1, 4))
    ]


@pytest.mark.parametrize(
    "dtype", ["string", "float", "double", "int32", "int8", "uint8", "int64", "uint32", "uint64", "bool", "half"]
)
def test_the_fast_way_agrees_with_the_exact_one(dtype):
    random_source = random.Random(dtype)
    inputs = {"x": BY_NAME[dtype]}
    answered = 0
    for _ in range(200):
        values = _pairs(random_source, dtype)
        for fast, exact, given in (
            (json_tensors.rows, json_walk.rows, values),
            (json_tensors.rows, json_walk.rows, [{"x": value} for value in values]),
            (json_tensors.columns, json_walk.columns, values),
            (json_tensors.columns, json_walk.columns, {"x": values}),
        ):
            quick = fast(given, inputs)
            if quick is None:
                continue
            answered += 1
            slow = exact(given, inputs)
            assert quick["x"].dtype == slow["x"].dtype and quick["x"].shape == slow["x"].shape
            np.testing.assert_array_equal(quick["x"], slow["x"])
    assert dtype == "half" or answered > 100


def test_small_integers_wrap_as_in_the_genuine_server():
    for way in (json_tensors.rows, json_walk.rows):
        assert way([400, -1], {"x": BY_NAME["int8"]})["x"].tolist() == [-112, -1]


WRONG_ROWS = [
    ([[1, 2], [3]], {"x": FLOAT}, "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
     "Expecting tensor size: 2 but got: 1"),
    ([[[1, 2]], [1, 2]], {"x": FLOAT}, "Failed to process element: 1 of 'instances' list. Error: INVALID_ARGUMENT: "
     "Expecting shape [1,2] but got: [2]"),
    ([[1, [2]]], {"x": FLOAT}, "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
     "Encountered list at unexpected level: 1 expected < 1"),
    ([[[1], 2]], {"x": FLOAT}, "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: "
     "2 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
    ([[[1, 2], [3]]], {"x": FLOAT}, "Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: "
     "Encountered list at unexpected size: 1 at level: 1 expected size: 2"),
    ([{"x": 1}, 2], {"x": FLOAT}, "Expecting object but got list at item 1 of input list"),
    ([2, {"x": 1}], {"x": FLOAT}, "Expecting value/list but got object at item 1 of input list"),
    ([1], {"x": FLOAT, "y": FLOAT}, "instances is a plain list, but expecting list of objects as multiple input "
     "tensors required as per tensorinfo_map"),
    ([{"x": {"y": 1}}], {"x": FLOAT}, "Failed to process element: 0 key: x of 'instances' list. Error: "
     'INVALID_ARGUMENT: JSON Value: {\n    "y": 1\n} Type: Object is not of expected type: float'),
    ([{"t": {"y": 1}}], {"t": TEXT}, "Failed to process element: 0 key: t of 'instances' list. Error: "
     'INVALID_ARGUMENT: JSON Value: {\n    "y": 1\n} not formatted correctly for base64 data'),
]  # fmt: skip


@pytest.mark.parametrize("instances, inputs, message", WRONG_ROWS)
def test_wrong_rows_are_refused_with_the_genuine_words(instances, inputs, message):
    assert json_tensors.rows(instances, inputs) is None
    assert _error(json_walk.rows, instances, inputs).message == message


def test_a_type_json_cannot_carry_is_unimplemented():
    error = _error(json_walk.columns, [0.5], {"x": BY_NAME["half"]})
    assert (error.code, error.message) == (Code.UNIMPLEMENTED, "Conversion of JSON Value: 0.5 to type: half")


@pytest.mark.parametrize("text, value", [("aGk=", b"hi"), ("aGk", b"hi"), (" aG\nk= ", b"hi"), ("", b"")])
def test_base64_is_read_leniently(text, value):
    assert json_tensors.decode_base64(text) == value


@pytest.mark.parametrize("text", ["a", "aGk==", "aG_-", "aGk=aGk=", "é"])
def test_what_is_not_base64_is_refused(text):
    with pytest.raises(ValueError):
        json_tensors.decode_base64(text)


# Tensors to text


def _strings(*values):
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    "value, text",
    [
        (0.2, "0.2"), (1.0, "1.0"), (-0.0, "-0.0"), (9e6, "9e+06"), (3e-5, "3e-05"), (1 / 3, "0.333333343"),
        (16777216.0, "16777216.0"), (123456.0, "123456.0"), (1234567.0, "1234567.0"),
        (math.nan, "NaN"), (math.inf, "Infinity"), (-math.inf, "-Infinity"),
    ],
)  # fmt: skip
def test_floats_are_printed_as_the_genuine_server_prints_them(value, text):
    assert json_writer.floats(np.array([value], np.float32)) == [text]


def test_printed_floats_read_back_as_the_same_numbers():
    random_source = np.random.default_rng(0)
    for dtype in (np.float32, np.float64):
        bits = random_source.integers(0, 1 << 32, 4000, dtype=np.uint32)
        values = (bits if dtype == np.float32 else bits.astype(np.uint64) << np.uint64(31)).view(dtype)
        values = np.concatenate([values[np.isfinite(values)], random_source.normal(size=2000).astype(dtype)])
        read = np.array([float(text) for text in json_writer.floats(values)], dtype)
        np.testing.assert_array_equal(read, values)


def test_rows_stand_in_objects_or_alone():
    scores, words = np.array([[0.5, 1.0], [2.0, 3.0]], np.float32), _strings(b"a", b'"\n\x01')
    assert json_writer.predictions({"scores": scores, "word": words}) == (
        b'{\n    "predictions": [\n        {\n            "scores": [0.5, 1.0],\n            "word": "a"\n        },\n'
        b'        {\n            "scores": [2.0, 3.0],\n            "word": "\\"\\n\\u0001"\n        }\n    ]\n}'
    )
    assert json_writer.predictions({"scores": scores}) == b'{\n    "predictions": [[0.5, 1.0], [2.0, 3.0]\n    ]\n}'
    assert json_writer.predictions({"n": np.array([1, 2])}) == b'{\n    "predictions": [1, 2\n    ]\n}'


def test_columns_stand_one_value_a_line():
    array = np.array([[1, 2], [3, 4]], np.int32)
    assert json_writer.outputs({"n": array}) == (
        b'{\n    "outputs": [\n        [\n            1,\n            2\n        ],\n        [\n            3,\n'
        b"            4\n        ]\n    ]\n}"
    )
    both = json.loads(json_writer.outputs({"n": array, "empty": np.empty((0, 3), bool), "one": np.array(True)}))
    assert both == {"outputs": {"n": [[1, 2], [3, 4]], "empty": [], "one": True}}


def test_bytes_outputs_are_base64_at_every_depth():
    array = np.array([[b"hi", b"\xff"]], dtype=object)
    for text in (
        json_writer.predictions({"x_bytes": array}),
        json_writer.predictions({"x_bytes": array, "y": array}),
        json_writer.outputs({"x_bytes": array}),
    ):
        assert b'"b64": "aGk="' in text
    assert json.loads(json_writer.predictions({"x_bytes": array})) == {
        "predictions": [[{"b64": "aGk="}, {"b64": "/w=="}]]
    }


def test_text_that_is_not_utf8_goes_out_as_it_is():
    assert b'"\xff half"' in json_writer.predictions({"text": _strings(b"\xff half")})


@pytest.mark.parametrize(
    "outputs, message",
    [
        ({}, "Cannot convert empty tensor map to JSON"),
        ({"a": np.float32(1).reshape(())}, "Tensor name: a has no shape information "),
        ({"a": np.zeros(2), "b": np.zeros(3)}, "Tensor name: b has inconsistent batch size: 3 expecting: 2"),
        ({"a": np.zeros(2, np.float16)}, "Failed to write JSON value for tensor type: half"),
    ],
)
def test_outputs_that_have_no_json_are_told(outputs, message):
    assert _error(json_writer.predictions, outputs).message == message


def test_every_printed_reply_is_json():
    random_source = np.random.default_rng(1)
    for rank in range(1, 5):
        shape = tuple(random_source.integers(1, 4, rank))
        outputs = {
            "f": random_source.normal(size=shape).astype(np.float32),
            "i": random_source.integers(-5, 5, shape),
            "s": np.vectorize(lambda n: f"é{n}".encode(), otypes=[object])(random_source.integers(0, 9, shape)),
        }
        by_column = json.loads(json_writer.outputs(outputs))["outputs"]
        by_row = json.loads(json_writer.predictions(outputs))["predictions"]
        for name, array in outputs.items():
            wanted = [value.decode() for value in array.flat] if name == "s" else array.reshape(-1).tolist()
            for given in (by_column[name], [row[name] for row in by_row]):
                assert np.array(given).shape == shape
                np.testing.assert_allclose(np.array(given).reshape(-1), wanted) if name != "s" else None
                assert name != "s" or np.array(given, dtype=object).reshape(-1).tolist() == wanted
