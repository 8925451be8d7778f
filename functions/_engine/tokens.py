"""Tickets' tokens: proofs that a report comes from the worker that holds the attempt, and their key.

They are minted when an assignment is POSTed, or when somebody who may asks for one, and live nowhere else. By default
they are signed by HS256 with the platform's own secret. Where private keys are given the first of them signs, and the
others are still believed; so are tokens by the secret, which workers may hold from before.
"""

import hmac
import json
import secrets
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from datetime import datetime
from math import ceil
from pathlib import Path
from typing import Any

from functions._core.errors import Rejected
from functions._core.events.signatures import secret_of, subscription_secret_of
from functions._core.ports import Clock
from functions._engine.jose import Malformed, PublicKey, SigningKey, encoded, taken_apart, verified
from functions._engine.key_file import load_or_create

KEY_BYTES = 32
"""The shortest key allowed: RFC 7518 §3.2 wants as many bits as the hash has."""

CLAIMS = frozenset({"ticket_id", "attempt", "sub", "exp", "iat"})

AUDIENCE = "execution-ticket-service"
"""Who the tokens are for; they are taken here alone. An assignment's token by the platform's own secret is spared it:
that secret is used for nothing else."""

SKEW_SECONDS = 30
"""How far the clock of another process of the platform may be ahead."""

PADDING = b"=="
"""What a token leaves out of base64; reading passes over what is too much of it."""


class JwtTokens:
    """Mints and verifies tokens; implements `ports.Tokens`."""

    def __init__(self, key: bytes, clock: Clock, keys: Sequence[SigningKey | PublicKey] = ()) -> None:
        """Sign by the first of `keys`, else by the secret `key`."""
        if len(key) < KEY_BYTES:
            raise ValueError(f"the token key has {len(key)} bytes, it needs at least {KEY_BYTES}")
        self._key = key
        self._mac = hmac.new(key, digestmod="sha256")  # copied for each token: to set it up costs most
        self._clock = clock
        self._signer = next((one for one in keys if isinstance(one, SigningKey)), None)
        public = [one.public if isinstance(one, SigningKey) else one for one in keys]
        self._public = {one.kid: one for one in public}

    def mint(
        self,
        *,
        ticket_id: str,
        attempt: int,
        worker_id: str,
        expires_at: datetime,
        more: Mapping[str, Any] | None = None,
    ) -> str:
        """Return a token for one attempt at one ticket; it holds up to a second past `expires_at`."""
        claims: dict[str, Any] = {
            "ticket_id": ticket_id,
            "attempt": attempt,
            "sub": worker_id,
            "exp": ceil(expires_at.timestamp()),
            "iat": int(self._clock.now().timestamp()),
        }
        if more is not None or self._signer is not None:
            claims = {"aud": AUDIENCE, **(more or {}), **claims}
        payload = json.dumps(claims, separators=(",", ":")).encode()
        token = self._signed(encoded(payload)) if self._signer is None else self._signer.token(payload)
        return token.decode()

    def claims(self, token: str) -> Mapping[str, Any]:
        """Return the claims; raise `Rejected`, status 401, for a token that is not ours or has expired."""
        given = token.encode(errors="replace")
        if self._public and not given.startswith(HEADER + b"."):
            claims = self._of_public_key(token)
        else:
            payload = given.partition(b".")[2].rpartition(b".")[0]
            # Nothing in it is believed, not even its header, before it is known to be what was minted here.
            if not hmac.compare_digest(given, self._signed(payload)):
                raise _bad("the token is not valid")
            claims = json.loads(urlsafe_b64decode(payload + PADDING).decode())
        if not claims.keys() >= CLAIMS:
            raise _bad("the token lacks a claim")
        now = self._clock.now().timestamp()
        if len(claims) > len(CLAIMS):
            _check_more(claims, now)
        if claims["exp"] <= now:
            raise Rejected("the token has expired", code="expired_token", status=401)
        return claims

    def verify(self, claims: Mapping[str, Any], *, ticket_id: str) -> None:
        """See `ports.Tokens.verify`; the caller compares the attempt with that of the report."""
        if claims["ticket_id"] != ticket_id:
            raise Rejected("the token was made for another ticket", code="foreign_token", status=403)

    def public_keys(self) -> Sequence[Mapping[str, str]]:
        """See `ports.Tokens.public_keys`."""
        return [one.jwk for one in self._public.values()]

    def worker_secret(self, worker_id: str, registration: str) -> str:
        """See `ports.Tokens.worker_secret`."""
        return secret_of(self._key, worker_id, registration)

    def subscription_secret(self, subscription_id: str, number: int) -> str:
        """See `ports.Tokens.subscription_secret`."""
        return subscription_secret_of(self._key, subscription_id, number)

    def _of_public_key(self, token: str) -> dict[str, Any]:
        """Return the claims of a token that one of the keys has signed, by the algorithm of that key alone."""
        try:
            raw = taken_apart(token)
            claims = verified(raw, self._public.get(raw.header.get("kid", "")), types=("JWT",))
        except Malformed:
            raise _bad("the token is not valid") from None
        return {"aud": None, **claims}

    def _signed(self, payload: bytes) -> bytes:
        """Return the token of a payload: a JWT signed with HMAC-SHA256 (RFC 7515 §3.1)."""
        text = HEADER + b"." + payload
        mac = self._mac.copy()
        mac.update(text)
        return text + b"." + encoded(mac.digest())


def _check_more(claims: Mapping[str, Any], now: float) -> None:
    """Raise `Rejected` for what a token says beside that which every one says."""
    if claims.get("aud", AUDIENCE) != AUDIENCE:
        raise _bad("the token was made for somebody else")
    if claims.get("nbf", 0) > now + SKEW_SECONDS:
        raise _bad("the token does not hold yet")


def _bad(why: str) -> Rejected:
    return Rejected(why, code="bad_token", status=401)


HEADER = encoded(b'{"alg":"HS256","typ":"JWT"}')


def load_or_create_key(path: Path) -> bytes:
    """Return the key in the file `path`, which is made when it is not there.

    Raises `ValueError` for a file that holds no whole key, `OSError` when it cannot be read or made.
    """
    key = load_or_create(path, lambda: secrets.token_bytes(KEY_BYTES))
    if len(key) < KEY_BYTES:
        raise ValueError(f"{path} holds no token key of {KEY_BYTES} bytes; remove it to get a new one")
    return key
