import functools

import pytest
import tokenizers

from kzoo.errors import UserError
from kzoo.tokenizers import Vocabulary, WordPiece
from tests.tokenizers import oracle, texts

WORDS = ["[UNK]", "un", "##believ", "##able", "##a", "a", "b", "##b", "!", "é", "unk", "##k", "漢"]


@functools.cache
def tokenizer(**options) -> WordPiece:
    return WordPiece(Vocabulary({word: id for id, word in enumerate(WORDS)}), **options)


def ids(text: str, **options) -> list[int]:
    return tokenizer(**options).tokenize([text]).ids.to_list()[0]


def test_the_longest_piece_from_the_left():
    assert ids("unbelievable unb aab") == [1, 2, 3, 1, 7, 5, 4, 7]


def test_a_word_that_pieces_cannot_spell_is_unknown_and_keeps_its_place():
    tokens = tokenizer().tokenize(["ab  axb ab"])
    assert [values.to_list()[0] for values in tokens] == [[5, 7, 0, 5, 7], [0, 1, 4, 8, 9], [1, 2, 7, 9, 10]]


def test_a_word_of_more_characters_than_allowed_is_unknown():
    assert ids("a" * 100) == [5, *[4] * 99]
    assert ids("a" * 101) == [0]
    assert ids("aaa aa", max_word_length=2) == [0, 5, 4]
    assert ids("é" * 101 + " 漢" * 101, strip_accents=False) == [0, *[12] * 101]


def test_an_unknown_token_that_is_also_a_word_of_the_text():
    options = dict(unknown_token="unk")
    model = tokenizers.models.WordPiece(
        {w: i for i, w in enumerate(WORDS)}, unk_token="unk", max_input_chars_per_word=100
    )
    checked = ["unk", "unkk", "unx unk", "unkkk unky"]
    assert oracle.differences(tokenizer(**options), oracle.word_piece(model), checked) == []


def test_cased_and_accented():
    assert ids("É", lowercase=False) == [0]
    assert ids("É", lowercase=True, strip_accents=False) == [9]


def test_cleanup_and_no_cleanup():
    assert tokenizer().detokenize([[8, 5, 8]]).numpy().tolist() == [b"! a!"]
    assert tokenizer(cleanup=False).detokenize([[8, 5, 8]]).numpy().tolist() == [b"! a !"]


def test_all_of_bert_cleanup_equals_the_oracle():
    pieces = ["[UNK]", *". ? ! , ' n't 'm 's 've 're do not do".split(), "do not", "##'s", "##.", "a"]
    vocabulary = {piece: id for id, piece in enumerate(pieces)}
    reference = oracle.word_piece(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"))
    rows = [[a, b] for a in range(len(pieces)) for b in range(len(pieces))]
    found = WordPiece(Vocabulary(vocabulary)).detokenize(rows).numpy().tolist()
    assert [text.decode() for text in found] == [reference.decode(row, skip_special_tokens=False) for row in rows]


@pytest.mark.parametrize("options", [dict(lowercase=False), dict(clean_text=False), dict(strip_accents=False)])
def test_options_of_the_normalizer(tiny_wordpiece, options):
    vocabulary = tiny_wordpiece.oracle.get_vocab()
    reference = oracle.word_piece(tokenizers.models.WordPiece(vocabulary, unk_token="[UNK]"), **options)
    found = WordPiece(Vocabulary(vocabulary), **options)
    assert oracle.differences(found, reference, list(texts.generated(500, seed=5))) == []


def test_a_vocabulary_without_the_unknown_token_is_refused():
    with pytest.raises(UserError, match=r"holds its unknown token. Received none named '\[WHAT\]'"):
        tokenizer(unknown_token="[WHAT]")
