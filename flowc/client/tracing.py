"""The trace that calls belong to: each call sends a `traceparent` (W3C), so that its flow continues the caller's trace.

A call outside of any trace begins one. `traced` says to which trace the calls of a block belong; in a task of
`flowc.worker` they belong to the trace of its flow.
"""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")

CURRENT: ContextVar[str | None] = ContextVar("flowc_traceparent", default=None)
"""The `traceparent` that calls continue."""


@contextmanager
def traced(traceparent: str | None) -> Iterator[None]:
    """Let the calls of the block continue a trace; None, or a text that is no `traceparent`, begins new ones."""
    token = CURRENT.set(traceparent)
    try:
        yield
    finally:
        CURRENT.reset(token)


def next_traceparent() -> str:
    """Return the `traceparent` of one more call: the current trace, or a new one, and a span of its own."""
    match = TRACEPARENT.fullmatch(CURRENT.get() or "")
    trace, flags = (match[1], match[3]) if match else (secrets.token_hex(16), "01")
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}"
