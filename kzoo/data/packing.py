"""Long texts cut into blocks of one length, for language modelling: documents joined end to end, nothing padded."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError

# N documents, W blocks


def blocks(tokens: Mapping[str, tf.RaggedTensor | tf.Tensor], length: int) -> dict[str, tf.RaggedTensor | tf.Tensor]:
    """Joins documents and cuts the whole into blocks of ``length`` tokens.

    Neighbouring blocks share one token, so that each token but the very first is predicted exactly once. The last
    block holds what is left. A task that joins documents ends each with its end token.

    Args:
        tokens: ragged ``[N, None]`` per token, ``token_ids`` among them, and dense ``[N]`` per document.
        length: tokens of a block, at least 2.

    Returns:
        The ragged entries as ``[W, None]``, the dense ones ``[W]`` as of the document in which each block begins.
        Offsets into the texts (``starts``, ``ends``) are left out: a block has no one text.

    Raises:
        UserError: fewer than two tokens in all.
    """
    splits = tokens["token_ids"].row_splits.numpy()
    total = int(splits[-1])
    if total < 2:
        raise UserError(f"A language model learns from two tokens or more. The text has {total}.")
    starts = np.arange(0, total - 1, length - 1, dtype=np.int64)
    ends = np.minimum(starts + length, total)
    sizes = ends - starts
    block_splits = np.concatenate([[0], np.cumsum(sizes)])
    places = np.arange(block_splits[-1]) + np.repeat(starts - block_splits[:-1], sizes)
    documents = np.searchsorted(splits, starts, side="right") - 1
    cut: dict[str, tf.RaggedTensor | tf.Tensor] = {}
    for name, values in tokens.items():
        if isinstance(values, tf.RaggedTensor):
            if name not in ("starts", "ends"):
                flat = tf.constant(values.flat_values.numpy()[places])
                cut[name] = tf.RaggedTensor.from_row_splits(flat, block_splits, validate=False)
        else:
            cut[name] = tf.gather(values, documents)
    return cut
