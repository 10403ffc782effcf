import pytest

from kzoo.checkpoints.replacing import replacing, write_text
from kzoo.errors import UserError


def test_the_file_appears_whole(tmp_path):
    path = tmp_path / "a.txt"
    with replacing(path) as aside:
        aside.write_text("new")
        assert not path.exists() and aside.parent == tmp_path
    assert path.read_text() == "new" and list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError), replacing(path) as aside:
        aside.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_the_system_refuses_is_said(tmp_path):
    with pytest.raises(UserError, match=r"gone/a.txt could not be written: No such file or directory"):
        write_text(tmp_path / "gone" / "a.txt", "text")


def test_text_is_utf8(tmp_path):
    write_text(tmp_path / "a.txt", "naïve 北京")
    assert (tmp_path / "a.txt").read_bytes() == "naïve 北京".encode()
