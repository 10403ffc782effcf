"""The client, against a server that is a script: no model, no TensorFlow."""

import http.server
import json
import math
import subprocess
import sys
import threading

import numpy as np
import pytest

from kzoo.errors import UserError
from kzoo.serving.client import ReplyError, connect

SIGNATURES = {
    "serving_default": {
        "inputs": {"text": {"dtype": "DT_STRING", "tensor_shape": {"dim": [{"size": "-1", "name": ""}],
                                                                   "unknown_rank": False}, "name": "x:0"}},
        "outputs": {"label": {"dtype": "DT_STRING", "tensor_shape": {"dim": [], "unknown_rank": True}, "name": "y:0"}},
        "method_name": "tensorflow/serving/predict", "defaults": {},
    },
    "__saved_model_init_op": {"inputs": {}, "outputs": {}},
}  # fmt: skip


class Script:
    """Replies by path; what was asked is remembered. A reply is a status and a body, or a function of the body."""

    def __init__(self):
        self.asked = []
        self.replies = {}
        script = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                script.asked.append((self.command, self.path, json.loads(body) if body else None))
                status, reply = script.replies.get(self.path, (404, b"<HTML>"))
                self.send_response(status)
                self.send_header("Content-Length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)
                if script.hang_up:
                    self.close_connection = True

            do_GET = do_POST  # noqa: N815

            def log_message(self, *arguments):
                pass

        self.hang_up = False
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def reply(self, path, value, status=200):
        self.replies[path] = (status, value if isinstance(value, bytes) else json.dumps(value).encode())


@pytest.fixture
def script():
    script = Script()
    yield script
    script.server.shutdown()
    script.server.server_close()


def test_outputs_are_arrays(script):
    script.reply("/v1/models/m:predict", {"outputs": {
        "label": ["a", "é"], "score": [[0.5, math.nan], [1.0, math.inf]],
        "data_bytes": [{"b64": "/w=="}, {"b64": "YQ=="}], "count": [1, 2], "flag": [True, False],
    }})  # fmt: skip
    client = connect(script.address)
    outputs = client.predict("m", {"text": np.array(["x", "y"]), "raw": [b"\xff"], "n": np.arange(2)})
    assert script.asked[0][2] == {"inputs": {"text": ["x", "y"], "raw": [{"b64": "/w=="}], "n": [0, 1]}}
    assert outputs["label"].tolist() == ["a", "é"] and outputs["data_bytes"].tolist() == [b"\xff", b"a"]
    assert outputs["score"].shape == (2, 2) and math.isnan(outputs["score"][0, 1])
    assert outputs["count"].dtype.kind == "i" and outputs["flag"].dtype == bool


def test_a_single_output_gets_its_name_back(script):
    script.reply("/v1/models/m/versions/3:predict", {"outputs": ["a"]})
    script.reply("/v1/models/m/versions/3/metadata", {"metadata": {"signature_def": {"signature_def": SIGNATURES}}})
    client = connect(script.address)
    for _ in range(2):
        assert client.predict("m", {"text": ["x"]}, version=3)["label"].tolist() == ["a"]
    assert [path for _, path, _ in script.asked].count("/v1/models/m/versions/3/metadata") == 1


def test_signatures_are_described_shortly(script):
    script.reply("/v1/models/m/labels/a%20b/metadata", {"metadata": {"signature_def": {"signature_def": SIGNATURES}}})
    assert connect(script.address).metadata("m", label="a b") == {
        "serving_default": {
            "inputs": {"text": {"dtype": "string", "shape": [None]}},
            "outputs": {"label": {"dtype": "string", "shape": None}},
            "optional": [],
        }
    }


def test_text_that_is_no_text_comes_as_bytes(script):
    script.reply("/v1/models/m:predict", b'{"outputs": {"a": ["\xffa"], "b": ["a"]}}')
    outputs = connect(script.address).predict("m", {"text": ["x"]})
    assert outputs["a"].tolist() == [b"\xffa"] and outputs["b"].tolist() == ["a"]


def test_errors_carry_the_servers_words(script):
    script.reply("/v1/models/m:predict", {"error": "no such thing"}, status=400)
    client = connect(script.address)
    with pytest.raises(ReplyError) as caught:
        client.predict("m", {"text": ["x"]})
    assert (caught.value.code, caught.value.message) == ("HTTP 400", "no such thing")
    with pytest.raises(ReplyError, match="/v1/models/n is not there"):
        client.status("n")
    script.reply("/v1/models/o", b"<HTML>hello")
    with pytest.raises(UserError, match="is no model server"):
        client.status("o")


def test_a_closed_connection_is_opened_again(script):
    script.hang_up = True
    script.reply("/v1/models/m", {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]})
    client = connect(script.address)
    assert [client.status("m") for _ in range(3)] == [{1: "AVAILABLE"}] * 3


def test_waiting_ends_with_the_last_state(script):
    script.reply("/v1/models/m", {"model_version_status": [{"version": "1", "state": "LOADING"}]})
    with pytest.raises(UserError, match="'m' was not available within 0.3 seconds: version 1 is LOADING"):
        connect(script.address).wait_until_available("m", timeout=0.3)
    script.reply("/v1/models/m", {"model_version_status": [{"version": "1", "state": "AVAILABLE"}]})
    connect(script.address).wait_until_available("m", timeout=30)


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_nobody_there(scheme):
    with pytest.raises(UserError, match="No server answers.* at .*127.0.0.1:9.*kzoo serve"):
        connect(f"{scheme}://127.0.0.1:9", timeout=20).status("m")


@pytest.mark.parametrize("address", ["", "http://host", "ftp://host:1", "http://host:port", "grpc://:8500"])
def test_addresses_that_are_none(address):
    with pytest.raises(UserError, match="http://host:port or grpc://host:port. Received"):
        connect(address)


def test_a_version_or_a_label_but_not_both():
    for address in ("http://127.0.0.1:9", "grpc://127.0.0.1:9"):
        with pytest.raises(UserError, match="Received version 1 and label 'a'"):
            connect(address).predict("m", {"text": ["x"]}, version=1, label="a")


def test_neither_way_loads_tensorflow_and_it_still_works_afterwards():
    code = """
import sys
from kzoo.serving.client import connect
from kzoo.serving import stubs
for address in ("http://127.0.0.1:9", "grpc://127.0.0.1:9"):
    try:
        connect(address, timeout=10).status("m")
    except ValueError:
        pass
request = stubs.load("predict_pb2").PredictRequest()
assert "tensorflow" not in sys.modules
import tensorflow as tf
request.inputs["x"].CopyFrom(tf.make_tensor_proto([1.0]))
assert tf.constant([1, 2]).numpy().tolist() == [1, 2]
assert stubs.load("tensor_pb2").TensorProto is type(tf.make_tensor_proto(1))
import keras
model = keras.Sequential([keras.layers.Dense(1)])
model.compile("sgd", "mse")
model.fit(tf.ones((2, 3)), tf.ones((2, 1)), verbose=0)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stderr
