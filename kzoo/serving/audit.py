"""Whether the stock TensorFlow Serving can run a SavedModel: its operations held against what that server links.

Followed is what a request reaches: from the outputs of each signature back through the graph and into every function.
Saving and restoring stand in the same file but belong to the loader, and are left out.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kzoo import resources
from kzoo.errors import UserError
from kzoo.serving import saved_model

LINKED = {"2.19": ("tensorflow-2.19.txt", "tensorflow-text-2.12.1.txt")}
"""Files under serving/operations/ that list what each TensorFlow Serving links."""

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
        where = f"function {self.function}" if self.function else "the graph"
        return f"signature {self.signature}: {self.operation} (node {self.node} of {where}) {self.problem}"


def audit(directory: Path | str, *, serving: str = "2.19") -> list[Finding]:
    """What stands in the way of serving the SavedModel in ``directory`` by the stock server of that version.

    An empty list means: nothing. UserError when the folder is no SavedModel or the version is not known.
    """
    if serving not in LINKED:
        raise UserError(f"serving must be one of {', '.join(LINKED)}. Received {serving!r}.")
    linked = _linked(serving)
    meta_graph = saved_model.read(directory)
    graph = _Graph(meta_graph.graph_def)
    findings = []
    for name, signature in meta_graph.signature_def.items():
        for function, node in graph.reached(_tensors(signature)):
            findings += [
                Finding(name, function, node.name, node.op, problem)
                for problem in _problems(name, node, linked, graph.is_compiled(node))
            ]
        if name != saved_model.INITIALIZER:
            findings += _not_batched(name, signature)
    return findings


def refuse(directory: Path | str, *, serving: str = "2.19") -> None:
    """UserError that lists every finding of the audit, when there is one."""
    findings = dict.fromkeys(map(str, audit(directory, serving=serving)))
    if findings:
        listed = "".join(f"\n  {finding}" for finding in findings)
        raise UserError(f"The model cannot be served by the stock TensorFlow Serving {serving}:{listed}")


def _problems(signature: str, node: Any, linked: dict[str, set[str]], is_compiled: bool) -> Iterator[str]:
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


def _tensors(signature: Any) -> list[str]:
    return [tensor.name for tensor in signature.outputs.values()]


class _Graph:
    """The nodes of a graph and of its functions, by name."""

    def __init__(self, graph_def: Any):
        self._nodes = {node.name: node for node in graph_def.node}
        self._functions = {function.signature.name: function for function in graph_def.library.function}

    def reached(self, tensors: list[str]) -> Iterator[tuple[str, Any]]:
        """Name of the function ("" for the graph itself) and node, for each node that the tensors come from."""
        waiting, seen, functions = [_node_name(name) for name in tensors], set(), []
        while waiting:
            name = waiting.pop()
            if name in seen or name not in self._nodes:
                continue
            seen.add(name)
            node = self._nodes[name]
            waiting += [_node_name(source) for source in node.input]
            functions += self._called(node)
            if node.op not in self._functions:
                yield "", node
        entered = set()
        while functions:
            name = functions.pop()
            if name in entered or name not in self._functions:
                continue
            entered.add(name)
            for node in self._functions[name].node_def:
                functions += self._called(node)
                if node.op not in self._functions:
                    yield name, node

    def is_compiled(self, node: Any) -> bool:
        """Whether the node, or a function it calls, must be compiled by XLA."""
        callees = (self._functions[name] for name in self._called(node) if name in self._functions)
        return any(part.attr["_XlaMustCompile"].b for part in (node, *callees) if "_XlaMustCompile" in part.attr)

    def _called(self, node: Any) -> list[str]:
        names = [value.func.name for value in node.attr.values() if value.HasField("func")]
        names += [function.name for value in node.attr.values() for function in value.list.func]
        return [*names, node.op] if node.op in self._functions else names


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _linked(serving: str) -> dict[str, set[str]]:
    operations = {}
    for file in LINKED[serving]:
        for line in resources.find("serving", "operations", file).read_text(encoding="utf-8").splitlines():
            if line and not line.startswith("#"):
                name, *attributes = line.split()
                operations[name] = set(attributes)
    return operations
