"""Text from SentencePiece's tokens: marks become spaces, byte tokens characters."""

import re
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tokenizers.characters import exclusive_sums, joined
from kzoo.tokenizers.pieces.byte_fallback import REPLACEMENT, byte_of
from kzoo.tokenizers.tokenizer import shared_constant


class SentencePieceDecoder(tf.Module):
    """Joins what tokens stand for, as the decoders of ``tokenizers`` do.

    Args:
        tokens: by id; None for an id that no token has.
        write: what a token is written as.
        write_first: what the first token of a text is written as, where that differs.
        byte_fallback: whether tokens such as ``<0x0A>`` are bytes. A run of them that is not valid UTF-8 becomes as
            many U+FFFD as it has bytes.
        strip: a character, and how many of it are taken from the left and from the right of the text.
        separator: what stands between tokens.
    """

    def __init__(
        self,
        tokens: Sequence[str | None],
        *,
        write: Callable[[str], str] = str,
        write_first: Callable[[str], str] | None = None,
        byte_fallback: bool = False,
        strip: tuple[str, int, int] | None = None,
        separator: str = "",
        name: str | None = None,
    ):
        super().__init__(name=name)
        known = [token or "" for token in tokens]
        rows = [[writer(token).encode() for token in known] for writer in (write, write_first or write)]
        bytes_ = [byte_of(write(token)) for token in known] if byte_fallback else []
        self._is_byte = np.array([byte is not None for byte in bytes_])
        for id in np.flatnonzero(self._is_byte):
            rows[0][id] = rows[1][id] = bytes([bytes_[id] or 0])
        self._written = np.array(rows, object)
        self._has_first = write_first is not None
        self._strings = shared_constant(self._written if self._has_first else self._written[0])
        self._separator = separator
        self._strip = strip
        self._stripped = []
        if strip is not None:
            character, left, right = re.escape(strip[0]), *strip[1:]
            self._stripped += [rf"\A{character}{{0,{left}}}"] if left else []
            self._stripped += [rf"{character}{{0,{right}}}\z"] if right else []

    def __call__(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Ids, ragged int32 [B, None] with int64 row splits -> strings [B]."""
        values, splits = ids.values, ids.row_splits
        if self._has_first:
            first = tf.scatter_nd(splits[:-1, tf.newaxis], tf.ones_like(splits[:-1], tf.int32), [splits[-1] + 1])[:-1]
            strings = tf.gather_nd(self._strings, tf.stack([tf.minimum(first, 1), values], 1))
        else:
            strings = tf.gather(self._strings, values)
        if self._is_byte.any():
            is_byte = tf.gather(tf.constant(self._is_byte), values)
            strings = tf.cond(
                tf.reduce_any(is_byte), lambda: self._characters(strings, is_byte, splits), lambda: strings
            )
        texts = joined(ids.with_values(strings), self._separator)
        for pattern in self._stripped:
            texts = tf.strings.regex_replace(texts, pattern, "", replace_global=False)
        return texts

    def spellings(self) -> tuple[list[bytes], list[bytes]]:
        """What each token writes at the start of a text, and behind others.

        Raises:
            UserError: what a text is depends on more than the order of its tokens.
        """
        character, left, right = self._strip or ("", 0, 0)
        if left > 1 or right or self._separator:
            raise UserError(
                "Output is held to patterns where a text is its tokens one after the other. This tokenizer takes "
                "characters from the ends of texts, or puts some between tokens."
            )
        later, first = self._written.tolist()
        if left:
            first = [text.removeprefix(character.encode()) for text in first]
        return first, later

    def _characters(self, strings: tf.Tensor, is_byte: tf.Tensor, splits: tf.Tensor) -> tf.Tensor:
        """Strings [P] in which bytes, bool [P], that belong to no character are U+FFFD."""
        size = tf.size(strings, tf.int64)
        begins = tf.concat([[True], ~(is_byte[1:] & is_byte[:-1])], 0)[:size]
        row = tf.zeros([size + 1], tf.bool)
        row = tf.tensor_scatter_nd_update(row, splits[:, tf.newaxis], tf.ones_like(splits, tf.bool))[:size]
        begins |= row
        run = exclusive_sums(begins)[1:] - 1
        joined = tf.strings.unsorted_segment_join(strings, run, tf.math.count_nonzero(begins, dtype=tf.int32))
        valid = tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace") == joined
        return tf.where(is_byte & ~tf.gather(valid, run), REPLACEMENT, strings)
