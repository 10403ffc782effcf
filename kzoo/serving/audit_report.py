"""Everything an audit knows of a SavedModel: what stands in its way, what it needs, how large its parts are.

It reads any SavedModel, whoever wrote it; it needs TensorFlow, but neither Keras nor the model's code.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kzoo.errors import UserError
from kzoo.serving import audit, operations, saved_model
from kzoo.serving.graph import Graph

LARGEST = 10
"""Functions and constants that are named."""
_UTF8 = ("replace", "ignore")  # how tf.strings.unicode_transcode treats what is not UTF-8


def report(directory: Path | str, *, serving: str = "2.19") -> dict[str, Any]:
    """The audit of the SavedModel in ``directory`` for the stock server of a version, as plain data.

    Returns:
        ``serving``; ``servable``, and ``problems`` where it is not; ``signatures``, each with ``operations`` (name to
        ``attributes``, ``nodes``, ``linked``), ``nodes``, ``functions``, ``compiled``, ``batching`` and ``strings``;
        ``functions``, ``constants`` and ``weights`` with their sizes; ``warm_up``; ``bytes`` of the folder; and
        ``verified``: what the export that wrote it says it tested, None for one that is not kzoo's.

    Raises:
        UserError: the folder is no SavedModel, or the version is not known.
    """
    linked = operations.linked(serving)
    directory = saved_model.check(directory)
    meta_graph = saved_model.read(directory)
    graph = Graph(meta_graph.graph_def)
    problems = [str(one) for one in audit.findings(meta_graph, linked)]
    described = saved_model.describe_signatures(meta_graph)
    verified = _verified(directory)
    warm_up = _warm_up(directory, described)
    problems += [f"the warm-up requests {problem}" for problem in warm_up.pop("problems")]
    signatures = {
        name: _signature(graph, meta_graph.signature_def[name], entry, linked, verified)
        for name, entry in described.items()
    }
    return {
        "serving": serving,
        "servable": not problems,
        "problems": list(dict.fromkeys(problems)),
        "signatures": signatures,
        "functions": _functions(graph, meta_graph),
        "constants": _constants(graph),
        "weights": _weights(directory),
        "warm_up": warm_up,
        "bytes": _bytes(directory),
        "verified": verified,
    }


def summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """The report without its long lists: operations by name alone, functions by number."""
    signatures = {
        name: one | {"operations": sorted(one["operations"])} for name, one in dict(report["signatures"]).items()
    }
    functions = {key: report["functions"][key] for key in ("count", "nodes")}
    return {**report, "signatures": signatures, "functions": functions}


def _signature(graph: Graph, signature: Any, entry: Mapping[str, Any], linked: operations.Operations, verified: Any):
    nodes: Counter[str] = Counter()
    attributes: dict[str, set[str]] = {}
    functions: Counter[str] = Counter()
    compiled = set()
    for function, node in graph.reached(audit.tensors(signature)):
        nodes[node.op] += 1
        functions[function] += 1
        attributes.setdefault(node.op, set()).update(key for key in node.attr if not key.startswith("_"))
        if graph.is_compiled(node):
            compiled.add(function or node.name)
    functions.pop("", None)
    return {
        "method": signature.method_name,
        "inputs": entry["inputs"],
        "outputs": entry["outputs"],
        "operations": {
            name: {"attributes": sorted(attributes[name]), "nodes": nodes[name], "linked": name in linked}
            for name in sorted(nodes)
        },
        "nodes": nodes.total(),
        "functions": len(functions),
        "compiled": sorted(compiled),
        "batching": _batching(entry),
        "strings": {
            key: _string(graph, signature.outputs[key].name, key, verified)
            for key, one in entry["outputs"].items()
            if one["dtype"] == "string"
        },
    }


def _batching(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Whether the server may join requests, and what becomes of inputs whose other dimensions differ."""

    def without_batch(kind: str) -> list[str]:
        shapes = {key: one["shape"] for key, one in entry[kind].items()}
        return [key for key, shape in shapes.items() if shape is not None and (not shape or shape[0] is not None)]

    def of_any_size(kind: str) -> list[str]:
        return [key for key, one in entry[kind].items() if one["shape"] is None or None in one["shape"][1:]]

    is_legal = not without_batch("inputs") and not without_batch("outputs")
    notes = []
    if not is_legal:
        names = ", ".join([*without_batch("inputs"), *without_batch("outputs")])
        notes.append(f"requests cannot be joined: {names} has no batch dimension")
    if unequal := of_any_size("inputs"):
        notes.append(
            f"only requests of equal shape may meet in a batch: {', '.join(unequal)} may differ beyond the first axis. "
            "A batch of unequal ones fails, unless pad_variable_length_inputs fills up with the first element of the "
            "tensor, which is right only where nothing behind a row's length is read"
        )
    if wide := of_any_size("outputs"):
        notes.append(f"as wide as the widest row of the joined batch: {', '.join(wide)}")
    return {"is_legal": is_legal, "inputs_may_differ": bool(unequal), "notes": notes}


