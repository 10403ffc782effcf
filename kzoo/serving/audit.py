"""Whether the stock TensorFlow Serving can run a SavedModel: its operations held against what that server links.

Followed is what a request reaches: from the outputs of each signature back through the graph and into every function.
Saving and restoring stand in the same file but belong to the loader, and are left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kzoo.errors import UserError
from kzoo.serving import operations, saved_model
from kzoo.serving.graph import Graph

_FORBIDDEN = {
    "runs Python code, which the server lacks": r"(Eager)?PyFunc(Stateless)?",
    "reads or writes files": (
        r"(Read|Write|Matching)Files?|(Merge|DTensor)?(Save|Restore)(Slices?|V2)?|MergeV2Checkpoints|DistributedSave"
        r"|\w*Reader(V2)?|Reader\w+|RecordInput|ImmutableConst|InitializeTableFromTextFile(V2)?|LoadAndRemapMatrix"
        r"|GenerateVocabRemapping|(Experimental)?(TextLine|TFRecord|FixedLengthRecord|CSV|LMDB|Sql|Snapshot|Cache"
        r"|MatchingFiles|Load|Save)Dataset(V2)?|(Experimental)?DatasetToTFRecord|Create\w*Summary\w*Writer|Write\w*Summary"
    ),
    "reaches over the network": r"Rpc\w+|_?(Host)?(Send|Recv)|Collective\w+|DataService\w+|(Un)?RegisterDataset(V2)?",
}
_OWN_ASSETS = re.compile(r"InitializeTableFromTextFile(V2)?")  # at load a model may read the files it brought along


@dataclass(frozen=True)
class Finding:
    """One reason why a signature would not run, or not safely, on the stock server."""

    signature: str
    function: str
    node: str
    operation: str
    problem: str

    def __str__(self) -> str:
        if not self.signature:
            return f"{self.operation} {self.problem}"
        if self.operation in ("input", "output"):
            return f"signature {self.signature}: {self.operation} {self.node} {self.problem}"
        where = f"function {self.function}" if self.function else "the graph"
        return f"signature {self.signature}: {self.operation} (node {self.node} of {where}) {self.problem}"


def audit(directory: Path | str, *, serving: str = "2.19") -> list[Finding]:
    """What stands in the way of serving the SavedModel in ``directory`` by the stock server of that version.

    An empty list means: nothing. UserError when the folder is no SavedModel or the version is not known.
    """
    linked = operations.linked(serving)
    return findings(saved_model.read(directory), linked)


def findings(meta_graph: Any, linked: operations.Operations) -> list[Finding]:
    """As ``audit``, of a graph that was read, for a server that links these operations."""
    graph = Graph(meta_graph.graph_def)
    found = []
    if not set(meta_graph.signature_def) - {saved_model.INITIALIZER}:
        found.append(Finding("", "", "", "signatures", "are not there, so there is nothing that could be asked"))
    for name, signature in meta_graph.signature_def.items():
        for function, node in graph.reached(tensors(signature)):
            found += [
                Finding(name, function, node.name, node.op, problem)
                for problem in _problems(name, node, linked, graph.is_compiled(node))
            ]
        if name != saved_model.INITIALIZER:
            found += _not_batched(name, signature)
    return found


def refuse(directory: Path | str, *, serving: str = "2.19") -> None:
    """UserError that lists every finding of the audit, when there is one."""
    found = dict.fromkeys(map(str, audit(directory, serving=serving)))
    if found:
        listed = "".join(f"\n  {finding}" for finding in found)
        raise UserError(f"The model cannot be served by the stock TensorFlow Serving {serving}:{listed}")


def _problems(signature: str, node: Any, linked: operations.Operations, is_compiled: bool) -> Iterator[str]:
    if node.op not in linked:
        yield "is not linked into the server"
        return
    unknown = {key for key in node.attr if not key.startswith("_")} - linked[node.op]
    if unknown:
        yield f"has an attribute that the server does not know: {', '.join(sorted(unknown))}"
    for problem, pattern in _FORBIDDEN.items():
        own_asset = signature == saved_model.INITIALIZER and _OWN_ASSETS.fullmatch(node.op)
        if re.fullmatch(pattern, node.op) and not own_asset:
            yield problem
    if is_compiled and not signature.endswith(saved_model.COMPILED):
        ending = saved_model.COMPILED
        yield f"wants XLA, which the server refuses without its flag; the name of such a signature ends in {ending}"


def _not_batched(name: str, signature: Any) -> Iterator[Finding]:
    for kind, tensors in (("input", signature.inputs), ("output", signature.outputs)):
        for key, tensor in tensors.items():
            dims = tensor.tensor_shape.dim
            if not tensor.tensor_shape.unknown_rank and (not dims or dims[0].size >= 0):
                yield Finding(name, "", key, kind, "has no batch dimension, so requests cannot be joined")


def tensors(signature: Any) -> list[str]:
    """Names of the tensors that a request fetches."""
    return [tensor.name for tensor in signature.outputs.values() if tensor.name]
