"""Keys and values of the tokens already read: what makes decoding linear in the length.

All rows of a batch write to the same slot, whatever their length: prompts are padded on the right to T slots, new
tokens follow from slot T on, and a mask says which slots hold something. A row's positions are its own.

The cache is slot-major, so that writing is an update of whole leading rows, which the backend does in place.
"""

from typing import Any, NamedTuple

from keras import ops

# B batch, S slots, T tokens written at once, K key-value heads, H head size


class Cache(NamedTuple):
    """Keys and values of one layer, each ``[S, B, K, H]``."""

    key: Any
    value: Any


def empty(batch_size, num_slots, num_key_value_heads, head_dim, dtype) -> Cache:
    """A cache of zeros; sizes may be scalar tensors."""
    shape = (num_slots, batch_size, num_key_value_heads, head_dim)
    return Cache(ops.zeros(shape, dtype), ops.zeros(shape, dtype))


def write(cache: Cache, key, value, slot) -> Cache:
    """Puts the keys and values of T tokens into slots ``slot`` to ``slot + T - 1``.

    Args:
        cache: ``[S, B, K, H]`` each.
        key: ``[B, T, K, H]``.
        value: ``[B, T, K, H]``.
        slot: scalar integer.

    Returns:
        The cache with the T slots replaced.
    """
    slots = ops.expand_dims(slot + ops.arange(ops.shape(key)[1], dtype="int32"), -1)  # [T, 1]
    return Cache(
        ops.scatter_update(cache.key, slots, ops.transpose(key, (1, 0, 2, 3))),
        ops.scatter_update(cache.value, slots, ops.transpose(value, (1, 0, 2, 3))),
    )
