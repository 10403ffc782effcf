"""Finds added tokens, special ones such as ``[SEP]`` and others, in the raw text before anything else looks at it."""

import dataclasses
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kzoo.tokenizers import unicode_tables
from kzoo.tokenizers.characters import Characters, keep, positions_of


@dataclasses.dataclass(frozen=True)
class AddedToken:
    """A token that stands beside a model's own: found where it is written out, whatever is around it.

    Args:
        content: what is written.
        id: its id, which may be that of a token of the model.
        special: left out by ``detokenize``, and ordinary text to a tokenizer without ``special_tokens_in_text``.
    """

    content: str
    id: int
    special: bool = True


class AddedTokenMatcher(tf.Module):
    """Replaces every literal occurrence of one of the tokens by one symbol: code point 0x110000 + the token's number.

    The leftmost match wins, of those the longest, as in ``tokenizers``. A trie is walked from all candidates at once.
    """

    def __init__(self, tokens: Sequence[str], *, name: str | None = None):
        super().__init__(name=name)
        alphabet = sorted({ord(c) for token in tokens for c in token})
        columns = {code_point: column for column, code_point in enumerate(alphabet, start=1)}
        classes = np.zeros(unicode_tables.NUM_CODE_POINTS, np.int32)  # column 0: a character of no added token
        classes[alphabet] = np.arange(1, len(alphabet) + 1)
        self._classes = unicode_tables.CodePointTable(classes)
        self._first = np.array(sorted({ord(token[0]) for token in tokens}), np.int32)
        self._longest = max(map(len, tokens))
        rows = [[0] * (len(alphabet) + 1), [0] * (len(alphabet) + 1)]  # state 0: no match any more; state 1: the root
        accepted = [-1, -1]
        for number, token in enumerate(tokens):
            state = 1
            for c in token:
                column = columns[ord(c)]
                if not rows[state][column]:
                    rows[state][column] = len(rows)
                    rows.append([0] * (len(alphabet) + 1))
                    accepted.append(-1)
                state = rows[state][column]
            accepted[state] = number
        self._transitions = np.array(rows, np.int32)
        self._accepted = np.array(accepted, np.int32)

    def __call__(self, characters: Characters) -> Characters:
        """Characters as decoded -> characters with symbols; the same when no token is written in them."""
        code_points = characters.code_points
        possible = tf.zeros_like(code_points, tf.bool)
        for first in self._first:
            possible |= code_points == first

        def replace():
            matches = self._matches(characters, positions_of(possible))
            return tf.cond(tf.size(matches[0]) > 0, lambda: _replace(characters, *matches), lambda: characters)

        return tf.cond(tf.reduce_any(possible), replace, lambda: characters)

    def _matches(self, characters: Characters, candidates: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The longest match at each candidate position: its start, its length (int64 [M]), its number (int32 [M])."""
        code_points, row_splits = characters.code_points, characters.row_splits
        rows = tf.searchsorted(row_splits, candidates, side="right")
        limits = tf.gather(row_splits, rows)
        transitions, accepted = tf.constant(self._transitions), tf.constant(self._accepted)
        last = tf.maximum(tf.size(code_points, tf.int64) - 1, 0)

        def step(i, states, lengths, numbers):
            positions = candidates + i
            symbols = tf.gather(code_points, tf.minimum(positions, last))
            columns = tf.where(positions < limits, self._classes(symbols), 0)
            states = tf.gather_nd(transitions, tf.stack([states, columns], 1))
            found = tf.gather(accepted, states)
            hit = found >= 0
            return i + 1, states, tf.where(hit, i + 1, lengths), tf.where(hit, found, numbers)

        zeros = tf.zeros_like(candidates)
        _, _, lengths, numbers = tf.while_loop(
            lambda i, states, *_: (i < self._longest) & tf.reduce_any(states > 0),
            step,
            (tf.constant(0, tf.int64), tf.ones_like(zeros, tf.int32), zeros, tf.fill(tf.shape(zeros), -1)),
        )
        matched = positions_of(numbers >= 0)
        return tf.gather(candidates, matched), tf.gather(lengths, matched), tf.gather(numbers, matched)


def _replace(characters: Characters, starts: tf.Tensor, lengths: tf.Tensor, numbers: tf.Tensor) -> Characters:
    """Characters in which each match, its start and length int64 [M] and its number int32 [M], is one symbol."""
    chosen = _without_overlaps(starts, lengths)
    starts, lengths, numbers = (tf.gather(x, chosen) for x in (starts, lengths, numbers))
    # A match becomes one character: its first; the others are left out.
    size = tf.size(characters.code_points, tf.int64)
    marks = tf.zeros([size + 1], tf.int32)
    marks = tf.tensor_scatter_nd_add(marks, starts[:, tf.newaxis] + 1, tf.ones_like(numbers))
    marks = tf.tensor_scatter_nd_sub(marks, (starts + lengths)[:, tf.newaxis], tf.ones_like(numbers))
    code_points = tf.tensor_scatter_nd_update(
        characters.code_points, starts[:, tf.newaxis], numbers + unicode_tables.NUM_CODE_POINTS
    )
    ends = tf.tensor_scatter_nd_update(
        characters.ends, starts[:, tf.newaxis], tf.gather(characters.ends, starts + lengths - 1)
    )
    return keep(characters._replace(code_points=code_points, ends=ends), tf.cumsum(marks)[:size] == 0)


def _without_overlaps(starts: tf.Tensor, lengths: tf.Tensor) -> tf.Tensor:
    """Indices of the matches that remain when each one, from the left, forbids those that begin inside it.

    The successor of a match is the first that begins at or after its end; which ones are reached from the first is
    found by doubling the length of the jumps.
    """
    count = tf.size(starts, tf.int64)
    ends = starts + lengths
    successors = tf.concat([tf.searchsorted(starts, ends, out_type=tf.int64), tf.reshape(count, [1])], 0)
    reached = tf.concat([tf.ones([1], tf.bool), tf.zeros([count], tf.bool)], 0)  # [M + 1]: the last one is the end

    def double(reached, jumps):
        marked = tf.where(reached)
        reached = tf.tensor_scatter_nd_update(reached, tf.gather(jumps, marked), tf.ones_like(marked[:, 0], tf.bool))
        return reached, tf.gather(jumps, jumps)

    reached, _ = tf.while_loop(lambda _, jumps: tf.reduce_any(jumps[:1] < count), double, (reached, successors))
    # The loop stops when so many jumps from the first match leave the text: no more matches than that are reached.
    return positions_of(reached[:count])
