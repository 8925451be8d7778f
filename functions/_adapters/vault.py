"""Secrets of a Vault-compatible server over HTTP: of its key-value engine (version 2), and such as have a lease.

A secret with a lease is remembered, its lease renewed when two thirds of it are over, and read anew when that is
refused. The token that opens the server comes from a file, which an agent may replace at any time.
"""

import asyncio
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

from functions._adapters.http.outbound import OutboundAnswer
from functions._adapters.secrets import FileSecrets
from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Clock
from functions._core.records.values import add_time
from functions._core.secrets import Secret, unknown, version_of

UNLEASED = timedelta(minutes=1)
"""How long a secret without a lease is remembered: so soon a new version of it is seen."""

RENEWED_AT = 2 / 3
LONGEST_LEASE_SECONDS = 10 * 365 * 86_400


class Call(Protocol):
    """A call of the server over HTTP, as `OutboundClient.request` makes it."""

    async def __call__(
        self, method: str, url: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> OutboundAnswer:
        """Return the answer; raise `Unavailable` when none came."""


class _Lease(NamedTuple):
    secret: Secret
    lease_id: str
    renewable: bool
    renew_at: datetime


class VaultSecrets:
    """Secrets by path and field, `secret/data/flowc#worker_key`; implements `ports.Secrets`."""

    def __init__(self, call: Call, url: str, token_file: Path, clock: Clock) -> None:
        self._send = call
        self._url = url.rstrip("/")
        self._token_file = str(token_file)
        self._tokens = FileSecrets()
        self._clock = clock
        self._known: dict[str, _Lease] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def get(self, name: str) -> Secret:
        """Return a secret whose lease holds; without a field, all fields as a JSON object.

        Raises `Rejected` when there is none, or the token may not read it; `Unavailable` when the server does not
        answer and the lease that is known is over.
        """
        async with self._turns.setdefault(name, asyncio.Lock()):
            known, now = self._known.get(name), self._clock.now()
            if known is not None and now < known.renew_at:
                return known.secret
            try:
                lease = (await self._renewed(known, now) if known is not None else None) or await self._read(name, now)
            except Unavailable:
                if known is None or known.secret.expires_at is None or known.secret.expires_at <= now:
                    raise
                return known.secret
            self._known[name] = lease
            return lease.secret

    async def _read(self, name: str, now: datetime) -> _Lease:
        path, _, field = name.partition("#")
        answer = await self._call("GET", f"/v1/{quote(path)}")
        data = answer.get("data")
        version = None
        if isinstance(data, dict) and isinstance(data.get("metadata"), dict):  # of the key-value engine
            version, data = data["metadata"].get("version"), data.get("data")
        if not isinstance(data, dict) or (field and not isinstance(data.get(field), str)):
            raise unknown(f"there is no secret {name[:200]}")
        value = data[field] if field else json.dumps(data)
        return _lease(Secret(value, str(version or answer.get("lease_id") or version_of(value))), answer, now)

    async def _renewed(self, known: _Lease, now: datetime) -> _Lease | None:
        """Return the lease with its new end; None when it cannot be renewed."""
        if not known.lease_id or not known.renewable:
            return None
        try:
            answer = await self._call("PUT", "/v1/sys/leases/renew", {"lease_id": known.lease_id})
        except Rejected:
            return None
        return _lease(known.secret, answer, now) if _seconds(answer) > 0 else None

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        token = (await self._tokens.get(self._token_file)).value
        headers = {"x-vault-token": token, "x-vault-request": "true", "content-type": "application/json"}
        text = b"" if body is None else json.dumps(body).encode()
        answer = await self._send(method, self._url + path, headers=headers, body=text)
        if answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status == HTTPStatus.TOO_MANY_REQUESTS:
            raise Unavailable(f"Vault answered {answer.status} to {path}")
        if answer.status != HTTPStatus.OK:
            raise unknown(f"Vault answered {answer.status} to {path}")
        try:
            document = json.loads(answer.body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise Unavailable(f"the answer to {path} is none of Vault's")
        return document


def _lease(secret: Secret, answer: Mapping[str, Any], now: datetime) -> _Lease:
    seconds = _seconds(answer)
    ends = add_time(now, timedelta(seconds=seconds)) if seconds else None
    again = add_time(now, timedelta(seconds=seconds * RENEWED_AT) if seconds else UNLEASED)
    held = Secret(secret.value, secret.version, ends)
    return _Lease(held, str(answer.get("lease_id") or ""), answer.get("renewable") is True, again)


def _seconds(answer: Mapping[str, Any]) -> int:
    """Return how long a lease holds, 0 for none."""
    said = answer.get("lease_duration")
    return min(said, LONGEST_LEASE_SECONDS) if isinstance(said, int) and said > 0 else 0
