"""An operation of a client: steps that ask for HTTP calls, written once and driven by an async or a sync client.

An operation is a generator that yields each `Call` and gets its `Reply`. It neither waits nor sends, so retries, the
circuit breaker and waiting for a flow are the same code in both clients, and tests need neither network nor clock.
"""

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from flowc.client.errors import BadAnswer, from_json

T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

JSON = "application/json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One HTTP request."""

    method: str
    url: str
    """The path, or a whole address where it is another service's."""
    headers: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str | int | float] = field(default_factory=dict)
    body: bytes | None = None
    repeatable: bool = False
    """Whether the call may be sent twice: it is idempotent, or has an idempotency key."""
    seconds: float | None = None
    """Time for the answer to begin and between its parts; that of the client without it."""
    after: float = 0.0
    """Seconds to wait before it is sent."""


@dataclass(frozen=True, slots=True)
class Reply:
    """One HTTP answer, its body read whole; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def retry_after(self) -> float | None:
        """The pause in seconds that the answer asks for; None where it asks for none, or for a date."""
        asked = self.headers.get("retry-after", "").strip()
        return float(asked[:9]) if asked.isascii() and asked.isdecimal() else None

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the body, an empty one without a body; raise `BadAnswer`."""
        if not self.body:
            return {}
        value = from_json(self.body)
        if not isinstance(value, dict):
            raise BadAnswer(f"the answer ({self.status}) is no JSON object; is this the platform's address?")
        return value

    def as_a(self, model: type[M]) -> M:
        """Return the JSON object as a `model`; raise `BadAnswer`."""
        return read(model, self.document())


Steps = Generator[Call, Reply, T]
"""What an operation does: it yields calls, gets their replies, or `NoAnswer` raised in it, and returns its result."""


def read(model: type[M], document: object) -> M:
    """Return a document as a `model`; raise `BadAnswer` that names what does not fit, but no values."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors()[:3])
        raise BadAnswer(f"the answer is no {model.__name__}: {faults}") from None


def json_body(document: object) -> bytes:
    """Return a document as the body of a call; raises `ValueError` or `TypeError` for what JSON cannot hold."""
    return json.dumps(document, allow_nan=False).encode()
