"""Which tokens begin a word, and the words that tokens make."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.tasks.masking import continues_words
from kzoo.tokenizers import Tokenizer, WordPiece
from kzoo.tokenizers.characters import decode, positions_of
from kzoo.tokenizers.unicode import tables

# B texts, N tokens of all texts, U words of all texts

_SPACE, _ALONE = 1, 2


class Words(NamedTuple):
    """Words of several texts, one after the other.

    Attributes:
        row: the text that a word is of, int32 ``[U]``.
        starts: int32 ``[U]``, in code points of its text.
        ends: int32 ``[U]``, exclusive.
        places: where its first token stands among all tokens, int64 ``[U]``.
        of_token: the word that each of the real tokens is of, int32 ``[M]``.
        tokens: where these stand among all tokens, int64 ``[M]``.
    """

    row: tf.Tensor
    starts: tf.Tensor
    ends: tf.Tensor
    places: tf.Tensor
    of_token: tf.Tensor
    tokens: tf.Tensor


class WordMarks:
    """Marks the tokens that begin a word, and takes the white space from their offsets.

    Words are BERT's: they stand between white space, and a punctuation mark or a CJK character is a word by itself.
    WordPiece says by its tokens which go on with a word (``##``); with other tokenizers the characters say it, so that
    a word and the full stop behind it are two, where ``transformers`` makes them one.

    Args:
        tokenizer: whose tokens are marked.
        all_tokens: True: each token counts as a word.
    """

    def __init__(self, tokenizer: Tokenizer, *, all_tokens: bool = False):
        properties = tables.properties()
        kinds = np.zeros(tables.NUM_CODE_POINTS, np.int32)
        kinds[properties & (tables.PUNCTUATION | tables.CJK) > 0] = _ALONE
        kinds[properties & tables.SPACE > 0] = _SPACE
        self._kinds = tables.CodePointTable(kinds)
        self._all_tokens = all_tokens
        self._continues = continues_words(tokenizer) if isinstance(tokenizer, WordPiece) else None

    def __call__(self, texts: tf.Tensor, tokens) -> tuple[tf.RaggedTensor, tf.RaggedTensor, tf.RaggedTensor]:
        """From texts ``[B]`` and their ``Tokens`` to starts, ends and marks, ragged int32 ``[B, None]``.

        Starts and ends leave white space out; a token of nothing else has equal ones, and no mark.
        """
        characters = decode(texts)
        kinds = self._kinds(characters.code_points)
        size = tf.size(kinds)
        row_start = tf.repeat(
            tf.cast(characters.row_splits[:-1], tf.int32), tf.cast(tokens.ids.row_lengths(), tf.int32)
        )  # [N]
        starts, ends = tokens.starts.flat_values + row_start, tokens.ends.flat_values + row_start
        solid = tf.concat([tf.cast(positions_of(kinds != _SPACE), tf.int32), [size]], 0)
        first = tf.gather(solid, tf.searchsorted(solid, starts))
        last = tf.gather(tf.concat([[-1], solid], 0), tf.searchsorted(solid, ends)) + 1
        starts, ends = tf.where(first < last, first, starts), tf.where(first < last, last, starts)
        is_real = ends > starts
        begins = (
            is_real if self._all_tokens else is_real & self._begins(tokens.ids.flat_values, starts, row_start, kinds)
        )
        values = (starts - row_start, ends - row_start, tf.cast(begins, tf.int32))
        starts, ends, marks = (tokens.ids.with_flat_values(one) for one in values)
        return starts, ends, marks

    def _begins(self, ids, starts, row_start, kinds) -> tf.Tensor:
        if self._continues is not None:
            return tf.logical_not(tf.gather(tf.constant(self._continues), ids))
        padded = tf.concat([kinds, [_SPACE]], 0)  # a start may stand behind the last character
        here, before = tf.gather(padded, starts), tf.gather(padded, tf.maximum(starts - 1, 0))
        parted = (starts == row_start) | (here == _ALONE) | (before != 0)
        previous = tf.concat([[-1], starts[:-1]], 0)
        return parted & (starts != previous)  # tokens that share a character are of one word


def words(row: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor, marks: tf.Tensor) -> Words:
    """The words that tokens make.

    Args:
        row: the text of each token, ascending int32 ``[N]``.
        starts: int32 ``[N]``, as ``WordMarks`` gives them.
        ends: likewise.
        marks: likewise; the first real token of a text begins a word in any case.
    """
    real = positions_of(ends > starts)
    row, starts, ends, marks = (tf.gather(one, real) for one in (row, starts, ends, marks))
    is_new_row = row != tf.concat([[-1], row[:-1]], 0)
    begins = (marks > 0) | is_new_row
    of_token = tf.cumsum(tf.cast(begins, tf.int32)) - 1
    firsts = positions_of(begins)
    return Words(
        row=tf.gather(row, firsts),
        starts=tf.gather(starts, firsts),
        ends=tf.math.segment_max(ends, of_token),
        places=tf.gather(real, firsts),
        of_token=of_token,
        tokens=real,
    )


class Aligned(NamedTuple):
    """What words have to do with entities; all ``[U]``.

    Attributes:
        entity: number of the entity that a word is of, int32; -1 where it is of none.
        is_first: whether it is the entity's first word.
        is_last: whether it is the last.
    """

    entity: tf.Tensor
    is_first: tf.Tensor
    is_last: tf.Tensor


def align(found: Words, row: tf.Tensor, starts: tf.Tensor, ends: tf.Tensor) -> Aligned:
    """Finds the entity of each word: the first one of which it holds a character.

    Args:
        found: the words.
        row: the text of each entity, ascending integers ``[E]``.
        starts: of entities, ascending in each text and without overlap ``[E]``.
        ends: likewise, exclusive.
    """
    row = tf.cast(row, tf.int32)
    number = tf.size(row)
    keys = tf.concat([_key(row, ends), [tf.int64.max]], 0)
    behind = tf.searchsorted(keys, _key(found.row, found.starts), side="right")  # the first that ends later
    padded = [tf.concat([tf.cast(one, tf.int32), [-1]], 0) for one in (row, starts)]
    its_row, its_start = (tf.gather(one, behind) for one in padded)
    holds = (behind < number) & (its_row == found.row) & (its_start < found.ends)
    entity = tf.where(holds, behind, -1)
    before, after = tf.concat([[-1], entity[:-1]], 0), tf.concat([entity[1:], [-1]], 0)
    return Aligned(entity, holds & (before != entity), holds & (after != entity))


def _key(row, offset) -> tf.Tensor:
    """A number that orders places of all texts."""
    return tf.bitwise.left_shift(tf.cast(row, tf.int64), 40) + tf.cast(offset, tf.int64)
