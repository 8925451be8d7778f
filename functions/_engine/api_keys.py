"""API keys: `flowc_<id>_<secret>`, kept as a hash in the key-value store, and remembered for some seconds.

The id is public and finds the record in one read; the secret proves that the caller holds the key. A secret is 256
random bits, which nobody can try out, so one round of SHA-256 is enough: the slow hashes are for words of people.
"""

import asyncio
import hmac
import re
import secrets
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from msgspec import DecodeError, ValidationError

from functions._core.errors import Conflict
from functions._core.ports import Clock, Entry, KeyValues
from functions._core.records.principal import ApiKey, Principal, Role
from functions._core.records.record import decode, encode

SPACE = "api_key"
KEY = re.compile(r"flowc_([0-9a-f]{16})_([0-9a-f]{64})")

REMEMBERED = timedelta(seconds=10)
"""How long a key is known without a read: so long it may hold after it was revoked, on other processes than this."""

MOST_REMEMBERED = 1024
MOST_READS = 4
"""Reads at the same time: whoever tries out ids keeps the store from nobody."""


class ApiKeys:
    """Makes, finds, lists and revokes API keys."""

    def __init__(self, store: KeyValues, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: OrderedDict[str, tuple[datetime, ApiKey]] = OrderedDict()
        self._reads = asyncio.Semaphore(MOST_READS)

    async def create(
        self,
        name: str,
        roles: Sequence[Role],
        *,
        scopes: Sequence[str] = (),
        worker_id: str | None = None,
        expires_at: datetime | None = None,
        created_by: str,
    ) -> tuple[ApiKey, str]:
        """Make a key; return its record, and the key itself, which is nowhere else."""
        key_id, secret = secrets.token_hex(8), secrets.token_hex(32)
        key = ApiKey(
            key_id=key_id,
            name=name,
            roles=tuple(roles),
            scopes=tuple(scopes),
            worker_id=worker_id,
            digest=_digest(secret),
            created_at=self._clock.now(),
            created_by=created_by,
            expires_at=expires_at,
        )
        await self._store.put(SPACE, key_id, encode(key), version=0, expires_at=expires_at)
        return key, f"flowc_{key_id}_{secret}"

    async def page(self, after: str | None, limit: int) -> Sequence[ApiKey]:
        """Return up to `limit` keys that hold, by id, from behind `after`; one that cannot be read is left out."""
        read = [_read(entry) for entry in await self._store.page(SPACE, after, limit)]
        return [key for key in read if key is not None]

    async def knows(self, key_id: str) -> bool:
        """Whether there is a key of this id."""
        return await self._store.get(SPACE, key_id) is not None

    async def revoke(self, key_id: str) -> bool:
        """Forget a key; tell whether there was one. Raises `Conflict` when it is being changed."""
        self._known.pop(key_id, None)
        entry = await self._store.get(SPACE, key_id)
        if entry is None:
            return False
        if not await self._store.remove(SPACE, key_id, entry.version):
            raise Conflict
        return True

    async def identify(self, credential: str) -> Principal | None:
        """Return the holder of a key; None when it is no key, or one that was revoked or has expired."""
        parts = KEY.fullmatch(credential)
        key = await self._key(parts[1]) if parts else None
        if parts is None or key is None or not hmac.compare_digest(key.digest, _digest(parts[2])):
            return None
        if key.expires_at is not None and key.expires_at <= self._clock.now():
            return None
        return key.principal

    async def _key(self, key_id: str) -> ApiKey | None:
        now = self._clock.now()
        read_at, key = self._known.get(key_id, (None, None))
        if read_at is not None and timedelta() <= now - read_at < REMEMBERED:  # a clock may go back
            return key
        async with self._reads:
            entry = await self._store.get(SPACE, key_id)
        key = _read(entry) if entry is not None else None
        if key is None:
            self._known.pop(key_id, None)
            return None
        # Ids that are not there are not remembered: trying them out must not drive out those that are.
        self._known[key_id] = now, key
        self._known.move_to_end(key_id)
        if len(self._known) > MOST_REMEMBERED:
            self._known.popitem(last=False)
        return key


def _digest(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


def _read(entry: Entry) -> ApiKey | None:
    try:
        return decode(ApiKey, entry.value)
    except (ValidationError, DecodeError):
        return None
