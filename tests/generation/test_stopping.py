import pytest
import tensorflow as tf

from kzoo.generation.stopping import cut, find


def found(texts, strings):
    return find(tf.constant(texts), tf.constant(strings)).numpy().tolist()


def test_the_first_place_of_the_first_string_that_is_there():
    texts = ["one. two. three", "one", "", "naïve 😀 end\n\nmore"]
    strings = [["two", ". "], ["x", ""], ["", ""], ["\n\n", "😀"]]
    assert found(texts, strings) == [3, -1, -1, 6]
    assert cut(tf.constant(texts), tf.constant(strings)).numpy().tolist() == [b"one", b"one", b"", "naïve ".encode()]


@pytest.mark.parametrize(
    ("text", "string"), [("aab", "ab"), ("ab", "ab"), ("xxabyab", "aby"), ("a", "ab"), ("ba", "ab")]
)
def test_as_python_finds(text, string):
    assert found([text], [[string]]) == [text.find(string)]


def test_no_texts_and_no_strings():
    assert found(tf.zeros([0], tf.string), tf.zeros([0, 2], tf.string)) == []
    assert found(["a", "b"], tf.zeros([2, 0], tf.string)) == [-1, -1]
    assert found([""], [["a"]]) == [-1]
