"""Builds a tokenizer from ``tokenizer.json``, the format of Hugging Face's ``tokenizers``."""

from collections.abc import Iterable, Mapping
from typing import Any

from kzoo.errors import UserError
from kzoo.tokenizers.added_tokens import AddedToken
from kzoo.tokenizers.byte_level_bpe import ByteLevelBPE
from kzoo.tokenizers.tokenizer import Tokenizer
from kzoo.tokenizers.vocabulary import Vocabulary
from kzoo.tokenizers.wordpiece import WordPiece

_BERT = {"cls": "[CLS]", "sep": "[SEP]", "pad": "[PAD]", "mask": "[MASK]", "unk": "[UNK]"}
_GPT2 = {"bos": "<|endoftext|>", "eos": "<|endoftext|>"}


def build(content: Mapping[str, Any], path: str, *, names: Mapping[str, str], **options) -> Tokenizer:
    """The tokenizer that a file describes, without its truncation, padding and special tokens around a text.

    Args:
        content: the parsed file.
        path: the file's name, for errors.
        names: special tokens by role, from other files.
        options: see ``Tokenizer``.
    """
    for part in ("model", "added_tokens"):
        if part not in content:
            raise UserError(f"{path} has no {part!r}: it is not a tokenizer.json, or an old one.")
    model = content["model"]
    kind = model.get("type") or ("BPE" if "merges" in model else None)
    if kind not in ("WordPiece", "BPE"):
        raise UserError(f"kzoo builds tokenizers of type WordPiece and BPE. {path} has {kind!r}.")
    if not isinstance(model.get("vocab"), dict) or (kind == "BPE" and "merges" not in model):
        raise UserError(f"A {kind} model holds a vocab of ids by token, and BPE its merges. {path} lacks them.")
    added = [_added_token(token, path) for token in content["added_tokens"]]
    ids = {token.content: token.id for token in added} | model["vocab"]
    names = {**(_BERT if kind == "WordPiece" else _GPT2), **names}
    options |= {
        "added_tokens": added,
        "special_ids": {role: ids[name] for role, name in names.items() if name in ids},
    }
    return (_word_piece if kind == "WordPiece" else _byte_level_bpe)(content, path, options)


def pairs_of(merges: Iterable[str | list[str]], path: str) -> list[tuple[str, str]]:
    """Merges as pairs; older files write a pair as one string with a space."""
    pairs = []
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if len(pair) != 2:
            raise UserError(f"A merge is two tokens. {path} has {merge!r}.")
        pairs.append((pair[0], pair[1]))
    return pairs


def _word_piece(content: Mapping[str, Any], path: str, options: dict[str, Any]) -> WordPiece:
    model = content["model"]
    normalizer = _part(content, "normalizer", path, ("BertNormalizer", None))
    _part(content, "pre_tokenizer", path, ("BertPreTokenizer",))
    decoder = _part(content, "decoder", path, ("WordPiece", None))
    keys = ("clean_text", "handle_chinese_chars", "strip_accents", "lowercase")
    return WordPiece(
        Vocabulary(model["vocab"]),
        unknown_token=model.get("unk_token", "[UNK]"),
        prefix=model.get("continuing_subword_prefix", "##"),
        max_word_length=model.get("max_input_chars_per_word", 100),
        cleanup=decoder.get("cleanup", True),
        **{key: normalizer.get(key, False) for key in keys},
        **options,
    )


def _byte_level_bpe(content: Mapping[str, Any], path: str, options: dict[str, Any]) -> ByteLevelBPE:
    model = content["model"]
    _part(content, "normalizer", path, (None,))
    words = _part(content, "pre_tokenizer", path, ("ByteLevel",))
    _require(words, "pre_tokenizer", path, add_prefix_space=(False,), use_regex=(True,))
    _part(content, "decoder", path, ("ByteLevel", None))
    after = content.get("post_processor") or {}
    if after.get("type") == "ByteLevel":
        _require(after, "post_processor", path, trim_offsets=(False,))
    nothing = (None, "")
    _require(
        model,
        "model",
        path,
        dropout=(None, 0.0),
        continuing_subword_prefix=nothing,
        end_of_word_suffix=nothing,
        byte_fallback=(False, None),
        ignore_merges=(False, None),
    )
    return ByteLevelBPE(Vocabulary(model["vocab"]), pairs_of(model["merges"], path), **options)


def _added_token(token: Mapping[str, Any], path: str) -> AddedToken:
    for key in ("lstrip", "rstrip", "single_word", "normalized"):
        if token.get(key):
            raise UserError(f"kzoo takes added tokens without {key!r} only. {path} has {dict(token)}.")
    return AddedToken(token["content"], token["id"], special=token["special"])


def _part(content: Mapping[str, Any], part: str, path: str, kinds: tuple[str | None, ...]) -> Mapping[str, Any]:
    """A component of the tokenizer, of one of these kinds; empty for None."""
    settings = content.get(part) or {"type": None}
    if settings["type"] not in kinds:
        model = content["model"].get("type")
        wanted = " or ".join(str(kind) for kind in kinds)
        raise UserError(f"kzoo builds a {model} tokenizer with {part} {wanted}. {path} has {settings['type']}.")
    return settings


def _require(settings: Mapping[str, Any], part: str, path: str, **allowed: tuple[Any, ...]) -> None:
    for key, values in allowed.items():
        if key in settings and settings[key] not in values:
            raise UserError(
                f"kzoo takes {key}={values[0]!r} in the {part} of this tokenizer. {path} has {settings[key]!r}."
            )
