"""Warm-up requests: a version counts as loaded only when it has answered the requests it brings along.

They lie in ``assets.extra/tf_serving_warmup_requests``, a TFRecord file of ``PredictionLog``. Any error fails the
load, as in the genuine server.
"""

from __future__ import annotations

import os
import time
from typing import Any

from kzoo.serving import stubs
from kzoo.serving.server import examples, runtime
from kzoo.serving.server.errors import Code, StatusError, invalid
from kzoo.serving.server.servable import Servable, find_signature, predict
from kzoo.serving.server.signatures import DEFAULT
from kzoo.serving.tensors import to_array

FILE = os.path.join("assets.extra", "tf_serving_warmup_requests")
MOST_RECORDS = 1000


def run(servable: Servable, path: str, *, iterations: int = 1) -> int:
    """Run a version folder's warm-up requests, if there are any; how many there were.

    Raises ``StatusError`` for a file that is cut or has too many records, and for any request that fails.
    """
    file = os.path.join(path, FILE)
    if not os.path.exists(file):
        return 0
    start = time.perf_counter()
    count = 0
    try:
        for record in runtime.records(file):
            log = stubs.load("prediction_log_pb2").PredictionLog()
            try:
                log.ParseFromString(record)
            except Exception:
                raise invalid(f"Failed to parse warmup record: {record[:100]!r} from {file}") from None
            for _ in range(max(1, iterations)):
                _run(servable, log)
            count += 1
            if count > MOST_RECORDS:
                raise invalid(f"Number of warmup records exceeds the maximum ({MOST_RECORDS}) at {file}")
    except StatusError as error:
        servable.metrics.warmup(path, str(error), count, time.perf_counter() - start)
        raise
    servable.metrics.warmup(path, "OK", count, time.perf_counter() - start)
    return count


def _run(servable: Servable, log: Any) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        name = request.model_spec.signature_name
        signature = find_signature(servable, name)
        if signature is None:
            raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name or DEFAULT}" not found.')
        predict(servable, signature, arrays(request.inputs), output_filter=list(request.output_filter))
    elif kind == "classify_log":
        request = log.classify_log.request
        examples.classify(servable, request.model_spec.signature_name, request.input, None)
    elif kind == "regress_log":
        request = log.regress_log.request
        examples.regress(servable, request.model_spec.signature_name, request.input, None)
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        examples.multi_inference(servable, list(request.tasks), request.input, None)
    elif kind is not None:
        number = log.DESCRIPTOR.fields_by_name[kind].number
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {number}")


def arrays(inputs: Any) -> dict[str, Any]:
    """The tensors of a predict request, by alias."""
    found = {}
    for alias, proto in inputs.items():
        try:
            found[alias] = to_array(proto)
        except ValueError:
            raise invalid(f"tensor parsing error: {alias}") from None
    return found
