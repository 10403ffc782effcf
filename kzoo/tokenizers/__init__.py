"""Tokenizers that run inside the graph: text to token ids with offsets, and back, exact against ``tokenizers``."""

from kzoo.tokenizers.added_tokens import AddedToken
from kzoo.tokenizers.byte_level_bpe import ByteLevelBPE
from kzoo.tokenizers.files import load
from kzoo.tokenizers.tokenizer import Tokenizer, Tokens
from kzoo.tokenizers.vocabulary import Vocabulary
from kzoo.tokenizers.wordpiece import WordPiece

__all__ = ["AddedToken", "ByteLevelBPE", "Tokenizer", "Tokens", "Vocabulary", "WordPiece", "load"]
