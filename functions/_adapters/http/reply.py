"""Answers to calls over HTTP, and the error of one that was never made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple

from functions._core.errors import Unavailable

ANSWER_LIMIT = 64 * 1024
"""Bytes read of an answer; nothing that is ever read of one is longer."""

RETRIED = frozenset({404, 408, 409, 429})
"""Refusals that the CloudEvents data plane has senders repeat; every 5xx is repeated too."""


class NotReached(Unavailable):
    """There was no connection, so nothing was sent."""


class Bounds(NamedTuple):
    """What a call may cost."""

    seconds: float
    """From waiting for a connection to the last byte read."""
    body_seconds: float
    """From the head of the answer to the last byte read, within `seconds`."""
    answer_bytes: int = ANSWER_LIMIT
    """Read of the body; the rest is left."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a server answered; `body` is cut at its bound, and where the server did not go on with it."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = True
    """Whether nothing of the body is missing."""

    @property
    def ok(self) -> bool:
        """Whether the status is one of success."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES

    @property
    def passing(self) -> bool:
        """Whether the same request may succeed later; any other refusal is about what was sent."""
        return self.status in RETRIED or self.status >= HTTPStatus.INTERNAL_SERVER_ERROR

    def retry_after(self, now: datetime) -> timedelta | None:
        """Return the pause that `Retry-After` asks for, in seconds or as a date; None where it asks for none."""
        asked = self.headers.get("retry-after", "").strip()
        if asked.isascii() and asked.isdecimal():
            return timedelta(seconds=int(asked[:9]))
        try:
            at = parsedate_to_datetime(asked)
        except (ValueError, OverflowError):
            return None
        return max(timedelta(), at - now) if at.tzinfo is not None else None

    @property
    def text(self) -> str:
        """The body as text, whatever its bytes."""
        return self.body.decode(errors="replace")
