"""Everything that can go wrong between a client and the platform, as exceptions.

An answer with a status of 400 or above is a `Refused`; its subclass says of which kind it is. A program decides by
the class or by `code`, the word of the problem document (docs/reference/errors.md), never by the text.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

TEXT_LIMIT = 2_000
"""Characters of a foreign text in the message of an exception."""


class PlatformError(Exception):
    """The call has not done its work; every exception of this package is one."""


class NoAnswer(PlatformError):
    """No answer came: nobody listens there, the connection broke, or the time was over."""


class CircuitOpen(PlatformError):
    """Nothing was sent: the service has failed too often. `retry_after` says in how many seconds it is tried again."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"the service has failed too often; it is tried again in {retry_after:.1f} s")
        self.retry_after = retry_after


class BadAnswer(PlatformError):
    """The answer is not one of the platform: it is no JSON object, lacks a field, or is too large."""


class NotEnded(PlatformError):
    """The flow has not ended within the time that the caller has given; it goes on. Asking again waits again."""

    def __init__(self, flow_id: str, status: str) -> None:
        super().__init__(f"flow {flow_id} has not ended yet, it is {status}")
        self.flow_id = flow_id
        self.status = status


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault of a request that has several: its code, what is wrong, and where."""

    code: str = ""
    message: str = ""
    where: str = ""


@dataclass(eq=False)
class Refused(PlatformError):
    """The platform has refused the call by a problem document (RFC 9457)."""

    status: int
    """The status of HTTP."""
    code: str
    """The word for what is wrong; empty where the answer was no problem document."""
    detail: str
    """What is wrong, in a sentence for people."""
    errors: Sequence[Fault] = ()
    """Each fault, where there are several."""
    retry_after: float | None = None
    """Seconds after which the platform wants to be asked again, where it says so."""
    document: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The whole problem document."""

    def __str__(self) -> str:
        """Return the sentence, with status and code."""
        return f"{self.detail} ({self.status}{f' {self.code}' if self.code else ''})"


class Unauthorized(Refused):
    """401: the key or token is missing, wrong or expired."""


class Forbidden(Refused):
    """403: the caller is known and may not do this."""


class NotFound(Refused):
    """404: there is no such record."""


class Conflicting(Refused):
    """409, 412: the record is in another state than the call needs."""


class Invalid(Refused):
    """400, 413, 415, 422: the request is wrong in itself; `errors` lists its faults."""


class TooMany(Refused):
    """429: the client asks too often; `retry_after` says when to ask again."""


class PlatformFailed(Refused):
    """5xx: the platform cannot answer now, or something went wrong inside."""


KINDS: Mapping[int, type[Refused]] = {
    400: Invalid,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflicting,
    412: Conflicting,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: TooMany,
}


def from_json(body: bytes) -> object:
    """Return the JSON value of an answer; None for what is none, or is nested too deep to be read."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None


def refusal(status: int, body: bytes, retry_after: float | None = None) -> Refused:
    """Return the exception for an answer with a status of 400 or above, whatever its body is."""
    kind = KINDS.get(status, PlatformFailed if status >= HTTPStatus.INTERNAL_SERVER_ERROR else Refused)
    document = from_json(body)
    if not isinstance(document, dict):
        return kind(status, "", f"the service answered {status} without a reason", retry_after=retry_after)
    detail = str(document.get("detail") or document.get("title") or f"the service answered {status}")
    listed = document.get("errors")
    faults = [_fault(each) for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    code = str(document.get("code") or "")
    return kind(status, code, detail[:TEXT_LIMIT], tuple(faults), retry_after, document)


def _fault(said: Mapping[str, Any]) -> Fault:
    return Fault(**{name: str(said.get(name) or "")[:TEXT_LIMIT] for name in ("code", "message", "where")})
