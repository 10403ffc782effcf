"""A SavedModel in a session: the graph as it was exported, fed and fetched by tensor name.

The genuine server runs models this way, and so does this one: a request meets the same graph, the same optimizer
passes and the same error texts. (``tf.saved_model.load`` would check shapes that the genuine server lets pass, takes
several times as long to load, and costs three times as much per call.) This file and ``runtime`` are the only ones
that touch TensorFlow, and that use what it does not document: ``TF_SessionRun_wrapper`` is the call beneath
``Session.run``, without its preparation for each request.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from kzoo.serving.server import runtime
from kzoo.serving.server.errors import Code, StatusError, invalid, status_of


class SavedModelSession:
    """A loaded SavedModel. ``signature_definitions`` are its SignatureDefs; ``compiled`` names those that need XLA."""

    def __init__(self, directory: str, *, tags: Iterable[str] = ("serve",), session_config: Any = None):
        from tensorflow.python.client import pywrap_tf_session, session
        from tensorflow.python.framework import importer, ops

        meta_graph = _meta_graph(directory, frozenset(tags))
        _register_ops(meta_graph)
        self._native = pywrap_tf_session
        self._graph = ops.Graph()
        with self._graph.as_default():
            importer.import_graph_def(meta_graph.graph_def, name="")
        self._session = session.Session(graph=self._graph, config=session_config)
        try:
            self._restore(meta_graph, directory)
        except Exception:
            self._session.close()
            raise
        self.signature_definitions = {name: _copy(signature) for name, signature in meta_graph.signature_def.items()}
        self.compiled = frozenset(_compiled(meta_graph))
        self._tensors = {
            info.name: self._graph.get_tensor_by_name(info.name)._as_tf_output()
            for definition in self.signature_definitions.values()
            for info in (*definition.inputs.values(), *definition.outputs.values())
            if ":" in info.name
        }

    def _restore(self, meta_graph: Any, directory: str) -> None:
        assets = {
            asset.tensor_info.name: os.path.join(directory, "assets", asset.filename) for asset in _assets(meta_graph)
        }
        saver = meta_graph.saver_def
        variables = os.path.join(directory, "variables", "variables")
        if saver.restore_op_name and not os.path.exists(variables + ".index") and _has_variables(meta_graph):
            # The genuine server loads such a model, and every request to it fails.
            raise StatusError(Code.NOT_FOUND, f"The graph has variables, and {variables}.index is missing")
        if saver.restore_op_name and os.path.exists(variables + ".index"):
            self._session.run(saver.restore_op_name, {**assets, saver.filename_tensor_name: variables})
        for name in _initializers(meta_graph):
            self._session.run(name, assets)

    def run(
        self, feeds: Mapping[str, np.ndarray], fetches: Sequence[str], timeout: float | None = None
    ) -> list[np.ndarray]:
        """The tensors ``fetches`` for what is fed, by tensor name; ``timeout`` in seconds.

        Raises ``StatusError`` with TensorFlow's own code and text.
        """
        tensors = self._tensors
        for name in fetches:
            if name not in tensors:  # an operation, such as the one that initializes the model
                raise invalid(
                    f"Tensor {name}, specified in either feed_devices or fetch_devices was not found in the Graph"
                )
        options = None
        if timeout is not None:
            if timeout <= 0:
                raise StatusError(Code.DEADLINE_EXCEEDED, "Timed out waiting for notification")
            options = self._native.TF_NewBufferFromString(_timeout_option(timeout))
        try:
            values = self._native.TF_SessionRun_wrapper(
                self._session._session,
                options,
                {tensors[name]: array for name, array in feeds.items()},
                [tensors[name] for name in fetches],
                [],
                None,
            )
        except Exception as error:
            raise status_of(error) from error
        finally:
            if options is not None:
                self._native.TF_DeleteBuffer(options)
        return [value if isinstance(value, np.ndarray) else _scalar(value) for value in values]

    def close(self) -> None:
        """Free the variables and tables."""
        self._session.close()


def _copy(message: Any) -> Any:
    """A message of its own: one that is part of another keeps all of that in memory, here the whole graph."""
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _timeout_option(seconds: float) -> bytes:
    """``RunOptions(timeout_in_ms=...)`` serialized: field 2, a varint."""
    milliseconds = max(1, min(int(seconds * 1000), (1 << 31) - 1))
    encoded = bytearray(b"\x10")
    while milliseconds > 0x7F:
        encoded.append(milliseconds & 0x7F | 0x80)
        milliseconds >>= 7
    encoded.append(milliseconds)
    return bytes(encoded)


def _scalar(value: Any) -> np.ndarray:
    """A tensor without dimensions, which TensorFlow hands out as a number or bytes."""
    if isinstance(value, (bytes, str)):
        array = np.empty((), dtype=object)
        array[()] = value.encode() if isinstance(value, str) else value
        return array
    return np.asarray(value)


def _meta_graph(directory: str, tags: frozenset[str]) -> Any:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = os.path.join(directory, "saved_model.pb")
    saved_model = saved_model_pb2.SavedModel()
    try:
        with open(path, "rb") as file:
            saved_model.ParseFromString(file.read())
    except FileNotFoundError:
        raise StatusError(
            Code.NOT_FOUND, f"Could not find SavedModel .pb or .pbtxt at supplied export directory path: {directory}"
        ) from None
    except OSError as error:
        raise StatusError(Code.UNKNOWN, f"{path}: {error.strerror}") from None
    except DecodeError:
        raise StatusError(Code.DATA_LOSS, f"Can't parse {path} as binary proto") from None
    for meta_graph in saved_model.meta_graphs:
        if frozenset(meta_graph.meta_info_def.tags) == tags:
            return meta_graph
    raise StatusError(
        Code.NOT_FOUND,
        f"Could not find meta graph def matching supplied tags: {{ {' '.join(sorted(tags))} }}. To inspect available "
        "tag-sets in the SavedModel, please use the SavedModel CLI: `saved_model_cli`",
    )


def _nodes(meta_graph: Any) -> Iterable[Any]:
    yield from meta_graph.graph_def.node
    for function in meta_graph.graph_def.library.function:
        yield from function.node_def


def _register_ops(meta_graph: Any) -> None:
    functions = {function.signature.name for function in meta_graph.graph_def.library.function}
    missing = runtime.register_text_ops({node.op for node in _nodes(meta_graph)} - functions)
    if missing:
        raise StatusError(Code.NOT_FOUND, f"Op type not registered '{missing[0]}' in binary running on this machine.")


def _assets(meta_graph: Any) -> list[Any]:
    from tensorflow.core.protobuf import meta_graph_pb2

    if meta_graph.asset_file_def:
        return list(meta_graph.asset_file_def)
    found = []
    for packed in meta_graph.collection_def["saved_model_assets"].any_list.value:
        asset = meta_graph_pb2.AssetFileDef()
        packed.Unpack(asset)
        found.append(asset)
    return found


def _has_variables(meta_graph: Any) -> bool:
    return any(node.op in ("VarHandleOp", "VariableV2") for node in meta_graph.graph_def.node)


def _initializers(meta_graph: Any) -> list[str]:
    """The ops to run once after restoring: named by a signature, or in older models by a collection."""
    signature = meta_graph.signature_def.get("__saved_model_init_op")
    if signature is not None:
        return [signature.outputs["__saved_model_init_op"].name]
    for key in ("saved_model_main_op", "legacy_init_op"):
        names = meta_graph.collection_def[key].node_list.value if key in meta_graph.collection_def else ()
        if names:
            return list(names)
    return []


def _compiled(meta_graph: Any) -> Iterable[str]:
    """The signatures that call, through whatever functions, one that must be compiled by XLA."""
    functions = {function.signature.name: function for function in meta_graph.graph_def.library.function}
    calls: dict[str, set[str]] = {}
    marked: set[str] = set()
    for name, function in functions.items():
        calls[name] = {callee for node in function.node_def for callee in _callees(node)}
        if _must_compile(function.attr) or any(_must_compile(node.attr) for node in function.node_def):
            marked.add(name)
    nodes = {node.name: node for node in meta_graph.graph_def.node}
    for signature, definition in meta_graph.signature_def.items():
        ancestors = _ancestors([info.name for info in definition.outputs.values()], nodes)
        reached = _closure({callee for name in ancestors for callee in _callees(nodes[name])}, calls)
        if reached & marked or any(_must_compile(nodes[name].attr) for name in ancestors):
            yield signature


def _must_compile(attributes: Any) -> bool:
    return "_XlaMustCompile" in attributes and attributes["_XlaMustCompile"].b


def _callees(node: Any) -> Iterable[str]:
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _ancestors(tensors: Iterable[str], nodes: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    waiting = [name.partition(":")[0] for name in tensors]
    while waiting:
        name = waiting.pop()
        if name in nodes and name not in found:
            found.add(name)
            waiting.extend(source.lstrip("^").partition(":")[0] for source in nodes[name].input)
    return found


def _closure(start: set[str], calls: Mapping[str, set[str]]) -> set[str]:
    found: set[str] = set()
    waiting = list(start)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting.extend(calls.get(name, ()))
    return found


def not_compiled() -> StatusError:
    """What the genuine server answers where a function must be compiled and no flag allows it."""
    return StatusError(Code.INTERNAL, "XLA compilation disabled")
