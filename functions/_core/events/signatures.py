"""Signatures of the messages that workers get: the headers of Standard Webhooks, by a secret of the registration.

Nothing secret is stored. A secret follows from the platform's key, the worker's id and its registration, so every
process that has the key can sign, and a process that registers under the name of another worker gets another secret.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest, digest
from typing import Self

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent

TOLERANCE = timedelta(minutes=5)
"""A message is refused when its timestamp is further from the receiver's clock: an overheard one is of no use later."""

SECRET_PREFIX = "whsec_"  # noqa: S105 no secret itself
"""The prefix that Standard Webhooks gives to secrets."""

VERSION = "v1"
"""The version of Standard Webhooks whose signatures are symmetric."""

SECRETS_REMEMBERED = 1_024
"""Secrets in memory: each message to a worker needs its secret again."""

MOST_SIGNATURES = 8
"""Signatures of one message that are compared: while a sender changes its secret there are two."""


@lru_cache(maxsize=SECRETS_REMEMBERED)
def secret_of(key: bytes, worker_id: str, registration: str) -> str:
    """Return the secret of a worker's registration: `whsec_` and 32 bytes in base64."""
    # No token is made of such a text: tokens begin with their header in base64.
    return _derived(key, f"flowc worker secret\0{worker_id}\0{registration}")


@lru_cache(maxsize=SECRETS_REMEMBERED)
def subscription_secret_of(key: bytes, subscription_id: str, number: int) -> str:
    """Return a secret of a webhook subscription, that of this number, in the form of `secret_of`."""
    return _derived(key, f"flowc subscription secret\0{subscription_id}\0{number}")


def _derived(key: bytes, text: str) -> str:
    return SECRET_PREFIX + b64encode(digest(key, text.encode(), "sha256")).decode()


def usable(secret: str) -> bool:
    """Whether a secret is in the form of `secret_of`."""
    try:
        return secret.startswith(SECRET_PREFIX) and bool(b64decode(secret.removeprefix(SECRET_PREFIX), validate=True))
    except ValueError:
        return False


def message_id_of(*events: CloudEvent) -> str:
    """Return the id of the message that brings an event: it names the event's type, too, so that both are signed.

    That of a batch of several is derived from theirs.
    """
    ids = [f"{event.event_type.replace('.', '-')}_{event.id}" for event in events]
    return ids[0] if len(ids) == 1 else f"batch_{sha256(' '.join(ids).encode()).hexdigest()}"


def signature_headers(secret: str, message_id: str, at: datetime, body: bytes, *others: str) -> dict[str, str]:
    """Return the three headers that prove the sender of `body` and the time; `others` are secrets that sign, too."""
    timestamp = str(int(at.timestamp()))
    signatures = (f"{VERSION},{_signature(one, message_id, timestamp, body)}" for one in (secret, *others))
    return {
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": " ".join(signatures),
    }


def plain_signature(secret: str, body: bytes) -> str:
    """Return the value of the header `X-Webhook-Signature`: `sha256=` and the HMAC of `body` in hex.

    The key is the text of the secret.
    """
    return f"sha256={digest(secret.encode(), body, 'sha256').hex()}"


@dataclass(frozen=True, slots=True)
class SignedMessage:
    """The claims in the headers of a message; `verify` checks them against the body."""

    message_id: str
    """The header `webhook-id`."""
    timestamp: str
    """The header `webhook-timestamp`: seconds since 1970, as text."""
    signatures: tuple[str, ...]
    """The signatures of version v1 in the header `webhook-signature`, each in base64."""

    @classmethod
    def of(cls, headers: Mapping[str, str], now: datetime) -> Self:
        """Read the headers, with lower-case names, before there is a body.

        Raises `Rejected`, status 401, when one is missing or the timestamp is not within `TOLERANCE` of `now`.
        """
        names = ("webhook-id", "webhook-timestamp", "webhook-signature")
        if missing := [name for name in names if not headers.get(name)]:
            raise Rejected(f"the message is not signed: {', '.join(missing)} missing", code="not_signed", status=401)
        message_id, timestamp, signatures = (headers[name] for name in names)
        if not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) <= len("9999999999999")):
            raise Rejected("webhook-timestamp is not in seconds since 1970", code="not_signed", status=401)
        off = int(timestamp) - now.timestamp()
        if abs(off) > TOLERANCE.total_seconds():
            text = f"webhook-timestamp is {abs(off):.0f} s {'ahead' if off > 0 else 'old'}; are both clocks right?"
            raise Rejected(text, code="stale_signature", status=401)
        versioned = (entry.partition(",") for entry in signatures.split(" ")[:MOST_SIGNATURES])
        return cls(message_id, timestamp, tuple(value for version, _, value in versioned if version == VERSION))

    def verify(self, body: bytes, secrets: Iterable[str]) -> str:
        """Return the signature that one of `secrets` gives exactly this message; raise `Rejected`, status 401."""
        expected = [_signature(secret, self.message_id, self.timestamp, body) for secret in secrets]
        given = [signature.encode(errors="replace") for signature in self.signatures]
        # All are compared, each in constant time.
        fitting = [ours for ours in expected if sum(compare_digest(ours.encode(), theirs) for theirs in given)]
        if not fitting:
            raise Rejected("the signature does not fit", code="bad_signature", status=401)
        return fitting[0]


def _signature(secret: str, message_id: str, timestamp: str, body: bytes) -> str:
    return b64encode(
        digest(_key_in(secret), f"{message_id}.{timestamp}.".encode(errors="replace") + body, "sha256")
    ).decode()


@lru_cache(maxsize=SECRETS_REMEMBERED)
def _key_in(secret: str) -> bytes:
    return b64decode(secret.removeprefix(SECRET_PREFIX))
