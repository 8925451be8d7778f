"""Report tokens: HS256 proofs that a report comes from the worker that holds the attempt, and their key.

Tokens are minted when an assignment is POSTed and live nowhere but in that POST.
"""

import hmac
import json
import os
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

from functions._core.errors import Rejected
from functions._core.events.signatures import secret_of, subscription_secret_of
from functions._core.ports import Clock

KEY_BYTES = 32
"""The shortest key allowed: RFC 7518 §3.2 wants as many bits as the hash has."""

CLAIMS = frozenset({"ticket_id", "attempt", "sub", "exp", "iat"})

PADDING = b"=="
"""What a token leaves out of base64; reading passes over what is too much of it."""


class JwtTokens:
    """Mints and verifies tokens; implements `ports.Tokens`."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"the token key has {len(key)} bytes, it needs at least {KEY_BYTES}")
        self._key = key
        self._mac = hmac.new(key, digestmod="sha256")  # copied for each token: to set it up costs most
        self._clock = clock

    def mint(self, *, ticket_id: str, attempt: int, worker_id: str, expires_at: datetime) -> str:
        """Return a token for one attempt at one ticket; it holds up to a second past `expires_at`."""
        claims = {
            "ticket_id": ticket_id,
            "attempt": attempt,
            "sub": worker_id,
            "exp": ceil(expires_at.timestamp()),
            "iat": int(self._clock.now().timestamp()),
        }
        return self._signed(_encoded(json.dumps(claims, separators=(",", ":")).encode())).decode()

    def claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims; raise `Rejected`, status 401, for a token that is not ours or has expired."""
        given = token.encode(errors="replace")
        payload = given.partition(b".")[2].rpartition(b".")[0]
        # Nothing in it is believed, not even its header, before it is known to be what was minted here.
        if not hmac.compare_digest(given, self._signed(payload)):
            raise Rejected("the token is not valid", code="bad_token", status=401)
        claims: dict[str, Any] = json.loads(urlsafe_b64decode(payload + PADDING).decode())
        if not claims.keys() >= CLAIMS:
            raise Rejected("the token lacks a claim", code="bad_token", status=401)
        if claims["exp"] <= self._clock.now().timestamp():
            raise Rejected("the token has expired", code="expired_token", status=401)
        return claims

    def verify(self, claims: Mapping[str, Any], *, ticket_id: str) -> None:
        """See `ports.Tokens.verify`; the caller compares the attempt with that of the report."""
        if claims["ticket_id"] != ticket_id:
            raise Rejected("the token was made for another ticket", code="foreign_token", status=403)

    def worker_secret(self, worker_id: str, registration: str) -> str:
        """See `ports.Tokens.worker_secret`."""
        return secret_of(self._key, worker_id, registration)

    def subscription_secret(self, subscription_id: str, number: int) -> str:
        """See `ports.Tokens.subscription_secret`."""
        return subscription_secret_of(self._key, subscription_id, number)

    def _signed(self, payload: bytes) -> bytes:
        """Return the token of a payload: a JWT signed with HMAC-SHA256 (RFC 7515 §3.1)."""
        text = HEADER + b"." + payload
        mac = self._mac.copy()
        mac.update(text)
        return text + b"." + _encoded(mac.digest())


def _encoded(data: bytes) -> bytes:
    return urlsafe_b64encode(data).rstrip(b"=")


HEADER = _encoded(b'{"alg":"HS256","typ":"JWT"}')


def load_or_create_key(path: Path) -> bytes:
    """Return the key in the file `path`, which is made, readable by its owner only, when it is not there.

    Of several processes that make it at the same time one wins and all get its key. Raises `ValueError` for
    a file that holds no whole key, `OSError` when it cannot be read or made.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        _create(path, secrets.token_bytes(KEY_BYTES))
    key = path.read_bytes()
    if len(key) < KEY_BYTES:
        raise ValueError(f"{path} holds no token key of {KEY_BYTES} bytes; remove it to get a new one")
    return key


def _create(path: Path, key: bytes) -> None:
    """Let `path` appear with its whole content, unless it has appeared in the meantime."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileExistsError):
            path.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
