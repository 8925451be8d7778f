"""One HTTP/1.1 connection of the client: it carries one request at a time, and each is answered before the next.

Requests are not pipelined: when a connection ends in the middle of a pipeline, nobody knows which of the POSTs behind
the last answer were carried out.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from functions._adapters.http.reply import ANSWER_LIMIT, Reply

HEAD_LIMIT = 64 * 1024
"""Bytes of an answer before its body, those of interim answers (status 1xx) included."""

HEADER_LIMIT = 8 * 1024
"""Bytes of the value of one header."""

FRAMED = frozenset({"content-length", "transfer-encoding"})
"""Headers by which a body says where it ends; without them it ends with the connection."""

HEADERS_LIMIT = 128
"""Headers of an answer, those of interim answers and those after a chunked body included."""


class MalformedAnswer(ConnectionError):
    """The server sent something that is no answer."""


class Connection(asyncio.Protocol):
    """Sends requests and reads their answers; after a HEAD, whose answer has no body, it carries no other."""

    def __init__(self, lost: Callable[["Connection"], None]) -> None:
        """Call `lost` when the connection is closed, by whichever side."""
        self.idle_since = 0.0
        """When the last request was over, by the clock of the event loop."""
        self._lost = lost
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._busy = False
        self._begin(ANSWER_LIMIT)

    def _begin(self, limit: int) -> None:
        """Forget the last answer; of the next body up to `limit` bytes are read."""
        self._limit = limit
        self._status = 0
        self._headers: dict[str, str] = {}
        self._header_count = 0
        self._body: list[bytes] = []
        self._received = 0
        self._ended = False
        self._complete = False

    @property
    def reusable(self) -> bool:
        """Whether the connection can carry another request: nothing is under way on it, in either direction."""
        return not (self._busy or self._transport.is_closing())

    @property
    def ended(self) -> bool:
        """Whether nothing more comes of the answer."""
        return self._ended

    @property
    def reply(self) -> Reply | None:
        """The answer with as much of its body as has come; None before its head."""
        if not self._status:
            return None
        body = b"".join(self._body)
        return Reply(self._status, self._headers, body[: self._limit], self._complete and len(body) <= self._limit)

    async def ask(self, request: bytes, limit: int = ANSWER_LIMIT) -> None:
        """Send a request and wait for the head of its answer; most answers are there as a whole by then.

        Of the body up to `limit` bytes are read.

        Raises `OSError` when the connection ends before, or when something else than an answer comes.
        """
        self._begin(limit)
        self._busy = True
        self._transport.write(request)
        while not self._status:
            await self._news()

    async def rest(self) -> None:
        """Wait for the body: its last byte, more bytes than anybody reads, or the end of the connection."""
        while not self._ended:
            await self._news()

    def abort(self) -> None:
        """Close the connection at once."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way to the server."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Read what has come; an answer that nobody asked for ends the connection."""
        if not self._busy:
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._cut(MalformedAnswer(f"the answer is not HTTP: {error}"))
            return
        if self._received > (HEAD_LIMIT + self._limit if self._status else HEAD_LIMIT) and not self._ended:
            self._cut(MalformedAnswer(f"the head of the answer has more than {HEAD_LIMIT} bytes"))
        elif self._status:
            self._tell(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything; a body without a length ends here."""
        self._complete = self._complete or (exc is None and not self._ended and FRAMED.isdisjoint(self._headers))
        self._cut(exc if isinstance(exc, OSError) else ConnectionResetError("the server closed the connection"))
        del self._parser  # it refers to this object
        self._lost(self)

    def on_message_begin(self) -> None:
        """Refuse a second answer to one request."""
        if self._ended:
            raise ValueError("a second answer")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header; of several with one name the first counts."""
        self._header_count += 1
        if len(value) > HEADER_LIMIT or self._header_count > HEADERS_LIMIT:
            raise ValueError("too many or too long headers")
        self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))

    def on_headers_complete(self) -> None:
        """Take the status, unless this answer is an interim one."""
        status = self._parser.get_status_code()
        if status >= HTTPStatus.OK:
            self._status = status

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body.append(body)

    def on_message_complete(self) -> None:
        """Free the connection, unless the server closes it or has answered before it was asked to the end."""
        if not self._status:
            self._headers.clear()
            return
        self._ended = self._complete = True
        self._busy = not self._parser.should_keep_alive() or self._transport.get_write_buffer_size() > 0

    async def _news(self) -> None:
        """Wait for more of the answer."""
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _tell(self, error: OSError | None) -> None:
        """Wake whoever waits; `error` is what became of an answer that has no head yet."""
        if self._waiter is None or self._waiter.done():
            return
        if error is None:
            self._waiter.set_result(None)
        else:
            self._waiter.set_exception(error)

    def _cut(self, error: OSError) -> None:
        """End the answer where it is, and the connection with it; after its head this is no error."""
        self._ended, self._busy = True, True
        self._tell(None if self._status else error)
        self.abort()
