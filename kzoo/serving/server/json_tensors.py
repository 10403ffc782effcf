"""JSON values to arrays: what a predict request in the row or the column format feeds its signature.

``rows`` and ``columns`` take the common request in a few passes of numpy. Whatever they hesitate about (another type
than expected, lists of unlike length, half a surrogate pair) is left to ``json_walk``, which goes value by value as
the genuine server does and fails with its words. The two agree wherever both answer.

Oddities of the genuine server, kept: a list may be nested deeper than the signature's shape says, an inner dimension
may have another size, integers for int8, int16 and uint8 only have to fit in an int32 (they wrap around), and there
is no way to give a half, bfloat16 or complex number in JSON.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from itertools import chain
from typing import Any

import numpy as np

from kzoo.serving.tensors import STRING, DataType

# Which integers a type accepts; the small ones as many as an int32 holds.
INTEGERS = {
    "int8": (-(1 << 31), (1 << 31) - 1),
    "int16": (-(1 << 31), (1 << 31) - 1),
    "int32": (-(1 << 31), (1 << 31) - 1),
    "uint8": (-(1 << 31), (1 << 31) - 1),
    "int64": (-(1 << 63), (1 << 63) - 1),
    "uint32": (0, (1 << 32) - 1),
    "uint64": (0, (1 << 64) - 1),
}
FLOATS = ("float", "double")
_TEXT_KINDS = ({str}, {str, dict}, {dict})
_NUMBER_KINDS = ({int}, {float}, {int, float})


def is_base64(value: Any) -> bool:
    """Whether a value is ``{"b64": "..."}``: bytes, not an object of named inputs."""
    return type(value) is dict and len(value) == 1 and isinstance(value.get("b64"), (str, bytes))


def rows(instances: list, inputs: Mapping[str, DataType]) -> dict[str, np.ndarray] | None:
    """The arrays of a row-format request, [B, ...] each, or None where a closer look is needed."""
    if type(instances[0]) is dict and not is_base64(instances[0]):
        if {*map(type, instances)} != {dict} or any(len(row) != len(inputs) for row in instances):
            return None
        try:
            values = {name: [row[name] for row in instances] for name in inputs}
        except KeyError:
            return None
    elif len(inputs) == 1:
        values = {next(iter(inputs)): instances}
    else:
        return None
    return _all_dense(values, inputs)


def columns(values: Any, inputs: Mapping[str, DataType]) -> dict[str, np.ndarray] | None:
    """The arrays of a column-format request, or None where a closer look is needed."""
    if type(values) is not dict or is_base64(values):
        return _all_dense({next(iter(inputs)): values}, inputs) if len(inputs) == 1 else None
    if not inputs.keys() <= values.keys():
        return None
    return _all_dense({name: values[name] for name in inputs}, inputs)


def _all_dense(values: Mapping[str, Any], inputs: Mapping[str, DataType]) -> dict[str, np.ndarray] | None:
    arrays = {}
    for name, dtype in inputs.items():
        array = _dense(values[name], dtype)
        if array is None:
            return None
        arrays[name] = array
    return arrays


def _dense(value: Any, dtype: DataType) -> np.ndarray | None:
    shape: list[int] = []
    flat = [value]
    while flat and type(flat[0]) is list:
        size = len(flat[0])
        if len(shape) == 32 or any(type(element) is not list or len(element) != size for element in flat):
            return None
        shape.append(size)
        flat = list(chain.from_iterable(flat))
    kinds = {*map(type, flat)}
    try:
        array = _flat_array(flat, kinds, dtype)
    except (OverflowError, UnicodeEncodeError, ValueError):
        return None
    return None if array is None else array.reshape(shape)


def _flat_array(flat: list, kinds: set[type], dtype: DataType) -> np.ndarray | None:
    if dtype is STRING:
        if kinds and kinds not in _TEXT_KINDS:
            return None
        array = np.empty(len(flat), dtype=object)
        if kinds == {str}:
            array[:] = [text.encode() for text in flat]
        else:
            array[:] = [text.encode() if type(text) is str else _decoded(text) for text in flat]
        return array
    if dtype.name in FLOATS:
        if kinds and kinds not in _NUMBER_KINDS:
            return None
        array = np.array(flat, dtype=np.float64)
        if not np.isfinite(array).all():
            return None  # Infinity is fine and 1e400 is not, but Python reads both alike
        with np.errstate(over="ignore"):  # 1e39 is Infinity to a float
            return array.astype(dtype.numpy)
    if dtype.name == "bool":
        return np.array(flat, dtype=np.bool_) if kinds <= {bool} else None
    if dtype.name not in INTEGERS or not kinds <= {int}:
        return None
    low, high = INTEGERS[dtype.name]
    array = np.array(flat, dtype=np.uint64 if low == 0 else np.int64)
    if array.size and (int(array.min()) < low or int(array.max()) > high):
        return None
    return array.astype(dtype.numpy)


def _decoded(value: Any) -> bytes:
    if not is_base64(value):
        raise ValueError("neither text nor base64")
    return decode_base64(value["b64"])


_BASE64 = re.compile(rb"[A-Za-z0-9+/]*={0,2}")


def decode_base64(text: str | bytes) -> bytes:
    """Base64 as abseil reads it: white space is skipped and padding may be left out. Raises ``ValueError``."""
    encoded = b"".join((text.encode() if isinstance(text, str) else text).split())
    if not _BASE64.fullmatch(encoded):
        raise ValueError("not base64")
    stripped = encoded.rstrip(b"=")
    padding = -len(stripped) % 4
    if padding == 3 or (len(encoded) > len(stripped) and len(encoded) % 4):
        raise ValueError("base64 of no possible length")
    try:
        return base64.b64decode(stripped + b"=" * padding)
    except binascii.Error as error:
        raise ValueError("not base64") from error
