"""Random bodies against the JSON reader: Python's own as the judge wherever the genuine server's rules are the same."""

import json
import math
import random
import time

import numpy as np
import pytest

from kzoo.serving.server import json_reader, json_tensors, json_walk, rest, rest_examples
from kzoo.serving.server.errors import Code, StatusError
from kzoo.serving.tensors import BY_NAME

DTYPES = ("string", "float", "double", "int32", "int8", "uint8", "int64", "uint32", "uint64", "bool", "half")
SEEDS = (
    '{"signature_name": "s", "instances": [{"x": [1, -2.5e-3], "t": "a\\u00e9\\n"}, {"x": [], "t": ""}]}',
    '{"inputs": {"x": [[1, 2], [3.25, 4e2]], "t": ["\\ud83d\\ude00", {"b64": "aGk="}]}}',
    '{"instances": [true, false, null, 0, -0, 18446744073709551615, 1.7976931348623157e308]}',
    '{"examples": [{"a": 1, "b": [0.5], "c": "d"}], "context": {"e": {"b64": "/w=="}}}',
    '{"inputs": "aé世😀", "a": {"b": {"c": [[[]], {}]}}, "": [[], [[1]]]}',
)
PIECES = (
    '"', "{", "}", "[", "]", ":", ",", "\\", "\\u12", "\\u00e9", "\\/", "\\x", "0", "-", "-0", "01", "1.", ".5", "1e",
    "e9", "1e+5", "true", "tru", "null", "\t", "\x01", "\x7f", " ", "\n", "é", "\u2028", "😀", '"k": ', "[1,", "9" * 30,
    "//", "+1",
)  # fmt: skip


def _mutated(source, text):
    for _ in range(source.randrange(4)):
        at = source.randrange(len(text) + 1)
        choice = source.randrange(3)
        if choice == 0:
            text = text[:at] + source.choice(PIECES) + text[at:]
        elif choice == 1:
            text = text[:at] + text[at + source.randrange(1, 6) :]
        else:
            other = source.randrange(len(text) + 1)
            text = text[:at] + text[min(at, other) : max(at, other)][:20] + text[at:]
    return text


def _bodies(count, seed):
    source = random.Random(seed)
    for _ in range(count):
        yield source, _mutated(source, source.choice(SEEDS))


class _Differs(Exception):
    """Python and the genuine server have different rules for this."""


def _first_of_a_name(pairs):
    if len({name for name, _ in pairs}) < len(pairs):
        raise _Differs
    return dict(pairs)


def _float(text):
    value = float(text)
    if math.isinf(value):
        raise _Differs  # too big: an error there
    return value


def _whole(text):
    value = int(text)
    return value if -(1 << 63) <= value < 1 << 64 else _float(text)


DECODER = json.JSONDecoder(object_pairs_hook=_first_of_a_name, parse_float=_float, parse_int=_whole)


def _as_text(value):
    if isinstance(value, dict):
        return {key: _as_text(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_as_text(element) for element in value]
    return value.decode() if isinstance(value, bytes) else value


def test_it_accepts_what_python_accepts_and_nothing_else():
    accepted = refused = 0
    for _, text in _bodies(6000, 1):
        text = text.lstrip(" \n\r\t")
        if not text.startswith(("{", "[", '"')):
            continue  # of a number alone, Python reads as much as is one
        try:
            wanted = DECODER.raw_decode(text)[0]  # what stands behind the document counts for neither
        except _Differs:
            continue
        except ValueError:
            wanted = None
        try:
            got = _as_text(json_reader.parse_exactly(text.encode()))
        except StatusError as error:
            is_half = "surrogate pair" in error.message and "\\ud" in text  # an error there, a character to Python
            assert wanted is None or is_half, f"{text!r} is JSON: {error}"
            assert error.message.startswith("JSON Parse error: ") and " at offset: " in error.message
            refused += 1
            continue
        except UnicodeDecodeError:  # half a surrogate pair, which both let pass, Python as a character
            continue
        assert got == wanted, f"{text!r}: {got} and {wanted}"
        accepted += 1
    assert accepted > 1000 and refused > 1000


def test_no_bytes_bring_it_to_another_error():
    source = random.Random(2)
    for _, text in _bodies(3000, 3):
        body = bytearray(text.encode())
        for _ in range(source.randrange(3)):
            body.insert(source.randrange(len(body) + 1), source.randrange(256))
        try:
            document = json_reader.parse(bytes(body))
        except StatusError as error:
            assert error.code is Code.INVALID_ARGUMENT and error.message
            continue
        assert isinstance(document, dict)
        assert json_reader.debug_string(document)


def _tensors(ways, given, inputs):
    try:
        return ways(given, inputs)
    except StatusError as error:
        assert error.code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED) and error.message
        return None


