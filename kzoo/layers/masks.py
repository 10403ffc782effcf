"""Who may look at whom: boolean masks for attention."""

from keras import ops

# B batch, T length, S keys or slots


def padding(padding_mask):
    """Every token looks at all real tokens: boolean ``[B, S]`` to ``[B, 1, S]``."""
    return ops.expand_dims(ops.cast(padding_mask, "bool"), 1)


def causal(num_queries, num_keys, offset=0):
    """A token looks at itself and what precedes it: ``[1, T, S]``, query t standing at key ``offset + t``."""
    query = offset + ops.arange(num_queries, dtype="int32")[:, None]  # [T, 1]
    return ops.expand_dims(ops.arange(num_keys, dtype="int32")[None, :] <= query, 0)


def same_document(document_ids):
    """A token looks at those of its own document: integers ``[B, T]`` to boolean ``[B, T, T]``."""
    return ops.expand_dims(document_ids, 2) == ops.expand_dims(document_ids, 1)


def prefix(prefix_mask):
    """The tokens of a prompt look at one another both ways: ``[B, T]`` to boolean ``[B, T, T]``."""
    within = ops.cast(prefix_mask, "bool")
    return ops.logical_and(ops.expand_dims(within, 2), ops.expand_dims(within, 1))


def window(positions, key_positions, size):
    """Tokens fewer than ``size`` positions apart: ``[B, T]`` and ``[B, S]`` (B may be 1) to boolean ``[B, T, S]``."""
    distance = ops.expand_dims(positions, 2) - ops.expand_dims(key_positions, 1)
    return ops.abs(distance) < size
