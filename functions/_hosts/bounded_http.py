"""HTTP with bounds: what a client sends has a size and a time, and there are so many clients at once.

The server below knows only the time between two requests. Here a request has to arrive as a whole within some
seconds, an answer has to be read, and a head has to be small; whoever does otherwise is cut off, so that no number of
slow clients costs more than their connections, for a while.
"""

import asyncio
from typing import ClassVar, cast

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from functions._hosts.plain_answers import problem

MAX_HEAD = 64 * 1024
"""Bytes of the request line and the headers."""

MAX_HEADERS = 128

LINGER = 1.0
"""Seconds that a client has to take its last answer, before the connection is dropped for good."""

OVERLOADED = problem(
    503, "overloaded", "there are too many connections; try again", {"retry-after": "1", "connection": "close"}
)


class BoundedProtocol(HttpToolsProtocol):
    """One connection."""

    request_seconds: ClassVar[float]
    max_connections: ClassVar[int]

    _deadline: asyncio.TimerHandle | None = None
    _drain: asyncio.TimerHandle | None = None
    _arriving = True
    _in_head = False
    _completed = False
    _refused = False
    _unparsed = 0
    _head = 0
    _headers = 0
    _refusal: tuple[int, str, str] = (400, "malformed_http", "this is no HTTP request")

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as the server has it
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        self._arriving = False
        self._watch()
        self.resume_writing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what has arrived; most requests come in one piece and need no timer."""
        if self._refused:
            return
        self._arriving, self._completed = True, False
        super().data_received(data)
        # What shares its piece with the end of another request is counted from the next piece on.
        if self._in_head and not self._completed and not self.transport.is_closing():
            self._unparsed += len(data)
            if self._unparsed > MAX_HEAD:
                self._refuse(431, "head_too_large", f"a head has at most {MAX_HEAD} bytes")
        self._watch()

    def on_message_begin(self) -> None:
        """Count again: this is another request, with a time of its own."""
        self._in_head, self._unparsed, self._head, self._headers = True, 0, 0, 0
        self._unwatch()
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """Take a part of the address."""
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those after a chunked body count, too."""
        self._headers += 1
        self._count(len(name) + len(value) + len(b": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Hand the request to the application, or turn it away while there are too many connections."""
        self._in_head = False
        app = self.app
        if len(self.connections) > self.max_connections:
            self.app = OVERLOADED
        super().on_headers_complete()
        self.app = app

    def on_message_complete(self) -> None:
        """Take the end of a request."""
        self._arriving, self._completed = False, True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the server's words say less
        """Answer what the parser could not or would not read."""
        self._refuse(*self._refusal)

    def pause_writing(self) -> None:
        """Wait for a client that does not read, but not for ever."""
        super().pause_writing()
        self._drain = self.loop.call_later(self.request_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        if self._drain is not None:
            self._drain.cancel()
            self._drain = None
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """End a connection that is not used; one whose client has not even read its answer is cut."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def _count(self, size: int) -> None:
        self._head += size
        if self._head > MAX_HEAD or self._headers > MAX_HEADERS:
            text = f"a head has at most {MAX_HEAD} bytes and {MAX_HEADERS} headers"
            self._refusal = (431, "head_too_large", text)
            raise ValueError(text)  # the parser stops, and `send_400_response` answers

    def _watch(self) -> None:
        if not self._arriving:
            self._unwatch()
        elif self._deadline is None and not self.transport.is_closing():
            self._deadline = self.loop.call_later(self.request_seconds, self._too_slow)

    def _unwatch(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        text = f"the whole request has to arrive within {self.request_seconds:g} s"
        self._refuse(408, "request_timeout", text)

    def _refuse(self, status: int, code: str, text: str) -> None:
        """Answer, unless an answer is under way, and close."""
        if self._refused or self.transport.is_closing():
            return
        cycle = cast("RequestResponseCycle | None", self.cycle)  # there is none before the first request
        if self.pipeline or (cycle and not cycle.response_complete and (cycle.response_started or not cycle.more_body)):
            self.transport.close()
        else:
            if cycle:
                cycle.disconnected = True
                cycle.message_event.set()
            answer = problem(status, code, text, {"connection": "close"})
            head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
            self.transport.write(b"".join((STATUS_LINE[status], head, b"\r\n", answer.body)))
            # Closed with something unread, the connection would be reset, and the answer with it.
            if self.transport.can_write_eof():  # TLS cannot end one direction; the answer has its length
                self.transport.write_eof()
            self._refused = True
        self.loop.call_later(LINGER, self.transport.abort)


def bounded(*, request_seconds: float, connections: int) -> type[BoundedProtocol]:
    """Return the protocol for a server: so long for a request to arrive, so many connections at once."""

    class Bounded(BoundedProtocol):
        pass

    Bounded.request_seconds = request_seconds
    Bounded.max_connections = connections
    return Bounded
