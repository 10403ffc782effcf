"""Files read as a stream give the same records as when they are read whole."""

from pathlib import Path

import pytest

from kzoo.data.formats import PARSERS, Reading
from kzoo.data.row_stream import files_of, stream_lines, stream_records
from kzoo.errors import UserError

FILES = {
    "a.csv": 'text,label\r\n"one, ""two""\nthree",1\n\n  four\u2028five,2\n',
    "a.tsv": 'text\tlabel\none "two\t1\r\n\nthree\rfour\t2\n',
    "a.jsonl": '{"text": "one\\ntwo", "n": 1.5}\n\n{"text": "é", "n": null}',
    "a.txt": "one\ntwo\r\n\n\nthree\n",
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_records_are_those_of_the_whole_file(tmp_path, name, encoding):
    path = tmp_path / name
    path.write_bytes(FILES[name].encode(encoding))
    reading = Reading(encoding="utf-8" if encoding == "utf-8-sig" else encoding)
    kind = {".txt": "text"}.get(path.suffix, path.suffix[1:])
    whole = list(PARSERS[kind](path, reading))
    streamed = list(stream_records(path, reading))
    if kind == "text":  # read whole, lines keep the \\r at their end
        whole = [(where, {"text": row["text"].removesuffix("\r")}) for where, row in whole]
    assert streamed == whole and len(streamed) > 1


def test_paragraphs_begin_where_they_say(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n\none\ntwo\n \t\n\nthree")
    found = list(stream_records(path, Reading(document="paragraph")))
    assert found == [(f"{path}:3", {"text": "one\ntwo"}), (f"{path}:7", {"text": "three"})]


def test_a_wrong_byte_is_told_with_its_place(tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(b"\xef\xbb\xbfab\xff\n")
    with pytest.raises(UserError, match=r"a.txt:1, offset 5: the byte 0xff is not utf-8"):
        list(stream_lines(path, Reading()))
    path.write_bytes(b"caf\xc3\xa9\nx\n\xc3")
    with pytest.raises(UserError, match=r"a.txt:3, offset 8: the byte 0xc3 is not utf-8"):
        list(stream_lines(path, Reading()))


def test_folders_leave_out_what_is_no_text(tmp_path):
    for name in ("b.txt", "a.jsonl", "report.json", "report.html"):
        Path(tmp_path, name).write_text("x")
    assert [file.name for file in files_of(tmp_path, Reading())] == ["a.jsonl", "b.txt"]
    with pytest.raises(UserError, match=r"holds no files that end in .csv"):
        files_of(tmp_path, Reading(format="csv"))
