"""The gRPC half of the client; see ``kzoo.serving.client``."""

from __future__ import annotations

from typing import Any

import numpy as np

from kzoo.errors import UserError
from kzoo.serving.replies import Inputs, ReplyError, Waiting, check_choice, described, text_where_it_is


class GrpcClient(Waiting):
    """Speaks gRPC to ``host:port`` with the official messages. Inputs with a default may be left out here."""

    def __init__(self, target: str, *, timeout: float = 60.0, secure: bool = False, certificates: str | None = None):
        import grpc

        from kzoo.serving import stubs

        self.address = target
        self._timeout = timeout
        self._grpc = grpc
        self._stubs = stubs
        options = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]
        if secure:
            trusted = grpc.ssl_channel_credentials(certificates.encode() if certificates else None)
            self._channel = grpc.secure_channel(target, trusted, options=options)
        else:
            self._channel = grpc.insecure_channel(target, options=options)
        self._prediction = stubs.load("prediction_service_pb2_grpc").PredictionServiceStub(self._channel)
        self._models = stubs.load("model_service_pb2_grpc").ModelServiceStub(self._channel)
        self._types: dict[tuple[Any, ...], dict[str, Any]] = {}

    def predict(
        self,
        model: str,
        inputs: Inputs,
        *,
        signature: str | None = None,
        version: int | None = None,
        label: str | None = None,
    ) -> dict[str, np.ndarray]:
        """Named outputs for named inputs, each with a batch dimension first. Lists take the type of the signature.

        Raises:
            ReplyError: the server refused. UserError: no server answers.
        """
        from kzoo.serving.tensors import fill, to_array

        request = self._stubs.load("predict_pb2").PredictRequest()
        choose(request.model_spec, model, version, label)
        request.model_spec.signature_name = signature or ""
        for name, value in inputs.items():
            array = value if isinstance(value, np.ndarray) else None
            if array is None:
                array = self._array(value, name, (model, version, label, signature or "serving_default"))
            fill(request.inputs[name], array, as_content=True)
        response = self._ask(self._prediction.Predict, request)
        return {name: text_where_it_is(to_array(proto)) for name, proto in response.outputs.items()}

    def _array(self, value: Any, name: str, target: tuple[Any, ...]) -> np.ndarray:
        from kzoo.serving.tensors import BY_NAME, STRING, strings

        if target not in self._types:
            model, version, label, signature = target
            signatures = self.metadata(model, version=version, label=label)
            self._types[target] = signatures.get(signature, {}).get("inputs", {})
        known = self._types[target].get(name)
        dtype = BY_NAME.get(known["dtype"]) if known else None
        if dtype is STRING:
            return strings(value)
        return np.asarray(value, dtype=dtype.numpy if dtype else None)

    def status(self, model: str, *, version: int | None = None) -> dict[int, str]:
        """The state of each version."""
        request = self._stubs.load("get_model_status_pb2").GetModelStatusRequest()
        choose(request.model_spec, model, version, None)
        response = self._ask(self._models.GetModelStatus, request)
        names = type(response).DESCRIPTOR.file.message_types_by_name["ModelVersionStatus"].enum_types_by_name["State"]
        return {entry.version: names.values_by_number[entry.state].name for entry in response.model_version_status}

    def metadata(self, model: str, *, version: int | None = None, label: str | None = None) -> dict[str, Any]:
        """Signatures by name."""
        from google.protobuf import json_format

        module = self._stubs.load("get_model_metadata_pb2")
        request = module.GetModelMetadataRequest(metadata_field=["signature_def"])
        choose(request.model_spec, model, version, label)
        response = self._ask(self._prediction.GetModelMetadata, request)
        signatures = module.SignatureDefMap()
        response.metadata["signature_def"].Unpack(signatures)
        return described(json_format.MessageToDict(signatures, preserving_proto_field_name=True)["signature_def"])

    def problems(self, model: str) -> dict[int, str]:
        """What went wrong with each version that could not be loaded."""
        request = self._stubs.load("get_model_status_pb2").GetModelStatusRequest()
        choose(request.model_spec, model, None, None)
        response = self._ask(self._models.GetModelStatus, request)
        return {
            entry.version: entry.status.error_message
            for entry in response.model_version_status
            if entry.status.error_code
        }

    def labelled(self, model: str, label: str) -> int:
        """The version that a label names."""
        request = self._stubs.load("get_model_metadata_pb2").GetModelMetadataRequest(metadata_field=["signature_def"])
        choose(request.model_spec, model, None, label)
        return int(self._ask(self._prediction.GetModelMetadata, request).model_spec.version.value)

    def reload(self, config: Any) -> None:
        """Replace the whole config by a ``ModelServerConfig``; returns when its new models are available."""
        request = self._stubs.load("model_management_pb2").ReloadConfigRequest()
        request.config.CopyFrom(config)
        self._ask(self._models.HandleReloadConfigRequest, request)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()

    def _ask(self, method: Any, request: Any) -> Any:
        try:
            return method(request, timeout=self._timeout)
        except self._grpc.RpcError as error:
            code, details = error.code().name, error.details() or ""
            if code == "UNAVAILABLE" and any(word in details.lower() for word in ("ssl", "tls", "handshake")):
                raise UserError(
                    f"{self.address} and this client do not agree on TLS: {details} Give the certificate to trust "
                    "(--ca) and the name it is made out to, or grpc:// where the server has none."
                ) from None
            if code == "UNAVAILABLE" and "connect" in details.lower():
                raise UserError(
                    f"No server answers gRPC at {self.address}. Start one with `kzoo serve`, or give the address of "
                    "its gRPC port."
                ) from None
            if code == "DEADLINE_EXCEEDED":
                raise UserError(f"{self.address} did not answer within {self._timeout:g} seconds.") from None
            raise ReplyError(code, details) from None


def choose(spec: Any, model: str, version: int | None, label: str | None) -> None:
    """Writes model, version or label into a ``ModelSpec``."""
    check_choice(version, label)
    spec.name = model
    if version is not None:
        spec.version.value = version
    elif label:
        spec.version_label = label
