import json

import numpy as np
import pytest
import tensorflow as tf
import tokenizers as hub

from kzoo.errors import UserError
from kzoo.tasks.framing import TRUNCATIONS, begin, dense, fill_empty, frame, frame_pair, frame_text, start_id
from kzoo.tokenizers import Tokens
from kzoo.tokenizers.files import tokenizer_json
from tests import tiny

IDS = [[5, 6, 7, 8], [9], []]
STARTS = [[0, 2, 4, 9], [1], []]
ENDS = [[1, 4, 8, 10], [3], []]


def tokens():
    return Tokens(*(tf.ragged.constant(each, dtype=tf.int32) for each in (IDS, STARTS, ENDS)))


def lists(framed):
    return {name: value.to_list() if name != "row" else value.numpy().tolist() for name, value in framed.items()}


def test_a_frame_of_two_special_tokens():
    assert lists(frame(tokens(), before=(2,), after=(3,), max_length=10)) == {
        "token_ids": [[2, 5, 6, 7, 8, 3], [2, 9, 3], [2, 3]],
        "starts": [[0, 0, 2, 4, 9, 0], [0, 1, 0], [0, 0]],
        "ends": [[0, 1, 4, 8, 10, 0], [0, 3, 0], [0, 0]],
        "row": [0, 1, 2],
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((2,), (3,), [[2, 5, 3], [2, 9, 3], [2, 3]]),
        ((2,), (), [[2, 5, 6], [2, 9], [2]]),
        ((), (3,), [[5, 6, 3], [9, 3], [3]]),
        ((), (), [[5, 6, 7], [9], []]),
        ((2, 4), (3,), [[2, 4, 3], [2, 4, 3], [2, 4, 3]]),
    ],
)
def test_long_rows_are_cut_special_tokens_stay(before, after, expected):
    framed = lists(frame(tokens(), before=before, after=after, max_length=3))
    assert framed["token_ids"] == expected
    assert [len(row) for row in framed["starts"]] == [len(row) for row in expected]
    assert [len(row) for row in framed["ends"]] == [len(row) for row in expected]


def test_fill_empty_leaves_the_others():
    filled = fill_empty(tf.ragged.constant([[], [5, 6], [], [7]], dtype=tf.int32), 9)
    assert filled.to_list() == [[9], [5, 6], [9], [7]]
    assert fill_empty(tf.RaggedTensor.from_row_lengths(tf.zeros([0], tf.int32), [0, 0][:0]), 9).to_list() == []


def test_dense_pads_and_cuts():
    ragged = tokens().ids
    np.testing.assert_array_equal(dense(ragged, 2), [[5, 6], [9, 0], [0, 0]])
    np.testing.assert_array_equal(dense(ragged, 5, 4), [[5, 6, 7, 8, 4], [9, 4, 4, 4, 4], [4] * 5])
    function = tf.function(lambda ragged, length: dense(ragged, length))
    np.testing.assert_array_equal(function(ragged, tf.constant(3)), [[5, 6, 7], [9, 0, 0], [0, 0, 0]])
    static = tf.function(lambda ragged: dense(ragged, 3)).get_concrete_function(ragged)
    assert static.output_shapes.as_list()[1] == 3


def test_bert_s_texts_stand_between_cls_and_sep():
    tokenizer = tiny.tokenizer("bert")
    framed = frame_text(tokenizer, tf.constant(["good film", ""]), 32)
    words = [tokenizer.token_of(id) for id in framed["token_ids"][0].numpy()]
    assert words == ["[CLS]", "good", "film", "[SEP]"]
    assert framed["token_ids"][1].numpy().tolist() == [2, 3]
    assert framed["starts"][0].numpy().tolist() == [0, 0, 5, 0]
    assert framed["ends"][0].numpy().tolist() == [0, 4, 9, 0]


def test_gpt2_s_texts_stand_alone_and_nothing_becomes_the_start_of_a_text():
    tokenizer = tiny.tokenizer("gpt2")
    framed = frame_text(tokenizer, tf.constant(["bad", ""]), 32)
    assert framed["token_ids"].to_list() == [[tokenizer.id_of("bad")], [tokenizer.id_of("<|endoftext|>")]]
    assert framed["starts"].to_list() == [[0], [0]] and framed["ends"].to_list() == [[3], [0]]
    assert start_id(tokenizer) == 270 and start_id(tiny.tokenizer("bert")) == 0


def test_a_length_without_room_for_special_tokens():
    with pytest.raises(UserError, match="leave room for the special tokens around a text. Received 1 for 2"):
        frame(tokens(), before=(2,), after=(3,), max_length=1)
    with pytest.raises(UserError, match="Received 2 for 3"):
        frame_pair(tiny.tokenizer("bert"), tf.constant(["a"]), tf.constant(["b"]), 2)
    with pytest.raises(UserError, match="one of longest_first, only_first, only_second. Received 'both'"):
        frame_pair(tiny.tokenizer("bert"), tf.constant(["a"]), tf.constant(["b"]), 9, truncation="both")


