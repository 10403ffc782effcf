"""The server's text files, parsed strictly and written: models.config and the three kinds of settings beside it.

``ModelServerConfig`` is the official message of tensorflow-serving-api. That package leaves out the messages of
batching.config, monitoring.config and ssl.config, so they are described here, by the field names and numbers of the
server (2.16 to 2.20); all four work like any generated message. Nothing here needs TensorFlow.

    config = protos.read("models.config", protos.ModelServerConfig)
    protos.check_model_config(config, where="models.config")
    protos.write("batching.config", protos.BatchingParameters(max_batch_size={"value": 32}))
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, unknown_fields, wrappers_pb2
from google.protobuf.message import DecodeError, Message
from tensorflow_serving.config.model_server_config_pb2 import ModelConfig, ModelConfigList, ModelServerConfig

from kzoo.errors import UserError

__all__ = [
    "BatchingParameters",
    "ModelConfig",
    "ModelConfigList",
    "ModelServerConfig",
    "MonitoringConfig",
    "SSLConfig",
    "check_batching",
    "check_model_config",
    "parse_binary",
    "parse_text",
    "read",
    "to_text",
    "write",
]

_INT64, _STRING, _BOOL = 3, 9, 8  # FieldDescriptorProto.Type
_WRAPPED = {"Int64Value", "StringValue", "BoolValue"}

# name: (number, type); a type in capitals is a message. The order is that of the server's proto files.
_MESSAGES: dict[str, dict[str, tuple[int, int | str]]] = {
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "allowed_batch_sizes": (6, _INT64),
        "pad_variable_length_inputs": (7, _BOOL),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    },
    "PrometheusConfig": {"enable": (1, _BOOL), "path": (2, _STRING)},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
    "SSLConfig": {
        "server_key": (1, _STRING),
        "server_cert": (2, _STRING),
        "custom_ca": (3, _STRING),
        "client_verify": (4, _BOOL),
    },
}
_REPEATED = {"allowed_batch_sizes"}


def _described() -> dict[str, Any]:
    """The message classes of ``_MESSAGES``, in a pool of their own: they cannot clash with the server's files."""
    file = descriptor_pb2.FileDescriptorProto(
        name="kzoo/serving/described.proto",
        package="tensorflow.serving",
        syntax="proto3",
        dependency=["google/protobuf/wrappers.proto"],
    )
    for message_name, fields in _MESSAGES.items():
        message = file.message_type.add(name=message_name)
        for name, (number, kind) in fields.items():
            field = message.field.add(name=name, number=number, label=3 if name in _REPEATED else 1)
            if isinstance(kind, int):
                field.type = kind
            else:
                field.type = 11
                field.type_name = f".google.protobuf.{kind}" if kind in _WRAPPED else f".tensorflow.serving.{kind}"
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(file.SerializeToString())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"tensorflow.serving.{name}"))
        for name in _MESSAGES
    }


_CLASSES = _described()
BatchingParameters: Any = _CLASSES["BatchingParameters"]
MonitoringConfig: Any = _CLASSES["MonitoringConfig"]
SSLConfig: Any = _CLASSES["SSLConfig"]

M = TypeVar("M", bound=Message)


def parse_text(text: str, message_class: type[M], *, where: str = "the text") -> M:
    """A message from protobuf's text format; ``where`` names the source in errors.

    Raises:
        UserError: a field is unknown, given twice or of the wrong type; the line is named.
    """
    message = message_class()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        line = error.GetLine()
        place = f"{where}, line {line}" if line else where
        reason = str(error).partition(" : ")[2] if line else str(error)
        raise UserError(
            f"{place} is not a valid {message_class.DESCRIPTOR.name}: {reason.rstrip('.') or error}."
        ) from None
    return message


def parse_binary(data: bytes, message_class: type[M], *, where: str = "the data") -> M:
    """A message from protobuf's binary format; fields that the message does not have are an error, not overlooked."""
    message = message_class()
    name = message_class.DESCRIPTOR.name
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise UserError(f"{where} is not a valid {name}: {error}.") from None
    unknown = _unknown(message)
    if unknown:
        raise UserError(
            f"{where} is not a valid {name}: it has field number {unknown[0][1]} in {unknown[0][0]}, which is unknown."
        )
    return message


