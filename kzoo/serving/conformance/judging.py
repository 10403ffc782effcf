"""What a reply is held against: each kind of expectation says in words how a reply differs, or nothing."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from kzoo.serving.conformance.exchange import GrpcReply, Reply, RestReply, message_dict
from kzoo.serving.tensors import BY_NUMBER, to_array

JSON = "application/json"
TOLERANCE = 1e-5


class Expectation(Protocol):
    """Judges a reply."""

    def difference(self, reply: Reply) -> str:
        """Where the reply is not as it must be; empty where it is."""


@dataclass(frozen=True, slots=True)
class Answer:
    """HTTP 200 with this JSON; floats to 1e-5, keys in any order. ``seen`` takes the part that counts."""

    value: Any
    seen: Callable[[Any], Any] | None = None

    def difference(self, reply: Reply) -> str:
        """See ``Expectation``."""
        got, why = _json(reply, 200)
        if why:
            return why
        try:
            return unlike(self.seen(got) if self.seen else got, self.value)
        except (KeyError, TypeError, AttributeError) as error:
            return f"the reply has another shape ({type(error).__name__}: {error})"

    def __str__(self) -> str:
        return f"200 {JSON} {_written(self.value)}"


@dataclass(frozen=True, slots=True)
class Refusal:
    """``{"error": "..."}`` with this status and text; where the text is one line, only the error's first line counts.

    The names of graph nodes, which are TensorFlow's choice, are left out.
    """

    status: int
    text: str

    def difference(self, reply: Reply) -> str:
        """See ``Expectation``."""
        got, why = _json(reply, self.status)
        if why:
            return why
        if not isinstance(got, dict) or list(got) != ["error"] or not isinstance(got["error"], str):
            return 'the reply is not {"error": "..."}'
        return unlike(first_line(got["error"], whole="\n" in self.text), self.text, "error")

    def __str__(self) -> str:
        return f'{self.status} {JSON} {{"error": {json.dumps(self.text)}}}'


@dataclass(frozen=True, slots=True)
class Page:
    """A reply that is no JSON: status, type, and bytes that must stand in it."""

    status: int
    content_type: str
    parts: tuple[bytes, ...]

    def difference(self, reply: Reply) -> str:
        """See ``Expectation``."""
        assert isinstance(reply, RestReply)
        if reply.status != self.status:
            return f"HTTP status {reply.status}, not {self.status}"
        if reply.content_type != self.content_type:
            return f"Content-Type {reply.content_type!r}, not {self.content_type!r}"
        missing = [part.decode("utf-8", "backslashreplace") for part in self.parts if part not in reply.body]
        return f"the body lacks {', '.join(map(repr, missing))}" if missing else ""

    def __str__(self) -> str:
        return f"{self.status} {self.content_type} with {', '.join(map(repr, self.parts))}"


@dataclass(frozen=True, slots=True)
class Outputs:
    """A ``PredictResponse``: name of each output to its dtype and nested values; model, version and signature."""

    outputs: dict[str, tuple[str, Any]]
    spec: dict[str, str]

    def difference(self, reply: Reply) -> str:
        """See ``Expectation``."""
        message, why = _message(reply)
        if why:
            return why
        got = {
            name: (BY_NUMBER[tensor.dtype].name, plain(to_array(tensor).tolist()))
            for name, tensor in message.outputs.items()
        }
        return unlike(got, self.outputs, "outputs") or unlike(message_dict(message.model_spec), self.spec, "model_spec")

    def __str__(self) -> str:
        return f"OK {_written(self.outputs)} of {_written(self.spec)}"


@dataclass(frozen=True, slots=True)
class Message:
    """A gRPC reply that is this message in protobuf's JSON. ``seen`` takes the part that counts."""

    value: Any
    seen: Callable[[Any], Any] | None = None

    def difference(self, reply: Reply) -> str:
        """See ``Expectation``."""
        message, why = _message(reply)
        if why:
            return why
        got = message_dict(message)
        try:
            return unlike(self.seen(got) if self.seen else got, self.value)
        except (KeyError, TypeError, AttributeError) as error:
            return f"the reply has another shape ({type(error).__name__}: {error})"

    def __str__(self) -> str:
        return f"OK {_written(self.value)}"


@dataclass(frozen=True, slots=True)
class Failure:
    """A gRPC error: its code, and its first line without the names of graph nodes (None: any text, but some)."""

    code: str
    text: str | None

    def difference(self, reply: Reply) -> str:
        """See ``Expectation``."""
        assert isinstance(reply, GrpcReply)
        if reply.code != self.code:
            return f"code {reply.code}, not {self.code}"
        if self.text is None:
            return "" if reply.details else "the error has no text"
        return unlike(first_line(reply.details), self.text, "details")

    def __str__(self) -> str:
        return f"{self.code} {self.text or 'and some text'}"


def first_line(text: str, *, whole: bool = False) -> str:
    """An error's first line, or the whole, without the names of graph nodes."""
    return re.sub(r"\{\{.*?\}\}", "", text.partition("\n\t [[")[0] if whole else text.split("\n")[0])


def plain(value: Any) -> Any:
    """Nested values with text in place of bytes."""
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


def unlike(got: Any, wanted: Any, where: str = "") -> str:
    """Where and how two nested values differ first, in words; empty where they do not."""
    place = where or "the reply"
    if isinstance(got, tuple) or isinstance(wanted, tuple):
        got, wanted = _listed(got), _listed(wanted)
    if isinstance(wanted, float) or (isinstance(got, float) and not isinstance(wanted, str | bool)):
        if isinstance(got, bool) or not isinstance(got, int | float) or not isinstance(wanted, int | float):
            return f"{place} is {_written(got)}, not {_written(wanted)}"
        is_same = got == wanted or math.isclose(got, wanted, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
        return "" if is_same or (math.isnan(got) and math.isnan(wanted)) else f"{place} is {got}, not {wanted}"
    if isinstance(wanted, dict) and isinstance(got, dict):
        if got.keys() != wanted.keys():
            return f"{place} has the keys {sorted(map(str, got))}, not {sorted(map(str, wanted))}"
        return next(filter(None, (unlike(got[key], wanted[key], f"{where}.{key}".strip(".")) for key in wanted)), "")
    if isinstance(wanted, list) and isinstance(got, list):
        if len(got) != len(wanted):
            return f"{place} has {len(got)} entries, not {len(wanted)}"
        pairs = enumerate(zip(got, wanted, strict=True))
        return next(filter(None, (unlike(one, other, f"{where}[{index}]") for index, (one, other) in pairs)), "")
    if type(got) is type(wanted) and got == wanted:
        return ""
    return f"{place} is {_written(got)}, not {_written(wanted)}"


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _json(reply: Reply, status: int) -> tuple[Any, str]:
    """The body, parsed, or why it cannot be judged further."""
    assert isinstance(reply, RestReply)
    if reply.status != status:
        return None, f"HTTP status {reply.status}, not {status}"
    if reply.content_type != JSON:
        return None, f"Content-Type {reply.content_type!r}, not {JSON!r}"
    try:
        return json.loads(reply.body), ""
    except ValueError:
        return None, "the body is not JSON"


def _message(reply: Reply) -> tuple[Any, str]:
    assert isinstance(reply, GrpcReply)
    return reply.message, "" if reply.code == "OK" else f"code {reply.code}, not OK"


def _written(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 300 else f"{text[:300]} ..."
