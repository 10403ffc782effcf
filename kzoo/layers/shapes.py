"""Reshaping without asking the backend for sizes that it can find by itself."""

from keras import ops


def reshape(x, sizes):
    """As ``ops.reshape``, with the one size that is known only when the graph runs left to the backend.

    A target of constants needs no operations of its own; a decoding step would spend more time over those than over
    its maths.

    Args:
        x: a tensor.
        sizes: of the result: integers and scalar tensors.
    """
    unknown = [size for size in sizes if not isinstance(size, int)]
    if len(unknown) == 1:
        sizes = [size if isinstance(size, int) else -1 for size in sizes]
    return ops.reshape(x, tuple(sizes))
