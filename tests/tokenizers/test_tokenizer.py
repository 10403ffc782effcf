"""What holds of every tokenizer: eager, in a graph, in tf.data, and in a SavedModel on its own."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from kzoo.errors import UserError
from kzoo.tokenizers import AddedToken, Vocabulary, WordPiece
from tests.tokenizers import texts

TEXTS = ["Hello, wörld! it's [SEP]", "", "<|endoftext|> unbelievable", "漢字 e\u0301\u302e 가 ﬁ", *texts.generated(50)]
ASKS = """
import glob, json, os, sys
sys.modules["kzoo"] = sys.modules["keras"] = None
import tensorflow as tf
packages = os.path.dirname(os.path.dirname(tf.__file__))
for library in glob.glob(os.path.join(packages, "tensorflow_text", "**", "*tokenizer.so"), recursive=True):
    tf.load_op_library(library)  # importing tensorflow_text would import keras
model = tf.saved_model.load(sys.argv[1])
answers = model.signatures["serving_default"](text=tf.constant(json.load(sys.stdin)))
answers["back"] = tf.strings.unicode_decode(answers["back"], "UTF-8").to_tensor(-1)
print(json.dumps({name: answer.numpy().tolist() for name, answer in answers.items()}))
"""


def lists(tokens) -> list[list]:
    return [values.to_list() for values in tokens]


def test_ids_and_offsets_are_int32_with_the_same_row_splits(tiny):
    tokens = tiny.tokenizer.tokenize(TEXTS)
    assert tokens._fields == ("ids", "starts", "ends")
    assert {values.dtype for values in tokens} == {tf.int32}
    for values in tokens:
        np.testing.assert_array_equal(values.row_splits, tokens.ids.row_splits)


def test_offsets_point_into_the_text(tiny):
    tokens = tiny.tokenizer.tokenize(["say café"])
    spans = zip(tokens.starts[0].numpy(), tokens.ends[0].numpy(), strict=True)
    covered = {position for start, end in spans for position in range(start, end)}
    assert covered >= {0, 1, 2, 4, 5, 6, 7} and max(covered) == 7


def test_a_batch_of_no_texts_and_of_empty_texts(tiny):
    for batch in ([], ["", "", ""]):
        tokens = tiny.tokenizer.tokenize(tf.constant(batch, tf.string))
        assert lists(tokens) == [[[] for _ in batch]] * 3
        assert tiny.tokenizer.detokenize(tokens.ids).numpy().tolist() == [b"" for _ in batch]


def test_a_text_does_not_depend_on_its_batch(tiny):
    together = lists(tiny.tokenizer.tokenize(TEXTS))
    alone = [lists(tiny.tokenizer.tokenize([text])) for text in TEXTS]
    assert together == [[row[part][0] for row in alone] for part in range(3)]


def test_in_tf_data(tiny):
    data = tf.data.Dataset.from_tensor_slices(TEXTS).batch(7).map(tiny.tokenizer.tokenize, num_parallel_calls=2)
    rows = [lists(tokens) for tokens in data]
    assert [sum((part[i] for part in rows), []) for i in range(3)] == lists(tiny.tokenizer.tokenize(TEXTS))


def test_in_a_saved_model_without_kzoo_and_keras(tiny, tmp_path):
    module = tf.Module()
    module.tokenizer = tiny.tokenizer

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="text")])
    def serve(text):
        ids, starts, ends = tiny.tokenizer.tokenize(text)
        back = tiny.tokenizer.detokenize(ids)
        return {"ids": ids.to_tensor(-1), "starts": starts.to_tensor(-1), "ends": ends.to_tensor(-1), "back": back}

    tf.saved_model.save(module, str(tmp_path), signatures=serve)
    asked = subprocess.run(
        [sys.executable, "-c", ASKS, str(tmp_path)], input=json.dumps(TEXTS), capture_output=True, text=True, check=True
    )
    answers = json.loads(asked.stdout)
    expected = serve(tf.constant(TEXTS))
    for name in ("ids", "starts", "ends"):
        assert answers[name] == expected[name].numpy().tolist()
    back = ["".join(chr(c) for c in row if c >= 0) for row in answers["back"]]
    assert back == [text.decode() for text in expected["back"].numpy()]


def test_the_graph_is_static(tiny):
    graph = tiny.tokenizer._tokenize.get_concrete_function().graph.as_graph_def()
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    ops = {node.op for node in nodes}
    assert not {op for op in ops if "PyFunc" in op or "Mutable" in op or "Variable" in op}
    assert {node.device for node in nodes if node.op == "GatherV2"} == {"/device:CPU:0"}
    names = {node.name for node in nodes}
    assert names >= {"token_ids", "starts", "ends"} or names >= {
        f"assemble/{n}" for n in ("token_ids", "starts", "ends")
    }


def test_dense_ids_and_ids_outside_of_the_vocabulary(tiny):
    ids = tiny.tokenizer.tokenize(["the quick", "fox"]).ids
    dense = ids.to_tensor(-1)
    text = tiny.tokenizer.detokenize(ids).numpy().tolist()
    assert text == [b"the quick", b"fox"]
    assert tiny.tokenizer.detokenize(dense).numpy().tolist() == text
    assert tiny.tokenizer.detokenize(dense.numpy().tolist()).numpy().tolist() == text
    beyond = tf.where(dense < 0, tiny.tokenizer.vocabulary_size, dense)
    assert tiny.tokenizer.detokenize(tf.cast(beyond, tf.int64)).numpy().tolist() == text


def test_text_from_ids_is_valid_utf_8(tiny_bpe):
    first, second = tiny_bpe.tokenizer.id_of("Ã"), tiny_bpe.tokenizer.id_of("©")  # the two bytes of é
    found = tiny_bpe.tokenizer.detokenize([[first, second], [second, first]]).numpy().tolist()
    assert [text.decode() for text in found] == ["é", "\ufffd\ufffd"]


def test_special_tokens_are_left_out_if_asked(tiny_wordpiece):
    tokenizer = tiny_wordpiece.tokenizer
    ids = [[tokenizer.special_ids["cls"], tokenizer.id_of("the"), tokenizer.special_ids["sep"]]]
    assert tokenizer.detokenize(ids).numpy().tolist() == [b"the"]
    assert tokenizer.detokenize(ids, skip_special_tokens=False).numpy().tolist() == [b"[CLS] the [SEP]"]


def test_a_rank_other_than_one_is_refused(tiny):
    with pytest.raises(UserError, match=r"takes a list of texts, strings \[B\]. Received shape \(\)"):
        tiny.tokenizer.tokenize("one text")
    with pytest.raises(UserError, match=r"takes ids \[B, T\]. Received shape \(2,\)"):
        tiny.tokenizer.detokenize([1, 2])


def test_vocabulary_lookups():
    vocabulary = Vocabulary({"[UNK]": 0, "a": 4})
    assert vocabulary.size == 5
    assert vocabulary.token_of(4) == "a" and vocabulary.id_of("a") == 4
    with pytest.raises(UserError, match="The vocabulary of 2 tokens has no token 'b'"):
        vocabulary.id_of("b")
    with pytest.raises(UserError, match="no id 3; its ids are below 5"):
        vocabulary.token_of(3)
    with pytest.raises(UserError, match="Received 1 for both 'a' and 'b'"):
        Vocabulary({"a": 1, "b": 1})
    with pytest.raises(UserError, match="Received 4 and 5 for 'a'"):
        vocabulary.extended({"a": 5})


def test_added_tokens_beyond_the_vocabulary_and_not_special_ones():
    added = [AddedToken("<new>", 9), AddedToken("ab c", 7, special=False)]
    tokenizer = WordPiece(Vocabulary({"[UNK]": 0, "a": 1, "##b": 2}), added_tokens=added, special_tokens_in_text=False)
    assert tokenizer.vocabulary_size == 10
    with pytest.raises(UserError, match="Only a tokenizer that came from files can be saved"):
        tokenizer.save("anywhere")
    assert tokenizer.tokenize(["ab<new>ab cab"]).ids.to_list() == [[1, 2, 0, 0, 0, 7, 1, 2]]
    assert tokenizer.detokenize([[1, 2, 9, 7, 8]]).numpy().tolist() == [b"ab ab c"]
