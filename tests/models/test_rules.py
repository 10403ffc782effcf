import numpy as np
import pytest

from kzoo.models.rules import Rule, identity, split, transpose
from tests.round_trip import array

TRANSFORMS = {"identity": identity, "transpose": transpose, "split": split(axis=0, parts=3)}


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "int64"])
def test_backward_undoes_forward_bitwise(name, dtype):
    tensor = array(6, 4).astype(dtype)
    parts = TRANSFORMS[name].forward(tensor)
    assert isinstance(parts, tuple)
    back = TRANSFORMS[name].backward(parts)
    assert back.dtype == tensor.dtype and back.tobytes() == tensor.tobytes()


def test_transpose_exchanges_the_last_two_axes():
    assert transpose.forward(array(2, 3, 5))[0].shape == (2, 5, 3)
    np.testing.assert_array_equal(transpose.forward(array(3, 5))[0], array(3, 5).T)


def test_split_cuts_along_its_axis():
    query, key, value = split(axis=1, parts=3).forward(np.arange(12).reshape(2, 6))
    np.testing.assert_array_equal(key, [[2, 3], [8, 9]])
    assert query.shape == value.shape == (2, 2)


def test_split_refuses_what_cannot_be_cut_equally():
    with pytest.raises(ValueError, match="equal division"):
        split(axis=1, parts=3).forward(array(2, 7))


def test_a_rule_gives_its_targets_as_a_tuple():
    assert Rule("a", "x/kernel").targets == ("x/kernel",)
    assert Rule("a", ("x", "y")).targets == ("x", "y")
    assert Rule("a", None).targets == ()
