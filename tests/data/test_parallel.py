import pytest

from kzoo import data
from kzoo.errors import UserError


def test_two_files_of_lines(tmp_path):
    (tmp_path / "train.en").write_text("a cat\r\n\nthe dog\n\n")
    (tmp_path / "train.de").write_text("eine Katze\n\nder Hund\nnur hier\n")
    examples = data.read(str(tmp_path / "train.{en,de}"))
    assert examples["prompt"].tolist() == ["a cat", "the dog", ""]
    assert examples["answer"].tolist() == ["eine Katze", "der Hund", "nur hier"]
    other = data.read(str(tmp_path / "train.{de,en}"), columns=["text", "text_pair"])
    assert other.keys() == ["text", "text_pair"] and other["text"][0] == "eine Katze"


def test_what_cannot_be(tmp_path):
    (tmp_path / "train.en").write_text("a\nb\n")
    (tmp_path / "train.de").write_text("eins\n")
    name = str(tmp_path / "train.{en,de}")
    with pytest.raises(UserError, match="a line for each line of the other. .*train.en has 2, .*train.de has 1."):
        data.read(name)
    with pytest.raises(UserError, match="There is no file .*train.fr, which"):
        data.read(str(tmp_path / "train.{en,fr}"))
    with pytest.raises(UserError, match="columns is a list of two names"):
        data.read(name, columns={"prompt": "en"})
    with pytest.raises(UserError, match="Leave out format and document"):
        data.read(name, format="csv")
    with pytest.raises(UserError, match="Use data.share: rows"):
        data.read(name, part=(0, 2))