FIRST = ["", "good", "the film was bad", "a film, a bad, bad film", "it was", "good good good good", ""]
SECOND = ["", "not good at all", "bad", "the film was not good", "", "it was a bad, bad film, the film", "the film"]


def processed(template: str):
    """BERT's tiny vocabulary in a tokenizer.json with another post-processor; kzoo's tokenizer and its oracle."""
    special = {"[CLS]": 2, "[SEP]": 3}
    processing = hub.processors.TemplateProcessing
    post_processor = {
        "bert": hub.processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2)),
        "template": processing("[CLS] $A [SEP]", "[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1", list(special.items())),
        "roberta": hub.processors.RobertaProcessing(("[SEP]", 3), ("[CLS]", 2), trim_offsets=False),
        "llama": processing("[CLS] $A", "[CLS] $A [CLS]:1 $B:1", list(special.items())),
        "t5": processing("$A [SEP]", "$A [SEP] $B [SEP]", list(special.items())),
    }[template]
    vocabulary = dict(tiny.tokenizer("bert").vocabulary.items())
    oracle = hub.Tokenizer(hub.models.WordPiece(vocabulary, unk_token="[UNK]"))
    oracle.normalizer = hub.normalizers.BertNormalizer()
    oracle.pre_tokenizer = hub.pre_tokenizers.BertPreTokenizer()
    oracle.decoder = hub.decoders.WordPiece()
    oracle.post_processor = post_processor
    return tokenizer_json.build(json.loads(oracle.to_str()), "tokenizer.json", names={}), oracle


@pytest.mark.parametrize("template", ["bert", "template", "roberta", "llama", "t5"])
def test_pairs_are_the_oracle_s(template):
    tokenizer, oracle = processed(template)
    for truncation in TRUNCATIONS:
        for max_length in (4, 5, 6, 7, 9, 12, 40):
            framed = frame_pair(tokenizer, tf.constant(FIRST), tf.constant(SECOND), max_length, truncation)
            oracle.enable_truncation(max_length, strategy=truncation)
            for row, (first, second) in enumerate(zip(FIRST, SECOND, strict=True)):
                try:
                    expected = oracle.encode(first, second)
                except Exception as error:
                    assert "too short" in str(error)
                    assert len(framed["token_ids"][row]) == max_length
                    continue
                assert framed["token_ids"][row].numpy().tolist() == expected.ids, (first, second, max_length)
                offsets = list(zip(framed["starts"][row].numpy(), framed["ends"][row].numpy(), strict=True))
                assert offsets == expected.offsets
                texts = [-1 if index is None else index for index in expected.sequence_ids]
                assert framed["text_index"][row].numpy().tolist() == texts
                if template in ("bert", "template"):
                    assert framed["segment_ids"][row].numpy().tolist() == expected.type_ids
    assert ("segment_ids" in framed) == (template in ("bert", "template"))


@pytest.mark.parametrize("template", ["bert", "roberta", "llama", "t5"])
def test_texts_are_the_oracle_s(template):
    tokenizer, oracle = processed(template)
    for max_length in (2, 4, 9, 40):
        oracle.enable_truncation(max_length)
        framed = frame_text(tokenizer, tf.constant(SECOND), max_length)
        expected = oracle.encode_batch(SECOND)
        assert framed["token_ids"].to_list() == [encoding.ids for encoding in expected]
        assert framed["ends"].to_list() == [[end for _, end in encoding.offsets] for encoding in expected]


def test_pairs_are_framed_in_a_graph():
    tokenizer, _ = processed("bert")
    traced = tf.function(lambda a, b: frame_pair(tokenizer, a, b, 7), autograph=False)
    specs = [tf.TensorSpec([None], tf.string)] * 2
    framed = traced.get_concrete_function(*specs)(tf.constant(FIRST), tf.constant(SECOND))
    eager = frame_pair(tokenizer, tf.constant(FIRST), tf.constant(SECOND), 7)
    assert lists(framed) == lists(eager)
    assert traced(tf.constant([], tf.string), tf.constant([], tf.string))["token_ids"].nrows() == 0


def test_pairs_without_special_tokens():
    tokenizer = tiny.tokenizer("gpt2")
    framed = frame_pair(tokenizer, tf.constant(["bad", ""]), tf.constant([" the", ""]), 8)
    ids = [tokenizer.id_of(token) for token in ("bad", "Ġthe", "<|endoftext|>")]
    assert framed["token_ids"].to_list() == [ids[:2], ids[2:]]
    assert framed["text_index"].to_list() == [[0, 1], [-1]]
    assert "segment_ids" not in framed


def test_a_text_begins_once():
    tokenizer, _ = processed("llama")
    ids = tf.ragged.constant([[5, 6], [], [2, 7], [9]], dtype=tf.int32)
    assert begin(tokenizer.template.before, ids).to_list() == [[2, 5, 6], [2], [2, 7], [2, 9]]
    assert begin(tiny.tokenizer("gpt2").template.before, ids) is ids
