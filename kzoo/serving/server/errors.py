"""What a request can fail with: the codes gRPC and the REST API share, and the text of the genuine server."""

from __future__ import annotations

import enum


class Code(enum.IntEnum):
    """The canonical codes, by gRPC's numbers."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}  # every other code is a 500


class StatusError(Exception):
    """A request that fails: its code, and the message the caller gets to read."""

    def __init__(self, code: Code, message: str):
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        """As TensorFlow prints a status: ``INVALID_ARGUMENT: no such signature``."""
        return f"{self.code.name}: {self.message}"

    @property
    def http_status(self) -> int:
        """The HTTP status the REST API answers with."""
        return HTTP_STATUS.get(self.code, 500)


def invalid(message: str) -> StatusError:
    """The commonest failure: something in the request is wrong."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def status_of(error: BaseException) -> StatusError:
    """Any exception as a status: TensorFlow's own errors keep their code and text."""
    if isinstance(error, StatusError):
        return error
    code, message = getattr(error, "error_code", None), getattr(error, "message", None)
    if isinstance(code, int) and isinstance(message, str):  # tf.errors.OpError, without importing TensorFlow
        return StatusError(Code(code) if 0 < code <= 16 else Code.UNKNOWN, message)
    return StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}")
