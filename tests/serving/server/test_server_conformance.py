"""Every recorded exchange with a genuine tensorflow_model_server, put to this one."""

import base64
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format

from kzoo.serving import stubs
from kzoo.serving.server import Server

RECORDS = Path(__file__).resolve().parents[4] / "shared" / "conformance"
EXCHANGES = (
    [json.loads(line) for line in (RECORDS / "transcript.jsonl").read_text().splitlines()]
    if (RECORDS / "transcript.jsonl").exists()
    else []
)
REQUESTS = {
    "Predict": ("predict_pb2", "PredictRequest"),
    "Classify": ("classification_pb2", "ClassificationRequest"),
    "Regress": ("regression_pb2", "RegressionRequest"),
    "MultiInference": ("inference_pb2", "MultiInferenceRequest"),
    "GetModelMetadata": ("get_model_metadata_pb2", "GetModelMetadataRequest"),
    "GetModelStatus": ("get_model_status_pb2", "GetModelStatusRequest"),
}

pytestmark = pytest.mark.skipif(not EXCHANGES, reason="the recorded exchanges are not beside this checkout")


@pytest.fixture(scope="module")
def recorded_models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("conformance")
    made = subprocess.run(
        [sys.executable, str(RECORDS / "make_models.py"), str(folder)], capture_output=True, text=True, timeout=300
    )
    assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="module")
def profiles(recorded_models):
    servers: dict[str, Server] = {}
    for name, batching in (("plain", None), ("batching", recorded_models / "batching.config")):
        servers[name] = Server(
            recorded_models / "models.config",
            rest_port=0,
            grpc_port=0,
            batching=batching,
            allow_version_labels_for_unavailable_models=True,
        ).start()
    yield servers
    for server in servers.values():
        server.stop()


def _same(got: Any, wanted: Any) -> bool:
    """Equal to the value, floats to 1e-5."""
    if isinstance(wanted, float) or isinstance(got, float):
        if isinstance(got, str) or isinstance(wanted, str) or math.isnan(got) != math.isnan(wanted):
            return False
        return math.isnan(got) or got == wanted or math.isclose(got, wanted, rel_tol=1e-5, abs_tol=1e-5)
    if isinstance(wanted, dict):
        return isinstance(got, dict) and got.keys() == wanted.keys() and all(_same(got[k], wanted[k]) for k in wanted)
    if isinstance(wanted, list):
        return isinstance(got, list) and len(got) == len(wanted) and all(map(_same, got, wanted))
    return type(got) is type(wanted) and got == wanted


def _text(message: str) -> str:
    """An error's first line without the names of graph nodes."""
    return re.sub(r"\{\{.*?\}\}", "", message.split("\n")[0])


def _shape_of_json(body: bytes) -> list[str]:
    """A body as a bag of lines without commas: key order varies, and with it which line ends in a comma."""
    return sorted(line.rstrip(",") for line in body.decode("utf-8", "surrogateescape").splitlines())


@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda e: f"{e['profile']}-{e['transport']}-{e['id']}")
def test_the_reply_is_that_of_the_genuine_server(exchange, profiles, ask):
    server, request, wanted = profiles[exchange["profile"]], exchange["request"], exchange["reply"]
    if exchange["transport"] == "grpc":
        return _compare_grpc(server, request, wanted)
    body = None
    if request["method"] == "POST":
        encoded = request.get("body_base64")
        body = base64.b64decode(encoded) if encoded else request["body"].encode("utf-8", "surrogateescape")
    got = ask(server, request["method"], request["path"], body, request["headers"])
    assert got.status == wanted["status"]
    assert got.headers["Content-Type"] == wanted["content_type"]
    if "json" not in wanted:  # a page, or a reply that is no JSON because a string in it is no text
        assert _shape_of_json(got.body) == _shape_of_json(wanted["body"].encode("utf-8", "surrogateescape"))
    elif "error" in wanted["json"]:
        assert _text(got.error) == _text(wanted["json"]["error"])
    else:
        assert _same(got.json, wanted["json"])


def _compare_grpc(server, request, wanted):
    import grpc

    module, name = REQUESTS[request["method"]]
    message = json_format.ParseDict(request["message"], getattr(stubs.load(module), name)())
    with grpc.insecure_channel(server.grpc_address) as channel:
        is_model_service = request["method"] == "GetModelStatus"
        stub = (
            stubs.load("model_service_pb2_grpc").ModelServiceStub(channel)
            if is_model_service
            else stubs.load("prediction_service_pb2_grpc").PredictionServiceStub(channel)
        )
        try:
            reply = getattr(stub, request["method"])(message, timeout=60)
        except grpc.RpcError as error:
            assert error.code().name == wanted["code"]
            assert _text(error.details()) == _text(wanted["details"])
            return
    assert wanted["code"] == "OK"
    assert _same(json_format.MessageToDict(reply, preserving_proto_field_name=True), wanted["message"])


def test_bodies_without_long_floats_are_printed_alike(profiles, ask):
    """To the byte, but for the order of keys: indentation, float digits, escapes."""
    compared = 0
    for exchange in EXCHANGES:
        wanted = exchange["reply"]
        if exchange["transport"] == "grpc" or re.search(r"\d\.\d{6}|\[\[\{\{", wanted["body"]):
            continue
        request = exchange["request"]
        body = request.get("body", "").encode("utf-8", "surrogateescape") if request["method"] == "POST" else None
        if "body_base64" in request or "metadata" in request["path"]:
            continue
        got = ask(profiles[exchange["profile"]], request["method"], request["path"], body, request["headers"])
        assert _shape_of_json(got.body) == _shape_of_json(wanted["body"].encode("utf-8", "surrogateescape")), request
        compared += 1
    assert compared > 60
