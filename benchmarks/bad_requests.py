"""Requests that a model server must refuse, or answer as if nothing were wrong: generated from good ones by a seed.

Whatever the server serves, it is asked for its signatures; a good request to each is the ground that is mutated.
"""

import base64
import gzip
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

PREDICT = "/tensorflow.serving.PredictionService/Predict"
SERVICES = (
    PREDICT,
    "/tensorflow.serving.PredictionService/Classify",
    "/tensorflow.serving.ModelService/GetModelStatus",
)
WORDS = ("a fine film", "", "naïve café", "你好", "\U0001f469\u200d\U0001f467", "long " * 200)


@dataclass(frozen=True)
class Bad:
    """One request.

    Attributes:
        kind: what is wrong with it.
        transport: ``rest``: ``data`` is a whole HTTP request. ``raw``: likewise, but a connection that is closed
            without a reply is as good as an error. ``abort``: ``data`` is sent and the connection dropped. ``stall``:
            it is sent and the connection held. ``grpc``: ``data`` is a message for ``method``. ``grpc-abort``:
            likewise, cancelled at once. ``grpc-raw``: ``data`` is written to the port.
        data: bytes.
        method: of gRPC.
        may_pass: whether a good answer is right too.
    """

    kind: str
    transport: str
    data: bytes
    method: str = ""
    may_pass: bool = False


@dataclass(frozen=True)
class Good:
    """A request that is answered: the ground of the bad ones."""

    model: str
    signature: str
    inputs: dict[str, list]  # a row each, or rows of lists
    dtypes: dict[str, str]

    @property
    def path(self) -> str:
        """Where it is posted."""
        return f"/v1/models/{self.model}:predict"

    def document(self) -> dict[str, Any]:
        """Its body, in the column format."""
        return {"signature_name": self.signature, "inputs": self.inputs}

    def message(self) -> Any:
        """The ``PredictRequest``."""
        from kzoo.serving import stubs
        from kzoo.serving.tensors import BY_NAME, STRING, fill, strings

        request = stubs.load("predict_pb2").PredictRequest()
        request.model_spec.name, request.model_spec.signature_name = self.model, self.signature
        for name, values in self.inputs.items():
            dtype = BY_NAME[self.dtypes[name]]
            fill(request.inputs[name], strings(values) if dtype is STRING else np.asarray(values, dtype.numpy))
        return request


def good_requests(model: str, metadata: dict[str, Any], leave_out: tuple[str, ...] = ()) -> list[Good]:
    """A request to each of a model's signatures that JSON has numbers and words for."""
    made = []
    for name, signature in metadata.items():
        if name in leave_out or name.endswith("_xla"):
            continue
        inputs, dtypes = {}, {}
        for key, one in signature["inputs"].items():
            shape = [2, *(3 if size is None else size for size in (one["shape"] or [None])[1:])]
            value: Any = {"string": "a film", "bool": True, "float": 0.5, "double": 0.5}.get(one["dtype"], 1)
            inputs[key] = np.full(shape, value, dtype=object).tolist()
            dtypes[key] = one["dtype"]
        made.append(Good(model, name, inputs, dtypes))
    return made


def http(method: str, path: str, body: bytes = b"", headers: tuple[str, ...] = (), version: str = "1.1") -> bytes:
    """An HTTP request as bytes."""
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers]
    if not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape") + body


