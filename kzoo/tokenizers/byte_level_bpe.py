"""Byte-level BPE, GPT-2's tokenizer."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tokenizers import unicode_tables as tables
from kzoo.tokenizers.byte_alphabet import ALPHABET, bytes_of, has_bytes
from kzoo.tokenizers.characters import (
    Characters,
    Pieces,
    Words,
    encode_words,
    exclusive_sums,
    positions_of,
    ranges,
    spread,
)
from kzoo.tokenizers.gpt2_words import GPT2Words
from kzoo.tokenizers.sentencepiece_model import bpe_model, spell
from kzoo.tokenizers.sentencepiece_op import sentencepiece_tokenizer_of
from kzoo.tokenizers.tokenizer import CPU, Tokenizer
from kzoo.tokenizers.vocabulary import Vocabulary


class ByteLevelBPE(Tokenizer):
    """GPT-2's words, whose bytes merge in the order that was learned; exact against ``tokenizers``.

    Most words of a text are tokens themselves: they are looked up. The rest goes, each word once, through the
    SentencePiece op, whose BPE merges the neighbours of the best score: here a merge's rank.

    Args:
        vocabulary: the model's tokens by id, their bytes written in GPT-2's printable alphabet.
        merges: pairs of tokens, in the order in which they merge.
        kwargs: see ``Tokenizer``.
    """

    def __init__(self, vocabulary: Vocabulary, merges: Sequence[tuple[str, str]], **kwargs):
        super().__init__(vocabulary, **kwargs)
        self._split_words = GPT2Words()
        ranks = {"".join(pair): rank for rank, pair in reversed(list(enumerate(merges)))}
        scores = {token: 0.0 for token, _ in vocabulary.items() if has_bytes(token) and len(token) == 1}
        scores |= {token: -float(rank) for token, rank in ranks.items()}
        _check(vocabulary, merges, scores)
        tokens = list(scores)
        self._piece_ids = np.array([-1, *map(vocabulary.id_of, tokens)], np.int32)
        with tf.init_scope(), tf.device(CPU):
            self._merge = sentencepiece_tokenizer_of(bpe_model((bytes_of(token), scores[token]) for token in tokens))
            words = [(text, vocabulary.id_of(t)) for t in tokens if (text := _utf8(bytes_of(t))) is not None]
            self._words = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant([word for word, _ in words]), tf.constant([id for _, id in words], tf.int32)
                ),
                default_value=-1,
            )
        spelled = [b""] * self.vocabulary_size
        for token, id in self.vocabulary.items():
            spelled[id] = bytes_of(token) if has_bytes(token) else token.encode()
        self._bytes = np.array(spelled, object)
        self._lengths = np.array([len(b) for b in spelled], np.int64)

    def _split(self, characters: Characters) -> tuple[Characters, Words]:
        return characters, self._split_words(characters)

    def _pieces(self, characters: Characters, words: Words) -> Pieces:
        code_points = characters.code_points
        strings = encode_words(code_points, words)
        symbol = tf.gather(code_points, words.starts) >= tables.NUM_CODE_POINTS
        ids = tf.where(symbol, -1, self._words.lookup(strings))  # [W], -1: not a token
        missing = positions_of((ids < 0) & ~symbol)
        unique, number = tf.unique(tf.gather(strings, missing), out_idx=tf.int64)
        merged = self._merge.tokenize(spell(unique))
        merged_splits = tf.cast(merged.row_splits, tf.int64)
        first, end = tf.gather(merged_splits, number), tf.gather(merged_splits, number + 1)
        merged_ids = tf.gather(tf.constant(self._piece_ids), tf.gather(merged.values, ranges(first, end)))
        inside = ranges(tf.gather(words.starts, missing), tf.gather(words.ends, missing))
        merged_starts, merged_ends = self._spans(code_points, inside, merged_ids)
        # Looked-up words, one piece each, then the pieces of the merged ones: bring them into the order of the text.
        size, place = tf.size(ids, tf.int64), missing[:, tf.newaxis]
        counts = tf.tensor_scatter_nd_update(tf.ones([size], tf.int64), place, end - first)
        begins = tf.tensor_scatter_nd_update(tf.range(size), place, size + tf.cumsum(end - first, exclusive=True))
        splits = exclusive_sums(counts)
        order = spread(begins - splits[:-1], splits) + tf.range(splits[-1])
        return Pieces(
            tf.gather(tf.concat([tf.maximum(ids, 0), merged_ids], 0), order),
            tf.gather(tf.concat([words.starts, merged_starts], 0), order),
            tf.gather(tf.concat([words.ends, merged_ends], 0), order),
            splits,
        )

    def _spans(self, code_points: tf.Tensor, characters: tf.Tensor, ids: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """The characters of pieces, given the positions of the characters whose bytes the pieces tile."""
        code_points = tf.gather(code_points, characters)
        widths = 1 + sum(tf.cast(code_points >= wide, tf.int64) for wide in (0x80, 0x800, 0x10000))
        character_of_byte = spread(characters, exclusive_sums(widths))
        lengths = tf.gather(tf.constant(self._lengths), ids)
        ends = tf.cumsum(lengths)
        return tf.gather(character_of_byte, ends - lengths), tf.gather(character_of_byte, ends - 1) + 1

    def _join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return tf.strings.reduce_join(tf.gather(tf.constant(self._bytes), ids), axis=-1)


def _utf8(spelled: bytes) -> str | None:
    try:
        return spelled.decode()
    except UnicodeDecodeError:
        return None


def _check(vocabulary: Vocabulary, merges: Sequence[tuple[str, str]], pieces: Mapping[str, float]) -> None:
    """Raises where merging by pairs and merging by what the pair makes could differ, or a byte could be unknown."""
    import tokenizers

    if missing := [token for token in pieces if token not in vocabulary]:
        raise UserError(f"Every merge makes a token of the vocabulary. Received none for {missing[0]!r}.")
    if missing := sorted(ALPHABET - pieces.keys()):
        raise UserError(f"A byte-level vocabulary has a token for each byte. Received none for {missing[0]!r}.")
    model = tokenizers.models.BPE(vocab=dict(vocabulary.items()), merges=list(merges))
    for token in pieces:
        if len(model.tokenize(token)) != 1:
            raise UserError(f"The merges must make each token that they name. Received merges that split {token!r}.")
