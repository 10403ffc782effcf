"""Small models of the tests' own, and servers over them that live for the whole session."""

import http.client
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kzoo.serving import protos, stubs
from kzoo.serving.server import Server

NUMBERS = ("float32", "float64", "int8", "int16", "int32", "int64", "uint8", "uint32", "uint64", "bool")


def _specs(**shapes: Any) -> list[Any]:
    import tensorflow as tf

    return [tf.TensorSpec(shape, dtype, name=name) for name, (shape, dtype) in shapes.items()]


def save_words(folder: Path, mark: str) -> None:
    """Signatures over strings: the mark tells which version answers."""
    import tensorflow as tf

    exclamation = tf.constant(["!"])

    class Words(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.names = tf.constant(["few", "many"])

        @tf.function(input_signature=_specs(text=([None], tf.string)))
        def count(self, text):
            words = tf.strings.split(text)
            return {
                "words": words.row_lengths(),
                "shout": tf.strings.upper(text),
                "mark": tf.fill(tf.shape(text), mark),
            }

        @tf.function(input_signature=_specs(text=([None], tf.string)))
        def raw(self, text):
            return {"text": text, "text_bytes": text}

        @tf.function(input_signature=_specs(text=([None], tf.string)))
        def same(self, text):
            return {"text": text}

        @tf.function(input_signature=_specs(text=([None], tf.string), suffix=([None], tf.string)))
        def join(self, text, suffix=exclamation):
            return {"joined": tf.strings.join([text, suffix])}

        @tf.function(input_signature=_specs(text=([None], tf.string)))
        def strict(self, text):
            tf.debugging.Assert(tf.reduce_all(tf.strings.length(text) > 0), ["a text is empty"])
            return {"text": text}

        def _text(self, inputs):
            return tf.io.parse_example(inputs, {"text": tf.io.FixedLenFeature([], tf.string)})["text"]

        @tf.function(input_signature=_specs(inputs=([None], tf.string)))
        def classify(self, inputs):
            length = tf.cast(tf.strings.length(self._text(inputs)), tf.float32)
            scores = tf.stack([length / 10.0, 1.0 - length / 10.0], -1)
            return {"classes": tf.broadcast_to(self.names, tf.shape(scores)), "scores": scores}

        @tf.function(input_signature=_specs(inputs=([None], tf.string)))
        def labels(self, inputs):
            return {"classes": self._text(inputs)[:, None]}

        @tf.function(input_signature=_specs(inputs=([None], tf.string)))
        def regress(self, inputs):
            return {"outputs": tf.cast(tf.strings.length(self._text(inputs)), tf.float32)[:, None]}

    module = Words()
    signatures = {
        name: getattr(module, name) for name in ("raw", "same", "join", "strict", "classify", "labels", "regress")
    }
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.count, **signatures})


def save_numbers(folder: Path) -> None:
    """Signatures over numbers of every kind."""
    import tensorflow as tf

    class Numbers(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable([1.0, 10.0, 100.0])

        @tf.function(input_signature=_specs(x=([None, 3], tf.float32)))
        def weigh(self, x):
            return {"total": tf.linalg.matvec(x, self.weights[: tf.shape(x)[1]])}

        @tf.function(input_signature=_specs(**{name: ([None], tf.as_dtype(name)) for name in NUMBERS}))
        def types(self, *values):
            return {f"{name}_out": tf.identity(value) for name, value in zip(NUMBERS, values, strict=True)}

        @tf.function(input_signature=_specs(x=([None], tf.float16)))
        def half(self, x):
            return {"y": x * 2}

        @tf.function(input_signature=_specs(x=([None], tf.float32)))
        def to_half(self, x):
            return {"y": tf.cast(x, tf.float16)}

        @tf.function(input_signature=_specs(x=([None], tf.float32)))
        def grid(self, x):
            return {"grid": tf.stack([x, 1.0 / x], -1)[:, None, :], "x": x}

        @tf.function(input_signature=_specs(x=([None], tf.float32)))
        def mean(self, x):
            return {"mean": tf.reduce_mean(x)}

        @tf.function(input_signature=_specs(x=([None], tf.float32)))
        def uneven(self, x):
            return {"all": x, "first": x[:1]}

        @tf.function(input_signature=_specs(seconds=([None], tf.float32)))
        def sleep(self, seconds):
            end = tf.timestamp() + tf.cast(tf.reduce_max(seconds), tf.float64)
            turns = tf.while_loop(lambda turns: tf.timestamp() < end, lambda turns: [turns + 1], [tf.constant(0)])[0]
            return {"turns": turns + tf.zeros_like(seconds, tf.int32)}

        @tf.function(jit_compile=True)
        def _compiled(self, x):
            return x * self.weights[1]

        @tf.function(input_signature=_specs(x=([None], tf.float32)))
        def compiled(self, x):
            return {"y": self._compiled(x)}

    module = Numbers()
    names = ("types", "half", "to_half", "grid", "mean", "uneven", "sleep", "compiled")
    signatures = {name: getattr(module, name) for name in names}
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.weigh, **signatures})


