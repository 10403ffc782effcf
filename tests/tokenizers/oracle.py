"""Hugging Face's ``tokenizers``, which kzoo's tokenizers must equal."""

from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf
import tokenizers

from kzoo.tokenizers import Tokenizer


def load(directory: Path) -> tokenizers.Tokenizer:
    """The tokenizer of a directory, without truncation, padding and special tokens around a text."""
    if (directory / "tokenizer.json").exists():
        oracle = tokenizers.Tokenizer.from_file(str(directory / "tokenizer.json"))
        oracle.no_padding()
        oracle.no_truncation()
        return oracle
    model = tokenizers.models.BPE.from_file(str(directory / "encoder.json"), str(directory / "vocab.bpe"))
    return byte_level(model)


def byte_level(model: tokenizers.models.BPE) -> tokenizers.Tokenizer:
    """GPT-2's tokenizer around a model, untrained or trained."""
    oracle = tokenizers.Tokenizer(model)
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    oracle.decoder = tokenizers.decoders.ByteLevel()
    oracle.add_special_tokens([tokenizers.AddedToken("<|endoftext|>", normalized=False)])
    return oracle


def word_piece(model: tokenizers.models.WordPiece, **options) -> tokenizers.Tokenizer:
    """BERT's tokenizer around a model, untrained or trained; options of its normalizer."""
    oracle = tokenizers.Tokenizer(model)
    oracle.normalizer = tokenizers.normalizers.BertNormalizer(**options)
    oracle.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    oracle.decoder = tokenizers.decoders.WordPiece()
    return oracle


def differences(
    tokenizer: Tokenizer, oracle: tokenizers.Tokenizer, texts: Sequence[str], batch_size: int = 4096
) -> list[str]:
    """The texts whose ids, offsets or text from ids are not the oracle's."""
    different = []
    for first in range(0, len(texts), batch_size):
        batch = list(texts[first : first + batch_size])
        tokens = tokenizer.tokenize(batch)
        back = [tokenizer.detokenize(tokens.ids, skip_special_tokens=skip).numpy() for skip in (True, False)]
        found = zip(*(values.to_list() for values in tokens), *back, strict=True)
        expected = oracle.encode_batch(batch, add_special_tokens=False)
        for text, (ids, starts, ends, clean, whole), encoding in zip(batch, found, expected, strict=True):
            same = ids == encoding.ids and list(zip(starts, ends, strict=True)) == encoding.offsets
            same &= clean.decode() == oracle.decode(encoding.ids)
            same &= whole.decode() == oracle.decode(encoding.ids, skip_special_tokens=False)
            if not same:
                different.append(text)
    return different


def replaced(texts: Sequence[bytes]) -> list[str]:
    """What TensorFlow makes of bytes that are not valid UTF-8."""
    return ["".join(map(chr, code_points)) for code_points in tf.strings.unicode_decode(texts, "UTF-8").to_list()]
