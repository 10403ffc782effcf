"""The gRPC API of a running server, through the official stubs."""

import grpc
import numpy as np
import pytest

from kzoo.serving import stubs
from kzoo.serving.tensors import fill, strings


def _failure(call, *arguments, **options):
    with pytest.raises(grpc.RpcError) as caught:
        call(*arguments, **options)
    return caught.value.code().name, caught.value.details()


def _request(name, signature="", **inputs):
    request = stubs.load("predict_pb2").PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = name, signature
    for alias, array in inputs.items():
        fill(request.inputs[alias], array)
    return request


def _examples(message, *texts):
    for text in texts:
        message.input.example_list.examples.add().features.feature["text"].bytes_list.value.append(text)
    return message


def test_tensors_in_tensors_out(grpc_stubs):
    outputs = grpc_stubs.predict("words", text=strings(["a b", "c"]))
    assert outputs["words"].tolist() == [2, 1] and outputs["shout"].tolist() == [b"A B", b"C"]
    x = np.array([1.5, -2], np.float16)
    assert grpc_stubs.predict("numbers", "half", x=x)["y"].tolist() == [3.0, -4.0]
    assert grpc_stubs.predict("numbers", "to_half", x=x.astype(np.float32))["y"].dtype == np.float16
    assert grpc_stubs.predict("numbers", "mean", x=np.ones(3, np.float32))["mean"].shape == ()


def test_every_kind_of_number_goes_through_both_encodings(grpc_stubs):
    from tests.serving.server.conftest import NUMBERS

    values = {name: np.array([0, 1, 1], name) for name in NUMBERS}
    for as_content in (False, True):
        request = _request("numbers", "types")
        for name, array in values.items():
            fill(request.inputs[name], array, as_content=as_content)
        outputs = grpc_stubs.prediction.Predict(request, timeout=60).outputs
        from kzoo.serving.tensors import to_array

        for name, array in values.items():
            got = to_array(outputs[f"{name}_out"])
            assert got.dtype == array.dtype and got.tolist() == array.tolist()


def test_an_input_with_a_default_may_be_left_out(grpc_stubs):
    assert grpc_stubs.predict("words", "join", text=strings(["a"]))["joined"].tolist() == [b"a!"]
    given = grpc_stubs.predict("words", "join", text=strings(["a", "b"]), suffix=strings(["1", "2"]))
    assert given["joined"].tolist() == [b"a1", b"b2"]
    missing = _failure(grpc_stubs.predict, "words", "join", suffix=strings(["a"]))
    assert missing[0] == "INVALID_ARGUMENT" and missing[1].startswith("Signature input alias: text(feed name: ")


def test_the_spec_says_who_answered(grpc_stubs):
    request = _request("words", text=strings(["a"]))
    request.model_spec.version_label = "old"
    spec = grpc_stubs.prediction.Predict(request, timeout=60).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("words", 1, "serving_default")


def test_outputs_can_be_chosen(grpc_stubs):
    request = _request("words", text=strings(["a"]))
    request.output_filter.append("mark")
    assert list(grpc_stubs.prediction.Predict(request, timeout=60).outputs) == ["mark"]
    request.output_filter.append("mark")
    assert _failure(grpc_stubs.prediction.Predict, request)[1] == "duplicate output tensor alias: mark"
    del request.output_filter[:]
    request.output_filter.append("nosuch")
    assert _failure(grpc_stubs.prediction.Predict, request)[1] == (
        "output tensor alias not found in signature: nosuch Outputs expected to be in the set {mark,shout,words}."
    )


@pytest.mark.parametrize(
    "name, signature, inputs, failure",
    [
        ("words", "nosuch", {}, ("FAILED_PRECONDITION", 'Serving signature key "nosuch" not found.')),
        ("words", "", {}, ("INVALID_ARGUMENT", "input size does not match signature: 0!=1 len({}) != len({text}). Sent "
                                               "extra: {}. Missing but required: {text}.")),
        ("words", "", {"text": np.ones(1, np.float32)}, ("INVALID_ARGUMENT",
                                                         "Expects arg[0] to be string but float is provided")),
        ("nosuch", "", {}, ("NOT_FOUND", "Servable not found for request: Latest(nosuch)")),
        ("", "", {}, ("INVALID_ARGUMENT", "ModelSpec has no name specified.")),
        ("numbers", "compiled", {"x": np.ones(1, np.float32)}, ("INTERNAL", "XLA compilation disabled")),
    ],
)  # fmt: skip
def test_what_cannot_be_answered(grpc_stubs, name, signature, inputs, failure):
    assert _failure(grpc_stubs.prediction.Predict, _request(name, signature, **inputs), timeout=60) == failure


def test_the_initializer_is_no_signature_to_ask(grpc_stubs, rest):
    code, message = _failure(grpc_stubs.predict, "words", "__saved_model_init_op")
    assert code == "INVALID_ARGUMENT" and "was not found in the Graph" in message
    by_rest = rest("POST", "/v1/models/words:predict", {"signature_name": "__saved_model_init_op", "instances": [1]})
    assert by_rest.error == "Failed to get input map for signature: __saved_model_init_op"