def test_whatever_was_read_becomes_tensors_or_an_error_and_the_fast_way_agrees():
    agreed = 0
    for source, text in _bodies(6000, 4):
        body = text.encode()
        inputs = {name: BY_NAME[source.choice(DTYPES)] for name in source.choice([("x",), ("t",), ("x", "t")])}
        try:
            document = json_reader.parse(body)
            by_row = rest._is_row_format(document)
        except StatusError:
            continue
        fast, exact = (json_tensors.rows, json_walk.rows) if by_row else (json_tensors.columns, json_walk.columns)
        key = "instances" if by_row else "inputs"
        try:
            quick = fast(document[key], inputs)
            slow = _tensors(exact, json_reader.parse_exactly(body)[key], inputs)
        except StatusError as error:  # read by Python's reader alone: a number too big, half a surrogate pair
            assert error.message.startswith("JSON Parse error: ")
            continue
        if quick is not None and slow is not None:
            for name in inputs:
                assert quick[name].dtype == slow[name].dtype and quick[name].shape == slow[name].shape
                np.testing.assert_array_equal(quick[name], slow[name])
            agreed += 1
    assert agreed > 40


def test_examples_are_read_or_refused():
    for _, text in _bodies(3000, 5):
        try:
            rest_examples.input_from_json(json_reader.parse(text.encode()))
        except StatusError as error:
            assert error.code is Code.INVALID_ARGUMENT
        except UnicodeEncodeError:
            assert "\\ud" in text  # ``rest`` reads such a body once more, exactly


LONG = {
    "brackets": b"[" * 50_000,
    "objects": b'{"a":' * 30_000 + b"1" + b"}" * 30_000,
    "both": b'[{"a":' * 20_000 + b"}]" * 20_000,
    "digits": b"9" * 1_000_000,
    "a fraction": b"0." + b"9" * 1_000_000,
    "an exponent": b"1e" + b"9" * 1_000_000,
    "an exponent of zeros": b"1e" + b"0" * 1_000_000 + b"1",
    "escapes": b'"' + b"\\n\\u00e9" * 100_000 + b'"',
    "pairs": b'"' + b"\\ud83d\\ude00" * 50_000,
    "no text": b'"' + b"\xff" * 1_000_000 + b'"',
    "elements": b"[" + b"1," * 50_000 + b'"x"]',
    "names": b"{" + b'"a":1,' * 50_000 + b'"b":2}',
}


@pytest.mark.parametrize("value", LONG.values(), ids=LONG)
def test_long_values_are_answered(value):
    """Were anything here worse than linear, it would not be answered today."""
    for body in (b'{"instances": [%s]}' % value, b'{"inputs": %s} x' % value):
        try:
            document = json_reader.parse(body)
            for dtype in ("string", "float"):
                _tensors(json_walk.columns, list(document.values())[0], {"x": BY_NAME[dtype]})
        except StatusError as error:
            assert error.code is Code.INVALID_ARGUMENT and len(error.message) < 1000


def test_reading_ends_when_the_time_of_the_request_has_passed():
    body = b'{"inputs": [' + b"1," * 20_000 + b'"x"]} and more'
    with pytest.raises(StatusError, match="Timed out reading the request body") as caught:
        json_reader.parse(body, deadline=time.monotonic())
    assert caught.value.code is Code.DEADLINE_EXCEEDED
    assert json_reader.parse(body, deadline=time.monotonic() + 600)
