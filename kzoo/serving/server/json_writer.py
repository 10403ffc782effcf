"""Replies: arrays and results to JSON, printed as the genuine server prints it.

Oddities of the genuine server, kept: NaN, Infinity and -Infinity stand as bare words (not JSON, but Python's and many
other readers take them); an output whose name ends in ``_bytes`` comes back as ``{"b64": "..."}``, any other string
goes out as it is, also when it is not valid UTF-8; with one output the list has the values themselves, with more it
has objects; row format prints a row's list on one line, column format a value on each line.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence

import numpy as np

from kzoo.serving.server.errors import invalid
from kzoo.serving.tensors import STRING, dtype_of

_INDENT = "    "
_INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")  # not uint16, says the genuine server
_quote = json.encoder.encode_basestring


def quote(value: bytes) -> str:
    """A JSON string; bytes that are not UTF-8 survive, as surrogates until the reply is encoded."""
    return _quote(value.decode("utf-8", "surrogateescape"))


def encode(text: str) -> bytes:
    """The bytes of a reply: what came in as bytes that are not UTF-8 goes out as the same bytes."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a surrogate pair, quoted from a request
        return text.encode("utf-8", "replace")


def floats(array: np.ndarray) -> list[str]:
    """Floats as the genuine server prints them, in the order of memory.

    The shortest of six digits, or nine of them (seventeen for a double) when six would not read back as the same
    number; ``.0`` after whole numbers.
    """
    flat = array.reshape(-1)
    values = flat.tolist()
    texts = ("%g " * len(values) % tuple(values)).split()
    with np.errstate(over="ignore", invalid="ignore"):
        reads_back = np.array([float(text) for text in texts]).astype(flat.dtype) == flat
    if not reads_back.all():
        form = "%.9g " if flat.dtype == np.float32 else "%.17g "
        long = (form * len(values) % tuple(values)).split()
        texts = [short if same else full for short, full, same in zip(texts, long, reads_back.tolist(), strict=True)]
    return [text if "." in text or "e" in text else _whole_or_special(text) for text in texts]


def _whole_or_special(text: str) -> str:
    return {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity", "-nan": "NaN"}.get(text) or text + ".0"


def _scalars(name: str, array: np.ndarray) -> list[str] | list[bytes]:
    """Each value's JSON; the bytes themselves for an output named ``..._bytes``."""
    dtype = dtype_of(array)
    if dtype.name in ("float", "double"):
        return floats(array)
    flat = array.reshape(-1).tolist()
    if dtype is STRING:
        return flat if name.endswith("_bytes") else [quote(value) for value in flat]
    if dtype.name in _INTEGERS:
        return [str(value) for value in flat]
    if dtype.name == "bool":
        return ["true" if value else "false" for value in flat]
    if not flat:
        return []
    raise invalid(f"Failed to write JSON value for tensor type: {dtype.name}")


def _base64_object(value: bytes, level: int) -> str:
    inside, outside = _INDENT * (level + 1), _INDENT * level
    return f'{{\n{inside}"b64": "{base64.b64encode(value).decode()}"\n{outside}}}'


def _texts(name: str, array: np.ndarray, level: int) -> list[str]:
    """Each value's JSON, where objects open at ``level``."""
    return [value if isinstance(value, str) else _base64_object(value, level) for value in _scalars(name, array)]


def _grouped(texts: list[str], shape: Sequence[int], *, until: int) -> list[str]:
    """Lists on one line: the values folded into the dimensions from ``until`` on, innermost first."""
    for axis in range(len(shape) - 1, until - 1, -1):
        size, count = shape[axis], math.prod(shape[:axis])
        texts = ["[" + ", ".join(texts[i * size : (i + 1) * size]) + "]" for i in range(count)]
    return texts


def predictions(outputs: Mapping[str, np.ndarray]) -> bytes:
    """The reply to a row-format request, from outputs of [B, ...] each."""
    if not outputs:
        raise invalid("Cannot convert empty tensor map to JSON")
    batch_size = -1
    for name, array in outputs.items():
        if array.ndim == 0:
            raise invalid(f"Tensor name: {name} has no shape information ")
        if batch_size >= 0 and len(array) != batch_size:
            raise invalid(f"Tensor name: {name} has inconsistent batch size: {len(array)} expecting: {batch_size}")
        batch_size = len(array)
    if batch_size == 0:
        for name, array in outputs.items():
            _scalars(name, array)
        return b'{\n    "predictions": []\n}'
    level = 2 if len(outputs) == 1 else 3
    texts = {
        name: _grouped(_texts(name, array, level + array.ndim - 1), array.shape, until=1)
        for name, array in outputs.items()
    }
    if len(outputs) == 1:
        return encode('{\n    "predictions": [' + ", ".join(next(iter(texts.values()))) + "\n    ]\n}")
    keys = [f"            {_quote(name)}: " for name in texts]
    rows = [
        "        {\n" + ",\n".join(key + value for key, value in zip(keys, row, strict=True)) + "\n        }"
        for row in zip(*texts.values(), strict=True)
    ]
    return encode('{\n    "predictions": [\n' + ",\n".join(rows) + "\n    ]\n}")


def outputs(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The reply to a column-format request: each output whole."""
    if not arrays:
        raise invalid("Cannot convert empty tensor map to JSON")
    if len(arrays) == 1:
        ((name, array),) = arrays.items()
        return encode('{\n    "outputs": ' + _indented(name, array, 1) + "\n}")
    members = [f"        {_quote(name)}: {_indented(name, array, 2)}" for name, array in arrays.items()]
    return encode('{\n    "outputs": {\n' + ",\n".join(members) + "\n    }\n}")


def _indented(name: str, array: np.ndarray, level: int) -> str:
    """A value on each line; ``level`` is how deep the array itself stands."""
    texts = _texts(name, array, level + array.ndim)
    for axis in range(array.ndim - 1, -1, -1):
        size, count = array.shape[axis], math.prod(array.shape[:axis])
        opened, closed = "\n" + _INDENT * (level + axis + 1), "\n" + _INDENT * (level + axis)
        between = "," + opened
        texts = [
            "[" + opened + between.join(texts[i * size : (i + 1) * size]) + closed + "]" if size else "[]"
            for i in range(count)
        ]
    return texts[0]


def classifications(classes: np.ndarray | None, scores: np.ndarray | None) -> bytes:
    """The reply to classify: for each example its (label, score) pairs, from [B, C] each; an absent one is empty."""
    given = classes if classes is not None else scores
    if given is None or len(given) == 0:
        raise invalid("Cannot convert empty ClassificationResults to JSON")
    labels = [quote(value) for value in classes.reshape(-1).tolist()] if classes is not None else ['""'] * given.size
    numbers = floats(scores) if scores is not None else ["0.0"] * given.size
    pairs = [f"[{label}, {number}]" for label, number in zip(labels, numbers, strict=True)]
    return encode('{\n    "results": [' + ", ".join(_grouped(pairs, given.shape, until=1)) + "\n    ]\n}")


def regressions(values: np.ndarray) -> bytes:
    """The reply to regress, from [B]."""
    if len(values) == 0:
        raise invalid("Cannot convert empty RegressionResults to JSON")
    return encode('{\n    "results": [' + ", ".join(floats(values)) + "]\n}")


def error(message: str) -> bytes:
    """The reply to a request that failed."""
    return encode('{\n    "error": ' + _quote(message) + "\n}")
