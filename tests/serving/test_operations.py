"""The lists of what each server links: read, built on one another, and written as they are read."""

import subprocess
import sys
from pathlib import Path

import pytest

from kzoo import resources
from kzoo.errors import UserError
from kzoo.serving import operations


def test_every_version_links_what_the_one_before_it_links():
    lists = [operations.linked(version) for version in ("2.19", "2.20", "2.21")]
    for older, newer in zip(lists[:-1], lists[1:], strict=True):
        assert set(older) < set(newer)
    old, middle, new = lists
    assert "DecodeWebP" not in old and "DecodeWebP" in middle and "DecodeJxl" not in middle and "DecodeJxl" in new
    assert "TFText>RoundRobinTrim" not in old and "TFText>RoundRobinTrim" in middle
    assert old["MatMul"] == {"T", "transpose_a", "transpose_b", "grad_a", "grad_b"}
    assert "use_shardy_partitioner" in middle["XlaCallModule"] - old["XlaCallModule"]


def test_an_unknown_version_is_refused():
    with pytest.raises(UserError, match=r"serving must be one of 2.19, 2.20, 2.21. Received '1.0'"):
        operations.linked("1.0")


def test_a_list_may_say_only_what_changed(tmp_path):
    base, new = tmp_path / "base.txt", {"Add": frozenset("T"), "Mul": frozenset(["T", "U"]), "New": frozenset()}
    base.write_text("# all\nAdd T\nGone\nMul T\n")
    lines = list(operations.written(new, since=base))
    assert lines == ["include base.txt", "- Gone", "Mul T U", "New"]
    (tmp_path / "new.txt").write_text("\n".join(lines))
    assert operations.read(tmp_path / "new.txt") == new


@pytest.mark.slow
def test_the_program_lists_what_is_installed_as_the_list_of_that_version():
    import tensorflow as tf

    version = ".".join(tf.__version__.split(".")[:2])
    program = Path(operations.__file__)
    command = [sys.executable, str(program), "tensorflow"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [line for line in listed.splitlines() if not line.startswith("#")]
    known = operations.read(resources.find("serving", "operations", operations.LINKED[version][0]))
    assert lines == list(operations.written(known))
