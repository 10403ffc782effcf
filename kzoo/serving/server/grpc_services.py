"""The gRPC API: PredictionService and ModelService, on the official messages."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import grpc

from kzoo.serving import stubs
from kzoo.serving.server import examples
from kzoo.serving.server.errors import Code, StatusError, invalid, status_of
from kzoo.serving.server.examples import Classification
from kzoo.serving.server.metrics import Metrics
from kzoo.serving.server.registry import Registry
from kzoo.serving.server.rest import status_response
from kzoo.serving.server.servable import find_signature, predict
from kzoo.serving.server.signatures import DEFAULT
from kzoo.serving.server.warmup import arrays
from kzoo.serving.tensors import fill

_LONGEST_MESSAGE = 1024
_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _abort(context: grpc.ServicerContext, error: Exception) -> None:
    status = status_of(error)
    message = status.message
    if len(message) > _LONGEST_MESSAGE:
        message = message[:_LONGEST_MESSAGE] + "...TRUNCATED"
    context.abort(_CODES[status.code], message.encode("utf-8", "replace").decode())


def _timeout(context: grpc.ServicerContext) -> float | None:
    """The time a caller still gives; gRPC says years where there is no deadline."""
    remaining = context.time_remaining()
    return None if remaining is None or remaining > 1e6 else remaining


def _target(spec: Any) -> tuple[str, int | None, str | None]:
    choice = spec.WhichOneof("version_choice")
    return (
        spec.name,
        spec.version.value if choice == "version" else None,
        spec.version_label if choice == "version_label" else None,
    )


def _spec_of(request: Any) -> Any:
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    return request.model_spec


def _fill_spec(spec: Any, name: str, signature: str, version: int) -> None:
    spec.name = name
    spec.signature_name = signature or DEFAULT
    spec.version.value = version


class PredictionService:
    """Predict, Classify, Regress, MultiInference and GetModelMetadata."""

    def __init__(self, registry: Registry, metrics: Metrics, *, tensor_content: bool = False):
        self._registry = registry
        self._metrics = metrics
        self._tensor_content = tensor_content

    def _counted(self, api: str, request: Any, context: Any, answer: Callable[[Any, Any], Any]) -> Any:
        start = time.perf_counter()
        name = request.model_spec.name
        try:
            response = answer(request, context)
        except Exception as error:
            self._metrics.request(name, status_of(error).code.name)
            return _abort(context, error)
        self._metrics.request(name, "OK")
        self._metrics.request_latency(name, api, "GRPC", time.perf_counter() - start)
        return response

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 (the generated code calls it by this name)
        """Named tensors in, named tensors out."""
        return self._counted("Predict", request, context, self._predict)

    def Classify(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Examples in, labels and scores out."""
        return self._counted("Classify", request, context, self._classify)

    def Regress(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Examples in, numbers out."""
        return self._counted("Regress", request, context, self._regress)

    def MultiInference(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Several classify and regress signatures over the same examples."""
        try:
            return self._multi_inference(request, context)
        except Exception as error:
            return _abort(context, error)

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """A version's signatures."""
        try:
            return self._metadata(request)
        except Exception as error:
            return _abort(context, error)

    def _predict(self, request: Any, context: Any) -> Any:
        spec = _spec_of(request)
        with self._registry.use(*_target(spec)) as servable:
            signature = find_signature(servable, spec.signature_name)
            if signature is None:
                name = spec.signature_name or DEFAULT
                raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
            outputs = predict(
                servable,
                signature,
                arrays(request.inputs),
                output_filter=request.output_filter,
                timeout=_timeout(context),
            )
        response = stubs.load("predict_pb2").PredictResponse()
        _fill_spec(response.model_spec, spec.name, spec.signature_name, servable.version)
        for alias, array in outputs.items():
            fill(response.outputs[alias], array, as_content=self._tensor_content)
        return response

    def _classify(self, request: Any, context: Any) -> Any:
        spec = _spec_of(request)
        with self._registry.use(*_target(spec)) as servable:
            result = examples.classify(servable, spec.signature_name, request.input, _timeout(context))
        response = stubs.load("classification_pb2").ClassificationResponse()
        _fill_spec(response.model_spec, spec.name, spec.signature_name, servable.version)
        _fill_classification(response.result, result)
        return response

    def _regress(self, request: Any, context: Any) -> Any:
        spec = _spec_of(request)
        with self._registry.use(*_target(spec)) as servable:
            values = examples.regress(servable, spec.signature_name, request.input, _timeout(context))
        response = stubs.load("regression_pb2").RegressionResponse()
        _fill_spec(response.model_spec, spec.name, spec.signature_name, servable.version)
        for value in values.tolist():
            response.result.regressions.add(value=value)
        return response

    def _multi_inference(self, request: Any, context: Any) -> Any:
        tasks = list(request.tasks)
        spec = tasks[0].model_spec if tasks else stubs.load("model_pb2").ModelSpec()
        with self._registry.use(*_target(spec)) as servable:
            results = examples.multi_inference(servable, tasks, request.input, _timeout(context))
        response = stubs.load("inference_pb2").MultiInferenceResponse()
        for task, result in zip(tasks, results, strict=True):
            entry = response.results.add()
            _fill_spec(entry.model_spec, task.model_spec.name, task.model_spec.signature_name, servable.version)
            if isinstance(result, Classification):
                _fill_classification(entry.classification_result, result)
            else:
                for value in result.tolist():
                    entry.regression_result.regressions.add(value=value)
        return response

    def _metadata(self, request: Any) -> Any:
        spec = _spec_of(request)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise invalid(f"Metadata field {field} is not supported")
        with self._registry.use(*_target(spec)) as servable:
            signatures = servable.metadata()
        response = stubs.load("get_model_metadata_pb2").GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        packed = response.metadata["signature_def"]
        packed.type_url = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
        packed.value = signatures
        return response


def _fill_classification(message: Any, result: Classification) -> None:
    given = result.classes if result.classes is not None else result.scores
    assert given is not None
    labels = result.classes.tolist() if result.classes is not None else None
    scores = result.scores.tolist() if result.scores is not None else None
    for row in range(len(given)):
        classes = message.classifications.add().classes
        for column in range(given.shape[1]):
            entry = classes.add()
            if labels is not None:
                # The field is text: what is not UTF-8 cannot be sent, and must not end the whole request.
                entry.label = labels[row][column].decode("utf-8", "replace")
            if scores is not None:
                entry.score = scores[row][column]


class ModelService:
    """GetModelStatus and HandleReloadConfigRequest."""

    def __init__(self, registry: Registry):
        self._registry = registry

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The states of a model's versions; a label is ignored, as in the genuine server."""
        try:
            name, version, _ = _target(_spec_of(request))
            return status_response(self._registry, name, version)
        except Exception as error:
            return _abort(context, error)

    def HandleReloadConfigRequest(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Replace the whole config; returns when the new models are available."""
        response = stubs.load("model_management_pb2").ReloadConfigResponse()
        try:
            if request.config.WhichOneof("config") != "model_config_list":
                raise invalid(
                    "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is "
                    "currently supported"
                )
            self._registry.reload(request.config)
        except Exception as error:
            return _abort(context, error)
        response.status.error_code = int(Code.OK)
        return response


def add_services(server: grpc.Server, registry: Registry, metrics: Metrics, *, tensor_content: bool = False) -> None:
    """Register both services with a gRPC server."""
    prediction, models = stubs.load("prediction_service_pb2_grpc"), stubs.load("model_service_pb2_grpc")
    service = PredictionService(registry, metrics, tensor_content=tensor_content)
    prediction.add_PredictionServiceServicer_to_server(service, server)
    models.add_ModelServiceServicer_to_server(ModelService(registry), server)


def add_health_service(server: grpc.Server) -> None:
    """grpc.health.v1.Health/Check: serving, for the server and for each service's name; anything else is unknown.

    As in the genuine server it is set once and says nothing of any model. Two messages of one field each are
    written out here rather than asking for a package of their own.
    """
    serving = b"\x08\x01"  # HealthCheckResponse(status=SERVING)
    known = {b""} | {bytes([10, len(name)]) + name for name in (b"ModelService", b"PredictionService")}

    def check(request: bytes, context: Any) -> bytes:
        if request not in known:
            context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return serving

    handler = grpc.unary_unary_rpc_method_handler(check)
    service = grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler})
    server.add_generic_rpc_handlers((service,))
