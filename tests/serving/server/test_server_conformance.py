"""The conformance suite takes the genuine server's replies for right and wrong ones for wrong; kzoo's server passes.

The genuine server's recorded exchanges lie beside the checkout; where they do not, those tests are skipped.
"""

import base64
import dataclasses
import json
import re
import socket
from pathlib import Path

import pytest
from google.protobuf import json_format
from typer.testing import CliRunner

from kzoo.cli.main import app
from kzoo.errors import UserError
from kzoo.serving import stubs
from kzoo.serving.conformance import inside, suite
from kzoo.serving.conformance.exchange import GrpcReply, GrpcRequest, LiveServer, RestReply, RestRequest
from kzoo.serving.conformance.judging import first_line, unlike
from kzoo.serving.conformance.models import BATCHING_CONFIG, MODELS_CONFIG, MONITORING_CONFIG, write_models
from kzoo.serving.server import Server

RECORDS = Path(__file__).resolve().parents[4] / "shared" / "conformance" / "transcript.jsonl"
EXCHANGES = [json.loads(line) for line in RECORDS.read_text().splitlines()] if RECORDS.exists() else []
MESSAGES = {
    "Predict": ("predict_pb2", "PredictRe"),
    "Classify": ("classification_pb2", "ClassificationRe"),
    "Regress": ("regression_pb2", "RegressionRe"),
    "MultiInference": ("inference_pb2", "MultiInferenceRe"),
    "GetModelMetadata": ("get_model_metadata_pb2", "GetModelMetadataRe"),
    "GetModelStatus": ("get_model_status_pb2", "GetModelStatusRe"),
}
recorded = pytest.mark.skipif(not EXCHANGES, reason="the recorded exchanges are not beside this checkout")
PROFILES = ("plain", "batching")


def message(method, kind, value):
    """A request's ("quest") or a reply's ("sponse") message from protobuf's JSON."""
    module, name = MESSAGES[method]
    return json_format.ParseDict(value, getattr(stubs.load(module), f"{name}{kind}")())


def request_of(exchange):
    asked = exchange["request"]
    if exchange["transport"] == "grpc":
        return GrpcRequest(asked["method"], message(asked["method"], "quest", asked["message"]))
    encoded = asked.get("body_base64")
    body = base64.b64decode(encoded) if encoded else asked.get("body", "").encode("utf-8", "surrogateescape")
    return RestRequest(asked["method"], asked["path"], body, asked["headers"])


def reply_of(exchange):
    told = exchange["reply"]
    if exchange["transport"] == "rest":
        return RestReply(told["status"], told["content_type"], told["body"].encode("utf-8", "surrogateescape"))
    if told["code"] != "OK":
        return GrpcReply(told["code"], told["details"])
    return GrpcReply("OK", message=message(exchange["request"]["method"], "sponse", told["message"]))


def key(request):
    """What makes two requests the same: not how JSON is spaced."""
    if isinstance(request, GrpcRequest):
        return request.method, request.message.SerializeToString(deterministic=True)
    try:
        body = repr(json.loads(request.body))
    except ValueError:
        body = request.body
    return request.method, request.path, body, tuple(request.headers.items())


class Record:
    """The genuine server of one profile, as it was recorded; ``change`` makes it a wrong one."""

    def __init__(self, profile, change=lambda reply: reply):
        exchanges = [one for one in EXCHANGES if one["profile"] == profile]
        self.replies = {key(request_of(one)): reply_of(one) for one in exchanges}
        self.asked = set()
        self._change = change

    def send(self, request):
        self.asked.add(key(request))
        reply = self.replies.get(key(request))
        return None if reply is None else self._change(reply)


@recorded
@pytest.mark.parametrize("profile", PROFILES)
def test_the_genuine_servers_replies_pass_and_all_of_them_are_asked_for(profile):
    record = Record(profile)
    report = suite.run(record, batching=profile == "batching")
    assert [(one.name, one.reason, one.expected, one.received) for one in report.of("failed")] == []
    assert record.replies.keys() - record.asked == set()
    assert len(report.of("passed")) == len(record.replies)
    if profile == "plain":  # what is said to be recorded is, but for what was recorded with batching alone
        asked = [
            one.name for one in report.of("skipped") if one.recorded and one.area not in ("model reload", "metrics")
        ]
        assert asked == ["a thousand rows"]


def change_status(reply):
    if isinstance(reply, GrpcReply):
        return dataclasses.replace(reply, code="INTERNAL", details="no", message=None)
    return dataclasses.replace(reply, status=500 if reply.status == 200 else 200)


def change_type(reply):
    return reply if isinstance(reply, GrpcReply) else dataclasses.replace(reply, content_type="text/plain")


def change_values(reply):
    """One more digit or letter at the end of every number and word; a message that says nothing."""
    if isinstance(reply, GrpcReply):
        return GrpcReply(reply.code, reply.details + "~", reply.message and type(reply.message)())
    return dataclasses.replace(reply, body=re.sub(rb'(?<=[\w.])(?=[",\]}\s])', b"7", reply.body))


