"""The graph of a SavedModel and its functions: what a request reaches, where a tensor comes from, what weighs how much.

Only protocol buffers are read; nothing is loaded.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

_HANDS_ON = frozenset({"Identity", "IdentityN", "Reshape", "EnsureShape", "StopGradient", "PreventGradient"})
_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})


@dataclass(frozen=True)
class Constant:
    """A tensor that stands in the graph itself; ``function`` is "" for the graph outside of functions."""

    function: str
    node: str
    dtype: str
    shape: tuple[int, ...]
    size: int
    """Bytes that it takes in the file."""


class Graph:
    """The nodes of a graph and of its functions, by name."""

    def __init__(self, graph_def: Any):
        self._nodes = {node.name: node for node in graph_def.node}
        self._functions = {function.signature.name: function for function in graph_def.library.function}

    def reached(self, tensors: Iterable[str]) -> Iterator[tuple[str, Any]]:
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

    def sizes(self) -> dict[str, int]:
        """How many nodes each function has; under "" the graph outside of functions."""
        return {"": len(self._nodes)} | {name: len(one.node_def) for name, one in self._functions.items()}

    def constants(self) -> Iterator[Constant]:
        """Every constant of the graph and of its functions."""
        from tensorflow.dtypes import as_dtype

        bodies = [("", self._nodes.values()), *((name, one.node_def) for name, one in self._functions.items())]
        for function, nodes in bodies:
            for node in nodes:
                if node.op == "Const":
                    value = node.attr["value"].tensor
                    shape = tuple(dim.size for dim in value.tensor_shape.dim)
                    yield Constant(function, node.name, as_dtype(value.dtype).name, shape, value.ByteSize())

    def origin(self, tensor: str) -> Any | None:
        """The node whose output the tensor is, past calls and operations that hand values on; None where it is lost."""
        place: tuple[Any, str] | None = (None, tensor)
        for _ in range(100):  # deeper than any graph calls
            if place is None:
                return None
            function, name = place
            node_name, number = _place(name, in_function=function is not None)
            nodes = self._nodes if function is None else {node.name: node for node in function.node_def}
            node = nodes.get(node_name)
            if node is None:
                return None
            callee = self._functions.get(node.attr["f"].func.name if node.op in _CALLS else node.op)
            if callee is not None:
                outputs = callee.signature.output_arg
                place = (callee, callee.ret[outputs[number].name]) if number < len(outputs) else None
            elif node.op in _HANDS_ON:
                place = (function, node.input[number if node.op == "IdentityN" else 0])
            else:
                return node
        return None

    def _called(self, node: Any) -> list[str]:
        names = [value.func.name for value in node.attr.values() if value.HasField("func")]
        names += [function.name for value in node.attr.values() for function in value.list.func]
        return [*names, node.op] if node.op in self._functions else names


def _node_name(tensor: str) -> str:
    return tensor.removeprefix("^").partition(":")[0]


def _place(tensor: str, *, in_function: bool) -> tuple[str, int]:
    """Node and number of an output: ``node:1`` in a graph, ``node:output:1`` in a function."""
    name, *rest = tensor.removeprefix("^").split(":")
    return name, int(rest[-1]) if rest else 0
