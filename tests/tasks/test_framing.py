import numpy as np
import pytest
import tensorflow as tf

from kzoo.tasks.framing import dense, fill_empty, frame, frame_text, start_id
from kzoo.tokenizers import Tokens
from tests import tiny

IDS = [[5, 6, 7, 8], [9], []]
STARTS = [[0, 2, 4, 9], [1], []]
ENDS = [[1, 4, 8, 10], [3], []]


def tokens():
    return Tokens(*(tf.ragged.constant(each, dtype=tf.int32) for each in (IDS, STARTS, ENDS)))


def lists(framed):
    return {name: value.to_list() if name != "row" else value.numpy().tolist() for name, value in framed.items()}


def test_a_frame_of_two_special_tokens():
    assert lists(frame(tokens(), before=2, after=3, max_length=10)) == {
        "token_ids": [[2, 5, 6, 7, 8, 3], [2, 9, 3], [2, 3]],
        "starts": [[0, 0, 2, 4, 9, 0], [0, 1, 0], [0, 0]],
        "ends": [[0, 1, 4, 8, 10, 0], [0, 3, 0], [0, 0]],
        "row": [0, 1, 2],
    }


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (2, 3, [[2, 5, 3], [2, 9, 3], [2, 3]]),
        (2, None, [[2, 5, 6], [2, 9], [2]]),
        (None, 3, [[5, 6, 3], [9, 3], [3]]),
        (None, None, [[5, 6, 7], [9], []]),
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
