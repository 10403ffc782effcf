"""What every tokenizer is: text to token ids with offsets, and back, inside the graph."""

import functools
import pathlib
import types
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tokenizers.added_tokens import AddedToken, AddedTokenMatcher
from kzoo.tokenizers.characters import Characters, Pieces, Words, decode, positions_of, spread
from kzoo.tokenizers.template import Template
from kzoo.tokenizers.unicode import tables as tables
from kzoo.tokenizers.vocabulary import Vocabulary

CPU = "/device:CPU:0"  # strings live there: integers that went to a GPU in between would only travel

_NO_TOKEN, _SPECIAL, _ORDINARY = range(3)  # kinds of ids


class Tokens(NamedTuple):
    """Token ids and where they stand in the text, ragged int32 [B, None], all with the same row splits.

    Offsets count Unicode code points of the text (of the text after replacement, where it is not valid UTF-8); the end
    is exclusive. Tokens that share a character, each having some of its bytes, all have that character's offsets.
    """

    ids: tf.RaggedTensor
    starts: tf.RaggedTensor
    ends: tf.RaggedTensor


class Placed(NamedTuple):
    """Tokens of all texts, P of them, and where they stand."""

    ids: tf.Tensor  # int32 [P]
    is_added: tf.Tensor  # bool [P], whether an added token was found in the text
    starts: tf.Tensor  # int32 [P], positions in the decoded batch
    ends: tf.Tensor  # int32 [P], exclusive
    row_starts: tf.Tensor  # int32 [P], where the token's text begins
    row_splits: tf.Tensor  # int64 [B + 1], where the tokens of each text begin


