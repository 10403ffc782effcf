"""Folders and files that are there whole or not at all."""

import errno

import pytest

from kzoo.errors import UserError
from kzoo.serving.placing import placed, space_needed, write_text


def left(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_a_folder_appears_when_the_block_ends(tmp_path):
    with placed(tmp_path / "deep" / "7") as aside:
        (aside / "file").write_text("whole")
        assert not (tmp_path / "deep" / "7").exists()
        assert not aside.name.isdigit()  # a server takes no notice of it
    assert left(tmp_path) == ["deep", "deep/7", "deep/7/file"]


def test_nothing_is_left_when_the_block_fails(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with placed(tmp_path / "7") as aside:
            (aside / "file").write_text("half")
            raise KeyboardInterrupt
    assert left(tmp_path) == []


def test_what_exists_is_kept_unless_it_may_be_overwritten(tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "old").write_text("old")
    with pytest.raises(UserError, match="7 exists and is not empty"), placed(tmp_path / "7"):
        pass
    with pytest.raises(OSError, match="broken"), placed(tmp_path / "7", overwrite=True):
        raise OSError("broken")
    assert left(tmp_path) == ["7", "7/old"]
    with placed(tmp_path / "7", overwrite=True) as aside:
        (aside / "new").write_text("new")
    assert left(tmp_path) == ["7", "7/new"]


def test_a_file_in_the_way_is_named(tmp_path):
    (tmp_path / "7").write_text("a file")
    with pytest.raises(UserError, match="7 must be a folder or not exist"), placed(tmp_path / "7"):
        pass


def test_a_full_disk_is_said_plainly_and_leaves_nothing(tmp_path):
    target = tmp_path / "7"
    with pytest.raises(UserError, match="No space is left to write .*7"), space_needed(target), placed(target) as aside:
        (aside / "file").write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")
    assert left(tmp_path) == []


def test_a_text_is_replaced_whole(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "half \ud800")
    assert path.read_text() == "old"
    write_text(path, "new")
    assert path.read_text() == "new" and left(tmp_path) == ["a.txt"]
