"""What stands in a SavedModel's folder, read without loading the model.

Beside TensorFlow's own files kzoo writes into ``assets.extra/``, which a server carries along and overlooks:
``kzoo.json`` (signatures, and an example of each with its answer), ``provenance.json``, ``audit.json``, ``card.md``,
and the warm-up requests, which TensorFlow Serving does read.
"""

import json
from pathlib import Path
from typing import Any

from kzoo.errors import UserError

GRAPH = "saved_model.pb"
EXTRA = "assets.extra"
DESCRIPTION = "kzoo.json"
PROVENANCE = "provenance.json"
CARD = "card.md"
AUDIT = "audit.json"
WARMUP = "tf_serving_warmup_requests"  # the name that TensorFlow Serving looks for
MOST_RECORDS = 1000  # more warm-up requests, and TensorFlow Serving refuses the model
WARMUP_COMPILED = "kzoo_warmup_requests_xla"  # further ones, for a server that has its XLA flag: a bundle adds them
COMPILED = "_xla"  # signatures whose name ends so need a server that was started with its XLA flag
INITIALIZER = "__saved_model_init_op"  # stands among the signatures, but no request reaches it


def check(directory: Path | str) -> Path:
    """The path of a SavedModel whose files are there. UserError says what is missing."""
    directory = Path(directory)
    if not directory.exists():
        raise UserError(f"There is no SavedModel at {directory}: it does not exist. Write one with kzoo export.")
    graph = directory / GRAPH
    if not graph.is_file():
        inside = (
            sorted(child.name for child in directory.iterdir() if child.name.isdigit()) if directory.is_dir() else []
        )
        hint = f" Its subfolder {inside[-1]} may be meant." if inside else " Write a SavedModel with kzoo export."
        raise UserError(f"{directory} is not a SavedModel: it has no {GRAPH}.{hint}")
    if not graph.stat().st_size:
        raise UserError(f"{graph} is empty: the SavedModel is damaged. Export it again.")
    variables = directory / "variables"
    shards = list(variables.glob("variables.data-*-of-*")) if variables.is_dir() else []
    if variables.is_dir() and any(variables.iterdir()):
        wanted = int(shards[0].name.rpartition("-")[2]) if shards else 1
        if not (variables / "variables.index").is_file() or len(shards) != wanted:
            raise UserError(f"{variables} lacks a part of the weights: the SavedModel is damaged. Export it again.")
    return directory


def description(directory: Path | str) -> dict[str, Any] | None:
    """What ``assets.extra/kzoo.json`` says, or None for a SavedModel that kzoo did not write."""
    path = Path(directory) / EXTRA / DESCRIPTION
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}). Export the model again.") from None


def read(directory: Path | str) -> Any:
    """The one ``MetaGraphDef`` with the tag ``serve``. UserError when the file is damaged or has none."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = check(directory) / GRAPH
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString(path.read_bytes())
    except DecodeError:
        raise UserError(f"{path} is damaged or not a SavedModel. Export it again.") from None
    for meta_graph in saved_model.meta_graphs:
        if "serve" in meta_graph.meta_info_def.tags:
            return meta_graph
    raise UserError(f"{path} has no graph with the tag 'serve', the one that TensorFlow Serving loads.")


def signatures_of(directory: Path) -> dict[str, Any]:
    """A SavedModel's signatures as ``describe_signatures`` has them: as kzoo wrote them down, else of its graph."""
    described = description(directory)
    return described["signatures"] if described else describe_signatures(read(directory))


def warm_up_compiled(directory: Path) -> None:
    """Adds the requests for compiled signatures to those that a SavedModel's server runs: for one with its XLA flag."""
    more = directory / EXTRA / WARMUP_COMPILED
    if more.is_file():
        with (directory / EXTRA / WARMUP).open("ab") as all_of_them:
            all_of_them.write(more.read_bytes())  # records follow one another
        more.unlink()


def _default_first(item: tuple[str, Any]) -> tuple[bool, str]:
    """The plain signature, then the others by name: a file keeps them in no order."""
    return item[0] != "serving_default", item[0]


def describe_signatures(meta_graph: Any) -> dict[str, dict[str, Any]]:
    """Name of each signature to ``inputs``, ``outputs`` (name to dtype and shape) and ``defaults`` (name to value)."""
    import tensorflow as tf

    def tensors(entries: Any) -> dict[str, dict[str, Any]]:
        return {
            key: {
                "dtype": tf.dtypes.as_dtype(entry.dtype).name,
                "shape": None
                if entry.tensor_shape.unknown_rank
                else [None if dim.size < 0 else dim.size for dim in entry.tensor_shape.dim],
            }
            for key, entry in sorted(entries.items())
        }

    return {
        name: {
            "inputs": tensors(signature.inputs),
            "outputs": tensors(signature.outputs),
            "defaults": {key: tf.make_ndarray(value).tolist() for key, value in sorted(signature.defaults.items())},
        }
        for name, signature in sorted(meta_graph.signature_def.items(), key=_default_first)
        if name != INITIALIZER
    }
