"""What the two kinds of SentencePiece tokenizers share: steps that normalize, a splitter, a decoder."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from kzoo.tokenizers.characters import Characters, Words, decode
from kzoo.tokenizers.pieces.sentencepiece_decoder import SentencePieceDecoder
from kzoo.tokenizers.tokenizer import Tokenizer
from kzoo.tokenizers.vocabulary import Vocabulary
from kzoo.tokenizers.words.sections import words_from

Step = Callable[[Characters], Characters]
Splitter = Callable[[Characters, tf.Tensor], tuple[Characters, tf.Tensor]]


class SentencePieceTokenizer(Tokenizer):
    """Normalizes each section of a text, splits it into words, and joins tokens to text.

    Args:
        vocabulary: the model's tokens by id.
        steps: what is done to the characters, in this order.
        split: makes words, as ``Metaspace`` does.
        join: makes text of ids, as ``SentencePieceDecoder`` does.
        kwargs: see ``Tokenizer``.
    """

    def __init__(
        self,
        vocabulary: Vocabulary,
        *,
        steps: Sequence[Step] = (),
        split: Splitter,
        join: SentencePieceDecoder,
        **kwargs,
    ):
        self._steps = list(steps)
        # Steps go before the added tokens that are sought in normalized text, else where the texts' starts are known.
        self._early = any(token.normalized for token in kwargs.get("added_tokens", ()))
        super().__init__(vocabulary, normalize=lambda text: normalized(text, self._steps), **kwargs)
        self._split_words = split
        self._decode = join

    def _normalize(self, characters: Characters) -> Characters:
        return _run(self._steps, characters) if self._early else characters

    def _split(self, characters: Characters) -> tuple[Characters, Words]:
        firsts = tf.gather(tf.concat([characters.starts, [0]], 0), characters.row_splits[:-1])
        if not self._early:
            characters = _run(self._steps, characters)
        characters, begins = self._split_words(characters, firsts)
        return characters, words_from(characters, self._cut(characters.code_points, begins))

    def _cut(self, code_points: tf.Tensor, begins: tf.Tensor) -> tf.Tensor:
        """Where words begin, bool [N], with further places at which cutting a word changes none of its pieces."""
        return begins

    def _spellings(self):
        return self._decode.spellings()

    def _join(self, ids: tf.RaggedTensor) -> tf.Tensor:
        return self._decode(ids)


def normalized(text: str, steps: Sequence[Step]) -> str:
    """What steps make of a text, now."""
    return "".join(map(chr, _run(steps, decode(tf.constant([text]))).code_points.numpy()))


def _run(steps: Sequence[Step], characters: Characters) -> Characters:
    for step in steps:
        characters = step(characters)
    return characters