def _string(graph: Graph, tensor: str, key: str, verified: Mapping[str, Any] | None) -> str:
    if key.endswith("_bytes"):
        return "any bytes: travels base64-coded over REST"
    node = graph.origin(tensor)
    if node is not None and node.op == "UnicodeTranscode":
        errors = node.attr["errors"].s.decode() if "errors" in node.attr else "replace"  # the default is not written
        if node.attr["output_encoding"].s.decode() == "UTF-8" and errors in _UTF8:
            return "UTF-8: the graph transcodes it last"
    if verified and verified.get("utf8"):
        return f"not proven UTF-8 by the graph; the export found {verified['utf8']} answers valid"
    return "not proven UTF-8: other bytes would make the REST reply invalid JSON"


def _verified(directory: Path) -> dict[str, Any] | None:
    """What the export says it tested."""
    description = saved_model.description(directory)
    if description is None:
        return None
    keys = ("kzoo", "task", "largest_difference", "tolerance", "utf8")
    return {key: description[key] for key in keys if key in description}


def _functions(graph: Graph, meta_graph: Any) -> dict[str, Any]:
    sizes = graph.sizes()
    reached = {
        function
        for signature in meta_graph.signature_def.values()
        for function, _ in graph.reached(audit.tensors(signature))
    }
    return {
        "count": len(sizes) - 1,
        "nodes": sum(sizes.values()),
        "each": {name: {"nodes": nodes, "reached": name in reached} for name, nodes in sizes.items() if name},
    }


def _constants(graph: Graph) -> dict[str, Any]:
    found = sorted(graph.constants(), key=lambda one: -one.size)
    return {
        "count": len(found),
        "bytes": sum(one.size for one in found),
        "largest": [
            {
                "function": one.function,
                "node": one.node,
                "dtype": one.dtype,
                "shape": list(one.shape),
                "bytes": one.size,
            }
            for one in found[:LARGEST]
        ],
    }


def _weights(directory: Path) -> dict[str, Any]:
    """Tensors, parameters and bytes of the variables, in all and by their dtype."""
    import math

    import tensorflow as tf

    by_dtype: dict[str, dict[str, int]] = {}
    prefix = directory / "variables" / "variables"
    if prefix.with_suffix(".index").is_file():
        try:
            reader = tf.train.load_checkpoint(str(prefix))
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise UserError(f"{prefix}.index cannot be read ({str(error).splitlines()[0]}). Export it again.") from None
        shapes = reader.get_variable_to_shape_map()
        for name, dtype in reader.get_variable_to_dtype_map().items():
            if name == "_CHECKPOINTABLE_OBJECT_GRAPH":
                continue
            entry = by_dtype.setdefault(dtype.name, {"tensors": 0, "parameters": 0, "bytes": 0})
            parameters = math.prod(shapes[name])
            entry["tensors"] += 1
            entry["parameters"] += parameters
            entry["bytes"] += parameters * dtype.size
    total = {key: sum(one[key] for one in by_dtype.values()) for key in ("tensors", "parameters", "bytes")}
    return total | {"by_dtype": dict(sorted(by_dtype.items()))}


def _warm_up(directory: Path, described: Mapping[str, Any]) -> dict[str, Any]:
    """How many warm-up requests each signature has, and what is wrong with them: one that fails stops the loading."""
    path = directory / saved_model.EXTRA / saved_model.WARMUP
    result: dict[str, Any] = {"records": 0, "by_signature": {}, "problems": []}
    if not path.is_file():
        return result
    import tensorflow as tf

    from kzoo.serving import warmup

    try:
        names = [request.model_spec.signature_name or "serving_default" for request in warmup.read(path)]
    except (tf.errors.OpError, ValueError) as error:  # DecodeError of protobuf is a ValueError
        return result | {"problems": [f"cannot be read ({str(error).splitlines()[0]})"]}
    unknown = sorted(set(names) - set(described))
    problems = [f"ask the signatures {', '.join(unknown)}, which are not there"] if unknown else []
    if len(names) > saved_model.MOST_RECORDS:
        problems.append(f"are {len(names)}; a server takes {saved_model.MOST_RECORDS} at most")
    return {"records": len(names), "by_signature": dict(Counter(names)), "problems": problems}


def _bytes(directory: Path) -> dict[str, int]:
    sizes = {path: path.stat().st_size for path in directory.rglob("*") if path.is_file()}

    def below(*names: str) -> int:
        return sum(size for path, size in sizes.items() if path.relative_to(directory).parts[0] in names)

    return {
        "folder": sum(sizes.values()),
        "graph": below(saved_model.GRAPH),
        "weights": below("variables"),
        "assets": below("assets"),
        "extra": below(saved_model.EXTRA),
    }


def sentence(report: Mapping[str, Any]) -> str:
    """The report in a line."""
    version, size = report["serving"], report["bytes"]["folder"]
    if not report["servable"]:
        return f"The stock TensorFlow Serving {version} cannot serve it: {'; '.join(report['problems'])}."
    names = {name for one in report["signatures"].values() for name in one["operations"]}
    warm = report["warm_up"]["records"]
    return (
        f"The stock TensorFlow Serving {version} links all of its {len(names)} kinds of operations; "
        f"{size / 1e6:.1f} MB, {warm} warm-up requests."
    )


def to_json(report: Mapping[str, Any]) -> str:
    """The report as JSON that a person can read, too."""
    return json.dumps(report, indent=2, ensure_ascii=False) + "\n"
