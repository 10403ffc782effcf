"""The client against the embedded server: both ways give the same."""

import numpy as np
import pytest

from kzoo.errors import UserError
from kzoo.serving.client import ReplyError, connect


@pytest.fixture(params=["REST", "gRPC"])
def client(request, server):
    connected = connect(server.rest_address if request.param == "REST" else f"grpc://{server.grpc_address}")
    yield connected
    connected.close()


def test_predicting(client):
    outputs = client.predict("words", {"text": ["a b", "é"]}, version=1)
    assert outputs["words"].tolist() == [2, 1]
    assert outputs["shout"].tolist() == ["A B", "é"] and outputs["mark"].tolist() == ["one", "one"]
    assert client.predict("words", {"text": ["a"]}, label="new")["mark"].tolist() == ["two"]
    assert client.predict("words", {"text": ["a"]}, signature="same")["text"].tolist() == ["a"]
    assert client.predict("numbers", {"x": [[1, 2, 3]]})["total"].tolist() == [321.0]
    assert client.predict("numbers", {"x": np.ones((1, 3), np.float32)})["total"].tolist() == [111.0]


def test_bytes_go_in_and_out(client):
    outputs = client.predict("words", {"text": [b"\xff", b"a"]}, signature="raw")
    assert outputs["text_bytes"].tolist()[0] == b"\xff"
    assert outputs["text"].tolist() == [b"\xff", b"a"]


def test_status_and_metadata(client):
    assert client.status("words") == {2: "AVAILABLE", 1: "AVAILABLE"}
    assert client.status("words", version=1) == {1: "AVAILABLE"}
    described = client.metadata("words", label="old")
    assert described["serving_default"]["inputs"] == {"text": {"dtype": "string", "shape": [None]}}
    assert described["join"]["optional"] == ["suffix"] and "__saved_model_init_op" not in described
    client.wait_until_available("words", timeout=30)


def test_refusals(client):
    with pytest.raises(ReplyError, match="Servable not found for request: Latest"):
        client.predict("nosuch", {"text": np.array(["a"])})
    with pytest.raises(ReplyError, match="Unrecognized servable version label: no"):
        client.predict("words", {"text": np.array(["a"])}, label="no")
    with pytest.raises(ReplyError, match="Could not find any versions of model nosuch"):
        client.status("nosuch")
    with pytest.raises(UserError, match="'nosuch' was not available within 0.2 seconds: Could not find any versions"):
        client.wait_until_available("nosuch", timeout=0.2)


def test_defaults_are_for_grpc_only(server):
    by_grpc = connect(f"grpc://{server.grpc_address}")
    assert by_grpc.predict("words", {"text": ["a"]}, signature="join")["joined"].tolist() == ["a!"]
    with pytest.raises(ReplyError, match="Missing named input: suffix"):
        connect(server.rest_address).predict("words", {"text": ["a"]}, signature="join")


def test_too_little_time(server):
    for address in (server.rest_address, f"grpc://{server.grpc_address}"):
        with pytest.raises(UserError, match="did not answer within 0.2 seconds"):
            connect(address, timeout=0.2).predict(
                "numbers", {"seconds": np.array([2.0], np.float32)}, signature="sleep"
            )
