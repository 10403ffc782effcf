"""JSON examples to ``tf.Example``: the body of classify and regress."""

from __future__ import annotations

from typing import Any

from kzoo.serving import stubs
from kzoo.serving.server.errors import StatusError, invalid
from kzoo.serving.server.json_reader import debug_string
from kzoo.serving.server.json_tensors import decode_base64, is_base64
from kzoo.serving.server.json_walk import to_bytes, type_name

_KINDS = {"bytes_list": "bytes", "float_list": "float", "int64_list": "int64"}


def input_from_json(document: dict[str, Any]) -> Any:
    """The ``Input`` message of a document's ``examples``, with its ``context`` if it has one."""
    message = stubs.load("classification_pb2").ClassificationRequest().input
    has_context = "context" in document
    if has_context:
        _fill(message.example_list_with_context.context, document["context"])
    if "examples" not in document:
        raise _format_error(document, "When method is classify, key 'examples' is expected and was not found")
    given = document["examples"]
    if not isinstance(given, list):
        raise _format_error(document, "Expecting 'examples' value to be an list/array")
    if not given:
        raise _format_error(document, "'examples' value is an empty array")
    examples = (message.example_list_with_context if has_context else message.example_list).examples
    for example in given:
        _fill(examples.add(), example)
    return message


def _format_error(document: Any, message: str) -> StatusError:
    return invalid(f"JSON Value: {debug_string(document)} {message}")


def _fill(example: Any, value: Any) -> None:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    for name, content in value.items():
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise invalid("A feature's name must be valid UTF-8")
        feature = example.features.feature[name]
        for element in content if isinstance(content, list) else [content]:
            _add(feature, name, element)


def _add(feature: Any, name: str, value: Any) -> None:
    """One value of a feature; its first value says of which kind the others must be."""
    if value is None or isinstance(value, list) or (isinstance(value, dict) and not is_base64(value)):
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")
    if isinstance(value, (bool, int)):
        _check_kind(feature, name, "int64_list")
        if value >= 1 << 63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        feature.int64_list.value.append(int(value))
    elif isinstance(value, float):
        _check_kind(feature, name, "float_list")
        feature.float_list.value.append(value)
    else:
        _check_kind(feature, name, "bytes_list")
        feature.bytes_list.value.append(_bytes(value))


def _bytes(value: Any) -> bytes:
    if not isinstance(value, dict):
        return to_bytes(value)
    try:
        return decode_base64(value["b64"])
    except ValueError:
        raise invalid("Unable to base64 decode") from None


def _check_kind(feature: Any, name: str, kind: str) -> None:
    known = feature.WhichOneof("kind")
    if known not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {_KINDS[known]}")