class Generator:
    """Bad requests without end.

    Args:
        good: what is mutated.
        seed: two generators of one seed give the same requests.
        most_bytes: the server's limit of a request.
    """

    def __init__(self, good: list[Good], seed: int, most_bytes: int):
        self.good = good
        self.random = random.Random(seed)
        self.most_bytes = most_bytes
        self._kinds: dict[Callable[[], Bad], int] = {  # each with its weight
            self.cut: 10, self.bytes_changed: 10, self.value_changed: 14, self.deep: 3, self.number: 6, self.base64: 4,
            self.not_utf8: 4, self.shape: 8, self.name: 8, self.path: 8, self.encoding: 4, self.keys: 6, self.large: 1,
            self.garbage: 4, self.header: 8, self.chunks: 3, self.abort: 4, self.stall: 1, self.protobuf: 8,
            self.tensor: 12, self.spec: 6, self.method: 2, self.grpc_large: 1, self.grpc_abort: 2, self.grpc_garbage: 1,
        }  # fmt: skip

    def __iter__(self) -> Iterator[Bad]:
        kinds, weights = list(self._kinds), list(self._kinds.values())
        while True:
            yield self.random.choices(kinds, weights)[0]()

    # REST: bodies

    def _good(self) -> Good:
        return self.random.choice(self.good)

    def _body(self, one: Good) -> bytes:
        document = one.document()
        if self.random.random() < 0.5:
            rows = [dict(zip(one.inputs, row, strict=True)) for row in zip(*one.inputs.values(), strict=True)]
            document = {"signature_name": one.signature, "instances": rows}
        return json.dumps(document, ensure_ascii=self.random.random() < 0.5).encode()

    def _posted(self, kind: str, body: bytes, *, may_pass: bool = False, one: Good | None = None) -> Bad:
        return Bad(kind, "rest", http("POST", (one or self._good()).path, body), may_pass=may_pass)

    def _changed(self, change: Callable[[Any], Any]) -> tuple[Good, bytes]:
        """A body in which one value, wherever it stands, was replaced."""
        one = self._good()
        document = json.loads(self._body(one))
        places: list[tuple[Any, Any]] = []

        def collect(value: Any) -> None:
            for key, member in value.items() if isinstance(value, dict) else enumerate(value):
                places.append((value, key))
                if isinstance(member, (dict, list)):
                    collect(member)

        collect(document)
        holder, key = self.random.choice(places)
        holder[key] = change(holder[key])
        return one, json.dumps(document).encode()

    def cut(self) -> Bad:
        """JSON that ends too early."""
        body = self._body(one := self._good())
        return self._posted("cut JSON", body[: self.random.randrange(len(body))], one=one)

    def bytes_changed(self) -> Bad:
        """JSON with bytes replaced, left out or doubled."""
        one = self._good()
        body = bytearray(self._body(one))
        for _ in range(self.random.randrange(1, 4)):
            at = self.random.randrange(len(body))
            choice = self.random.randrange(3)
            if choice == 0:
                body[at] = self.random.choice(b'"{}[],:\\/0-.eE+ntf\x00\x1f\x7f\xc3\xff')
            elif choice == 1:
                del body[at]
            else:
                body[at:at] = body[at : at + self.random.randrange(1, 9)]
        return self._posted("changed bytes", bytes(body), may_pass=True, one=one)

    def value_changed(self) -> Bad:
        """A value of another type."""
        values = [
            None,
            True,
            {},
            [],
            [[]],
            {"b64": 1},
            {"x": "y"},
            -1,
            2**70,
            1.5,
            "text",
            "\x00",
            [1, "a", None],
            1e308,
        ]
        one, body = self._changed(lambda value: self.random.choice(values))
        return self._posted("other type", body, may_pass=True, one=one)

    def deep(self) -> Bad:
        """Brackets within brackets, closed and not."""
        depth = self.random.choice([70, 300, 2000, 100_000])
        opening, closing = self.random.choice([("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
        inside = opening * depth + "1" + closing * (depth if self.random.random() < 0.7 else depth // 2)
        key = self.random.choice(["instances", "inputs"])
        return self._posted("deep nesting", f'{{"{key}": [{inside}]}}'.encode())

    def number(self) -> Bad:
        """Numbers that no type holds, or that are none."""
        digits = "9" * self.random.choice([20, 310, 5000, 100_000])
        texts = [
            digits, "-" + digits, "1e999", "1e-999", f"0.{digits}", f"1e{digits}", "01", "1.", ".5", "+1", "-", "NaN",
            "-Infinity", "Inf", "0x10", "1_000", "1e", "--1", "1e5.5"
        ]  # fmt: skip
        one = self._good()
        values = f'{{"signature_name": "{one.signature}", "inputs": {{%s}}}}'
        inputs = ", ".join(f'"{name}": [{self.random.choice(texts)}]' for name in one.inputs)
        return self._posted("odd number", (values % inputs).encode(), may_pass=True, one=one)

    def base64(self) -> Bad:
        """What is not base64."""
        text = "".join(self.random.choice("aGk=*-_ \n!é") for _ in range(self.random.randrange(1, 30))) + "*"
        one = self._good()
        inputs = {name: [{"b64": text}] * 2 for name in one.inputs}
        return self._posted("wrong base64", json.dumps({**one.document(), "inputs": inputs}).encode(), one=one)

    def not_utf8(self) -> Bad:
        """Bytes that are not UTF-8, and halves of surrogate pairs, in texts and names."""
        piece = self.random.choice(
            [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80", b"\\ud800", b"\\udc00x"]
        )
        one = self._good()
        body = self._body(one)
        at = self.random.choice([place for place, byte in enumerate(body) if byte == ord('"')]) + 1
        return self._posted("not UTF-8", body[:at] + piece + body[at:], may_pass=True, one=one)

    def shape(self) -> Bad:
        """Lists of unlike length and depth."""

        def uneven(value: Any, depth: int = 0) -> Any:
            if depth > 2 or self.random.random() < 0.3:
                return value
            return [uneven(value, depth + 1) for _ in range(self.random.randrange(4))]

        one = self._good()
        inputs = {name: uneven(np.asarray(value, object).flat[0]) for name, value in one.inputs.items()}
        return self._posted(
            "wrong shape", json.dumps({**one.document(), "inputs": inputs}).encode(), may_pass=True, one=one
        )

    def keys(self) -> Bad:
        """Members that are missing, doubled or too many."""
        one = self._good()
        bodies = [
            b"", b"{}", b"[]", b"null", b"1", b'"text"', b'{"instances": []}', b'{"instances": {}}',
            b'{"instances": null}', b'{"instances": [], "inputs": {}}', b'{"inputs": {}}', b'{"signature_name": []}',
            b"// comment\n{}", b'{"instances": ["a"],}', b"{'instances': ['a']}", b"\x00{}",
            b'{"instances": ["a"], "signature_name": 1}',
        ]  # fmt: skip
        return self._posted("wrong members", self.random.choice(bodies), one=one)

    def name(self) -> Bad:
        """Models, versions, labels, signatures and inputs that there are not."""
        one = self._good()
        odd = self.random.choice(
            ["nosuch", "", "../../etc/passwd", "%00", "%ff%fe", "é", "a" * 3000, "__init__", "%2e%2e"]
        )
        choice = self.random.randrange(5)
        if choice == 0:
            path = f"/v1/models/{odd}:predict"
        elif choice == 1:
            number = self.random.choice(["0", "99", str(2**63), "9" * 400, "-1", "one"])
            path = f"/v1/models/{one.model}/versions/{number}:predict"
        elif choice == 2:
            path = f"/v1/models/{one.model}/labels/{odd}:predict"
        elif choice == 3:
            document = one.document() | {"signature_name": odd or "nosuch"}
            return self._posted("unknown signature", json.dumps(document).encode(), one=one)
        else:
            document = one.document() | {"inputs": {odd: ["a"]}}
            return self._posted("unknown input", json.dumps(document).encode(), one=one)
        return Bad("unknown name", "raw" if "é" in path else "rest", http("POST", path, self._body(one)))

    def path(self) -> Bad:
        """Methods, verbs and paths that mean nothing."""
        one = self._good()
        method = self.random.choice(
            ["GET", "PUT", "DELETE", "PATCH", "HEAD", "TRACE", "OPTIONS", "POST", "BREW", "post"]
        )
        paths = [
            one.path, one.path + "x", one.path.upper(), "/", "/v1", "/v1/", "/v2/models/x", "//v1/models",
            "/v1/models/", f"/v1/models/{one.model}:predict:predict", "/v1/models/" + "x" * 8000, "*",
            "http://a.b/v1/models/x", "/%", f"/v1/models/{one.model}/metadata/x", "/../../etc/passwd",
            f"/v1/models/{one.model}/labels/"
        ]  # fmt: skip
        path = self.random.choice(paths)
        may_pass = path in ("/", "http://a.b/v1/models/x") or (path == one.path and method == "POST")
        body = b"" if method in ("GET", "HEAD") else self._body(one)
        return Bad("wrong path", "raw", http(method, path, body), may_pass=may_pass)

    def encoding(self) -> Bad:
        """Content types and encodings that the body has not."""
        one = self._good()
        body = self._body(one)
        header, body, may_pass = self.random.choice(
            [
                ("Content-Type: image/png", body, True),
                ("Content-Type: application/json; charset=utf-16", body, True),
                ("Content-Encoding: gzip", body, False),
                ("Content-Encoding: gzip", gzip.compress(body)[:-5], False),
                ("Content-Encoding: gzip", gzip.compress(b"\x00" * (self.most_bytes + 9)), False),
                ("Content-Encoding: br", body, True),
                ("X-Odd: one", body.decode().encode("utf-16"), False),
            ]
        )
        return Bad("wrong encoding", "rest", http("POST", one.path, body, (header,)), may_pass=may_pass)

    def large(self) -> Bad:
        """A body past the limit."""
        body = b'{"instances": ["' + b"a" * self.most_bytes + b'"]}'
        return Bad("too large", "rest", http("POST", self._good().path, body))

    # HTTP itself

    def garbage(self) -> Bad:
        """What is not HTTP."""
        kinds = [
            self.random.randbytes(self.random.randrange(1, 400)) + b"\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n",
            b"\r\n\r\n\r\n\r\nx\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x00" * 99,
            b"GET / HTTP/1.1\nHost: a\n\n", b"POST /v1/models/x:predict\r\n\r\n",
        ]  # fmt: skip
        return Bad("not HTTP", "abort", self.random.choice(kinds))

    def header(self) -> Bad:
        """Headers that contradict themselves, are none, or do not end."""
        one = self._good()
        body = self._body(one)
        lines, may_pass = self.random.choice(
            [
                (("Content-Length: -1",), False), (("Content-Length: many",), False),
                (("Content-Length: " + "9" * 30,), False),
                (("Content-Length: 5", "Content-Length: 6"), False), (("Transfer-Encoding: odd",), False),
                (("Content-Length: 4", "Transfer-Encoding: chunked"), False), (("no colon here",), False),
                (("X\x00Y: 1",), False), (("X: a\x00b",), False), ((" folded: 1",), True),
                (("X: " + "a" * 70_000,), False),
                (tuple(f"X-{number}: {'v' * 99}" for number in range(2000)), False), ((": nameless",), False),
                (("Connection: upgrade", "Upgrade: websocket"), True), (("Connection: upgrade", "Upgrade: h2c"), True),
                (("Host: " + "a" * 300, "Host: b"), True), (("X-Odd: \udcff\udcfe",), True),
                (("Expect: 200-never",), True),
                (("Connection: close",), True), (("Range: bytes=5-2",), True), (("Cookie: " + "a=b; " * 900,), True),
            ]
        )  # fmt: skip
        return Bad("odd header", "raw", http("POST", one.path, body, lines), may_pass=may_pass)

    def chunks(self) -> Bad:
        """A body in pieces whose sizes are wrong."""
        one = self._good()
        body = self._body(one)
        sizes = [
            b"%x" % len(body),
            b"zz",
            b"-1",
            b"ffffffffffffffffff",
            b"%x;%s" % (len(body), b"a" * 70_000),
            b"1",
            b"",
        ]
        size = self.random.choice(sizes)
        data = size + b"\r\n" + body + b"\r\n0\r\n" + self.random.choice([b"\r\n", b"X: y\r\n\r\n"])
        may_pass = size in sizes[::4]
        return Bad(
            "odd chunks", "raw", http("POST", one.path, data, ("Transfer-Encoding: chunked",)), may_pass=may_pass
        )

    def _part(self) -> bytes:
        one = self._good()
        data = http("POST", one.path, self._body(one))
        return data[: self.random.randrange(1, len(data))]

    def abort(self) -> Bad:
        """A caller that goes in the middle, or before the answer."""
        one = self._good()
        whole = http("POST", one.path, self._body(one))
        return Bad("aborted", "abort", self.random.choice([b"", self._part(), whole, whole * 3]))

    def stall(self) -> Bad:
        """A caller that stops in the middle and stays."""
        return Bad("stalled", "stall", self._part())

    # gRPC

    def protobuf(self) -> Bad:
        """A message whose bytes were changed."""
        data = bytearray(self._good().message().SerializeToString())
        for _ in range(self.random.randrange(1, 5)):
            data[self.random.randrange(len(data))] = self.random.randrange(256)
        if self.random.random() < 0.3:
            data = data[: self.random.randrange(len(data))]
        return Bad("changed message", "grpc", bytes(data), self.random.choice(SERVICES), may_pass=True)

    def tensor(self) -> Bad:
        """A tensor that contradicts itself or its signature."""
        request = self._good().message()
        name = self.random.choice(sorted(request.inputs))
        tensor = request.inputs[name]
        choice = self.random.randrange(7)
        if choice == 0:
            tensor.dtype = self.random.choice([0, 2, 3, 7, 8, 14, 19, 20, 21, 22, 101, 9999])
        elif choice == 1:
            tensor.tensor_shape.dim[0].size = self.random.choice([-1, -(2**63), 2**62, 2**40, 0, 3])
        elif choice == 2:
            for _ in range(self.random.choice([1, 10, 70, 300])):
                tensor.tensor_shape.dim.add(size=self.random.choice([0, 1, 1, 2, 2**31]))
        elif choice == 3:
            tensor.tensor_shape.unknown_rank = True
        elif choice == 4:
            tensor.tensor_content = self.random.randbytes(self.random.randrange(1, 60))
        elif choice == 5:
            del tensor.tensor_shape.dim[:]
        else:
            tensor.Clear()
        return Bad("odd tensor", "grpc", request.SerializeToString(), PREDICT, may_pass=True)

    def spec(self) -> Bad:
        """A model, version, label, signature, input or output that there is not."""
        request = self._good().message()
        choice = self.random.randrange(7)
        if choice == 0:
            request.model_spec.name = self.random.choice(["", "nosuch", "\x00", "a" * 100_000])
        elif choice == 1:
            request.model_spec.version.value = self.random.choice([0, -1, 99, 2**63 - 1])
        elif choice == 2:
            request.model_spec.version_label = self.random.choice(["nosuch", "é" * 2000])
        elif choice == 3:
            request.model_spec.signature_name = "nosuch" * self.random.choice([1, 900])
        elif choice == 4:
            request.ClearField("model_spec")
        elif choice == 5:
            request.inputs["nosuch"].dtype = 7
        else:
            request.output_filter.extend(["nosuch"] * self.random.randrange(1, 4))
        return Bad("unknown name, gRPC", "grpc", request.SerializeToString(), PREDICT)

    def method(self) -> Bad:
        """A method that there is not."""
        name = self.random.choice(["/nosuch", "/tensorflow.serving.PredictionService/NoSuch", "/a/b/c", "/x.y/Predict"])
        return Bad("unknown method", "grpc", b"", name)

    def grpc_large(self) -> Bad:
        """A message past the limit."""
        return Bad("too large, gRPC", "grpc", b"\x0a" + b"\x80" * self.most_bytes, PREDICT)

    def grpc_abort(self) -> Bad:
        """A call that is cancelled at once."""
        return Bad("cancelled, gRPC", "grpc-abort", self._good().message().SerializeToString(), PREDICT)

    def grpc_garbage(self) -> Bad:
        """What is not HTTP/2."""
        preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
        return Bad("not gRPC", "grpc-raw", self.random.choice([b"", preface]) + self.random.randbytes(99))


def encoded(data: bytes) -> str:
    """A request's bytes for a report, cut."""
    return repr(data[:200]) if len(data) < 4000 else f"{data[:100]!r} ... {base64.b64encode(data[-40:]).decode()}"
