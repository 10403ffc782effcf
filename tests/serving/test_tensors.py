"""Tensor messages against TensorFlow's own reading and writing of them."""

import numpy as np
import pytest

from kzoo.serving import stubs, tensors


def _proto():
    return stubs.load("tensor_pb2").TensorProto()


def _filled(array, **options):
    proto = _proto()
    tensors.fill(proto, array, **options)
    return proto


ARRAYS = [
    *(np.array([[0, 1], [1, 0]], dtype.numpy) for dtype in tensors.BY_NUMBER.values() if dtype.name != "string"),
    np.array([-1.5, 65504], np.float16),
    np.array([1 + 2j, -3j], np.complex64),
    np.float32(3).reshape(()),
    np.empty((0, 3), np.int64),
    tensors.strings([["a", "é"], [b"\xff", ""]]),
    np.arange(12, dtype=np.int16).reshape(3, 4).T,
]


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
@pytest.mark.parametrize("as_content", [False, True])
def test_what_is_written_reads_back_here_and_in_tensorflow(array, as_content):
    import tensorflow as tf

    proto = _filled(array, as_content=as_content)
    for read in (tensors.to_array(proto), tf.make_ndarray(proto)):
        assert read.dtype == array.dtype and read.shape == array.shape
        assert read.tolist() == array.tolist()


@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype}{array.shape}")
def test_what_tensorflow_writes_is_read(array):
    import tensorflow as tf

    read = tensors.to_array(tf.make_tensor_proto(array))
    assert read.dtype == array.dtype and read.tolist() == array.tolist()


def test_strings_packed_into_the_content_are_read():
    import tensorflow as tf

    proto = _proto()
    proto.dtype = 7
    proto.tensor_shape.dim.add(size=2)
    long = b"x" * 300
    proto.tensor_content = b"\x01\xac\x02" + b"a" + long
    assert tensors.to_array(proto).tolist() == [b"a", long]
    assert tf.io.parse_tensor(proto.SerializeToString(), tf.string).numpy().tolist() == [b"a", long]


def test_the_last_value_stands_for_the_rest_and_none_for_zeros():
    for field, given, wanted in (("int_val", [1, 2], [1, 2, 2]), ("int_val", [], [0, 0, 0])):
        proto = _proto()
        proto.dtype = 3
        proto.tensor_shape.dim.add(size=3)
        getattr(proto, field).extend(given)
        assert tensors.to_array(proto).tolist() == wanted
    proto = _proto()
    proto.dtype = 7
    proto.tensor_shape.dim.add(size=2)
    assert tensors.to_array(proto).tolist() == [b"", b""]
    proto.string_val.extend([b"a", b"b", b"more than promised"])
    assert tensors.to_array(proto).tolist() == [b"a", b"b"]


def _odd(**fields):
    proto = _proto()
    proto.dtype = 1
    proto.tensor_shape.dim.add(size=2)
    for name, value in fields.items():
        setattr(proto, name, value)
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        _odd(dtype=0),
        _odd(dtype=20),
        _odd(tensor_content=b"123"),
        _odd(dtype=7, tensor_content=b"\x01"),
        _odd(dtype=7, tensor_content=b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80"),
        _odd(dtype=7, tensor_content=b"\x01\x01abc"),
    ],
)
def test_messages_that_contradict_themselves_are_refused(proto):
    with pytest.raises(ValueError):
        tensors.to_array(proto)


def test_shapes_that_promise_too_much_are_refused():
    for size in (-1, 1 << 40):
        proto = _proto()
        proto.dtype = 1
        proto.tensor_shape.dim.add(size=size)
        proto.float_val.append(1.0)
        with pytest.raises(ValueError):
            tensors.to_array(proto)
    proto.tensor_shape.unknown_rank = True
    with pytest.raises(ValueError):
        tensors.to_array(proto)


def test_text_arrays_of_numpy_are_strings():
    proto = _filled(np.array(["a", "é"]))
    assert proto.dtype == 7 and list(proto.string_val) == [b"a", "é".encode()]
    with pytest.raises(TypeError, match="datetime64"):
        tensors.dtype_of(np.array(["2026-01-01"], "datetime64[D]"))
