"""Special tokens around a text, and the cut to the longest row."""

import tensorflow as tf

from kzoo.tokenizers import Tokenizer, Tokens

# B texts, T length


def dense(ragged: tf.RaggedTensor, length, fill=0) -> tf.Tensor:
    """Pads or cuts ragged rows ``[B, None]`` to ``[B, length]``; a length known as an int gives a static shape."""
    shape = [None, length] if isinstance(length, int) else tf.stack([-1, length])
    return ragged.to_tensor(fill, shape=shape)


def fill_empty(ragged: tf.RaggedTensor, value) -> tf.RaggedTensor:
    """Puts ``value`` into the rows ``[B, None]`` that hold nothing, so that a model has a token to read."""
    is_empty = tf.cast(ragged.row_lengths() == 0, ragged.row_splits.dtype)  # [B]
    filling = tf.RaggedTensor.from_row_lengths(tf.fill([tf.reduce_sum(is_empty)], value), is_empty)
    return tf.concat([filling, ragged], axis=1)


def start_id(tokenizer: Tokenizer) -> int:
    """The token that an empty text stands for: the one that begins texts, else the one that ends them."""
    special = tokenizer.special_ids
    return special.get("bos", special.get("eos", 0))


def frame(tokens: Tokens, *, before: int | None, after: int | None, max_length: int) -> dict:
    """Cuts rows and puts one special token before and one after each.

    Args:
        tokens: ragged ``[B, None]``.
        before: id put first, or None.
        after: id put last, or None.
        max_length: most tokens of a row, the special ones included.

    Returns:
        ``token_ids``, ``starts``, ``ends`` ragged int32 ``[B, None]``, and ``row`` int32 ``[B]``.
    """
    room = max_length - (before is not None) - (after is not None)
    num_rows = tokens.ids.nrows(out_type=tf.int32)

    def framed(ragged, first, last):
        parts = [ragged[:, :room]]
        if before is not None:
            parts.insert(0, tf.fill([num_rows, 1], first))
        if after is not None:
            parts.append(tf.fill([num_rows, 1], last))
        return tf.concat(parts, axis=1)

    return {
        "token_ids": framed(tokens.ids, before, after),
        "starts": framed(tokens.starts, 0, 0),
        "ends": framed(tokens.ends, 0, 0),
        "row": tf.range(num_rows),
    }


def frame_text(tokenizer: Tokenizer, texts: tf.Tensor, max_length: int) -> dict:
    """Tokenizes texts the way the tokenizer's encoder was trained: ``[CLS] text [SEP]`` where it has those tokens.

    Where it has neither, an empty text becomes the one token of ``start_id``.

    Returns:
        As ``frame``.
    """
    tokens, special = tokenizer.tokenize(texts), tokenizer.special_ids
    before, after = special.get("cls"), special.get("sep")
    if before is None and after is None:
        tokens = Tokens(*(fill_empty(one, fill) for one, fill in zip(tokens, (start_id(tokenizer), 0, 0), strict=True)))
    return frame(tokens, before=before, after=after, max_length=max_length)
