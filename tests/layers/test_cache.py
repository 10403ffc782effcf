import numpy as np
import tensorflow as tf

from kzoo.layers import cache as caching
from tests.round_trip import array


def test_empty_has_one_row_a_slot():
    cache = caching.empty(2, 5, 3, 4, "bfloat16")
    for tensor in cache:
        assert tensor.shape == (5, 2, 3, 4) and tensor.dtype == tf.bfloat16
        assert not np.any(tensor)


def test_write_replaces_its_slots_and_no_others():
    cache = caching.Cache(*tf.constant(array(2, 6, 2, 3, 4)))
    key, value = array(2, 2, 3, 4, seed=1), array(2, 2, 3, 4, seed=2)
    for name, new in (("key", key), ("value", value)):
        written, before = getattr(caching.write(cache, key, value, 3), name), getattr(cache, name)
        np.testing.assert_array_equal(written[3:5], np.swapaxes(new, 0, 1))
        np.testing.assert_array_equal(written[:3], before[:3])
        np.testing.assert_array_equal(written[5:], before[5:])


def test_sizes_and_slot_may_be_tensors():
    @tf.function(input_signature=[tf.TensorSpec([None, None, 3, 4]), tf.TensorSpec([], tf.int32)])
    def put(key, slot):
        cache = caching.empty(tf.shape(key)[0], slot + tf.shape(key)[1], 3, 4, "float32")
        return caching.write(cache, key, 2 * key, slot)

    key = array(2, 2, 3, 4)
    cache = put(key, 3)
    assert cache.key.shape == (5, 2, 3, 4)
    np.testing.assert_array_equal(cache.value[3:], 2 * np.swapaxes(key, 0, 1))
    assert not np.any(cache.value[:3])
