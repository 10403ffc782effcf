"""Byte-level BPE, the tokenizer of GPT-2 and of many after it."""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from kzoo.tokenizers.characters import (
    Characters,
    Pieces,
    Words,
    encode_words,
    exclusive_sums,
    joined,
    positions_of,
    ranges,
    spread,
)
from kzoo.tokenizers.pieces.byte_alphabet import bytes_of, has_bytes
from kzoo.tokenizers.pieces.byte_level_merges import merge_order
from kzoo.tokenizers.pieces.sentencepiece_model import bpe_model, latin1, spell
from kzoo.tokenizers.pieces.sentencepiece_op import sentencepiece_tokenizer_of
from kzoo.tokenizers.tokenizer import CPU, Placed, Tokenizer, shared_constant
from kzoo.tokenizers.unicode import tables as tables
from kzoo.tokenizers.unicode.canonical_composition import CanonicalComposition
from kzoo.tokenizers.vocabulary import Vocabulary
from kzoo.tokenizers.words.byte_level_words import ByteLevelWords, Step
from kzoo.tokenizers.words.gpt2_words import GPT2Words

_SPACE = "\u0120"  # how the byte of a space is written


class ByteLevelBPE(Tokenizer):
    """Words whose bytes merge in the order that was learned: GPT-2's kind; exact against ``tokenizers``.

    Most words of a text are tokens themselves: they are looked up. The rest goes, each word once, through the
    SentencePiece op, whose BPE merges the neighbours of the best score: here a merge's rank.

    Args:
        vocabulary: the model's tokens by id, their bytes written in GPT-2's printable alphabet.
        merges: pairs of tokens, in the order in which they merge.
        steps: how a text is split into words; GPT-2's words if None.
        compose: whether the text is put into Unicode's composed form (NFC) first.
        ignore_merges: whether a word that is a token stays one, even if the merges would make other tokens of it.
        trim_offsets: for each step that leaves spaces out of offsets, whether it expects a space put before each text.
        kwargs: see ``Tokenizer``.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        merges: Sequence[tuple[str, str]],
        *,
        steps: Sequence[Step] | None = None,
        compose: bool = False,
        ignore_merges: bool = False,
        trim_offsets: Sequence[bool] = (),
        **kwargs,
    ):
        normalize = None
        if compose:
            import tokenizers

            normalize = tokenizers.normalizers.NFC().normalize_str
        super().__init__(vocabulary, normalize=normalize, **kwargs)
        self._compose = CanonicalComposition() if compose else None
        self._split_words = ByteLevelWords([GPT2Words()] if steps is None else steps)
        self._trims = tuple(trim_offsets)
        order = merge_order(vocabulary, merges)
        tokens = list(order.scores)
        # A byte that is no token, as rare ones are in SmolLM2's vocabulary, is left out of its word.
        single = {bytes_of(token) for token in tokens}
        known = np.array([bytes([byte]) in single for byte in range(256)])
        self._known_bytes = None if known.all() else known
        self._piece_ids = np.array([-1, *map(vocabulary.id_of, tokens)], np.int32)
        whole = [token for token, _ in vocabulary.items() if has_bytes(token)] if ignore_merges else order.whole
        with tf.init_scope(), tf.device(CPU):
            pieces = ((bytes_of(token), score) for token, score in order.scores.items())
            self._merge = sentencepiece_tokenizer_of(bpe_model(pieces))
            words = [(text, vocabulary.id_of(t)) for t in whole if (text := _utf8(bytes_of(t))) is not None]
            self._words = tf.lookup.StaticHashTable(
                tf.lookup.KeyValueTensorInitializer(
                    tf.constant([word for word, _ in words]), tf.constant([id for _, id in words], tf.int32)
                ),
                default_value=-1,
            )
        spelled = [b""] * self.vocabulary_size
        for token, id in self._written():
            spelled[id] = bytes_of(token) if has_bytes(token) else token.encode()
        self._bytes = np.array(spelled, object)
        self._strings = shared_constant(self._bytes)
        self._lengths = np.array([len(b) for b in spelled], np.int64)
        self._units = np.array([sum(1 if 33 <= byte <= 126 else 2 for byte in b) for b in spelled], np.int64)
        if self._trims:
            written = [""] * self.vocabulary_size
            for token, id in self.vocabulary.items():
                written[id] = token.replace(_SPACE, " ")
            self._leading = np.array([len(token) - len(token.lstrip(" ")) for token in written], np.int32)
            self._trailing = np.array([len(token) - len(token.rstrip(" ")) for token in written], np.int32)
            self._white = tables.CodePointTable(tables.properties() & tables.SPACE > 0)

    def _normalize(self, characters: Characters) -> Characters:
        return characters if self._compose is None else self._compose(characters)

    def _split(self, characters: Characters) -> tuple[Characters, Words]:
        return self._split_words(characters)

    def _trim(self, tokens: Placed, decoded: Characters) -> tuple[tf.Tensor, tf.Tensor]:
        starts, ends = tokens.starts - tokens.row_starts, tokens.ends - tokens.row_starts
        if not self._trims:
            return tokens.starts, tokens.ends
        leading, trailing = self._white_space(tokens, decoded)
        size = tf.size(tokens.ids, tf.int64)
        firsts = tf.minimum(tokens.row_splits[:-1], tf.maximum(size - 1, 0))
        firsts = tf.boolean_mask(firsts, tokens.row_splits[1:] > tokens.row_splits[:-1])[:, tf.newaxis]
        is_first = tf.scatter_nd(firsts, tf.ones_like(firsts[:, 0], tf.bool), [size])
        for prefixed in self._trims:
            # One space before a text may have been put there and is left; of several, none was.
            kept = tf.cast((is_first | (starts == 0)) & (leading == 1), tf.int32) if prefixed else 0
            starts = tf.minimum(starts + leading - kept, ends)
            ends = tf.where(ends >= trailing, tf.maximum(ends - trailing, starts), ends)
        return starts + tokens.row_starts, ends + tokens.row_starts

    def _white_space(self, tokens: Placed, decoded: Characters) -> tuple[tf.Tensor, tf.Tensor]:
        """How many spaces each token begins and ends with, int32 [P]; of an added token, white space that it took."""
        leading = tf.gather(tf.constant(self._leading), tokens.ids)
        trailing = tf.gather(tf.constant(self._trailing), tokens.ids)
        added = positions_of(tokens.is_added)

        def look():
            solid = tf.cast(positions_of(~self._white(decoded.code_points)), tf.int32)
            beyond = tf.size(decoded.code_points)
            starts, ends = tf.gather(tokens.starts, added), tf.gather(tokens.ends, added)
            after = tf.gather(tf.concat([solid, [beyond]], 0), tf.searchsorted(solid, starts))
            before = tf.gather(tf.concat([[-1], solid], 0), tf.searchsorted(solid, ends)) + 1
            place = added[:, tf.newaxis]
            return (
                tf.tensor_scatter_nd_update(leading, place, tf.minimum(after, ends) - starts),
                tf.tensor_scatter_nd_update(trailing, place, ends - tf.maximum(before, starts)),
            )

        return tf.cond(tf.size(added) > 0, look, lambda: (leading, trailing))

    def _pieces(self, characters: Characters, words: Words) -> Pieces:
        code_points = characters.code_points
        strings = encode_words(code_points, words)
        symbol = tf.gather(code_points, words.starts) >= tables.NUM_CODE_POINTS
        ids = tf.where(symbol, -1, self._words.lookup(strings))  # [W], -1: not a token
        missing = positions_of((ids < 0) & ~symbol)
        unique, number = tf.unique(tf.gather(strings, missing), out_idx=tf.int64)
        merged = self._merge.tokenize(spell(unique, self._known_bytes))
        merged_splits = tf.cast(merged.row_splits, tf.int64)
        first, end = tf.gather(merged_splits, number), tf.gather(merged_splits, number + 1)
        merged_ids = tf.gather(tf.constant(self._piece_ids), tf.gather(merged.values, ranges(first, end)))
        inside = ranges(tf.gather(words.starts, missing), tf.gather(words.ends, missing))
        if self._known_bytes is None:
            merged_starts, merged_ends = self._spans(code_points, inside, merged_ids)
        else:
            words_of_bytes = tf.gather(strings, missing)
            merged_starts, merged_ends = self._spans_with_gaps(code_points, inside, merged_ids, words_of_bytes)
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
        lengths = tf.gather(tf.constant(self._lengths), ids)
        return _tiled(_character_of_byte(code_points, characters), lengths)

    def _spans_with_gaps(
        self, code_points: tf.Tensor, characters: tf.Tensor, ids: tf.Tensor, strings: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The same where some bytes of the words, given as strings, are no tokens and have no piece.

        As ``tokenizers`` counts: the other pieces of the word move up, by the length of what a byte is written as.
        """
        decoded = latin1(strings)
        wide = (decoded.char_values < ord("!")) | (decoded.char_values > ord("~"))  # takes two bytes in the alphabet
        units = 1 + tf.cast(wide, tf.int64)
        known = tf.where(tf.gather(tf.constant(self._known_bytes), decoded.char_values), units, 0)
        splits = tf.cast(decoded.row_splits, tf.int64)
        unit_sums, known_sums = exclusive_sums(units), exclusive_sums(known)
        word_splits = tf.gather(unit_sums, splits)
        counts = tf.gather(known_sums, splits[1:]) - tf.gather(known_sums, splits[:-1])
        inside = tf.range(word_splits[-1]) - spread(word_splits[:-1], word_splits)
        of_unit = spread(_character_of_byte(code_points, characters), unit_sums)
        of_unit = tf.boolean_mask(of_unit, inside < spread(counts, word_splits))
        return _tiled(of_unit, tf.gather(tf.constant(self._units), ids))

    def _spellings(self):
        return self._bytes, self._bytes

    def _join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return joined(tf.gather(self._strings, ids))


def _character_of_byte(code_points: tf.Tensor, characters: tf.Tensor) -> tf.Tensor:
    """The position of the character that each byte of the characters at these positions is of."""
    code_points = tf.gather(code_points, characters)
    widths = 1 + sum(tf.cast(code_points >= wide, tf.int64) for wide in (0x80, 0x800, 0x10000))
    return spread(characters, exclusive_sums(widths))


def _tiled(characters: tf.Tensor, lengths: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The first of the characters and the end, of pieces of so many bytes that stand one after the other."""
    ends = tf.cumsum(lengths)
    return tf.gather(characters, ends - lengths), tf.gather(characters, ends - 1) + 1


def _utf8(spelled: bytes) -> str | None:
    try:
        return spelled.decode()
    except UnicodeDecodeError:
        return None
