"""How a client meets a service that fails: it repeats what may be repeated, and stops when that does not help."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from http import HTTPStatus

from flowc.client.calls import Call, Reply, Steps
from flowc.client.errors import CircuitOpen, NoAnswer

PASSING = frozenset({408, 425, 429})
"""Refusals that may pass, as may every 5xx but 501; the platform's conflicts of a moment are 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a call is sent, and the seconds between: they double, and chance takes up to a fifth from each.

    Only calls that are idempotent, or have an idempotency key, are sent again.
    """

    attempts: int = 3
    first_pause: float = 1.0
    longest_pause: float = 60.0
    """Of `Retry-After`, too: a service that asks for more gets its refusal told to the caller."""

    def __post_init__(self) -> None:
        """Refuse what cannot be done."""
        if self.attempts < 1 or self.first_pause < 0 or self.longest_pause < self.first_pause:
            raise ValueError("a call is sent at least once, and pauses do not shrink")

    def pause(self, sent: int, reply: Reply | None) -> float | None:
        """Return the seconds before a call that was sent so often is sent again; None: it is not."""
        if sent >= self.attempts or (reply is not None and not passing(reply.status)):
            return None
        pause: float = min(self.first_pause * 2 ** min(sent - 1, 60), self.longest_pause)
        asked = reply.retry_after if reply is not None else None
        if asked is not None and asked > pause:
            return asked if asked <= self.longest_pause else None
        return pause * random.uniform(0.8, 1.0)  # noqa: S311 - spreads calls, protects nothing


class CircuitBreaker:
    """Stops calling a service after failures in a row; after a while calls are tried, and successes close it again.

    A failure is a call without an answer, or an answer of 500 or above. One that happens while calls are tried opens
    it again at once.
    """

    def __init__(
        self,
        *,
        failures: int = 5,
        open_seconds: float = 30.0,
        successes: int = 2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most = failures
        self._open_seconds = open_seconds
        self._needed = successes
        self._clock = clock
        self._failed = 0
        self._left = 0
        self._until: float | None = None

    @property
    def state(self) -> str:
        """`closed`, `open`, or `half-open` while calls are tried."""
        if self._until is None:
            return "closed"
        return "open" if self._clock() < self._until else "half-open"

    def check(self) -> None:
        """Raise `CircuitOpen` while nothing is to be sent."""
        if self._until is not None and (left := self._until - self._clock()) > 0:
            raise CircuitOpen(left)

    def succeeded(self) -> None:
        """Count an answer."""
        self._failed = 0
        if self._until is not None:
            self._left -= 1
            if self._left <= 0:
                self._until = None

    def failed(self) -> None:
        """Count a failure."""
        self._failed += 1
        if self._until is not None or self._failed >= self._most:
            self._until = self._clock() + self._open_seconds
            self._left = self._needed


def exchange(call: Call, policy: RetryPolicy, breaker: CircuitBreaker) -> Steps[Reply]:
    """Send a call, again if it may be and that may help; return the last reply, or raise `NoAnswer`, `CircuitOpen`."""
    sent = 0
    while True:
        breaker.check()
        reply, failure = None, None
        try:
            reply = yield call
        except NoAnswer as error:
            failure = error
        sent += 1
        if reply is None or reply.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            breaker.failed()
        else:
            breaker.succeeded()
        pause = policy.pause(sent, reply) if call.repeatable else None
        if pause is not None:
            call = replace(call, after=pause)
        elif reply is not None:
            return reply
        else:
            raise failure or NoAnswer("no answer came")


def passing(status: int) -> bool:
    """Whether the same call may succeed later."""
    return status in PASSING or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED)
