"""What the stock TensorFlow Serving of each version links, from lists under ``serving/operations/``.

A list holds one operation a line: its name, then its attributes. It may build on another (``include FILE``); further
lines add or replace operations, and ``- NAME`` takes one away.

As a program it writes such a list from the TensorFlow (or TensorFlow Text) of the Python that runs it; that needs
nothing of kzoo but this file::

    python kzoo/serving/operations.py tensorflow > serving/operations/tensorflow-2.19.txt
    python kzoo/serving/operations.py tensorflow --since serving/operations/tensorflow-2.19.txt
    python kzoo/serving/operations.py tensorflow-text
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path

Operations = dict[str, frozenset[str]]
"""Name of each operation to the names of its attributes."""

LINKED = {
    "2.19": ("tensorflow-2.19.txt", "tensorflow-text-2.12.1.txt"),
    "2.20": ("tensorflow-2.20.txt", "tensorflow-text-2.20.txt"),
    "2.21": ("tensorflow-2.21.txt", "tensorflow-text-2.20.txt"),
}
"""TensorFlow Serving's version to the lists of what it links."""

PYTHON_ONLY = frozenset({"TfLiteSubgraphExecute", "_CopyFromGpuToHost", "_CopyFromHostToGpu"})
"""Operations of TensorFlow's Python extensions, which stand outside of the library that the server shares."""


def linked(serving: str) -> Operations:
    """The operations that the stock server of a version runs. UserError when the version is not known."""
    from kzoo import resources
    from kzoo.errors import UserError

    if serving not in LINKED:
        raise UserError(f"serving must be one of {', '.join(LINKED)}. Received {serving!r}.")
    operations: Operations = {}
    for file in LINKED[serving]:
        operations |= read(resources.find("serving", "operations", file))
    return operations


def read(path: Path) -> Operations:
    """The operations of a list and of those it builds on."""
    operations: Operations = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        match line.split():
            case [] | ["#", *_]:
                continue
            case ["include", file]:
                operations |= read(path.parent / file)
            case ["-", name]:
                operations.pop(name)
            case [name, *attributes]:
                operations[name] = frozenset(attributes)
    return operations


def installed(package: str) -> Operations:
    """What ``tensorflow``, or ``tensorflow-text`` beyond it, registers in this Python."""
    import tensorflow as tf

    core = _registered()
    if package == "tensorflow":
        return {name: attributes for name, attributes in core.items() if name not in PYTHON_ONLY}
    spec = importlib.util.find_spec("tensorflow_text")  # found, not imported: importing it needs Keras
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("tensorflow-text is not installed here.")
    for library in sorted(Path(spec.origin).parent.rglob("*.so")):
        tf.load_op_library(str(library))
    return {name: attributes for name, attributes in _registered().items() if name not in core}


def _registered() -> Operations:
    from tensorflow.core.framework import op_def_pb2
    from tensorflow.python.client import pywrap_tf_session

    listed = op_def_pb2.OpList.FromString(pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList()))
    return {one.name: frozenset(attribute.name for attribute in one.attr) for one in listed.op}


def written(operations: Mapping[str, frozenset[str]], *, since: Path | None = None) -> Iterator[str]:
    """The lines of a list; with ``since`` those that make of that list this one."""
    base = read(since) if since else {}
    if since:
        yield f"include {since.name}"
        yield from (f"- {name}" for name in sorted(set(base) - set(operations)))
    for name, attributes in sorted(operations.items()):
        if base.get(name) != attributes:
            yield " ".join([name, *sorted(attributes)])


def main() -> None:
    """Writes the list of an installed package to standard output."""
    parser = argparse.ArgumentParser(description="List the operations that an installed package registers.")
    parser.add_argument("package", choices=("tensorflow", "tensorflow-text"))
    parser.add_argument("--since", type=Path, metavar="LIST", help="say only what changed since that list")
    arguments = parser.parse_args()
    name = {"tensorflow": "TensorFlow", "tensorflow-text": "TensorFlow Text"}[arguments.package]
    version = importlib.metadata.version(arguments.package)
    print(f"# Operations that {name} {version} registers, one a line: name, then its attributes.")
    print("# Read from the published wheel by kzoo/serving/operations.py.")
    for line in written(installed(arguments.package), since=arguments.since):
        print(line)


if __name__ == "__main__":
    main()
