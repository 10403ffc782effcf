"""Replaces each character by none, one or several, in the graph."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kzoo.tokenizers import unicode_tables as tables
from kzoo.tokenizers.characters import Characters, exclusive_sums, keep, owners, take

_REMOVED = 1 << 28
_EXPANDED = 1 << 29  # plus the number of the expansion


class CharacterMap(tf.Module):
    """A table from code points to values: usually one, for some code points none or several.

    Args:
        values: int32 [0x110000], each below 2 ** 28: the value of a code point that has one.
        images: the values of the others. An image of one value is as good as an entry of ``values``.
    """

    def __init__(self, values: np.ndarray, images: Mapping[int, Sequence[int]], *, name: str | None = None):
        super().__init__(name=name)
        values = values.astype(np.int32)
        expansions: list[int] = []
        starts = [0]
        for code_point, image in images.items():
            if len(image) == 1:
                values[code_point] = image[0]
            elif not image:
                values[code_point] = _REMOVED
            else:
                values[code_point] = _EXPANDED + len(starts) - 1
                expansions += image
                starts.append(len(expansions))
        self._values = tables.CodePointTable(values)
        self._expansions = np.array(expansions or [0], np.int32)
        self._expansion_starts = np.array(starts, np.int64)

    def look_up(self, code_points: tf.Tensor) -> tf.Tensor:
        """Code points -> what ``resolve`` takes."""
        return self._values(code_points)

    def resolve(self, characters: Characters, found: tf.Tensor) -> tuple[Characters, tf.Tensor]:
        """Characters [N] and what was looked up for them -> characters they became [N'], int32 values [N'].

        The code points of what comes back are those before the mapping. Nothing is copied where nothing is removed or
        expanded.
        """
        characters, found = tf.cond(
            tf.reduce_max(found) >= _EXPANDED, lambda: self._expand(characters, found), lambda: (characters, found)
        )

        def remove():
            mask = found < _REMOVED
            return keep(characters, mask), tf.boolean_mask(found, mask)

        return tf.cond(tf.reduce_max(found) >= _REMOVED, remove, lambda: (characters, found))

    def _expand(self, characters: Characters, found: tf.Tensor) -> tuple[Characters, tf.Tensor]:
        starts = tf.constant(self._expansion_starts)
        expanded = found >= _EXPANDED
        numbers = tf.where(expanded, found - _EXPANDED, 0)
        first = tf.gather(starts, numbers)
        splits = exclusive_sums(tf.where(expanded, tf.gather(starts, numbers + 1) - first, 1))
        owner = owners(splits)
        inside = tf.range(splits[-1]) - tf.gather(splits, owner)
        expanded = tf.gather(expanded, owner)
        indices = tf.where(expanded, tf.gather(first, owner) + inside, 0)
        values = tf.where(expanded, tf.gather(tf.constant(self._expansions), indices), tf.gather(found, owner))
        return take(characters, owner), values
