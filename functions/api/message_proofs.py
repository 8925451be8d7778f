"""How a message proves whose it is: by a signature over its raw body, looked at before anything in it is read.

Both forms are taken: the headers of Standard Webhooks, or `X-Webhook-Signature: sha256=<hex>` with
`X-Webhook-Timestamp`, which is part of what is signed then: `<timestamp>.<body>`. A message is good within five minutes
of its timestamp; one without a timestamp, which cannot be old, is to be remembered for as long as it may matter.
"""

import hmac
import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from hashlib import sha256

from functions._core.errors import Rejected
from functions._core.events.signatures import TOLERANCE, SignedMessage, usable

FRESH = 2 * TOLERANCE + timedelta(minutes=1)
"""How long a message with a timestamp may come again, with a minute to spare."""

REMEMBERED = timedelta(days=30)
"""How long a message without a timestamp is remembered."""

PLAIN = re.compile(r"sha256=[0-9a-fA-F]{64}")
"""The form of the header `X-Webhook-Signature`."""

Signature = SignedMessage | tuple[str, str | None]
"""The headers of Standard Webhooks, or those of the original: signature, and timestamp if there is one."""

Proof = tuple[str, timedelta]
"""What tells a message from others, and how long it has to be remembered."""


def signature_in(headers: Mapping[str, str], now: datetime) -> Signature:
    """Return the signature that a message brings, before there is a body; raise `Rejected`, status 401."""
    if "webhook-signature" in headers:
        return SignedMessage.of(headers, now)
    given, stamp = headers.get("x-webhook-signature", ""), headers.get("x-webhook-timestamp")
    if not given:
        text = "the message is not signed: X-Webhook-Signature: sha256=<hex>, or the webhook-… headers, are missing"
        raise Rejected(text, code="not_signed", status=401)
    if not PLAIN.fullmatch(given):
        text = "X-Webhook-Signature has to be `sha256=` and 64 hexadecimal digits"
        raise Rejected(text, code="malformed_signature", status=401)
    if stamp is not None:
        _check_time(stamp, now)
    return given, stamp


def proved(signature: Signature, body: bytes, secrets: Sequence[str]) -> Proof:
    """Return what tells this message from others, and how long it is good for.

    Raises `Rejected`, status 401, where the signature is not that of the body.
    """
    if isinstance(signature, SignedMessage):
        signature.verify(body, [secret for secret in secrets if usable(secret)])
        return sha256(signature.message_id.encode(errors="replace")).hexdigest(), FRESH
    given, stamp = signature
    message = body if stamp is None else stamp.encode() + b"." + body
    expected = [f"sha256={hmac.new(secret.encode(), message, sha256).hexdigest()}" for secret in secrets]
    # All are compared, each in constant time; hexadecimal digits may be in either case, the name of the hash may not.
    theirs = given.lower().encode()
    if not sum([hmac.compare_digest(ours.encode(), theirs) for ours in expected]):
        raise Rejected("the signature does not fit", code="bad_signature", status=401)
    return sha256(message).hexdigest(), REMEMBERED if stamp is None else FRESH


def _check_time(stamp: str, now: datetime) -> None:
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= len("9999999999999")):
        raise Rejected("X-Webhook-Timestamp is not in seconds since 1970", code="not_signed", status=401)
    off = abs(int(stamp) - now.timestamp())
    if off > TOLERANCE.total_seconds():
        raise Rejected(f"X-Webhook-Timestamp is {off:.0f} s off", code="stale_signature", status=401)
