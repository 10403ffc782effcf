"""Unicode's canonical decomposition (NFD), as ``tokenizers`` computes it, positions in the text included."""

import numpy as np
import tensorflow as tf

from kzoo.tokenizers import unicode_tables as tables
from kzoo.tokenizers.character_map import CharacterMap
from kzoo.tokenizers.characters import Characters, positions_of, row_starts


class CanonicalDecomposition(tf.Module):
    """Decomposes characters and sorts each run of combining marks by combining class.

    Args:
        whole: bool [0x110000], code points that are left as they are.
        removed: bool [0x110000], code points dropped before.
    """

    def __init__(self, *, whole: np.ndarray, removed: np.ndarray, name: str | None = None):
        super().__init__(name=name)
        images = {c: image for c, image in tables.decompositions().items() if not whole[c]}
        images |= dict.fromkeys(np.flatnonzero(removed).tolist(), ())
        self._map = CharacterMap(np.arange(tables.NUM_CODE_POINTS, dtype=np.int32), images)
        self._classes = tables.CodePointTable(tables.combining_classes())

    def __call__(self, characters: Characters) -> Characters:
        """Characters -> characters decomposed, in canonical order."""
        characters, code_points = self._map.resolve(characters, self._map.look_up(characters.code_points))
        classes = tf.cast(self._classes(code_points), tf.int64)
        size = tf.size(code_points, tf.int64)
        runs = tf.cumsum(tf.cast((classes == 0) | row_starts(characters)[:-1], tf.int64))
        keys = (runs * (tables.NUM_COMBINING_CLASSES + 1) + classes) * size + tf.range(size)  # unique: stable order
        order = tf.sort(keys) % tf.maximum(size, 1)
        # Where a sorted character came from is decided by counting, as ``tokenizers`` does it: each first character of
        # a decomposition takes the next place in the text, whichever characters the sort moved.
        first = tf.concat([tf.ones([1], tf.bool), characters.starts[1:] != characters.starts[:-1]], 0)[:size]
        places = positions_of(first)
        source = tf.maximum(tf.cumsum(tf.cast(tf.gather(first, order), tf.int32)) - 1, 0)
        positions = tf.gather(places, source)
        return Characters(
            code_points=tf.gather(code_points, order),
            row_splits=characters.row_splits,
            starts=tf.gather(characters.starts, positions),
            ends=tf.gather(characters.ends, positions),
        )
