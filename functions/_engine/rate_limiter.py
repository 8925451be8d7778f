"""Counts requests against the limits of their clients.

The bucket of a client is in the key-value store, so that all processes share it. A process takes a block of tokens at
once and spends it by itself: most requests cost neither a read nor a write. When the bucket is empty the process
refuses by itself, too, until a quarter of it is back. So a client that floods costs a few writes a second, and no more
than its bucket holds is ever given out; a process that stops leaves at most one block unused.
"""

import asyncio
import json
import time
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from datetime import timedelta
from hashlib import sha256
from math import isfinite

from functions._core.errors import Conflict, Unavailable
from functions._core.ports import Clock, Entry, KeyValues
from functions._core.rate_limits import (
    DAY,
    READ,
    SKEW_SECONDS,
    WRITE,
    Allowance,
    Bucket,
    Limit,
    block_of,
    filled,
    full_in,
    wait,
)
from functions._core.records.values import add_time
from functions._observability.logs import log
from functions._observability.metrics import Metrics

SPACE = "rate_limits"

CLIENTS = 10_000
"""Clients whose blocks a process keeps for each limit; those that were seen last."""

TRIES = 5
"""How often a process tries to take a block of a bucket that others take from, too."""

SHARED = frozenset({READ, WRITE, DAY})
"""Limits whose buckets all processes share. The others are generous or about strangers: each process has its own."""


class _Block:
    """The tokens that this process holds of one bucket."""

    __slots__ = ("bucket", "left", "lock", "refused_until", "seen", "stored")

    def __init__(self) -> None:
        self.left = 0
        self.stored = 0.0
        """Tokens of the stored bucket when it was seen last, at `seen` by the monotonic clock."""
        self.seen = 0.0
        self.refused_until = 0.0
        self.bucket: Bucket | None = None
        """The whole bucket where no other process shares it, by the monotonic clock."""
        self.lock = asyncio.Lock()


class RateLimiter:
    """Takes tokens for requests; belongs to one event loop."""

    def __init__(
        self,
        limits: Mapping[str, Limit],
        key_values: KeyValues,
        clock: Clock,
        metrics: Metrics,
        monotonic: Callable[[], float] = time.monotonic,
        *,
        alone: bool = False,
    ) -> None:
        """Count by `limits`; `alone` says that no other process uses the store."""
        self._limits = limits
        self._key_values = key_values
        self._clock = clock
        self._metrics = metrics
        self._monotonic = monotonic
        self._alone = alone
        # Each limit has its own: strangers with many addresses must not drive out those who are known.
        self._blocks: dict[str, OrderedDict[str, _Block]] = defaultdict(OrderedDict)

    async def take(self, client: str, name: str) -> Allowance | None:
        """Take a token of the limit `name`, and for a read or a write one of the client's quota.

        Returns None where nothing is limited.
        """
        limit, quota = self._limits.get(name), self._limits.get(DAY) if name in SHARED else None
        allowance = None if limit is None else await self._take(client, limit)
        if quota is None or (allowance is not None and not allowance.allowed):
            return allowance
        of_day = await self._take(client, quota)
        return of_day if allowance is None or not of_day.allowed else allowance

    async def _take(self, client: str, limit: Limit) -> Allowance:
        block = self._block(client, limit)
        now = self._monotonic()
        if limit.name not in SHARED:
            return self._take_alone(block, limit, now)
        if block.left < 1 and now >= block.refused_until:
            async with block.lock:
                if block.left < 1 and now >= block.refused_until:
                    await self._refill(block, client, limit)
                    now = self._monotonic()
        if block.left < 1:
            return self._refused(limit, block.refused_until - now)
        block.left -= 1
        if limit.at_once:
            return Allowance(True, limit, int(block.left + block.stored), limit.seconds)
        refilled = (now - block.seen) * limit.size / limit.seconds
        left = min(block.left + block.stored + refilled, limit.size)
        return Allowance(True, limit, int(left), (limit.size - left) * limit.seconds / limit.size)

    def _take_alone(self, block: _Block, limit: Limit, now: float) -> Allowance:
        """Take a token of a bucket that this process does not share."""
        bucket = block.bucket = filled(limit, block.bucket, now)
        if bucket.tokens < 1:
            return self._refused(limit, wait(limit, bucket, 1))
        block.bucket = Bucket(bucket.tokens - 1, bucket.at)
        return Allowance(True, limit, int(block.bucket.tokens), full_in(limit, block.bucket))

    def _refused(self, limit: Limit, seconds: float) -> Allowance:
        self._metrics.count("api_rate_limited_total", limit.name)
        return Allowance(False, limit, 0, seconds, seconds)

    def _block(self, client: str, limit: Limit) -> _Block:
        blocks = self._blocks[limit.name]
        block = blocks.get(client)
        if block is None:
            block = blocks[client] = _Block()
            if len(blocks) > CLIENTS:
                blocks.popitem(last=False)
        else:
            blocks.move_to_end(client)
        return block

    async def _refill(self, block: _Block, client: str, limit: Limit) -> None:
        """Take a block of the stored bucket, or find out for how long there is none.

        Requests pass while the store does not answer: it is asked again when their block is used up. One request passes
        when all others were faster.
        """
        try:
            bucket, number = await self._withdraw(_key(client, limit), limit)
        except (Unavailable, Conflict) as error:
            log.warning("rate_limits.not_shared", limit=limit.name, error=repr(error))
            block.left = 1 if isinstance(error, Conflict) else limit.refill
            block.stored, block.seen, block.refused_until = 0.0, self._monotonic(), 0.0
            return
        block.left, block.stored, block.seen = number, bucket.tokens, self._monotonic()
        block.refused_until = 0.0 if bucket.tokens >= 1 else block.seen + wait(limit, bucket, limit.refill)

    async def _withdraw(self, key: str, limit: Limit) -> tuple[Bucket, int]:
        """Take a block; return the bucket as it is then, and how many tokens were taken."""
        conflict = Conflict()
        for _ in range(TRIES):
            entry = await self._key_values.get(SPACE, key)
            now = self._clock.now().timestamp()
            known = _read(entry)
            bucket = filled(limit, known, now)
            number = block_of(limit, bucket, alone=self._alone)
            if number == 0 and (known is None or bucket.at >= known.at):
                return bucket, 0  # nothing to keep, unless the clock went back: the bucket refills from then on
            bucket = Bucket(bucket.tokens - number, bucket.at)
            try:
                value, version = json.dumps(bucket).encode(), entry.version if entry else 0
                expires_at = add_time(self._clock.now(), timedelta(seconds=full_in(limit, bucket) + SKEW_SECONDS))
                await self._key_values.put(SPACE, key, value, version=version, expires_at=expires_at)
            except Conflict as error:
                conflict = error
            else:
                return bucket, number
        raise conflict


def _key(client: str, limit: Limit) -> str:
    """Return the key of a bucket. A client may have any name: its hash tells it apart."""
    return f"{limit.name}/{sha256(client.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def _read(entry: Entry | None) -> Bucket | None:
    """Return a stored bucket; what is none counts as full, so that it cannot lock anybody out."""
    if entry is None:
        return None
    try:
        tokens, at = json.loads(entry.value)
        bucket = Bucket(float(tokens), float(at))
    except (ValueError, TypeError, OverflowError):
        return None
    return bucket if all(map(isfinite, bucket)) else None
