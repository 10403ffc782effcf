"""What running a graph takes of TensorFlow: the session and little else.

A server in a process of its own needs none of TensorFlow's Python API, whose import is most of the time it takes to
start (1.2 s instead of 2.4 s on an idle machine, 1.4 s instead of 5 s on a busy one). ``lean`` puts an empty package in
its place for good, so that only the modules below are loaded. In anyone else's process TensorFlow is imported whole:
parts of it loaded first and the rest later do not fit together.
"""

from __future__ import annotations

import glob
import importlib.util
import os
import sys
import threading
import types
from collections.abc import Iterable, Iterator

from kzoo.serving.server.errors import Code, StatusError, status_of

_lock = threading.Lock()


def lean() -> bool:
    """Load only what running a graph takes; only for a process that will never import TensorFlow otherwise.

    Returns False where that cannot be: TensorFlow is loaded already, or has plug-in devices, which its own import
    registers. Raises whatever the import raises.
    """
    found = importlib.util.find_spec("tensorflow")
    if "tensorflow" in sys.modules or found is None or not found.submodule_search_locations:
        return False
    (folder,) = found.submodule_search_locations
    if os.path.exists(os.path.join(os.path.dirname(folder), "tensorflow-plugins")):
        return False
    stand_in = types.ModuleType("tensorflow", "Stands for TensorFlow, whose Python API is not loaded here.")
    stand_in.__path__ = [folder]
    stand_in.__spec__ = found
    sys.modules["tensorflow"] = stand_in
    load()
    return True


def load() -> None:
    """Import what sessions need. Once, before threads do: two that import TensorFlow at a time can meet half of it."""
    from tensorflow.python.client import session  # noqa: F401
    from tensorflow.python.framework import importer, ops  # noqa: F401


def is_registered(op: str) -> bool:
    """Whether TensorFlow knows an operation, its own or of a library loaded since."""
    from tensorflow.python.framework import op_def_registry

    return op_def_registry.get(op) is not None


def register_text_ops(ops: Iterable[str]) -> list[str]:
    """Make operations of TensorFlow Text known, which the genuine server links in; those that remain unknown.

    The libraries are loaded without the package around them, which would import all of TensorFlow.
    """
    from tensorflow.python.client import pywrap_tf_session

    missing = [op for op in ops if not is_registered(op)]
    found = importlib.util.find_spec("tensorflow_text") if missing else None
    if found is not None and found.submodule_search_locations:
        with _lock:
            for library in sorted(glob.glob(f"{found.submodule_search_locations[0]}/python/ops/_*.so")):
                if all(map(is_registered, missing)):
                    break
                pywrap_tf_session.TF_LoadLibrary(library)
    return sorted(op for op in missing if not is_registered(op))


def records(file: str) -> Iterator[bytes]:
    """The records of a TFRecord file. Raises ``StatusError`` where it is cut or not such a file."""
    from tensorflow.python.lib.io import _pywrap_record_io

    try:
        yield from _pywrap_record_io.RecordIterator(file, "")
    except Exception as error:
        status = status_of(error)
        if status.code is Code.DATA_LOSS:
            message = f"{status.message}. Please verify your warmup data is in TFRecord format."
            status = StatusError(Code.DATA_LOSS, message)
        raise status from error