class Tokenizer(tf.Module):
    """Turns texts into tokens and back with ops of core TensorFlow and TensorFlow Text, and static resources only.

    A subclass says how characters are normalized and become words, and words pieces.

    Args:
        vocabulary: the model's tokens by id.
        added_tokens: tokens that are recognised where they are written out in a text.
        special_ids: ids by role: "cls", "sep", "pad", "mask", "unk", "bos", "eos".
        template: the special tokens that a model expects around a text; ``tokenize`` adds none.
        special_tokens_in_text: False: what looks like a special token in a text is ordinary text.
        max_length: how many tokens a model takes, where the files say it.
        files: the files that ``save`` writes, by name.
        normalize: what ``_normalize`` does to a text, for added tokens of the kind ``normalized``.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        added_tokens: Sequence[AddedToken] = (),
        special_ids: Mapping[str, int] | None = None,
        template: Template | None = None,
        special_tokens_in_text: bool = True,
        max_length: int | None = None,
        files: Mapping[str, bytes] | None = None,
        normalize: Callable[[str], str] | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.vocabulary = vocabulary.extended({token.content: token.id for token in added_tokens})
        self.template = template or Template()
        self.max_length = max_length
        self._special_ids = types.MappingProxyType(dict(special_ids or {}))
        self._files = types.MappingProxyType(dict(files or {}))
        self._kinds = np.full(self.vocabulary.size, _NO_TOKEN, np.int8)
        self._kinds[[id for _, id in self.vocabulary.items()]] = _ORDINARY
        contents = {
            token: normalize(token.content) if normalize and token.normalized else token.content
            for token in added_tokens
        }
        # A token that the normalizer changes is written as it was normalized, and then not special: ``tokenizers`` so.
        special = [token.id for token, content in contents.items() if token.special and content == token.content]
        self._kinds[special] = _SPECIAL
        changed = {token.id: content for token, content in contents.items() if content != token.content}
        self._rewritten = types.MappingProxyType(changed)
        # Symbols are numbered through both: tokens found in the text as it is, then those found once it is normalized.
        exact, normalized = ([token for token in added_tokens if token.normalized == when] for when in (False, True))
        self._symbol_ids = np.array([token.id for token in (*exact, *normalized)], np.int32)

        def matchers(ordinary: bool):
            return (
                AddedTokenMatcher.of(exact, specials_are_ordinary=ordinary),
                AddedTokenMatcher.of(
                    normalized,
                    [contents[token] for token in normalized],
                    first_symbol=len(exact),
                    specials_are_ordinary=ordinary,
                ),
            )

        self._special_tokens_in_text = special_tokens_in_text
        self._make_matchers = matchers
        self._matcher, self._normalized_matcher = matchers(not special_tokens_in_text)
        self._tokenize = self._compiled(self._matcher, self._normalized_matcher)

    def _written(self) -> list[tuple[str, int]]:
        """What stands in a text for each id, and the id; in the order of the ids."""
        return [(self._rewritten.get(id, token), id) for token, id in self.vocabulary.items()]

    @functools.cached_property
    def _tokenize_as_text(self):
        return self._compiled(*self._make_matchers(True))

    def _compiled(self, *matchers):
        return tf.function(
            lambda texts: self._build_tokens(texts, *matchers),
            input_signature=[tf.TensorSpec([None], tf.string)],
            autograph=False,
        )

    def _normalize(self, characters: Characters) -> Characters:
        """Characters of the text, some of them symbols -> normalized characters, with the same symbols.

        What is done here is seen by added tokens of the kind ``normalized``; the rest may be left to ``_split``.
        """
        return characters

    def _split(self, characters: Characters) -> tuple[Characters, Words]:
        """Normalized characters -> characters of which words are made, and these words. A symbol is a word."""
        raise NotImplementedError

    def _pieces(self, characters: Characters, words: Words) -> Pieces:
        """Words -> their pieces; exactly one for a word that is a symbol, with any id."""
        raise NotImplementedError

    def _trim(self, tokens: "Placed", decoded: Characters) -> tuple[tf.Tensor, tf.Tensor]:
        """Tokens and the texts as decoded -> starts and ends, int32 [P], some of them without the white space."""
        return tokens.starts, tokens.ends

    def _join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        """Ids known to the vocabulary, ragged [B, None] -> strings [B], which need not be valid UTF-8."""
        raise NotImplementedError

    def tokenize(self, texts, *, special_tokens_in_text: bool | None = None) -> Tokens:
        """Texts, strings [B] -> tokens, without special tokens added.

        Args:
            texts: strings [B].
            special_tokens_in_text: False: what looks like a special token in a text is ordinary text. By default as
                the tokenizer was made.

        What is not valid UTF-8 counts as U+FFFD, one for each longest part that could begin a character, as Python's
        ``bytes.decode(errors="replace")`` counts.
        """
        texts = tf.convert_to_tensor(texts, tf.string)
        if texts.shape.rank != 1:
            raise UserError(f"tokenize takes a list of texts, strings [B]. Received shape {texts.shape}.")
        if special_tokens_in_text is None or special_tokens_in_text == self._special_tokens_in_text:
            return Tokens(*self._tokenize(texts))
        if special_tokens_in_text:
            raise UserError("A tokenizer made without special tokens in text does not recognise them. Load it anew.")
        return Tokens(*self._tokenize_as_text(texts))

    def _build_tokens(self, texts: tf.Tensor, matcher, normalized_matcher) -> Tokens:
        with tf.device(CPU):
            return self._build_tokens_on_cpu(texts, matcher, normalized_matcher)

    def _build_tokens_on_cpu(self, texts: tf.Tensor, matcher, normalized_matcher) -> Tokens:
        with tf.name_scope("decode"):
            decoded = characters = decode(texts)
        if matcher is not None:
            with tf.name_scope("added_tokens"):
                characters = matcher(characters)
        with tf.name_scope("normalize"):
            characters = self._normalize(characters)
        if normalized_matcher is not None:
            with tf.name_scope("normalized_added_tokens"):
                characters = normalized_matcher(characters)
        with tf.name_scope("split"):
            characters, words = self._split(characters)
        with tf.name_scope("model"):
            pieces = self._pieces(characters, words)
        with tf.name_scope("assemble"):
            ids = pieces.ids
            row_splits = tf.gather(pieces.row_splits, words.row_splits)
            starts = tf.gather(characters.starts, pieces.starts)
            ends = tf.gather(characters.ends, pieces.ends - 1)
            symbols = tf.gather(characters.code_points, pieces.starts) - tables.NUM_CODE_POINTS
            if self._symbol_ids.size:
                ids = tf.where(symbols >= 0, tf.gather(tf.constant(self._symbol_ids), tf.maximum(symbols, 0)), ids)
            row_starts = spread(tf.cast(decoded.row_splits[:-1], tf.int32), row_splits)
            starts, ends = self._trim(Placed(ids, symbols >= 0, starts, ends, row_starts, row_splits), decoded)
            starts, ends = starts - row_starts, ends - row_starts
        values = {"token_ids": ids, "starts": starts, "ends": ends}
        return Tokens(
            *(
                tf.RaggedTensor.from_row_splits(tf.identity(value, name=name), row_splits, validate=False)
                for name, value in values.items()
            )
        )

    def detokenize(self, ids, skip_special_tokens: bool = True) -> tf.Tensor:
        """Ids, int32 [B, T] or ragged [B, None] -> texts, strings [B], always valid UTF-8.

        Ids that no token has are left out, and special tokens if asked.
        """
        if not isinstance(ids, tf.RaggedTensor):
            ids = ids if isinstance(ids, tf.Tensor) else tf.convert_to_tensor(ids, tf.int32)
            if ids.shape.rank != 2:
                raise UserError(f"detokenize takes ids [B, T]. Received shape {ids.shape}.")
            ids = tf.RaggedTensor.from_tensor(ids)
        with tf.name_scope("detokenize"), tf.device(CPU):
            values = tf.cast(ids.values, tf.int32)
            inside = (values >= 0) & (values < self.vocabulary_size)
            kinds = tf.gather(tf.constant(self._kinds), tf.where(inside, values, 0))
            kept = positions_of(inside & (kinds >= (_ORDINARY if skip_special_tokens else _SPECIAL)))
            splits = tf.searchsorted(kept, tf.cast(ids.row_splits, tf.int64), out_type=tf.int64)
            joined = self._join(tf.RaggedTensor.from_row_splits(tf.gather(values, kept), splits, validate=False))
            return tf.strings.unicode_transcode(joined, "UTF-8", "UTF-8", errors="replace", name="text")

    def written(self) -> tuple[list[bytes | None], list[bytes | None]]:
        """What ``detokenize`` writes for each id at the start of a text, and what behind other ids.

        None for ids that write nothing: those that no token has, special tokens.
        """
        first, later = self._spellings()
        ordinary = self._kinds == _ORDINARY
        return tuple(
            [bytes(text) if known and text else None for text, known in zip(texts, ordinary, strict=True)]
            for texts in (first, later)
        )  # type: ignore[return-value]

    def _spellings(self) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """The bytes that ``_join`` puts together, by id: at the start of a text, and behind other ids."""
        raise NotImplementedError

    @property
    def vocabulary_size(self) -> int:
        """How many ids there are: one more than the highest."""
        return self.vocabulary.size

    @property
    def special_ids(self) -> dict[str, int]:
        """Ids of special tokens by role; roles that the tokenizer lacks are absent."""
        return dict(self._special_ids)

    @property
    def files(self) -> Mapping[str, bytes]:
        """The files that ``save`` writes, by name."""
        return self._files

    def is_special(self, id: int) -> bool:
        """Whether an id is that of a special token."""
        return 0 <= id < self.vocabulary_size and self._kinds[id] == _SPECIAL

    def id_of(self, token: str) -> int:
        """The id of a token; an error when there is no such token."""
        return self.vocabulary.id_of(token)

    def token_of(self, id: int) -> str:
        """The token of an id; an error when there is no such id."""
        return self.vocabulary.token_of(id)

    def save(self, directory) -> None:
        """Writes the files that the tokenizer came from, byte for byte, under the names that ``transformers`` uses."""
        if not self._files:
            raise UserError("Only a tokenizer that came from files can be saved. This one was built without any.")
        directory = pathlib.Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in self._files.items():
            (directory / name).write_bytes(content)


def shared_constant(values) -> tf.Tensor:
    """A constant on the CPU that all functions share; graphs that each hold many strings are slow to optimize."""
    with tf.init_scope(), tf.device(CPU):
        return tf.constant(values)
