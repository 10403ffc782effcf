"""Strings that end an answer, wherever the tokens divide them."""

import tensorflow as tf

# B texts, K strings for each, T characters of the longest text, L characters of the longest string


def find(texts, strings) -> tf.Tensor:
    """Where the first of some strings begins in each text.

    Args:
        texts: strings ``[B]``, UTF-8.
        strings: strings ``[B, K]``; empty ones are found nowhere.

    Returns:
        Code points before it, int32 ``[B]``; -1 where none is in the text.
    """
    text = tf.strings.unicode_decode(texts, "UTF-8").to_tensor(-1)  # [B, T]
    flat = tf.strings.unicode_decode(tf.reshape(strings, [-1]), "UTF-8")
    lengths = tf.reshape(flat.row_lengths(), tf.shape(strings))  # [B, K]
    wanted = flat.to_tensor(-1)
    longest = tf.shape(wanted)[1]
    wanted = tf.reshape(wanted, tf.concat([tf.shape(strings), [longest]], 0))  # [B, K, L]
    num_places = tf.shape(text)[1]
    text = tf.pad(text, [[0, 0], [0, longest]], constant_values=-1)

    def compare(place, matches):
        here = text[:, place : place + num_places, None] == wanted[:, None, :, place]  # [B, T, K]
        return place + 1, matches & (here | (tf.cast(lengths, tf.int32)[:, None, :] <= place))

    matches = tf.broadcast_to(lengths[:, None, :] > 0, [tf.shape(text)[0], num_places, tf.shape(strings)[1]])
    _, matches = tf.while_loop(lambda place, _: place < longest, compare, (tf.constant(0), matches))
    found = tf.reduce_any(matches, axis=2)  # [B, T]
    first = tf.argmax(tf.pad(found, [[0, 0], [0, 1]]), axis=1, output_type=tf.int32)  # of no text, too
    return tf.where(tf.reduce_any(found, axis=1), first, -1)


def cut(texts, strings) -> tf.Tensor:
    """The texts up to the first of the strings that end them, without it; see ``find``."""
    place = find(texts, strings)
    length = tf.where(place >= 0, place, tf.strings.length(texts, unit="UTF8_CHAR"))
    return tf.strings.substr(texts, tf.zeros_like(length), length, unit="UTF8_CHAR")
