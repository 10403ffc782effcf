"""WordPiece, BERT's tokenizer."""

import numpy as np
import tensorflow as tf
import tensorflow_text

from kzoo.errors import UserError
from kzoo.tokenizers.characters import Characters, Pieces, Words, encode_words, joined, positions_of, spread
from kzoo.tokenizers.normalizers.bert_normalizer import BertNormalizer
from kzoo.tokenizers.tokenizer import CPU, Tokenizer, shared_constant
from kzoo.tokenizers.vocabulary import Vocabulary
from kzoo.tokenizers.words.bert_words import bert_words

_CLEANED = {" .": ".", " ?": "?", " !": "!", " ,": ",", " ' ": "'", " n't": "n't", " 'm": "'m", " do not": " don't"}
_CLEANED |= {" 's": "'s", " 've": "'ve", " 're": "'re"}


class WordPiece(Tokenizer):
    """BERT's normalization and words, then the longest pieces from the left of each word; exact against ``tokenizers``.

    Args:
        vocabulary: the model's tokens by id.
        unknown_token: what a word becomes that pieces cannot spell, or that is too long.
        prefix: what pieces inside of a word begin with in the vocabulary.
        max_word_length: words of more characters are unknown.
        clean_text, handle_chinese_chars, strip_accents, lowercase: see ``BertNormalizer``.
        cleanup: whether ``detokenize`` joins punctuation and English contractions to what stands before.
        kwargs: see ``Tokenizer``.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        unknown_token: str = "[UNK]",
        prefix: str = "##",
        max_word_length: int = 100,
        clean_text: bool = True,
        handle_chinese_chars: bool = True,
        strip_accents: bool | None = None,
        lowercase: bool = True,
        cleanup: bool = True,
        **kwargs,
    ):
        def normalize(content: str) -> str:
            import tokenizers

            normalizer = tokenizers.normalizers.BertNormalizer(
                clean_text, handle_chinese_chars, strip_accents, lowercase
            )
            normalized = normalizer.normalize_str(content)
            if normalized != normalized.strip():
                raise UserError(
                    "A normalized added token begins and ends with a character that stands close to the next. Received "
                    f"{content!r}."
                )
            return normalized

        stripping = [
            t for t in kwargs.get("added_tokens", ()) if t.normalized and (t.lstrip or t.rstrip or t.single_word)
        ]
        if stripping:
            raise UserError(
                "A normalized added token of a WordPiece vocabulary is found whatever stands around it. Received "
                f"{stripping[0]}."
            )

        super().__init__(vocabulary, normalize=normalize, **kwargs)
        if unknown_token not in vocabulary:
            raise UserError(f"A WordPiece vocabulary holds its unknown token. Received none named {unknown_token!r}.")
        self._max_word_length = max_word_length
        self._bert = BertNormalizer(
            clean_text=clean_text,
            handle_chinese_chars=handle_chinese_chars,
            strip_accents=strip_accents,
            lowercase=lowercase,
        )
        tokens, ids = zip(*vocabulary.items(), strict=True)
        self._ids = None if ids == tuple(range(len(ids))) else np.array(ids, np.int32)
        self._unknown = tokens.index(unknown_token)
        self._lengths = np.array([len(t.removeprefix(prefix)) for t in tokens], np.int64)  # in characters
        self._unspeakable = "x" * (4 * max_word_length + 1)  # too long for the op: unknown
        with tf.init_scope(), tf.device(CPU):
            self._spell = tensorflow_text.FastWordpieceTokenizer(
                vocab=list(tokens),
                suffix_indicator=prefix,
                max_bytes_per_word=4 * max_word_length,
                token_out_type=tf.int32,
                unknown_token=unknown_token,
                no_pretokenization=True,
            )
        clean = _clean if cleanup else str
        first, later = [""] * self.vocabulary_size, [""] * self.vocabulary_size
        for token, id in self._written():
            first[id] = clean(token)
            later[id] = clean(token.removeprefix(prefix) if token.startswith(prefix) else " " + token)
        self._joined = np.array([first, later])
        self._strings = shared_constant(self._joined)

    def _normalize(self, characters: Characters) -> Characters:
        # What was normalized before is left alone by ``_split``, so it is done twice only where somebody looks between.
        return characters if self._normalized_matcher is None else self._bert(characters)[0]

    def _split(self, characters: Characters) -> tuple[Characters, Words]:
        return bert_words(*self._bert(characters))

    def _pieces(self, characters: Characters, words: Words) -> Pieces:
        too_long = words.ends - words.starts > self._max_word_length
        strings = encode_words(characters.code_points, words)
        strings = tf.cond(
            tf.reduce_any(too_long), lambda: tf.where(too_long, self._unspeakable, strings), lambda: strings
        )
        ragged, _, _ = self._spell.tokenize_with_offsets(strings)
        numbers, splits = ragged.values, tf.cast(ragged.row_splits, tf.int64)
        # Pieces tile the characters of a word; but the unknown token, alone in its word, has that word's length.
        lengths = tf.gather(tf.constant(self._lengths), numbers)
        word_lengths = words.ends - words.starts
        is_unknown = (tf.gather(numbers, splits[:-1]) == self._unknown) & (splits[1:] - splits[:-1] == 1)
        unknown = positions_of(is_unknown)
        lengths = tf.tensor_scatter_nd_update(
            lengths, tf.gather(splits, unknown)[:, tf.newaxis], tf.gather(word_lengths, unknown)
        )
        gaps = spread(words.starts - tf.cumsum(word_lengths, exclusive=True), splits)
        ends = tf.cumsum(lengths) + gaps
        found = numbers if self._ids is None else tf.gather(tf.constant(self._ids), numbers)
        return Pieces(found, ends - lengths, ends, splits)

    def _spellings(self):
        first, later = ([text.encode() for text in texts] for texts in self._joined)
        return first, later

    def _join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        is_later = tf.ones_like(ids.values)
        firsts = tf.boolean_mask(ids.row_splits[:-1], ids.row_lengths() > 0)[:, tf.newaxis]
        is_later = tf.tensor_scatter_nd_update(is_later, firsts, tf.zeros_like(firsts[:, 0], is_later.dtype))
        strings = tf.gather_nd(self._strings, tf.stack([is_later, ids.values], 1))
        return joined(ids.with_values(strings))


def _clean(token: str) -> str:
    for before, after in _CLEANED.items():
        token = token.replace(before, after)
    return token