def save_constant(folder: Path, value: float) -> None:
    """The smallest model there is: x plus a variable."""
    import tensorflow as tf

    class Constant(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.value = tf.Variable(value)

        @tf.function(input_signature=_specs(x=([None], tf.float32)))
        def __call__(self, x):
            return {"y": x + self.value}

    module = Constant()
    tf.saved_model.save(module, str(folder), signatures=module.__call__)


@pytest.fixture(scope="session")
def save() -> Callable[[Path, float], None]:
    """Writes the smallest model into a folder."""
    return save_constant


def save_text(folder: Path) -> None:
    """A table in an asset, and an operation of TensorFlow Text; with a warm-up request."""
    import tensorflow as tf
    import tensorflow_text as tf_text

    words = folder.parent / "words.txt"
    words.write_text("zero\none\n")

    class Table(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.file = tf.saved_model.Asset(str(words))
            initializer = tf.lookup.TextFileInitializer(
                self.file, tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
            )
            self.table = tf.lookup.StaticHashTable(initializer, -1)

        @tf.function(input_signature=_specs(text=([None], tf.string)))
        def number(self, text):
            return {"number": self.table.lookup(tf_text.normalize_utf8(text, "NFC"))}

    module = Table()
    tf.saved_model.save(module, str(folder), signatures=module.number)
    words.unlink()
    log = stubs.load("prediction_log_pb2").PredictionLog()
    log.predict_log.request.inputs["text"].CopyFrom(tf.make_tensor_proto(["one"]))
    (folder / "assets.extra").mkdir()
    with tf.io.TFRecordWriter(str(folder / "assets.extra" / "tf_serving_warmup_requests")) as writer:
        writer.write(log.SerializeToString())


@pytest.fixture(scope="session")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base path of a model that needs an asset, a table and TensorFlow Text, and brings a warm-up request."""
    folder = tmp_path_factory.mktemp("text")
    save_text(folder / "1")
    return folder


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with words/1, words/2, numbers/7 and a models.config that names them."""
    folder = tmp_path_factory.mktemp("models")
    save_words(folder / "words" / "1", "one")
    save_words(folder / "words" / "2", "two")
    save_numbers(folder / "numbers" / "7")
    (folder / "words" / "notes").mkdir()
    (folder / "models.config").write_text(f"""
model_config_list {{
  config {{
    name: "words" base_path: "{folder}/words" model_platform: "tensorflow"
    model_version_policy {{ all {{}} }}
    version_labels {{ key: "old" value: 1 }}
    version_labels {{ key: "new" value: 2 }}
  }}
  config {{ name: "numbers" base_path: "{folder}/numbers" model_platform: "tensorflow" }}
}}
""")
    return folder


BATCHING = """
max_batch_size { value: 4 }
batch_timeout_micros { value: 30000 }
max_enqueued_batches { value: 100 }
num_batch_threads { value: 2 }
allowed_batch_sizes: 2
allowed_batch_sizes: 4
"""


def _serve(models: Path, **options: Any) -> Server:
    return Server(
        models / "models.config",
        rest_port=0,
        grpc_port=0,
        allow_version_labels_for_unavailable_models=True,
        poll_seconds=0,
        **options,
    )


@pytest.fixture(scope="session")
def server(models: Path) -> Iterator[Server]:
    """A server without batching, with metrics."""
    monitoring = protos.parse_text("prometheus_config { enable: true }", protos.MonitoringConfig)
    with _serve(models, monitoring=monitoring, max_request_bytes=1 << 20, health_service=True) as server:
        yield server


@pytest.fixture(scope="session")
def batching_server(models: Path) -> Iterator[Server]:
    """A server with batching."""
    with _serve(models, batching=protos.parse_text(BATCHING, protos.BatchingParameters), threads=16) as server:
        yield server


class Answer(NamedTuple):
    """What came back over REST."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]


def _ask(server: Server, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
    """One request over REST; a body that is neither bytes nor an iterator of them is sent as JSON."""
    data = json.dumps(body).encode() if isinstance(body, (dict, list)) else body
    connection = http.client.HTTPConnection(server.rest_address.removeprefix("http://"), timeout=60)
    try:
        connection.request(method, path, data, headers or {})
        reply = connection.getresponse()
        return Answer(reply.status, reply.headers, reply.read())
    finally:
        connection.close()


@pytest.fixture(scope="session")
def rest(server: Server) -> Callable[..., Answer]:
    """Asks the server without batching: ``rest("POST", path, body)``."""
    return lambda *arguments, **options: _ask(server, *arguments, **options)


@pytest.fixture(scope="session")
def ask() -> Callable[..., Answer]:
    """Asks any server: ``ask(server, "POST", path, body, headers)``."""
    return _ask


class Stubs:
    """The official gRPC stubs of a server, and the messages by their names."""

    def __init__(self, server: Server):
        import grpc

        self.channel = grpc.insecure_channel(server.grpc_address)
        self.prediction = stubs.load("prediction_service_pb2_grpc").PredictionServiceStub(self.channel)
        self.models = stubs.load("model_service_pb2_grpc").ModelServiceStub(self.channel)

    def predict(self, model: str, signature: str = "", *, timeout: float = 60, **inputs: Any) -> dict[str, Any]:
        """Arrays in, arrays out."""
        from kzoo.serving.tensors import fill, to_array

        request = stubs.load("predict_pb2").PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = model, signature
        for name, array in inputs.items():
            fill(request.inputs[name], array)
        outputs = self.prediction.Predict(request, timeout=timeout).outputs
        return {name: to_array(proto) for name, proto in outputs.items()}


@pytest.fixture(scope="session")
def grpc_stubs(server: Server) -> Iterator[Stubs]:
    """Stubs of the server without batching."""
    connected = Stubs(server)
    yield connected
    connected.channel.close()


@pytest.fixture(scope="session")
def batching_stubs(batching_server: Server) -> Iterator[Stubs]:
    """Stubs of the server with batching."""
    connected = Stubs(batching_server)
    yield connected
    connected.channel.close()


@pytest.fixture
def environment() -> dict[str, str]:
    """For servers in processes of their own."""
    return {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
