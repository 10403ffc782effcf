"""Sends bad requests and judges what comes back: an error with a text, or a good answer where that is right too."""

import collections
import itertools
import json
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from bad_requests import Bad, Generator, Good, encoded, http

PATIENCE = 30.0  # seconds without a reply: the server hangs
HELD = 8  # stalled connections that stay open at a time
# What gRPC itself answers for a message that cannot be parsed, for a method or a size that it does not take.
OF_GRPC = ("Exception deserializing request", "Method not found", "larger than max")
REFUSALS = (
    "INVALID_ARGUMENT", "NOT_FOUND", "FAILED_PRECONDITION", "OUT_OF_RANGE", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED",
)  # fmt: skip


@dataclass
class Report:
    """What came of them: replies by kind and code, and what was wrong."""

    replies: collections.Counter = field(default_factory=collections.Counter)
    problems: list[str] = field(default_factory=list)
    asked: int = 0
    good: int = 0
    slowest: float = 0.0


class Caller:
    """Sends requests to one server, REST and gRPC.

    Args:
        rest: host and port.
        grpc: host and port.
        report: to be filled.
    """

    def __init__(self, rest: tuple[str, int], grpc: tuple[str, int], report: Report):
        import grpc as library

        self.rest, self.grpc, self.report = rest, grpc, report
        self._errors = library.RpcError
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        self._channel = library.insecure_channel(f"{grpc[0]}:{grpc[1]}", options)
        self._held: collections.deque[socket.socket] = collections.deque()
        self._ways: dict[str, Callable[[Bad], tuple[str, str]]] = {
            "rest": self._exchange,
            "raw": self._exchange,
            "abort": self._abort,
            "stall": self._stall,
            "grpc": self._call,
            "grpc-abort": self._cancel,
            "grpc-raw": self._write,
        }

    def close(self) -> None:
        """Drop all connections."""
        self._channel.close()
        for one in self._held:
            one.close()

    def send(self, bad: Bad) -> None:
        """Send one and judge the reply."""
        begin = time.perf_counter()
        try:
            code, text = self._ways[bad.transport](bad)
        except TimeoutError:
            code, text = "no reply", f"none within {PATIENCE:g} seconds"
        if bad.transport != "stall":
            self.report.slowest = max(self.report.slowest, time.perf_counter() - begin)
        self.report.asked += 1
        self.report.replies[bad.kind, code] += 1
        if not is_right(bad, code, text):
            self.report.problems.append(f"{bad.kind}: {code} {text[:300]!r} to {encoded(bad.data)}")

    def _exchange(self, bad: Bad) -> tuple[str, str]:
        with socket.create_connection(self.rest, timeout=PATIENCE) as connection:
            try:
                connection.sendall(bad.data)
            except ConnectionError:
                pass  # refused before all of it was sent: the reply may be there
            return read_reply(connection, has_body=not bad.data.startswith(b"HEAD "))

    def _abort(self, bad: Bad) -> tuple[str, str]:
        with socket.create_connection(self.rest, timeout=PATIENCE) as connection:
            connection.sendall(bad.data)
        return "gone", ""

    def _stall(self, bad: Bad) -> tuple[str, str]:
        connection = socket.create_connection(self.rest, timeout=PATIENCE)
        connection.sendall(bad.data)
        self._held.append(connection)
        if len(self._held) <= HELD:
            return "gone", ""
        with self._held.popleft() as oldest:
            code, text = read_reply(oldest)
        return (code, text) if code in ("408", "gone") else (code, "a stalled request was answered")

    def _call(self, bad: Bad) -> tuple[str, str]:
        try:
            self._channel.unary_unary(bad.method)(bad.data, timeout=PATIENCE)
        except self._errors as error:
            return error.code().name, error.details() or ""
        return "OK", ""

    def _cancel(self, bad: Bad) -> tuple[str, str]:
        self._channel.unary_unary(bad.method).future(bad.data, timeout=PATIENCE).cancel()
        return "gone", ""

    def _write(self, bad: Bad) -> tuple[str, str]:
        with socket.create_connection(self.grpc, timeout=PATIENCE) as connection:
            connection.sendall(bad.data)
        return "gone", ""


def is_right(bad: Bad, code: str, text: str) -> bool:
    """Whether a reply is one that the request deserves."""
    if code == "gone":
        return bad.transport != "rest"
    if code in ("200", "OK"):
        return bad.may_pass
    if not text and not bad.data.startswith((b"HEAD ", b"OPTIONS ")):  # as the genuine server
        return False
    if bad.transport == "grpc":
        return code in REFUSALS or (code == "INTERNAL" and any(word in text for word in OF_GRPC))
    return code.startswith("4") or code == "501"


def read_reply(connection: socket.socket, *, has_body: bool = True) -> tuple[str, str]:
    """The status and the text of an HTTP reply; ``gone`` where the connection ended without one."""
    received = b""
    while True:
        head, found, body = received.partition(b"\r\n\r\n")
        if found:
            length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
            if not has_body or len(body) >= int(length or 0):
                break
        try:
            data = connection.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            return ("gone", "") if not found else ("cut", received.decode("utf-8", "replace"))
        received += data
    status, text = head[9:12].decode("latin-1"), body.decode("utf-8", "surrogateescape")
    if b"application/json" in head and status != "200" and has_body:
        try:
            text = json.loads(text)["error"]
        except (ValueError, KeyError):
            return "no JSON", text
    return status, text


class Answer:
    """A good request whose answer must not change."""

    def __init__(self, rest: tuple[str, int], good: Good):
        self._rest = rest
        self._request = http("POST", good.path, json.dumps(good.document()).encode())
        self._wanted = self._ask()
        if self._wanted[0] != "200":
            raise RuntimeError(f"The good request to {good.model}, {good.signature} is refused: {self._wanted}")

    def _ask(self) -> tuple[str, Any]:
        with socket.create_connection(self._rest, timeout=PATIENCE) as connection:
            connection.sendall(self._request)
            status, text = read_reply(connection)
        return status, json.loads(text) if status == "200" else text

    def problem(self) -> str | None:
        """What is wrong with the answer now."""
        try:
            got = self._ask()
        except OSError as error:
            got = "no reply", str(error)
        return None if got == self._wanted else f"the good request was answered by {str(got)[:300]}"


def provoke(
    rest: tuple[str, int],
    grpc: tuple[str, int],
    good: list[Good],
    *,
    count: int,
    seed: int,
    most_bytes: int,
    good_every: int = 50,
    watch: Callable[[int], None] = lambda asked: None,
) -> Report:
    """Send that many bad requests, and a good one after every ``good_every`` of them.

    Args:
        rest: host and port of REST.
        grpc: host and port of gRPC.
        good: good requests (``bad_requests.good_requests``); those that the server refuses are left out.
        count: bad requests.
        seed: of the generator.
        most_bytes: the server's limit of a request.
        good_every: as said.
        watch: called with the number asked so far after each good request.
    """
    report = Report()
    answers: list[Answer] = []
    answered: list[Good] = []
    for one in good:
        try:
            answers.append(Answer(rest, one))
        except RuntimeError:
            continue
        answered.append(one)
    if not answers:
        raise RuntimeError("No good request is answered.")
    caller = Caller(rest, grpc, report)
    in_turn = itertools.cycle(answers)
    try:
        for number, bad in enumerate(itertools.islice(Generator(answered, seed, most_bytes), count), 1):
            caller.send(bad)
            if number % good_every == 0 or number == count:
                report.good += 1
                problem = next(in_turn).problem()
                if problem:
                    report.problems.append(problem)
                watch(number)
    finally:
        caller.close()
    return report
