"""Texts that are longer than a model reads, in windows that overlap; each token is judged where it has most context."""

from typing import NamedTuple

import tensorflow as tf

from kzoo.tasks.framing import dense

# B texts, W windows, T length, N tokens of all texts


class Windows(NamedTuple):
    """Windows over texts, those of a text one after the other; every text has at least one. All int32 ``[W]``.

    Attributes:
        row: the text that a window is of.
        begin: its first token, counted from the text's first.
        end: the token behind its last.
        judged_from: the first token that this window judges rather than the one before it.
        judged_until: the token behind the last of these. The judged spans of a text's windows join without a gap.
    """

    row: tf.Tensor
    begin: tf.Tensor
    end: tf.Tensor
    judged_from: tf.Tensor
    judged_until: tf.Tensor

    def of(self, ragged: tf.RaggedTensor) -> tf.RaggedTensor:
        """The tokens of each window, ragged ``[W, None]``, from those of the texts, ragged ``[B, None]``."""
        offset = tf.gather(tf.cast(ragged.row_starts(), tf.int32), self.row)
        places = tf.ragged.range(offset + self.begin, offset + self.end, row_splits_dtype=tf.int64)
        return tf.gather(ragged.flat_values, places)

    def judged(self) -> tf.RaggedTensor:
        """1 for the tokens that a window judges, else 0: ragged int32 ``[W, None]``.

        Of each token of a text one window judges it, the one in which it is farthest from an edge at which the text
        goes on (the maximum context of Devlin et al.'s code for SQuAD; the earlier window where two are equal). So
        the judged tokens of all windows, one after the other, are the tokens of all texts: see ``merged``.
        """
        places = tf.ragged.range(self.begin, self.end, row_splits_dtype=tf.int64)
        lengths = places.row_lengths()
        first, until = tf.repeat(self.judged_from, lengths), tf.repeat(self.judged_until, lengths)
        values = places.flat_values
        return places.with_flat_values(tf.cast((values >= first) & (values < until), tf.int32))


def windows(lengths, room, stride) -> Windows:
    """Cuts texts into as few windows as the stride allows; a text that fits is one window.

    Args:
        lengths: tokens of each text, integers ``[B]``.
        room: most tokens of a window, at least 1; a scalar, or one for each text ``[B]``.
        stride: how many tokens after one window the next begins; what is more than the room counts as the room, so that
            no token is left out.
    """
    lengths = tf.cast(lengths, tf.int32)
    room = tf.broadcast_to(tf.cast(room, tf.int32), tf.shape(lengths))
    stride = tf.minimum(tf.cast(stride, tf.int32), room)  # [B]
    number = 1 + tf.maximum((lengths - room + stride - 1) // stride, 0)  # [B], windows of each text
    row = tf.repeat(tf.range(tf.size(number)), number)  # [W]
    index = tf.range(tf.size(row)) - tf.gather(tf.cumsum(number, exclusive=True), row)  # of a text's windows
    lengths, room, stride = (tf.gather(one, row) for one in (lengths, room, stride))
    begin = index * stride
    end = tf.minimum(begin + room, lengths)
    overlap = room - stride  # windows before the last are full
    cut = begin + (overlap + 1) // 2  # the middle of what this window and the one before it have in common
    next_cut = begin + stride + (overlap + 1) // 2
    return Windows(
        row=row,
        begin=begin,
        end=end,
        judged_from=tf.where(index == 0, 0, cut),
        judged_until=tf.where(begin + room >= lengths, end, next_cut),
    )


def merged(values, judged: tf.RaggedTensor) -> tf.Tensor:
    """The values of the tokens of all texts, in their order, from those of the windows.

    Args:
        values: ragged ``[W, None, ...]`` beside ``judged``, or dense ``[W, T, ...]`` that hold anything past the end of
            a row.
        judged: of ``Windows``, between zeros for special tokens: ragged ``[W, None]``.

    Returns:
        ``[N, ...]``.
    """
    if isinstance(values, tf.RaggedTensor):
        return tf.boolean_mask(values.flat_values, judged.flat_values > 0)
    return tf.boolean_mask(values, dense(judged, tf.shape(values)[1]) > 0)


def spread(values: tf.Tensor, judged: tf.RaggedTensor) -> tf.RaggedTensor:
    """The way back: values ``[N]`` of the tokens of all texts where windows judge them, elsewhere 0."""
    places = tf.where(judged.flat_values > 0)
    return judged.with_flat_values(tf.scatter_nd(places, values, tf.shape(judged.flat_values, out_type=tf.int64)))
