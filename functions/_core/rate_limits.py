"""Rate limits: token buckets and quotas, as calculations on what is left and when that was known.

A token bucket of `size` tokens refills evenly; each request takes one, so its size is the burst. A quota is a bucket
that is full again when the next period begins.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

READ, WRITE, WORKER, STRANGER, DAY = "read", "write", "worker", "stranger", "day"
"""The limits: requests that change nothing and those that may, messages of workers, requests without a good
credential by address, and the quota of a day."""

DEFAULT = "read=100/200 write=20/40 worker=200/400 stranger=20/40"
SYNTAX = re.compile(r"(?:read|write|worker|stranger)=[1-9]\d{0,8}/[1-9]\d{0,8}|day=[1-9]\d{0,11}", re.ASCII)

DAY_SECONDS = 86_400.0

SKEW_SECONDS = 10.0
"""How far the clocks of two processes may be apart. A bucket of later than that is of a clock that went back since."""

MOST_OF_QUOTA = 100
"""Tokens of a quota that a process takes at once: so many may be counted and not used when it ends."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A bucket of `size` tokens that is filled within `seconds`; all `at_once` at the end of the period, or evenly."""

    name: str
    size: int
    seconds: float
    at_once: bool = False

    @property
    def refill(self) -> int:
        """Tokens that have to come back before an empty bucket is looked at again: a flood must not look each time."""
        return max(1, self.size // 4)


class Bucket(NamedTuple):
    """`tokens` were left at `at`, in seconds since 1970."""

    tokens: float
    at: float


class Allowance(NamedTuple):
    """Whether a request may pass, and what is left of its limit."""

    allowed: bool
    limit: Limit
    remaining: int
    reset: float
    """Seconds until the bucket is full, as far as this process knows."""
    retry_after: float = 0.0
    """Seconds after which a refused request may pass."""


def filled(limit: Limit, bucket: Bucket | None, now: float) -> Bucket:
    """Return the bucket as it is now; None is a full one.

    A clock that goes back adds nothing and takes nothing: the bucket refills from then on.
    """
    if bucket is None:
        return Bucket(limit.size, now)
    if bucket.at > now:
        return bucket if bucket.at - now <= SKEW_SECONDS else Bucket(bucket.tokens, now)
    if limit.at_once:
        same = bucket.at // limit.seconds == now // limit.seconds
        return Bucket(min(bucket.tokens, limit.size) if same else limit.size, now)
    tokens = bucket.tokens + (now - bucket.at) * limit.size / limit.seconds
    return Bucket(min(tokens, limit.size), now)


def block_of(limit: Limit, bucket: Bucket, *, alone: bool) -> int:
    """Return how many tokens a process takes at once, 0 when there is none.

    A process that is `alone` takes them all. Of several each takes a part, so that the others find some, too.
    """
    whole = floor(bucket.tokens)
    if limit.at_once:
        return min(whole, max(1, min(limit.size // 100, MOST_OF_QUOTA)))
    return whole if alone else min(whole, max(1, limit.size // 20, whole // 8))


def wait(limit: Limit, bucket: Bucket, number: int) -> float:
    """Return the seconds until the bucket has `number` tokens."""
    if limit.at_once:
        return 0.0 if bucket.tokens >= 1 else full_in(limit, bucket)
    return max(0.0, (number - bucket.tokens) * limit.seconds / limit.size)


def full_in(limit: Limit, bucket: Bucket) -> float:
    """Return the seconds until the bucket is full."""
    if limit.at_once:
        return limit.seconds - bucket.at % limit.seconds
    return wait(limit, bucket, limit.size)


def read_limits(text: str) -> Mapping[str, Limit]:
    """Return the limits that a setting names, by name, beside the defaults; none for `off`.

    `name=rate/burst`, in tokens a second and tokens, and `day=number`, with spaces between them. Raises `ValueError`.
    """
    if text == "off":
        return {}
    words = text.split()
    if not all(map(SYNTAX.fullmatch, words)):
        raise ValueError("off, or some of read, write, worker, stranger=rate/burst and day=number, with spaces between")
    return {limit.name: limit for limit in map(_limit, [*DEFAULT.split(), *words])}


def _limit(word: str) -> Limit:
    name, _, numbers = word.partition("=")
    if name == DAY:
        return Limit(name, int(numbers), DAY_SECONDS, at_once=True)
    rate, burst = map(int, numbers.split("/"))
    return Limit(name, burst, burst / rate)


def whole_seconds(seconds: float) -> int:
    """Return seconds as headers have them: rounded up, at least 1."""
    return max(1, ceil(seconds))
