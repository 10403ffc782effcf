"""F1 of entities while a model learns, counted as ``seqeval`` counts it."""

import keras
import tensorflow as tf

from kzoo.data import tags

# B rows, T length, C classes


@keras.saving.register_keras_serializable(package="kzoo")
class EntityF1(keras.metrics.Metric):
    """F1 of entities: those found with the right first word, last word and type, against all found and all there are.

    Words are the targets with a weight other than 0; what lies between them does not count. Entities are read from
    classes as ``conlleval`` and ``seqeval`` (its default mode) read them. An entity that is cut by the border of two
    windows of a long text counts in both parts.

    Args:
        places: of each class, a number of ``kzoo.data.tags`` ``[C]``.
        kinds: the number of each class's type ``[C]``.
        kwargs: ``name``, ``dtype``.
    """

    def __init__(self, places, kinds, *, name="f1", **kwargs):
        super().__init__(name=name, **kwargs)
        self.places = [int(place) for place in places]
        self.kinds = [int(kind) for kind in kinds]
        self.matched, self.found, self.there = (
            self.add_variable(shape=(), initializer="zeros", name=count) for count in ("matched", "found", "there")
        )

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Counts entities: classes ``[B, T]``, logits ``[B, T, C]``, weights ``[B, T]``."""
        y_true = tf.cast(y_true, tf.int32)
        given = tf.argmax(y_pred, -1, output_type=tf.int32)
        is_word = tf.ones_like(y_true, tf.bool) if sample_weight is None else tf.not_equal(sample_weight, 0)
        order = tf.argsort(tf.cast(is_word, tf.int32), axis=1, direction="DESCENDING", stable=True)  # words first
        is_word, y_true, given = (tf.gather(one, order, batch_dims=1) for one in (is_word, y_true, given))
        there, goes_on, kind = self._read(y_true, is_word)
        found, found_goes_on, found_kind = self._read(given, is_word)
        # a word spoils the entity that it is of when it does not begin, go on or end it in both
        ends_alike = _next(goes_on) | ~_next(found_goes_on)
        agrees = tf.where(there, found & (kind == found_kind), found_goes_on) & ends_alike
        number = tf.cumsum(tf.cast(there, tf.int32), axis=1)  # of a row's entities, from 1 on
        rows, length = tf.shape(number)[0], tf.shape(number)[1]
        place = tf.range(rows)[:, tf.newaxis] * (length + 1) + number
        spoils = tf.cast((there | goes_on) & ~agrees, tf.int32)
        spoiled = tf.math.unsorted_segment_max(spoils, place, rows * (length + 1)) > 0
        total = _count(there)
        self.there.assign_add(total)
        self.found.assign_add(_count(found))
        self.matched.assign_add(total - _count(spoiled))

    def _read(self, classes, is_word):
        """Where entities begin and where they go on, booleans ``[B, T]``, and the types of words."""
        place = tf.where(is_word, tf.gather(tf.constant(self.places), classes), tags.OUTSIDE)
        kind = tf.gather(tf.constant(self.kinds), classes)
        begins = tags.begins(place, kind, _previous(place), _previous(kind))
        return begins, (place != tags.OUTSIDE) & ~begins, kind

    def result(self):
        return tf.math.divide_no_nan(2.0 * self.matched, self.found + self.there)

    def get_config(self):
        return super().get_config() | {"places": self.places, "kinds": self.kinds}


def _previous(values):
    return tf.pad(values[:, :-1], [[0, 0], [1, 0]], constant_values=tags.OUTSIDE)


def _next(values):
    return tf.pad(values[:, 1:], [[0, 0], [0, 1]])


def _count(mask):
    return tf.reduce_sum(tf.cast(mask, tf.float32))
