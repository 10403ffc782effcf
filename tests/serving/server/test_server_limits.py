"""What a caller may leave open, how much it may send, how many may ask at once, and how long an answer may take."""

import http.client
import json
import socket
import threading
import time

import grpc
import pytest

from kzoo.serving import stubs
from kzoo.serving.client import ReplyError, connect
from kzoo.serving.server import Server, flags

NUMBERS = "/v1/models/numbers:predict"
SLEEP = {"signature_name": "sleep", "instances": [1.5]}


def _server(models, **options):
    return Server(
        models / "models.config", rest_port=0, grpc_port=0, allow_version_labels_for_unavailable_models=True,
        poll_seconds=0, warm_up=False, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def limited(models):
    with _server(
        models, receive_timeout=0.4, max_concurrent_requests=2, threads=1, rest_timeout=2.0, max_request_bytes=1 << 20
    ) as server:
        yield server


def _connection(server):
    host, _, port = server.rest_address.removeprefix("http://").partition(":")
    return socket.create_connection((host, int(port)), timeout=30)


def _reply(connection):
    """All that comes until the server closes."""
    received = b""
    while True:
        data = connection.recv(1 << 16)
        if not data:
            return received
        received += data


HEAD = f"POST {NUMBERS} HTTP/1.1\r\nHost: here\r\nContent-Length: 100\r\n"


@pytest.mark.parametrize(
    "sent, status",
    [
        (b"", b""),
        (b"\r\n", b""),
        (b"POST /v1", b"HTTP/1.1 408 "),
        (HEAD.encode(), b"HTTP/1.1 408 "),
        (HEAD.encode() + b'\r\n{"instances', b"HTTP/1.1 408 "),
    ],
    ids=["nothing", "a line end", "half a line", "no end of the head", "half a body"],
)
def test_a_request_that_does_not_come_is_not_waited_for(limited, sent, status):
    with _connection(limited) as connection:
        connection.sendall(sent)
        assert _reply(connection).startswith(status)


def test_a_second_request_that_does_not_come_is_not_waited_for(limited):
    with _connection(limited) as connection:
        connection.sendall(b"GET /v1/models/numbers HTTP/1.1\r\nHost: here\r\n\r\n")
        assert b"AVAILABLE" in connection.recv(1 << 16)
        connection.sendall(b"GET /v1/mod")
        assert _reply(connection).startswith(b"HTTP/1.1 408 ")


def test_an_idle_connection_is_kept_between_requests(limited):
    connection = http.client.HTTPConnection(limited.rest_address.removeprefix("http://"), timeout=30)
    for _ in range(2):
        connection.request("GET", "/v1/models/numbers")
        assert connection.getresponse().read()
        kept = connection.sock
        time.sleep(0.8)  # twice the time that a head may take
    assert connection.sock is kept is not None
    connection.close()


def test_a_body_that_comes_slowly_but_steadily_is_taken(limited):
    body = json.dumps({"signature_name": "grid", "inputs": [1.0]}).encode()
    with _connection(limited) as connection:
        connection.sendall(HEAD.replace("100", str(len(body))).encode() + b"Connection: close\r\n\r\n")
        for start in range(0, len(body), 10):
            time.sleep(0.15)
            connection.sendall(body[start : start + 10])
        assert _reply(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "head",
    [b"X: " + b"a" * 300_000, b"".join(b"X-%d: %s\r\n" % (number, b"a" * 99) for number in range(900)) + b"\r\n"],
    ids=["one that does not end", "many"],
)
def test_headers_have_an_end(limited, head):
    with _connection(limited) as connection:
        try:
            connection.sendall(b"GET /v1/models/numbers HTTP/1.1\r\n" + head)
            assert _reply(connection)[9:12] in (b"431", b"400")
        except ConnectionError:
            pass  # closed while the rest was on its way


def test_trailers_have_an_end(limited):
    with _connection(limited) as connection:
        connection.sendall(
            HEAD.replace("Content-Length: 100", "Transfer-Encoding: chunked").encode() + b"\r\n2\r\n{}\r\n0\r\n"
        )
        try:
            for _ in range(40):
                connection.sendall(b"X: " + b"a" * 10_000 + b"\r\n")
                time.sleep(0.01)
            assert not _reply(connection)
        except ConnectionError:
            pass


def test_more_requests_than_may_wait_are_refused_and_the_others_answered(limited, ask):
    answers = []
    threads = [threading.Thread(target=lambda: answers.append(ask(limited, "POST", NUMBERS, SLEEP))) for _ in range(2)]
    threads[0].start()
    _until(lambda: limited.registry.find("numbers")._in_flight == 1)
    threads[1].start()
    time.sleep(0.2)  # the one thread is busy: the second request waits for it
    refused = ask(limited, "POST", NUMBERS, SLEEP)
    assert refused.status == 503
    assert refused.error == "The server has 2 requests at work or waiting, and takes no more"
    for thread in threads:
        thread.join(30)
    # The time that the second one waited counts: it had two seconds in all, and asks for one and a half.
    assert sorted(answer.status for answer in answers) == [200, 504]
    assert ask(limited, "POST", NUMBERS, {"instances": [[1, 1, 1]]}).json == {"predictions": [111.0]}


def test_more_calls_than_may_wait_are_refused_over_grpc(limited):
    request = stubs.load("predict_pb2").PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = "numbers", "sleep"
    request.inputs["seconds"].dtype = 1
    request.inputs["seconds"].tensor_shape.dim.add(size=1)
    request.inputs["seconds"].float_val.append(0.5)
    with grpc.insecure_channel(limited.grpc_address) as channel:
        stub = stubs.load("prediction_service_pb2_grpc").PredictionServiceStub(channel)
        calls = [stub.Predict.future(request, timeout=30) for _ in range(8)]
        codes = [call.code().name for call in calls]
    assert codes.count("RESOURCE_EXHAUSTED") >= 4 and codes.count("OK") >= 2


def _until(condition, seconds=30):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_while_it_stops_what_is_at_work_ends_and_nothing_new_begins(models, ask):
    server = _server(models).start()
    idle = connect(server.rest_address)
    idle.status("numbers")  # a connection that stays open
    by_grpc = connect(f"grpc://{server.grpc_address}")
    by_grpc.status("numbers")
    answers = []
    asking = threading.Thread(target=lambda: answers.append(ask(server, "POST", NUMBERS, SLEEP)))
    asking.start()
    servable = server.registry.find("numbers")
    _until(lambda: servable._in_flight == 1)
    stopping = threading.Thread(target=server.stop)
    stopping.start()
    time.sleep(0.4)
    assert stopping.is_alive() and servable._in_flight == 1
    with pytest.raises(OSError):
        ask(server, "GET", "/v1/models/numbers")
    for client in (idle, by_grpc):
        with pytest.raises(Exception, match="No server answers|CANCELLED|UNAVAILABLE|shutdown") as caught:
            client.status("numbers")
        assert not isinstance(caught.value, ReplyError) or caught.value.code in ("CANCELLED", "UNAVAILABLE")
        client.close()
    asking.join(30)
    stopping.join(30)
    assert [answer.status for answer in answers] == [200]


def test_the_limits_are_flags(models):
    given = flags.parse([
        "--max_request_bytes=1000", "--max_concurrent_requests=5", "--receive_timeout_in_ms=1500",
        "--drain_timeout_in_ms=2500", f"--model_base_path={models}",
    ]).server().options  # fmt: skip
    assert (given.max_request_bytes, given.max_concurrent_requests) == (1000, 5)
    assert (given.receive_timeout, given.drain_seconds) == (1.5, 2.5)
