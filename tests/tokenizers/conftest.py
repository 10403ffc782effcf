"""Tokenizers with their oracles: tiny ones trained here, and real ones where they can be had."""

from pathlib import Path
from typing import NamedTuple

import pytest
import tokenizers

from kzoo.tokenizers import Tokenizer, load
from tests.tokenizers import oracle, texts


class Pair(NamedTuple):
    tokenizer: Tokenizer
    oracle: tokenizers.Tokenizer
    directory: Path


def corpus() -> list[str]:
    english = [
        "the quick brown fox jumps over the lazy dog",
        "hello unbelievable café, it's tokenization",
        "naïve words",
    ]
    return [*texts.generated(2000, seed=99), *english * 300]


@pytest.fixture(scope="session")
def tiny_wordpiece_directory(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("wordpiece")
    trained = oracle.word_piece(tokenizers.models.WordPiece(unk_token="[UNK]"))
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = tokenizers.trainers.WordPieceTrainer(
        vocab_size=900, limit_alphabet=300, special_tokens=special, show_progress=False
    )
    trained.train_from_iterator(corpus(), trainer)
    trained.save(str(directory / "tokenizer.json"))
    return directory


@pytest.fixture(scope="session")
def tiny_bpe_directory(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("bpe")
    trained = oracle.byte_level(tokenizers.models.BPE())
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=900,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator(corpus(), trainer)
    trained.save(str(directory / "tokenizer.json"))
    return directory


def pair(directory: Path) -> Pair:
    return Pair(load(directory), oracle.load(directory), directory)


@pytest.fixture(scope="session")
def tiny_wordpiece(tiny_wordpiece_directory) -> Pair:
    return pair(tiny_wordpiece_directory)


@pytest.fixture(scope="session")
def tiny_bpe(tiny_bpe_directory) -> Pair:
    return pair(tiny_bpe_directory)


@pytest.fixture(scope="session", params=["wordpiece", "bpe"])
def tiny(request, tiny_wordpiece, tiny_bpe) -> Pair:
    return {"wordpiece": tiny_wordpiece, "bpe": tiny_bpe}[request.param]


@pytest.fixture(scope="session")
def minilm(minilm_directory) -> Pair:
    return pair(minilm_directory)


@pytest.fixture(scope="session")
def gpt2(gpt2_tokenizer_directory) -> Pair:
    return pair(gpt2_tokenizer_directory)


@pytest.fixture(scope="session", params=["wordpiece", "bpe"])
def published(request, minilm, gpt2) -> Pair:
    return {"wordpiece": minilm, "bpe": gpt2}[request.param]