def test_unknown_inputs_beside_defaults_are_told(grpc_stubs):
    code, message = _failure(grpc_stubs.predict, "words", "join", text=strings(["a"]), more=strings(["b"]))
    assert (code, message) == (
        "INVALID_ARGUMENT",
        "Inputs contains invalid name. Used request inputs: text, request input: more,text",
    )


def test_a_tensor_that_contradicts_itself_is_told(grpc_stubs):
    request = _request("numbers", "mean", x=np.ones(1, np.float32))
    request.inputs["x"].tensor_content = b"abc"
    assert _failure(grpc_stubs.prediction.Predict, request)[1] == "tensor parsing error: x"
    request = _request("numbers", "mean", x=np.ones(1, np.float32))
    request.inputs["x"].tensor_shape.dim[0].size = 1 << 40  # four terabytes promised by one value
    assert _failure(grpc_stubs.prediction.Predict, request)[1] == "tensor parsing error: x"


def test_long_messages_are_cut(grpc_stubs):
    _, message = _failure(grpc_stubs.predict, "words", "no" * 2000)
    assert len(message) == 1024 + len("...TRUNCATED") and message.endswith("...TRUNCATED")


def test_a_deadline_ends_the_run_in_the_server(grpc_stubs, server):
    code, _ = _failure(grpc_stubs.predict, "numbers", "sleep", seconds=np.array([60], np.float32), timeout=0.3)
    assert code == "DEADLINE_EXCEEDED"
    servable = server.registry.find("numbers")
    with servable._idle:
        assert servable._idle.wait_for(lambda: servable._in_flight == 0, timeout=20)


def test_classify_regress_and_both_in_one_run(grpc_stubs):
    classification = stubs.load("classification_pb2").ClassificationRequest()
    classification.model_spec.name, classification.model_spec.signature_name = "words", "classify"
    _examples(classification, b"abcd", b"ab")
    reply = grpc_stubs.prediction.Classify(classification, timeout=60)
    assert [entry.label for entry in reply.result.classifications[1].classes] == ["few", "many"]
    assert reply.result.classifications[1].classes[0].score == pytest.approx(0.2)
    assert reply.model_spec.version.value == 2

    regression = stubs.load("regression_pb2").RegressionRequest()
    regression.model_spec.name, regression.model_spec.signature_name = "words", "regress"
    reply = grpc_stubs.prediction.Regress(_examples(regression, b"abcd"), timeout=60)
    assert [entry.value for entry in reply.result.regressions] == [4.0]

    both = stubs.load("inference_pb2").MultiInferenceRequest()
    for signature, method in (("classify", "classify"), ("regress", "regress")):
        task = both.tasks.add(method_name=f"tensorflow/serving/{method}")
        task.model_spec.name, task.model_spec.signature_name = "words", signature
    reply = grpc_stubs.prediction.MultiInference(_examples(both, b"abc"), timeout=60)
    assert reply.results[0].classification_result.classifications[0].classes[0].score == pytest.approx(0.3)
    assert reply.results[1].regression_result.regressions[0].value == 3.0
    both.tasks[1].model_spec.signature_name = "classify"
    assert _failure(grpc_stubs.prediction.MultiInference, both)[1] == "Duplicate evaluation of signature: classify"
    both.tasks[1].model_spec.signature_name, both.tasks[1].method_name = "regress", "x"
    assert _failure(grpc_stubs.prediction.MultiInference, both) == (
        "UNIMPLEMENTED", "Unsupported signature method_name: x"
    )  # fmt: skip
    both.tasks[1].model_spec.name = "numbers"
    assert "must access the same model name" in _failure(grpc_stubs.prediction.MultiInference, both)[1]


def test_a_label_that_is_no_text_is_mended_not_fatal(grpc_stubs):
    request = stubs.load("classification_pb2").ClassificationRequest()
    request.model_spec.name, request.model_spec.signature_name = "words", "labels"
    reply = grpc_stubs.prediction.Classify(_examples(request, b"\xffa"), timeout=60)
    assert reply.result.classifications[0].classes[0].label == "\ufffda"


def test_status_and_metadata(grpc_stubs):
    status = stubs.load("get_model_status_pb2").GetModelStatusRequest()
    assert _failure(grpc_stubs.models.GetModelStatus, status) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    status.model_spec.name = "words"
    reply = grpc_stubs.models.GetModelStatus(status, timeout=60)
    assert [(entry.version, entry.state) for entry in reply.model_version_status] == [(2, 30), (1, 30)]
    module = stubs.load("get_model_metadata_pb2")
    metadata = module.GetModelMetadataRequest()
    metadata.model_spec.name = "words"
    assert "at least one metadata_field" in _failure(grpc_stubs.prediction.GetModelMetadata, metadata)[1]
    metadata.metadata_field.append("signature_def")
    signatures = module.SignatureDefMap()
    grpc_stubs.prediction.GetModelMetadata(metadata, timeout=60).metadata["signature_def"].Unpack(signatures)
    assert signatures.signature_def["join"].inputs["suffix"].dtype == 7


def test_health_is_one_answer_for_the_whole_server(server):
    with grpc.insecure_channel(server.grpc_address) as channel:
        check = channel.unary_unary("/grpc.health.v1.Health/Check")
        assert check(b"", timeout=60) == check(b"\x0a\x0cModelService", timeout=60) == b"\x08\x01"
        assert _failure(check, b"\x0a\x02no")[0] == "NOT_FOUND"
