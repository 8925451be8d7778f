"""What a worker believes: messages that its platform has signed, once each, and callbacks to its platform only."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from urllib.parse import SplitResult, unquote, urlsplit

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.events.signatures import TOLERANCE, SignedMessage, message_id_of

PATIENCE_SECONDS = 3.0
"""How long a message may wait for the answer to the registration that it has overtaken; the platform waits 5 s."""

SECRETS_KEPT = 2
"""The present secret and the one before it: a message may have been signed just before the worker registered again."""

PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Membership:
    """What a registration has brought: the secret that messages are signed by, and where reports may go."""

    secret: str
    callback_base_url: str
    heartbeat_seconds: float | None = None


class Trust:
    """Judges messages by the newest registrations; before the first one nothing is believed."""

    def __init__(self, platform_url: str) -> None:
        self._bases = [platform_url]
        self._secrets: deque[str] = deque(maxlen=SECRETS_KEPT)
        self._known = asyncio.Event()
        self._seen: dict[str, float] = {}
        self.doubted = False
        """Whether a message was signed by no secret of ours: the platform may have given another one meanwhile."""

    def renew(self, membership: Membership) -> None:
        """Take what a new registration has brought."""
        self._secrets.append(membership.secret)
        self._bases[1:] = [membership.callback_base_url]
        self.doubted = False
        self._known.set()

    def renewing(self) -> None:
        """Let messages wait: the worker registers again, and they may be signed by the secret that this brings."""
        self._known.clear()

    async def opened(self, headers: Mapping[str, str]) -> SignedMessage:
        """Return what the headers claim, before the body is read.

        Raises `Rejected`: 401 for a message that is not signed or stale, 503 when the worker is not registered yet.
        """
        message = SignedMessage.of(headers, datetime.now(UTC))
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._known.wait()
        except TimeoutError:
            raise Rejected("the worker is not registered yet", code="not_registered", status=503) from None
        return message

    def verify(self, message: SignedMessage, body: bytes) -> None:
        """Raise `Rejected`, status 401, unless the platform has signed the body and this is the first time it comes."""
        try:
            signature = message.verify(body, self._secrets)
        except Rejected:
            self.doubted = True
            raise
        self._once(signature)

    def is_about(self, message: SignedMessage, events: Sequence[CloudEvent]) -> None:
        """Raise `Rejected`, status 401, when the ids or types of the events, which may be headers, were not signed."""
        if message.message_id != message_id_of(*events):
            raise Rejected("webhook-id does not name what was sent", code="bad_signature", status=401)

    def check_callback(self, url: str) -> None:
        """Raise `Rejected`, status 403, for an address that is not below one of the platform's."""
        if not any(_below(base, url) for base in self._bases):
            raise Rejected("callback_url is not the platform's", code="foreign_callback", status=403)

    def _once(self, signature: str) -> None:
        """Remember a message for as long as its timestamp may be believed; raise `Rejected` when it is known."""
        now = monotonic()
        while self._seen and now > self._seen[oldest := next(iter(self._seen))]:
            del self._seen[oldest]
        if signature in self._seen:
            # No refusal for good: where the first answer was lost, the platform sends the attempt with a new signature.
            raise Rejected("the message was received before", code="replayed", status=409)
        self._seen[signature] = now + 2 * TOLERANCE.total_seconds()


def _below(base: str, url: str) -> bool:
    """Whether `url` is of the same scheme, host and port as `base`, and its path below that of `base`."""
    try:
        ours, theirs = urlsplit(base), urlsplit(url)
        same = _origin(ours) == _origin(theirs)
    except ValueError:
        return False
    steps = unquote(theirs.path).replace("\\", "/").split("/")
    odd = theirs.username is not None or "." in steps or ".." in steps or not url.isprintable() or " " in url
    return same and not odd and theirs.path.startswith(f"{ours.path.rstrip('/')}/")


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or PORTS.get(url.scheme)
