"""The APIs over ``tf.Example``: classify, regress, and both at once."""

from __future__ import annotations

from typing import Any

from kzoo.serving import stubs
from kzoo.serving.conformance.case import Case, add_examples, case, over_examples, post, set_spec
from kzoo.serving.conformance.exchange import GrpcRequest
from kzoo.serving.conformance.expected import WORDS, classified, scores
from kzoo.serving.conformance.judging import Answer, Failure, Message, Refusal

_CLASSIFY = {"signature_name": "classify"}


def examples() -> list[Case]:
    """Good requests and bad ones."""
    over_rest, over_grpc = "classify and regress over REST", "classify and regress over gRPC"
    hi = {"examples": [{"text": "hi"}]}
    long, longer = "a much longer sentence", "long enough to be long"
    spec = {"name": "echo", "version": "2"}
    three = "Expected one or two output Tensors, found 3"
    return [
        case(
            over_rest,
            "classify",
            post("echo:classify", {**_CLASSIFY, "examples": [{"text": "hi"}, {"text": long}]}),
            Answer({"results": [classified("hi"), classified(long)]}),
        ),
        case(
            over_rest,
            "classify, a version",
            post("echo/versions/1:classify", {**_CLASSIFY, **hi}),
            Answer({"results": [classified("hi", 1)]}),
        ),
        case(
            over_rest,
            "classify with a context",
            post("echo:classify", {**_CLASSIFY, "context": {"text": "hi"}, "examples": [{}, {"text": longer}]}),
            Answer({"results": [classified("hi"), classified(longer)]}),
        ),
        case(
            over_rest,
            "classify, no examples",
            post("echo:classify", {**_CLASSIFY, "examples": []}),
            Refusal(
                400,
                'JSON Value: {\n    "signature_name": "classify",\n    "examples": []\n} '
                "'examples' value is an empty array",
            ),
        ),
        case(
            over_rest,
            "classify, a feature missing",
            post("echo:classify", {**_CLASSIFY, "examples": [{"other": "hi"}]}),
            Refusal(400, "Name: <unknown>, Feature: text (data type: string) is required but could not be found."),
        ),
        case(over_rest, "classify, wrong signature", post("echo:classify", hi), Refusal(400, three)),
        case(
            over_rest,
            "regress",
            post("echo:regress", {"signature_name": "regress", "examples": [{"text": "hi"}, {"text": "four"}]}),
            Answer({"results": [2.0, 4.0]}),
        ),
        case(
            over_rest,
            "regress, wrong signature",
            post("adder:regress", hi),
            Refusal(400, "No regression inputs found in SignatureDef: inputs {"),
        ),
        case(
            over_rest,
            "predict, not an example",
            post("echo:predict", {"signature_name": "regress", "instances": ["not an example"]}),
            Refusal(400, "Could not parse example input, value: 'not an example'"),
        ),
        case(
            over_grpc,
            "Classify",
            over_examples("Classify", "echo", "classify", ["hi", "a longer one"]),
            Message(
                {
                    "result": {"classifications": [_classes("hi"), _classes("a longer one")]},
                    "model_spec": {**spec, **_CLASSIFY},
                }
            ),
        ),
        case(
            over_grpc,
            "Classify, no examples",
            over_examples("Classify", "echo", "classify", []),
            Failure("INVALID_ARGUMENT", "Input is empty."),
        ),
        case(
            over_grpc,
            "Classify, wrong signature",
            over_examples("Classify", "echo", "serving_default", ["hi"]),
            Failure("INVALID_ARGUMENT", three),
        ),
        case(
            over_grpc,
            "Regress",
            over_examples("Regress", "echo", "regress", ["hi", "four"]),
            Message(
                {
                    "result": {"regressions": [{"value": 2.0}, {"value": 4.0}]},
                    "model_spec": {**spec, "signature_name": "regress"},
                }
            ),
        ),
        case(
            over_grpc,
            "MultiInference",
            _both(["hi"]),
            Message(
                {
                    "results": [
                        {
                            "model_spec": {**spec, **_CLASSIFY},
                            "classification_result": {"classifications": [_classes("hi")]},
                        },
                        {
                            "model_spec": {**spec, "signature_name": "regress"},
                            "regression_result": {"regressions": [{"value": 2.0}]},
                        },
                    ]
                }
            ),
        ),
    ]


def _classes(text: str) -> dict[str, Any]:
    """An answer's classes; a score too small for single precision is 0, and protobuf's JSON leaves zeros out."""
    pairs = zip(WORDS[2], scores(text), strict=True)
    return {"classes": [{"label": word} | ({"score": score} if score > 1e-38 else {}) for word, score in pairs]}


def _both(texts: list[str]) -> GrpcRequest:
    message = stubs.load("inference_pb2").MultiInferenceRequest()
    for name in ("classify", "regress"):
        task = message.tasks.add(method_name=f"tensorflow/serving/{name}")
        set_spec(task.model_spec, "echo", name)
    add_examples(message.input, texts)
    return GrpcRequest("MultiInference", message)