@recorded
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("change", [change_status, change_type, change_values])
def test_a_server_that_answers_otherwise_fails_every_check(change, profile):
    report = suite.run(Record(profile, change), batching=profile == "batching")
    passed = [f"{one.area}: {one.name}" for one in report.of("passed")]
    if change is change_type:  # which gRPC does not have
        passed = [name for name in passed if "gRPC" not in name]
    assert passed == []
    assert len(report.of("failed")) > 30 and not report.as_dict()["conforms"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_models(tmp_path_factory.mktemp("conformance") / "models")


@pytest.fixture(scope="module")
def servers(folder):
    started = {}
    for profile in PROFILES:
        started[profile] = Server(
            folder / MODELS_CONFIG,
            rest_port=0,
            grpc_port=0,
            batching=folder / BATCHING_CONFIG if profile == "batching" else None,
            monitoring=folder / MONITORING_CONFIG,
            allow_version_labels_for_unavailable_models=True,
        ).start()
    yield started
    for server in started.values():
        server.stop()


@recorded
@pytest.mark.parametrize("exchange", EXCHANGES, ids=lambda e: f"{e['profile']}-{e['transport']}-{e['id']}")
def test_the_reply_is_that_of_the_genuine_server(exchange, servers):
    """To the value, and REST to the letter but for the order of keys; more than the suite asks."""
    server, wanted = servers[exchange["profile"]], reply_of(exchange)
    live = LiveServer(server.rest_address, f"grpc://{server.grpc_address}")
    got = live.send(request_of(exchange))
    live.close()
    if isinstance(wanted, GrpcReply):
        assert got.code == wanted.code and first_line(got.details) == first_line(wanted.details)
        if wanted.message is not None:
            assert unlike(json_format.MessageToDict(got.message), json_format.MessageToDict(wanted.message)) == ""
        return
    assert (got.status, got.content_type) == (wanted.status, wanted.content_type)
    parsed = exchange["reply"].get("json")
    if parsed is None:  # a page, or a reply that is no JSON because a string in it is no text
        assert lines(got.body) == lines(wanted.body)
    elif "error" in parsed:
        assert first_line(json.loads(got.body)["error"]) == first_line(parsed["error"])
    else:
        assert unlike(json.loads(got.body), parsed) == ""
    if not re.search(rb"\d\.\d{6}|\[\[\{\{", wanted.body) and "metadata" not in exchange["request"]["path"]:
        assert lines(got.body) == lines(wanted.body)  # indentation, digits, escapes


def lines(body):
    """A body as a bag of lines without commas: key order varies, and with it which line ends in a comma."""
    return sorted(line.rstrip(",") for line in body.decode("utf-8", "surrogateescape").splitlines())


@pytest.mark.parametrize("profile", PROFILES)
def test_kzoos_own_server_conforms(profile, servers, folder):
    server = servers[profile]
    live = LiveServer(server.rest_address, server.grpc_address)
    report = suite.run(live, models=str(folder))
    live.close()
    assert [(one.name, one.reason) for one in report.of("failed")] == []
    assert report.batching == (profile == "batching")
    areas = {one.area for one in report.of("passed")}
    assert {"model reload", "warm-up", "batching", "metrics", "metadata", "bad bodies over REST"} <= areas
    assert [one.name for one in report.of("skipped")] == (["no columns"] if report.batching else [])


def test_the_command_prints_areas_and_failures_and_ends_with_1(servers, folder, tmp_path):
    rest = servers["plain"].rest_address.removeprefix("http://")
    run = CliRunner()
    done = run.invoke(app, ["conformance", "--rest", rest])
    assert done.exit_code == 0
    assert re.search(r"predict over REST +\d+ +- +- *\n", done.stdout) and "predict over gRPC" in done.stdout
    wrong = run.invoke(app, ["conformance", "--rest", rest, "--batching"])  # it was started without
    assert wrong.exit_code == 1
    assert "FAILED batching: five rows: predictions[0].batch is 5, not 8" in wrong.stdout
    assert "expected  400 application/json" in wrong.stdout and "received  200 application/json" in wrong.stdout
    as_json = run.invoke(app, ["conformance", "--rest", rest, "--json"])
    told = json.loads(as_json.stdout)
    assert told["conforms"] and told["areas"]["status"]["passed"] == 5 and told["failures"] == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "asked by --rest HOST:PORT, --grpc HOST:PORT or both. Received neither"),
        (["--rest", "localhost"], "HOST:PORT or http://HOST:PORT. Received 'localhost'"),
        (["--rest", "127.0.0.1:1"], "No server answers REST at 127.0.0.1:1"),
        (["models", "{folder}"], "exists and is not empty"),
        (["models", "{folder}/new", "--base", "models"], "absolute paths of its models. Received base='models'"),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments, message, folder):
    done = CliRunner().invoke(app, ["conformance", *(one.format(folder=folder) for one in arguments)])
    assert done.exit_code == 2 and message in done.stderr


def test_a_server_of_other_models_is_refused(server):
    with pytest.raises(UserError, match="this server has others: write them with `kzoo conformance models"):
        suite.run(LiveServer(server.rest_address))


def test_a_server_that_keeps_silent_fails_the_check_and_the_suite_goes_on(servers):
    rest = servers["plain"].rest_address.removeprefix("http://")
    real = LiveServer(rest)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        mute = LiveServer(f"127.0.0.1:{silent.getsockname()[1]}", timeout=0.2)
        cases = [one for one in suite.cases() if one.area == "status" and one.name.startswith("REST")]
        results = [suite.judge(one, target, "plain") for one in cases[:2] for target in (mute, real)]
    assert [one.outcome for one in results] == ["failed", "passed"] * 2
    assert results[0].reason == "HTTP status 0, not 200" and "no reply: TimeoutError" in results[0].received


def test_requests_that_never_share_a_batch_are_seen(servers):
    result = inside.joined(LiveServer(servers["plain"].rest_address))
    assert result.outcome == "failed" and "no batch had more than 1 rows" in result.reason
