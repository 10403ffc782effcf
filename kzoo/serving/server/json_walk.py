"""JSON values to arrays, value by value, with the genuine server's errors; ``json_tensors`` is the fast way.

JSON Value, level, shape and size mean in the messages what they mean to the genuine server: a level is a depth of
nested lists, and the first element of each list says what shape the tensor must have.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from kzoo.serving.server.errors import Code, StatusError, invalid
from kzoo.serving.server.json_reader import debug_string
from kzoo.serving.server.json_tensors import FLOATS, INTEGERS, decode_base64, is_base64
from kzoo.serving.tensors import STRING, DataType


def _type_error(value: Any, dtype: DataType) -> StatusError:
    return invalid(f"JSON Value: {debug_string(value)} Type: {type_name(value)} is not of expected type: {dtype.name}")


def type_name(value: Any) -> str:
    """RapidJSON's name of a value's type; True and False are types of their own."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    if isinstance(value, dict):
        return "Object"
    if isinstance(value, list):
        return "Array"
    return "String" if isinstance(value, (str, bytes)) else "Number"


def to_bytes(value: str | bytes) -> bytes:
    """A JSON string's bytes. Raises ``UnicodeEncodeError`` for half a surrogate pair, which only Python reads."""
    return value if isinstance(value, bytes) else value.encode()


def _scalar(value: Any, dtype: DataType) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if dtype is STRING:
        if not isinstance(value, (str, bytes)):
            raise _type_error(value, dtype)
        return to_bytes(value)
    if dtype.name in FLOATS:
        if not is_number:
            raise _type_error(value, dtype)
        return float(value)
    if dtype.name == "bool":
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    if dtype.name in INTEGERS:
        low, high = INTEGERS[dtype.name]
        if not is_number or isinstance(value, float) or not low <= value <= high:
            raise _type_error(value, dtype)
        return value
    raise StatusError(Code.UNIMPLEMENTED, f"Conversion of JSON Value: {debug_string(value)} to type: {dtype.name}")


def _shape_of(value: Any) -> list[int]:
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return shape


def _walk(value: Any, level: int, shape: list[int], dtype: DataType, values: list) -> None:
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid(
                f"JSON Value: {debug_string(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {len(shape)}"
            )
        if isinstance(value, dict):
            if dtype is not STRING:
                raise _type_error(value, dtype)
            if not is_base64(value):
                raise invalid(f"JSON Value: {debug_string(value)} not formatted correctly for base64 data")
            try:
                values.append(decode_base64(value["b64"]))
            except ValueError:
                raise invalid("Unable to base64 decode") from None
        else:
            values.append(_scalar(value, dtype))
        return
    if level >= len(shape):
        raise invalid(f"Encountered list at unexpected level: {level} expected < {len(shape)}")
    if len(value) != shape[level]:
        raise invalid(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    for element in value:
        _walk(element, level + 1, shape, dtype, values)


def _array(values: list, shape: list[int], dtype: DataType, name: str) -> np.ndarray:
    if len(shape) > 64:  # numpy's limit; the genuine server's is 254
        raise invalid(f"tensor parsing error: {name}")
    if dtype is STRING:
        array = np.empty(len(values), dtype=object)
        array[:] = values
    elif dtype.name in INTEGERS:
        array = np.array(values, dtype=np.uint64 if INTEGERS[dtype.name][0] == 0 else np.int64).astype(dtype.numpy)
    else:
        with np.errstate(over="ignore"):
            array = np.array(values, dtype=np.float64 if dtype.name in FLOATS else dtype.numpy).astype(dtype.numpy)
    return array.reshape(shape)


def _shape_text(shape: list[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def rows(instances: list, inputs: Mapping[str, DataType]) -> dict[str, np.ndarray]:
    """The arrays of a row-format request; raises ``StatusError`` with the genuine server's message."""
    if not isinstance(instances[0], dict) and len(inputs) > 1:
        raise invalid(
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map"
        )
    named = isinstance(instances[0], dict) and not is_base64(instances[0])
    values: dict[str, list] = {name: [] for name in inputs}
    shapes: dict[str, list[int]] = {}
    for index, row in enumerate(instances):
        if named != (isinstance(row, dict) and not is_base64(row)):
            expected, got = ("object", "list") if named else ("value/list", "object")
            raise invalid(f"Expecting {expected} but got {got} at item {index} of input list")
        for name, value in row.items() if named else ((next(iter(inputs)), row),):
            try:
                _add_row(value, name, inputs, shapes, values)
            except StatusError as error:
                where = f"{index} key: {name}" if named else f"{index}"
                raise invalid(f"Failed to process element: {where} of 'instances' list. Error: {error}") from None
        if named and row.keys() != inputs.keys():
            raise invalid(
                f"Failed to process element: {index} of 'instances' list. JSON object: {debug_string(row)} keys must "
                f"be equal to: {','.join(sorted(inputs))}"
            )
    return {name: _array(values[name], [len(instances), *shapes[name]], dtype, name) for name, dtype in inputs.items()}


def _add_row(
    value: Any,
    name: str,
    inputs: Mapping[str, DataType],
    shapes: dict[str, list[int]],
    values: dict[str, list],
) -> None:
    if name not in inputs:
        raise invalid(f"JSON object: does not have named input: {name}")
    shape = _shape_of(value)
    row: list[Any] = []
    _guarded_walk(value, shape, inputs[name], row, name)
    if name not in shapes:
        shapes[name] = shape
    elif (size := math.prod(shapes[name])) != len(row):
        raise invalid(f"Expecting tensor size: {size} but got: {len(row)}")
    elif shapes[name] != shape:
        raise invalid(f"Expecting shape {_shape_text(shapes[name])} but got: {_shape_text(shape)}")
    values[name].extend(row)


def _guarded_walk(value: Any, shape: list[int], dtype: DataType, values: list, name: str) -> None:
    try:
        _walk(value, 0, shape, dtype, values)
    except RecursionError:  # hundreds of brackets: no tensor has so many dimensions
        raise invalid(f"tensor parsing error: {name}") from None


def columns(values: Any, inputs: Mapping[str, DataType]) -> dict[str, np.ndarray]:
    """The arrays of a column-format request; raises ``StatusError`` with the genuine server's message."""
    if not isinstance(values, dict) or is_base64(values):
        if len(inputs) > 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map"
            )
        values = {next(iter(inputs)): values}
    arrays = {}
    for name, dtype in sorted(inputs.items()):
        if name not in values:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
        shape = _shape_of(values[name])
        flat: list[Any] = []
        _guarded_walk(values[name], shape, dtype, flat, name)
        arrays[name] = _array(flat, shape, dtype, name)
    return arrays
