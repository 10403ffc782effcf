"""A tokenizer learned from the run's own text, for models that start from nothing."""

import json
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

END_OF_TEXT = "<|endoftext|>"


def train_byte_level_bpe(texts: Iterable[str], directory: str | Path, *, vocabulary_size: int) -> Path:
    """Learns GPT-2's kind of byte-level BPE (Sennrich et al. 2016; Radford et al. 2019) and writes it.

    Args:
        texts: to learn from.
        directory: receives ``tokenizer.json`` and ``tokenizer_config.json``, as Hugging Face's loaders read them. What
            is there already is kept: the vocabulary of a run never changes.
        vocabulary_size: at most so many tokens: 256 bytes, the end of text, and merges.

    Returns:
        The directory.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    directory = Path(directory)
    if directory.exists():
        return directory
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    aside = directory.with_name(f".{directory.name}.{os.getpid()}")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    try:
        tokenizer.save(str(aside / "tokenizer.json"))
        description = {
            "tokenizer_class": "GPT2Tokenizer",
            "bos_token": END_OF_TEXT,
            "eos_token": END_OF_TEXT,
            "unk_token": END_OF_TEXT,
            "add_prefix_space": False,
        }
        (aside / "tokenizer_config.json").write_text(json.dumps(description, indent=2) + "\n", encoding="utf-8")
        os.rename(aside, directory)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return directory