def _unknown(message: Message) -> list[tuple[str, int]]:
    """The unknown fields of a message and of all within it, as (message name, number)."""
    found = [(message.DESCRIPTOR.name, field.field_number) for field in unknown_fields.UnknownFieldSet(message)]
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        if field.message_type.GetOptions().map_entry:
            inner = [entry for entry in value.values() if isinstance(entry, Message)]
        elif isinstance(value, Message):
            inner = [value]
        else:
            inner = list(value)
        for part in inner:
            found.extend(_unknown(part))
    return found


def read(path: str | os.PathLike[str], message_class: type[M]) -> M:
    """A message from a text file.

    Raises:
        UserError: the file is not there, not UTF-8, or not a valid message.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not a text file: byte {error.start} is not UTF-8.") from None
    return parse_text(text, message_class, where=str(path))


def to_text(message: Message) -> str:
    """A message in the text format that ``read`` and the server take."""
    return text_format.MessageToString(message, as_utf8=True)


def write(path: str | os.PathLike[str], message: Message, *, comment: str = "") -> None:
    """Write a message as a text file, complete or not at all; ``comment`` lines go on top, each behind a ``#``."""
    lines = "".join(f"# {line}".rstrip() + "\n" for line in comment.splitlines())
    target = Path(path)
    handle, aside = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with open(handle, "w", encoding="utf-8") as file:
            file.write(lines + to_text(message))
        os.chmod(aside, 0o644)
        os.replace(aside, target)
    except BaseException:
        os.unlink(aside)
        raise


def check_model_config(config: ModelServerConfig, *, where: str = "models.config") -> None:
    """Refuse a config the server would refuse: no model, a name missing or twice, a base path that is not absolute.

    Raises:
        UserError: names the model and what to change.
    """
    models = config.model_config_list.config
    if not models:
        raise UserError(f"{where} must list at least one model. Received none; add config {{ name: ... }}.")
    seen: set[str] = set()
    for model in models:
        if not model.name:
            raise UserError(f"{where}: every model needs a name. Received one with base_path {model.base_path!r}.")
        if model.name in seen:
            raise UserError(f"{where}: each model may be listed once. Received {model.name!r} twice.")
        seen.add(model.name)
        if not model.base_path or not (model.base_path.startswith("/") or "://" in model.base_path):
            raise UserError(
                f"{where}: base_path must be absolute. Received {model.base_path!r} for model {model.name!r}."
            )
        if not model.model_platform and not model.model_type:
            raise UserError(
                f'{where}: model {model.name!r} needs model_platform: "tensorflow". Received no model_platform.'
            )


def check_batching(parameters: Any, *, where: str = "batching.config") -> None:
    """Refuse batching parameters the server would refuse at the first load, or that can never run a batch.

    Raises:
        UserError: names the field and what to change.
    """
    for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches", "max_execution_batch_size"):
        if parameters.HasField(name) and getattr(parameters, name).value < 1:
            raise UserError(f"{where}: {name} must be at least 1. Received {getattr(parameters, name).value}.")
    if parameters.batch_timeout_micros.value < 0:
        raise UserError(
            f"{where}: batch_timeout_micros must not be negative. Received {parameters.batch_timeout_micros.value}."
        )
    largest = parameters.max_batch_size.value if parameters.HasField("max_batch_size") else 1000
    sizes = list(parameters.allowed_batch_sizes)
    if sizes != sorted(set(sizes)) or (sizes and sizes[0] < 1):
        raise UserError(f"{where}: allowed_batch_sizes must increase from 1 or more. Received {sizes}.")
    if sizes and sizes[-1] != largest:
        raise UserError(
            f"{where}: the last of allowed_batch_sizes must equal max_batch_size. Received {sizes[-1]} and {largest}."
        )
    execution = parameters.max_execution_batch_size
    if parameters.HasField("max_execution_batch_size") and execution.value > largest:
        raise UserError(
            f"{where}: max_execution_batch_size must not exceed max_batch_size. Received {execution.value} and "
            f"{largest}."
        )
