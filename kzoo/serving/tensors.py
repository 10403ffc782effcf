"""``TensorProto`` to numpy arrays and back, without TensorFlow and without its copies.

A string tensor is an object array of ``bytes``, as TensorFlow itself hands them out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

# A shape may promise more values than a message carries (the last one is repeated). Past this many bytes that is no
# longer a convenience but a way to make a server allocate memory for a message of twenty bytes.
_LARGEST_FILL = 1 << 28


@dataclass(frozen=True, slots=True)
class DataType:
    """One of TensorFlow's element types: its number in the protos, its names, its numpy type, its field of values."""

    number: int
    name: str
    numpy: np.dtype
    field: str

    @property
    def proto_name(self) -> str:
        """The name in the enum of the protos: ``DT_FLOAT``."""
        return f"DT_{self.name.upper()}"


def _dtype(number: int, name: str, numpy: Any, field: str) -> DataType:
    return DataType(number, name, np.dtype(numpy), field)


_ALL = (
    _dtype(1, "float", np.float32, "float_val"),
    _dtype(2, "double", np.float64, "double_val"),
    _dtype(3, "int32", np.int32, "int_val"),
    _dtype(4, "uint8", np.uint8, "int_val"),
    _dtype(5, "int16", np.int16, "int_val"),
    _dtype(6, "int8", np.int8, "int_val"),
    _dtype(7, "string", object, "string_val"),
    _dtype(8, "complex64", np.complex64, "scomplex_val"),
    _dtype(9, "int64", np.int64, "int64_val"),
    _dtype(10, "bool", np.bool_, "bool_val"),
    _dtype(14, "bfloat16", ml_dtypes.bfloat16, "half_val"),
    _dtype(17, "uint16", np.uint16, "int_val"),
    _dtype(18, "complex128", np.complex128, "dcomplex_val"),
    _dtype(19, "half", np.float16, "half_val"),
    _dtype(22, "uint32", np.uint32, "uint32_val"),
    _dtype(23, "uint64", np.uint64, "uint64_val"),
)
BY_NUMBER = {dtype.number: dtype for dtype in _ALL}
BY_NAME = {dtype.name: dtype for dtype in _ALL}
_BY_NUMPY = {dtype.numpy: dtype for dtype in _ALL}
STRING = BY_NAME["string"]


def dtype_of(array: np.ndarray) -> DataType:
    """The element type of an array; text of any kind is a string. Raises ``TypeError`` for what no tensor holds."""
    found = _BY_NUMPY.get(array.dtype)
    if found is not None:
        return found
    if array.dtype.kind in "SU":
        return STRING
    raise TypeError(f"No tensor holds elements of numpy's {array.dtype}.")


def strings(values: Any) -> np.ndarray:
    """Text or bytes, nested in lists or not, as an object array of bytes."""
    array = np.asarray(values, dtype=object)
    flat = [value.encode() if isinstance(value, str) else bytes(value) for value in array.reshape(-1)]
    encoded = np.empty(len(flat), dtype=object)
    encoded[:] = flat
    return encoded.reshape(array.shape)


def to_array(proto: Any) -> np.ndarray:
    """The values of a ``TensorProto``; raises ``ValueError`` where the message contradicts itself."""
    dtype = BY_NUMBER.get(proto.dtype)
    if dtype is None or proto.tensor_shape.unknown_rank:
        raise ValueError(f"A tensor of type {proto.dtype} cannot be read.")
    shape = tuple(dimension.size for dimension in proto.tensor_shape.dim)
    if any(size < 0 for size in shape) or len(shape) > 64:
        raise ValueError(f"A tensor's shape must be fully known. Received {list(shape)}.")
    count = math.prod(shape)
    if count == 0:
        return np.empty(shape, dtype.numpy)
    if proto.tensor_content:
        return _from_content(proto.tensor_content, dtype, count).reshape(shape)
    values = _from_field(getattr(proto, dtype.field), dtype, count)
    if len(values) < count:  # the last value stands for the rest; no value at all means zeros
        if count * dtype.numpy.itemsize > _LARGEST_FILL:
            raise ValueError(f"{len(values)} values cannot fill a tensor of shape {list(shape)}.")
        filled = np.empty(count, dtype.numpy)
        filled[: len(values)] = values
        filled[len(values) :] = values[-1] if len(values) else (b"" if dtype is STRING else dtype.numpy.type(0))
        values = filled
    return values.reshape(shape)


def _from_content(content: bytes, dtype: DataType, count: int) -> np.ndarray:
    if dtype is STRING:
        return _from_string_content(content, count)
    if len(content) != count * dtype.numpy.itemsize:
        raise ValueError(f"{len(content)} bytes are not {count} values of type {dtype.name}.")
    return np.frombuffer(content, dtype.numpy)


def _from_string_content(content: bytes, count: int) -> np.ndarray:
    """Strings in ``tensor_content``: all their lengths as varints, then all their bytes."""
    lengths, at = [], 0
    for _ in range(count):
        length = shift = 0
        while True:
            if at >= len(content) or shift > 63:
                raise ValueError("The lengths of the strings are cut off.")
            byte = content[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length)
    if at + sum(lengths) != len(content):
        raise ValueError("The strings do not fill the content.")
    array = np.empty(count, dtype=object)
    for index, length in enumerate(lengths):
        array[index] = content[at : at + length]
        at += length
    return array


def _from_field(values: Any, dtype: DataType, count: int) -> np.ndarray:
    """At most ``count`` values of a repeated field; more are ignored, as TensorFlow ignores them."""
    if dtype is STRING:
        array = np.empty(min(len(values), count), dtype=object)
        array[:] = values[:count]
        return array
    if dtype.field == "half_val":  # the bits of a 16-bit float, in an integer
        return np.fromiter(values, np.int32, len(values))[:count].astype(np.uint16).view(dtype.numpy)
    if dtype.numpy.kind == "c":  # real and imaginary parts in turn
        parts = np.fromiter(values, np.float64, len(values))[: 2 * count]
        return (parts[0::2] + 1j * parts[1::2]).astype(dtype.numpy)
    if dtype.field == "int_val":  # small integers wrap around, as TensorFlow's cast does
        return np.fromiter(values, np.int32, len(values))[:count].astype(dtype.numpy)
    return np.fromiter(values, dtype.numpy, len(values))[:count]


def fill(proto: Any, array: np.ndarray, *, as_content: bool = False) -> None:
    """Write an array into an empty ``TensorProto``.

    Values go into their typed field, as the server's replies have them; ``as_content`` writes them as raw bytes,
    which is smaller and faster (strings always use their field).
    """
    dtype = dtype_of(array)
    proto.dtype = dtype.number
    add_dimension = proto.tensor_shape.dim.add
    for size in array.shape:
        add_dimension(size=size)
    if dtype is STRING:
        if array.dtype.kind != "O":
            array = strings(array)
        proto.string_val.extend(array.reshape(-1).tolist())
    elif as_content:
        proto.tensor_content = np.ascontiguousarray(array).tobytes()
    elif dtype.field == "half_val":
        proto.half_val.extend(np.ascontiguousarray(array).view(np.uint16).reshape(-1).tolist())
    elif dtype.numpy.kind == "c":
        parts = np.ascontiguousarray(array).reshape(-1).view(np.float32 if dtype.name == "complex64" else np.float64)
        getattr(proto, dtype.field).extend(parts.tolist())
    else:
        getattr(proto, dtype.field).extend(array.reshape(-1).tolist())
