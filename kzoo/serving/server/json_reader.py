"""Request bodies: JSON read as the genuine server reads it.

``parse`` is Python's own fast reader; whatever that one refuses goes to ``parse_exactly``, which knows what the
genuine server's parser (RapidJSON 1.1) does otherwise:

- text after the document is ignored, and so is everything from a NUL byte on;
- ``Inf`` is a number beside ``Infinity`` and ``NaN``;
- strings are bytes: what is not UTF-8 goes through as it came;
- of two members with one name the first counts (``parse``: the last);
- errors name an offset in bytes.

A document is made of dicts with ``str`` keys, lists, ``str`` or ``bytes``, int, float, bool and None.
"""

from __future__ import annotations

import json
import re
import time
from decimal import Decimal
from typing import Any

from kzoo.serving.server.errors import Code, StatusError, invalid

_SPACE = re.compile(rb"[ \n\r\t]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_NUMBER = re.compile(rb"-?(?:0|[1-9][0-9]*)")
_FRACTION = re.compile(rb"\.[0-9]+")
_EXPONENT = re.compile(rb"[eE][+-]?[0-9]+")
_HEX4 = re.compile(rb"[0-9a-fA-F]{4}")
_ESCAPES = {
    ord('"'): b'"', ord("\\"): b"\\", ord("/"): b"/", ord("b"): b"\b",
    ord("f"): b"\f", ord("n"): b"\n", ord("r"): b"\r", ord("t"): b"\t",
}  # fmt: skip
_LITERALS = {ord("n"): (b"null", None), ord("t"): (b"true", True), ord("f"): (b"false", False)}
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"

# What the reader waits for, and what it says when something else stands there. A number is an error of its own.
_EMPTY = "The document is empty."
_VALUE = "Invalid value."
_NAME = "Missing a name for object member."
_COLON = "Missing a colon after a name of object member."
_OBJECT_MORE = "Missing a comma or '}' after an object member."
_ARRAY_MORE = "Missing a comma or ']' after an array element."


def parse(body: bytes, deadline: float | None = None) -> Any:
    """The document in a request's body, which must be an object; ``deadline`` as of ``parse_exactly``."""
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    try:
        document = json.loads(body.decode())
    except (ValueError, RecursionError):  # not UTF-8, not JSON by Python's reading, or nested too deeply
        document = parse_exactly(body, deadline)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {debug_string(document)} Is not object")
    return document


def _fail(message: str, offset: int) -> StatusError:
    return invalid(f"JSON Parse error: {message} at offset: {offset}")


def parse_exactly(body: bytes, deadline: float | None = None) -> Any:
    """The same byte by byte, with the genuine server's errors; never recursive, so no depth is too deep.

    A large body takes long (microseconds a value): past ``deadline``, of ``time.monotonic``, it is given up.
    """
    at = len(_BYTE_ORDER_MARK) if body.startswith(_BYTE_ORDER_MARK) else 0
    waiting = _EMPTY  # for the document itself; then the message of what is missing doubles as the state
    fresh = False  # nothing yet in the innermost container: its closing bracket may follow
    open_containers: list[tuple[Any, str]] = []  # each with the name it goes under when it closes
    name = ""
    turns = 0
    while True:
        turns += 1
        if not turns & 0xFFF and deadline is not None and time.monotonic() > deadline:
            raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out reading the request body")
        at = _SPACE.match(body, at).end()  # type: ignore[union-attr]
        byte = body[at] if at < len(body) else 0
        if byte == 0:
            raise _fail(waiting, at)
        closing = False
        value: Any = None
        if waiting in (_EMPTY, _VALUE):
            if byte in b"[{":
                open_containers.append(([] if byte == ord("[") else {}, name))
                waiting, fresh = (_VALUE, True) if byte == ord("[") else (_NAME, True)
                at += 1
                continue
            if fresh and byte == ord("]"):
                closing = True
            elif byte in b",:]}":
                raise _fail(waiting, at)
            else:
                value, at = _scalar(body, at)
        elif waiting == _NAME:
            if byte == ord('"'):
                text, at = _string(body, at)
                name, waiting, fresh = text.decode("utf-8", "surrogateescape"), _COLON, False
                continue
            if not (fresh and byte == ord("}")):
                raise _fail(waiting, at)
            closing = True
        elif waiting == _COLON:
            if byte != ord(":"):
                raise _fail(waiting, at)
            waiting, at = _VALUE, at + 1
            continue
        elif byte == ord(","):
            waiting, at = (_VALUE if waiting == _ARRAY_MORE else _NAME), at + 1
            continue
        elif byte == (ord("]") if waiting == _ARRAY_MORE else ord("}")):
            closing = True
        else:
            raise _fail(waiting, at)
        if closing:
            value, name = open_containers.pop()
            at += 1
        fresh = False
        if not open_containers:
            return value
        container = open_containers[-1][0]
        if isinstance(container, list):
            container.append(value)
            waiting = _ARRAY_MORE
        else:
            container.setdefault(name, value)
            waiting = _OBJECT_MORE


def _scalar(body: bytes, at: int) -> tuple[Any, int]:
    byte = body[at]
    if byte == ord('"'):
        return _string(body, at)
    if byte not in _LITERALS:
        return _number(body, at)
    literal, value = _LITERALS[byte]
    for offset, expected in enumerate(literal):
        if body[at + offset : at + offset + 1] != bytes([expected]):
            raise _fail(_VALUE, at + offset)
    return value, at + len(literal)


def _string(body: bytes, at: int) -> tuple[bytes, int]:
    """The string whose opening quote is at ``at``, and where it ends."""
    parts = []
    at += 1
    while True:
        plain = _PLAIN.match(body, at)
        assert plain is not None
        parts.append(plain.group())
        at = plain.end()
        byte = body[at] if at < len(body) else 0
        if byte == ord('"'):
            return b"".join(parts), at + 1
        if byte == 0:
            raise _fail("Missing a closing quotation mark in string.", at)
        if byte != ord("\\"):
            raise _fail("Invalid escape character in string.", at)
        escaped = body[at + 1] if at + 1 < len(body) else 0
        if escaped in _ESCAPES:
            parts.append(_ESCAPES[escaped])
            at += 2
        elif escaped == ord("u"):
            text, at = _unicode_escape(body, at)
            parts.append(text)
        else:
            raise _fail("Invalid escape character in string.", at)


def _unicode_escape(body: bytes, at: int) -> tuple[bytes, int]:
    code, after = _hex4(body, at + 2, at)
    if 0xD800 <= code <= 0xDBFF:
        if body[after : after + 2] != b"\\u":
            raise _fail("The surrogate pair in string is invalid.", at)
        low, after = _hex4(body, after + 2, at)
        if not 0xDC00 <= low <= 0xDFFF:
            raise _fail("The surrogate pair in string is invalid.", at)
        code = ((code - 0xD800) << 10 | (low - 0xDC00)) + 0x10000
    return chr(code).encode("utf-8", "surrogatepass"), after  # a lone low surrogate passes, as three bytes


def _hex4(body: bytes, at: int, escape: int) -> tuple[int, int]:
    digits = _HEX4.match(body, at)
    if digits is None:
        raise _fail("Incorrect hex digit after \\u escape in string.", escape)
    return int(digits.group(), 16), digits.end()


def _number(body: bytes, at: int) -> tuple[int | float, int]:
    integer = _NUMBER.match(body, at)
    if integer is None:
        return _special(body, at)
    after, fraction_digits, is_float = integer.end(), 0, False
    if body[after : after + 1] == b".":
        fraction = _FRACTION.match(body, after)
        if fraction is None:
            raise _fail("Miss fraction part in number.", after + 1)
        after, fraction_digits, is_float = fraction.end(), len(fraction.group()) - 1, True
    if body[after : after + 1] in (b"e", b"E"):
        exponent = _EXPONENT.match(body, after)
        if exponent is None:
            signed = body[after + 1 : after + 2] in (b"+", b"-")
            raise _fail("Miss exponent in number.", after + 1 + signed)
        if int(exponent.group()[1:][:12]) > 308 + fraction_digits:
            raise _fail("Number too big to be stored in double.", at)
        after, is_float = exponent.end(), True
    text = body[at:after]
    if not is_float and len(text) < 21:
        whole = int(text)
        if -(1 << 63) <= whole < (1 << 64):
            return whole, after
    value = float(text)
    if value in (float("inf"), float("-inf")) and not is_float:
        raise _fail("Number too big to be stored in double.", at)
    return value, after


def _special(body: bytes, at: int) -> tuple[float, int]:
    """NaN, Inf and Infinity: not JSON, but the genuine server reads them."""
    start = at + (body[at : at + 1] == b"-")
    for word, value in ((b"NaN", float("nan")), (b"Infinity", float("inf")), (b"Inf", float("inf"))):
        if body.startswith(word, start) and not (word == b"Inf" and body[start + 3 : start + 4] == b"i"):
            return (-value if start > at else value), start + len(word)
    word = b"NaN" if body[start : start + 1] == b"N" else b"Infinity"
    read = 0
    while body[start + read : start + read + 1] == word[read : read + 1]:
        read += 1
    raise _fail(_VALUE, start + read)


_DEBUG_LIMIT = 256


class _Full(Exception):
    """The excerpt has reached its limit."""


def debug_string(value: Any) -> str:
    """A value as error messages quote it: indented objects, arrays in one line, cut after 256 bytes."""
    parts: list[str] = []
    size = 0

    def put(prefix: str, text: str) -> None:
        nonlocal size
        if size >= _DEBUG_LIMIT:
            raise _Full
        parts.append(prefix + text)
        size += len((prefix + text).encode("utf-8", "surrogatepass"))  # also for half a pair, which Python lets pass

    def write(value: Any, level: int, prefix: str) -> None:
        if isinstance(value, dict):
            put(prefix, "{")
            for index, (key, member) in enumerate(value.items()):
                put((",\n" if index else "\n") + "    " * (level + 1), _quoted(key))
                write(member, level + 1, ": ")
            put("\n" + "    " * level if value else "", "}")
        elif isinstance(value, list):
            put(prefix, "[")
            for index, element in enumerate(value):
                write(element, level + 1, ", " if index else "")
            put("", "]")
        else:
            put(prefix, _scalar_text(value))

    try:
        write(value, 0, "")
    except (_Full, RecursionError):
        pass
    return "".join(parts)


def _quoted(value: str | bytes) -> str:
    text = value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value
    return json.encoder.encode_basestring(text)


def _scalar_text(value: Any) -> str:
    if value is None:
        return "null"
    if value is True or value is False:
        return "true" if value else "false"
    if isinstance(value, (str, bytes)):
        return _quoted(value)
    if isinstance(value, int):
        return str(value)
    return _float_text(value)


def _float_text(value: float) -> str:
    """A double in its shortest form, with RapidJSON's choice between plain and scientific."""
    if value != value or value in (float("inf"), float("-inf")):
        raise _Full  # its writer stops at what JSON has no word for
    negative, figures, exponent = Decimal(repr(value)).normalize().as_tuple()
    digits, sign = "".join(map(str, figures)), "-" if negative else ""
    point = len(digits) + int(exponent)  # the value is 0.digits times ten to this power
    if value == 0:
        return sign + "0.0"
    if len(digits) <= point <= 21:
        return sign + digits + "0" * (point - len(digits)) + ".0"
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    return sign + digits[0] + ("." + digits[1:] if len(digits) > 1 else "") + f"e{point - 1}"
