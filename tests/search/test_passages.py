import json

import pytest

from kzoo.errors import UserError
from kzoo.search.passages import Passage, cut, read_passages
from tests import tiny

TEXT = "One line.\n\n  Another,\r\nand more of it.\n\n\n= Heading =\nThe end"


@pytest.fixture
def file(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


def test_lines_and_paragraphs_know_where_they_begin(file):
    path = file("text.txt", "\ufeff" + TEXT)
    assert list(read_passages(path)) == [
        ("One line.", 1),
        ("Another,", 3),
        ("and more of it.", 4),
        ("= Heading =", 7),
        ("The end", 8),
    ]
    assert list(read_passages(path, unit="paragraph")) == [
        ("One line.", 1),
        ("Another,\nand more of it.", 3),
        ("= Heading =\nThe end", 7),
    ]
    assert [text for text, _ in read_passages(path, least_words=3)] == ["and more of it.", "= Heading ="]


def test_a_column_of_a_table(file):
    rows = file("rows.jsonl", "".join(json.dumps({"body": text, "n": 1}) + "\n\n" for text in ("a b", "c\nd")))
    assert list(read_passages(rows, column="body")) == [("a b", 1), ("c\nd", 3)]
    table = file("rows.csv", 'n,text\n1,"one,\ntwo"\n2,\n3,three\n')
    assert list(read_passages(table)) == [("one,\ntwo", 2), ("three", 5)]


@pytest.mark.parametrize(
    ("name", "content", "options", "message"),
    [
        ("a.txt", b"good\n\xff\n", {}, "a.txt, line 2: not valid UTF-8"),
        ("a.txt", "x", {"column": "text"}, "Plain text has no columns"),
        ("a.csv", "text\nx\n", {"unit": "paragraph"}, "Paragraphs are those of plain text"),
        ("a.csv", "title,body\nx,y\n", {"column": "boddy"}, r"a.csv:2: there is no column 'boddy' \(did you mean body"),
        ("a.jsonl", '{"text": 5}\n', {}, "a.jsonl:1: text must hold texts. Received 5"),
        ("a.jsonl", '{"text": \n', {}, "a.jsonl:1: not valid JSON"),
    ],
)
def test_what_cannot_be_read_is_told_with_its_line(file, name, content, options, message):
    with pytest.raises(UserError, match=message):
        list(read_passages(file(name, content), **options))


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(UserError, match="There is no file .*none.txt"):
        read_passages(tmp_path / "none.txt")


def test_long_passages_are_cut_at_tokens_and_keep_their_line():
    passages = [Passage("good film", 1), Passage("the film was not good at all", 4), Passage("", 9)]
    pieces = cut(tiny.tokenizer("bert"), passages, window=4, stride=3)
    assert pieces == [("good film", 1), ("the film was not", 4), ("not good at all", 4), ("", 9)]
