"""Server-sent events: how long a stream lasts, who has how many of them, and where one goes on."""

from collections.abc import AsyncIterator
from contextlib import suppress

from fastapi import Request
from fastapi.responses import StreamingResponse

from functions._core.errors import Rejected
from functions.api.access import principal_of
from functions.api.bodies import header
from functions.api.questions import MAX_SEQ
from functions.api.services import Watchers

EVENT_STREAM = "text/event-stream"

LONGEST_STREAM = 300.0
"""Seconds after which a stream ends at the latest; a client goes on with another request."""

SIGN_OF_LIFE = 15.0
"""Seconds after which a stream says that it is still there; what is between may cut off a silent connection."""


def streamed(request: Request) -> bool:
    """Whether a request asks for a stream."""
    return EVENT_STREAM in header(request, b"accept")


def client_of(request: Request) -> str:
    """Return the one for whom a stream is counted; empty for all where access is off."""
    principal = principal_of(request)
    return "" if principal is None else principal.key_id or principal.name


def last_seen(request: Request) -> int | None:
    """Return the number from which on a stream is continued, if the client says one.

    Raises `Rejected`, code `bad_revision`, for what is no number of a message.
    """
    said = header(request, b"last-event-id")
    if not said:
        return None
    if not said.isdecimal() or len(said) > len(str(MAX_SEQ)) or int(said) > MAX_SEQ:
        raise Rejected("Last-Event-ID is no revision", code="bad_revision", status=400)
    return int(said)


def event_stream(watchers: Watchers, client: str, stream: AsyncIterator[bytes]) -> StreamingResponse:
    """Return the answer that streams, and counts its client meanwhile; check before that it is not one too many."""
    counted = _counted(watchers, client, stream)
    return StreamingResponse(counted, media_type=EVENT_STREAM, headers={"cache-control": "no-store"})


async def _counted(watchers: Watchers, client: str, stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield a stream for as long as its client is counted; one that is too many after all is empty."""
    with suppress(Rejected), watchers.one(client):
        async for part in stream:
            yield part
