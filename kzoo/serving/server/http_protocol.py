"""uvicorn's HTTP protocol with limits on what a caller may send without end, or leave unsaid.

By itself it waits for ever for a request that does not come, and keeps whatever a head without end brings. The time
for a body is kept by the app (``rest``), which can answer in JSON.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_MOST_BYTES = 64 << 10  # of a head; also between two pieces of a body, where trailers and chunk extensions stand


class LimitedProtocol(HttpToolsProtocol):
    """A connection that is closed when a head takes longer than ``seconds``, or more than 64 KiB."""

    seconds = 30.0

    def __init__(self, *arguments: Any, **options: Any):
        super().__init__(*arguments, **options)
        self._timer: asyncio.TimerHandle | None = None
        self._has_begun = False  # a head that is not whole yet
        self._is_further = False
        self._fields = 0  # bytes of the fields of this head
        self._unused = 0  # bytes since a head or a piece of a body was whole

    @classmethod
    def within(cls, seconds: float) -> type[LimitedProtocol]:
        """The protocol with that much time for a head."""
        return type(cls.__name__, (cls,), {"seconds": seconds})

    def connection_made(self, transport: Any) -> None:
        """The time runs from the first moment, whether anything is sent or not."""
        super().connection_made(transport)
        self._timer = self.loop.call_later(self.seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for any more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Some bytes, of a head or of a body."""
        self._is_further = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        self._unused = 0 if self._is_further else self._unused + len(data)
        if self._unused > _MOST_BYTES:
            self._refuse(b"431 Request Header Fields Too Large")
        elif self._timer is None and (self._has_begun or self.cycle is None or self.cycle.response_complete):
            self._timer = self.loop.call_later(self.seconds, self._give_up)

    def on_message_begin(self) -> None:
        """A head begins."""
        self._has_begun, self._fields = True, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field; too many of them are answered with 400."""
        self._fields += len(name) + len(value)
        if self._fields > _MOST_BYTES:
            raise ValueError("The head of the request is too large.")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """The head is whole: from here on the app keeps the time."""
        self._stop_waiting()
        self._has_begun, self._is_further = False, True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        self._is_further = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The body is whole."""
        self._is_further = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """From here on uvicorn waits for the next request, for as long as it keeps idle connections."""
        if not self._has_begun:
            self._stop_waiting()
        super().on_response_complete()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _give_up(self) -> None:
        self._timer = None
        if self.transport.is_closing():
            return
        if self.cycle is not None and not self.cycle.response_complete:  # the next head waits for this answer
            self._timer = self.loop.call_later(self.seconds, self._give_up)
        elif self._has_begun:
            self._refuse(b"408 Request Timeout")
        else:
            self.transport.close()

    def _refuse(self, status: bytes) -> None:
        text = b"The head of the request is too large or was not finished in time."
        head = (
            b"HTTP/1.1 %b\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        )
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(head % (status, len(text)) + text)
        self.transport.close()
