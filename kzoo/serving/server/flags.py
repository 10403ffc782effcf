"""The genuine server's flags, so that one command line starts either: ``--rest_api_port=8501 --enable_batching``.

As there, a flag is written ``--name=value`` (a bool may be the bare ``--name``) and unknown ones are an error here,
where the genuine server only prints a line. Flags that tune what this server does not have are taken and not heeded.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kzoo.errors import UserError
from kzoo.serving import protos
from kzoo.serving.server.server import Server


def _bool(text: str) -> bool:
    if text.lower() in ("", "true", "1"):
        return True
    if text.lower() in ("false", "0"):
        return False
    raise ValueError("true or false")


def _whole(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("a whole number") from None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError("a number") from None


@dataclass(frozen=True, slots=True)
class _Flag:
    """A flag: how its text is read, and what ``--help`` says."""

    read: Callable[[str], Any]
    help: str
    default: Any = None


_FLAGS = {
    "model_config_file": _Flag(str, "the models to serve: a ModelServerConfig in text format"),
    "model_config_file_poll_wait_seconds": _Flag(_whole, "read that file again this often; 0: never", 0),
    "model_name": _Flag(str, "without a config file: the name of the one model", "default"),
    "model_base_path": _Flag(str, "without a config file: where its version folders are"),
    "port": _Flag(_whole, "port for gRPC", 8500),
    "rest_api_port": _Flag(_whole, "port for the REST API; 0: no REST", 0),
    "host": _Flag(str, "address to listen on (not a flag of the genuine server, which listens to all)", "127.0.0.1"),
    "rest_api_timeout_in_ms": _Flag(_whole, "time a REST request may take", 30000),
    "max_request_bytes": _Flag(_whole, "the largest request (not a flag of the genuine server)", 256 << 20),
    "max_concurrent_requests": _Flag(_whole, "requests at work or waiting, of each API (neither is this)", 1000),
    "receive_timeout_in_ms": _Flag(_whole, "time in which a REST request must come (nor this)", 30000),
    "drain_timeout_in_ms": _Flag(_whole, "time for running requests when it stops (nor this)", 10000),
    "rest_api_num_threads": _Flag(_whole, "REST and gRPC requests at work at once"),
    "grpc_max_threads": _Flag(_whole, "the same; the larger of the two counts"),
    "rest_api_enable_cors_support": _Flag(_bool, "send CORS headers", False),
    "enable_batching": _Flag(_bool, "run requests that arrive together as one", False),
    "batching_parameters_file": _Flag(str, "how: BatchingParameters in text format"),
    "enable_per_model_batching_parameters": _Flag(_bool, "by batching_params.pbtxt beside each model", False),
    "allow_version_labels_for_unavailable_models": _Flag(_bool, "labels may point at versions not loaded", False),
    "monitoring_config_file": _Flag(str, "metrics for Prometheus: MonitoringConfig in text format"),
    "ssl_config_file": _Flag(str, "gRPC over TLS: SSLConfig in text format"),
    "rest_certificate_file": _Flag(str, "REST over TLS: a PEM certificate (not a flag of the genuine server)"),
    "rest_key_file": _Flag(str, "its key (not a flag of the genuine server)"),
    "file_system_poll_wait_seconds": _Flag(_whole, "look for new versions this often; 0: only at the start", 1),
    "max_num_load_retries": _Flag(_whole, "attempts after the first to load a version", 0),
    "load_retry_interval_micros": _Flag(_whole, "the pause between them", 60_000_000),
    "enable_model_warmup": _Flag(_bool, "run the warm-up requests of models", True),
    "num_request_iterations_for_warmup": _Flag(_whole, "how often each", 1),
    "saved_model_tags": _Flag(str, "tags of the graph to load, with commas", "serve"),
    "tensorflow_session_parallelism": _Flag(_whole, "threads of each of TensorFlow's two pools; 0: its choice", 0),
    "tensorflow_intra_op_parallelism": _Flag(_whole, "threads within an operation; 0: TensorFlow's choice", 0),
    "tensorflow_inter_op_parallelism": _Flag(_whole, "operations at once; 0: TensorFlow's choice", 0),
    "per_process_gpu_memory_fraction": _Flag(_number, "share of each GPU's memory to take; 0: as needed", 0.0),
    "xla_cpu_compilation_enabled": _Flag(_bool, "run functions that must be compiled", False),
    "xla_gpu_compilation_enabled": _Flag(_bool, "run functions that must be compiled", False),
    "enable_grpc_healthcheck_service": _Flag(_bool, "answer gRPC health checks", False),
    "enable_serialization_as_tensor_content": _Flag(_bool, "gRPC replies carry tensors as raw bytes", False),
}
_UNHEEDED = {
    "enable_profiler",
    "flush_filesystem_caches",
    "grpc_channel_arguments",
    "num_load_threads",
    "num_unload_threads",
    "remove_unused_fields_from_bundle_metagraph",
    "skip_initialize_tpu",
    "tensorflow_session_config_file",
    "thread_pool_factory_config_file",
    "num_tflite_pools",
    "num_tflite_interpreters_per_pool",
}
_REFUSED = {
    "use_alts_credentials",
    "grpc_socket_path",
    "platform_config_file",
    "prefer_tflite_model",
    "enable_signature_method_name_check",
    "mixed_precision",
}


@dataclass(slots=True)
class Flags:
    """A command line as read: values of the flags given, and those that are taken but not heeded."""

    given: dict[str, Any] = field(default_factory=dict)
    unheeded: list[str] = field(default_factory=list)

    def __getitem__(self, name: str) -> Any:
        return self.given.get(name, _FLAGS[name].default)

    def server(self) -> Server:
        """The server they describe; raises ``UserError`` where they contradict each other."""
        if not self["enable_batching"] and self["batching_parameters_file"]:
            raise UserError("--batching_parameters_file needs --enable_batching. Received the file alone.")
        batching = (self["batching_parameters_file"] or True) if self["enable_batching"] else None
        timeout, threads = self["rest_api_timeout_in_ms"], (self["rest_api_num_threads"], self["grpc_max_threads"])
        session = self["tensorflow_session_parallelism"]
        return Server(
            self["model_config_file"] or self._single_model(),
            rest_port=self["rest_api_port"] or None,
            grpc_port=self["port"] or None,
            host=self["host"],
            batching=batching,
            monitoring=self["monitoring_config_file"],
            ssl=self["ssl_config_file"],
            rest_tls=self._rest_tls(),
            allow_version_labels_for_unavailable_models=self["allow_version_labels_for_unavailable_models"],
            rest_timeout=timeout / 1000 if timeout > 0 else None,
            max_request_bytes=self["max_request_bytes"],
            max_concurrent_requests=self["max_concurrent_requests"],
            receive_timeout=self["receive_timeout_in_ms"] / 1000,
            drain_seconds=self["drain_timeout_in_ms"] / 1000,
            threads=max(number or 0 for number in threads) or None,
            poll_seconds=float(self["file_system_poll_wait_seconds"]),
            config_poll_seconds=float(self["model_config_file_poll_wait_seconds"]),
            max_load_retries=self["max_num_load_retries"],
            load_retry_seconds=max(0.0, self["load_retry_interval_micros"] / 1e6),
            warm_up=self["enable_model_warmup"],
            warm_up_iterations=self["num_request_iterations_for_warmup"],
            cors=self["rest_api_enable_cors_support"],
            per_model_batching=self["enable_per_model_batching_parameters"],
            tensor_content=self["enable_serialization_as_tensor_content"],
            xla=self["xla_cpu_compilation_enabled"] or self["xla_gpu_compilation_enabled"],
            tags=tuple(self["saved_model_tags"].split(",")),
            intra_op_threads=self["tensorflow_intra_op_parallelism"] or session,
            inter_op_threads=self["tensorflow_inter_op_parallelism"] or session,
            gpu_memory_fraction=self["per_process_gpu_memory_fraction"],
            health_service=self["enable_grpc_healthcheck_service"],
        )

    def _rest_tls(self) -> tuple[str, str] | None:
        certificate, key = self["rest_certificate_file"], self["rest_key_file"]
        if bool(certificate) != bool(key):
            raise UserError("--rest_certificate_file and --rest_key_file belong together. Received one of them.")
        return (certificate, key) if certificate else None

    def _single_model(self) -> protos.ModelServerConfig:
        if not self["model_base_path"]:
            raise UserError("A server needs --model_config_file or --model_base_path. Received neither.")
        config = protos.ModelServerConfig()
        config.model_config_list.config.add(
            name=self["model_name"], base_path=self["model_base_path"], model_platform="tensorflow"
        )
        return config


def parse(arguments: Sequence[str]) -> Flags:
    """Flags from a command line without the program's name.

    Raises:
        UserError: a flag is unknown, has no value, or has one of the wrong kind.
    """
    flags = Flags()
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        name, equals, text = argument.lstrip("-").partition("=")
        if not argument.startswith("-") or not name:
            raise UserError(f"Flags are written --name=value. Received {argument!r}.")
        if name in _REFUSED:
            if _bool_or_text(text):
                raise UserError(f"The embedded server has no --{name}. Use tensorflow_model_server for it.")
            continue
        if name in _UNHEEDED:
            flags.unheeded.append(name)
            continue
        if name not in _FLAGS:
            raise UserError(f"--{name} is not a flag of the server. --help lists those that are.")
        flag = _FLAGS[name]
        if not equals and flag.read is not _bool:
            if not waiting:
                raise UserError(f"--{name} needs a value. Received none.")
            text = waiting.pop(0)
        try:
            flags.given[name] = flag.read(text)
        except ValueError as error:
            raise UserError(f"--{name} must be {error}. Received {text!r}.") from None
    return flags


def _bool_or_text(text: str) -> bool:
    try:
        return _bool(text)
    except ValueError:
        return True


def usage() -> str:
    """What ``--help`` prints."""
    width = max(map(len, _FLAGS)) + 4
    lines = ["usage: python -m kzoo.serving.server --model_config_file=FILE --rest_api_port=8501 [flags]", ""]
    for name, flag in _FLAGS.items():
        default = "" if flag.default in (None, False) else f" (default {str(flag.default).lower()})"
        lines.append(f"  --{name}".ljust(width + 2) + flag.help + default)
    return "\n".join(lines)
