"""Real files for the tests that want them, pulled once into the user's cache; without a network such tests skip."""

from pathlib import Path

import pytest


def _pulled(name: str) -> Path:
    from kzoo import data
    from kzoo.errors import UserError

    try:
        return data.pull(name)
    except UserError as error:
        pytest.skip(f"{name} cannot be pulled here: {error}")


@pytest.fixture(scope="session")
def minilm_directory() -> Path:
    """The folder of all-MiniLM-L6-v2 as published: config.json, model.safetensors, tokenizer files."""
    return _pulled("minilm-l6-v2")


@pytest.fixture(scope="session")
def gpt2_tokenizer_directory() -> Path:
    """The folder of GPT-2's encoder.json and vocab.bpe."""
    return _pulled("gpt2-tokenizer")


@pytest.fixture(scope="session")
def movie_reviews() -> Path:
    """The TSV file of movie review snippets: id, mean rating from -4 to 4, text; no header."""
    return _pulled("movie-reviews")


@pytest.fixture(scope="session")
def shakespeare() -> Path:
    """The folder of Shakespeare's works, 42 plain text files."""
    return _pulled("shakespeare")
