"""Folders and files that are there whole or not at all: written aside, then renamed.

A server that watches a folder reads what it sees, so a version must never be seen half copied. What stands aside has a
name that starts with a dot and is no number, which TensorFlow Serving overlooks.
"""

import contextlib
import errno
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path

from kzoo.errors import UserError

INCOMING = ".incoming-"  # in the names of what stands aside

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextlib.contextmanager
def placed(target: Path | str, *, overwrite: bool = False) -> Iterator[Path]:
    """Yields an empty folder beside ``target`` and renames it to ``target`` when the block ends well.

    When the block fails the folder is removed and ``target`` is as it was. With ``overwrite`` an existing ``target`` is
    replaced, else a non-empty one raises UserError before anything is written.
    """
    target = Path(os.path.abspath(target))
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} must be a folder or not exist. It is a file: choose another path.")
    if not overwrite and target.is_dir() and any(target.iterdir()):
        raise UserError(f"{target} exists and is not empty. Choose another folder, or ask for it to be overwritten.")
    target.parent.mkdir(parents=True, exist_ok=True)
    aside = target.parent / f".{target.name}{INCOMING}{uuid.uuid4().hex[:8]}"
    aside.mkdir()
    try:
        yield aside
        _exchange(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _exchange(aside: Path, target: Path) -> None:
    if not target.exists():
        aside.rename(target)
        return
    old = target.parent / f".{target.name}.replaced-{uuid.uuid4().hex[:8]}"
    target.rename(old)
    try:
        aside.rename(target)
    except BaseException:
        old.rename(target)
        raise
    shutil.rmtree(old, ignore_errors=True)


def size_of(folder: Path) -> int:
    """Bytes of the files below a folder."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def write_text(path: Path, text: str) -> None:
    """Replaces the file ``path`` by one that holds ``text`` (UTF-8); a reader sees the old one or the new one."""
    aside = path.parent / f".{path.name}{INCOMING}{uuid.uuid4().hex[:8]}"
    try:
        aside.write_text(text, encoding="utf-8")
        os.replace(aside, path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def space_needed(target: Path) -> Iterator[None]:
    """Turns a full disk, a missing permission or a read-only place into a UserError that names ``target``.

    Goes around the whole of what is to be written, so that the path named is one that the user gave.

    TensorFlow reports a full disk by errors of its own; they are told by their text, so that TensorFlow need not be
    imported here.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise _no_space(target) from error
        if isinstance(error, PermissionError) or error.errno == errno.EROFS:
            raise UserError(f"{target} cannot be written: {error.strerror} ({error.filename}).") from error
        raise
    except Exception as error:
        if type(error).__module__.startswith("tensorflow") and "No space left on device" in str(error):
            raise _no_space(target) from error
        raise


def _no_space(target: Path) -> UserError:
    return UserError(f"No space is left to write {target}. Nothing was kept: free some space, or choose another disk.")
