"""Status and metadata over REST and gRPC."""

from __future__ import annotations

from typing import Any

from kzoo.serving.conformance.case import Case, about, case, get
from kzoo.serving.conformance.judging import Answer, Failure, Message, Refusal
from kzoo.serving.conformance.models import NUMBERS

_PREDICT = "tensorflow/serving/predict"
_DTYPES = {"float32": "DT_FLOAT", "float64": "DT_DOUBLE", "float16": "DT_HALF"}
_ECHO = {
    "serving_default": (
        {"text": "DT_STRING[-1]"},
        {"label": "DT_STRING[-1]", "scores": "DT_FLOAT[-1,3]", "length": "DT_INT32[-1]"},
    ),
    "copies": ({"text": "DT_STRING[-1]"}, {"text": "DT_STRING[-1]", "data_bytes": "DT_STRING[-1]"}),
    "repeat": ({"prompt": "DT_STRING[-1]", "times": "DT_INT32[-1]"}, {"text": "DT_STRING[-1]"}),
    "classify": ({"inputs": "DT_STRING[-1]"}, {"classes": "DT_STRING[-1,3]", "scores": "DT_FLOAT[-1,3]"}),
    "regress": ({"inputs": "DT_STRING[-1]"}, {"outputs": "DT_FLOAT[-1]"}),
}
_ADDER = {
    "serving_default": ({"x": "DT_FLOAT[-1,2]"}, {"sum": "DT_FLOAT[-1]"}),
    "same": (
        {name: f"{_DTYPES.get(name, f'DT_{name.upper()}')}[-1]" for name in NUMBERS},
        {f"{name}_out": f"{_DTYPES.get(name, f'DT_{name.upper()}')}[-1]" for name in NUMBERS},
    ),
    "special": ({"x": "DT_FLOAT[-1]"}, {"quotient": "DT_FLOAT[-1]", "matrix": "DT_FLOAT[-1,1,2]"}),
}


def information() -> list[Case]:
    """What a server says of its models; a label does not choose among the states (an oddity), but does in metadata."""
    status, metadata = "status", "metadata"
    unknown_model = "Could not find any versions of model nosuch"
    unknown_version = "Could not find version 9 of model echo"
    return [
        case(status, "REST, a version", get("echo/versions/1"), Answer(_states(1))),
        case(status, "REST, a label: all versions", get("echo/labels/stable"), Answer(_states(2, 1))),
        case(status, "REST, a model: all versions", get("echo"), Answer(_states(2, 1)), recorded=False),
        case(status, "REST, unknown version", get("echo/versions/9"), Refusal(404, unknown_version)),
        case(status, "REST, unknown model", get("nosuch"), Refusal(404, unknown_model), recorded=False),
        case(status, "gRPC, a model: all versions", about("GetModelStatus", "echo"), _grpc_states(2, 1)),
        case(status, "gRPC, a version", about("GetModelStatus", "echo", version=1), _grpc_states(1)),
        case(
            status, "gRPC, a label: all versions", about("GetModelStatus", "echo", label="canary"), _grpc_states(2, 1)
        ),
        case(status, "gRPC, unknown model", about("GetModelStatus", "nosuch"), Failure("NOT_FOUND", unknown_model)),
        case(
            status,
            "gRPC, unknown version",
            about("GetModelStatus", "echo", version=9),
            Failure("NOT_FOUND", unknown_version),
        ),
        case(metadata, "REST, the newest", get("echo/metadata"), _metadata("echo", 2, _ECHO)),
        case(metadata, "REST, a version", get("echo/versions/1/metadata"), _metadata("echo", 1, _ECHO)),
        case(metadata, "REST, a label", get("echo/labels/stable/metadata"), _metadata("echo", 1, _ECHO)),
        case(metadata, "REST, numbers", get("adder/metadata"), _metadata("adder", 1, _ADDER)),
        case(
            metadata,
            "REST, unknown model",
            get("nosuch/metadata"),
            Refusal(404, "Servable not found for request: Latest(nosuch)"),
            recorded=False,
        ),
        case(
            metadata,
            "gRPC, signatures",
            about("GetModelMetadata", "echo", fields=["signature_def"]),
            Message({"model": {"name": "echo", "version": "2"}, "signatures": _signatures(_ECHO)}, seen=_seen),
        ),
        case(
            metadata,
            "gRPC, no field",
            about("GetModelMetadata", "echo"),
            Failure("INVALID_ARGUMENT", "GetModelMetadataRequest must specify at least one metadata_field"),
        ),
        case(
            metadata,
            "gRPC, unknown field",
            about("GetModelMetadata", "echo", fields=["nosuch"]),
            Failure("INVALID_ARGUMENT", "Metadata field nosuch is not supported"),
        ),
        case(
            metadata,
            "gRPC, unknown model",
            about("GetModelMetadata", "nosuch", fields=["signature_def"]),
            Failure("NOT_FOUND", "Servable not found for request: Latest(nosuch)"),
        ),
    ]


def _states(*versions: int) -> dict[str, Any]:
    status = {"error_code": "OK", "error_message": ""}
    return {"model_version_status": [{"version": str(one), "state": "AVAILABLE", "status": status} for one in versions]}


def _grpc_states(*versions: int) -> Message:
    return Message(
        {"model_version_status": [{"version": str(one), "state": "AVAILABLE", "status": {}} for one in versions]}
    )


def _metadata(model: str, version: int, signatures: dict[str, Any]) -> Answer:
    spec = {"name": model, "signature_name": "", "version": str(version)}
    return Answer({"model": spec, "signatures": _signatures(signatures)}, seen=_seen)


def _signatures(described: dict[str, Any]) -> dict[str, Any]:
    return {
        name: {"inputs": inputs, "outputs": outputs, "method": _PREDICT}
        for name, (inputs, outputs) in described.items()
    }


def _seen(reply: dict[str, Any]) -> dict[str, Any]:
    """Signatures by what a caller can rely on; names of graph nodes and the initializer are the writer's choice."""

    def tensors(entries: dict[str, Any]) -> dict[str, str]:
        return {
            name: f"{one['dtype']}[{','.join(dim['size'] for dim in one['tensor_shape']['dim'])}]"
            for name, one in entries.items()
        }

    return {
        "model": reply["model_spec"],
        "signatures": {
            name: {
                "inputs": tensors(one["inputs"]),
                "outputs": tensors(one["outputs"]),
                "method": one["method_name"],
            }
            for name, one in reply["metadata"]["signature_def"]["signature_def"].items()
            if not name.startswith("__")
        },
    }
