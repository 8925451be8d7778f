"""What the api is given by whoever starts it, and how a request reaches it."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from math import inf
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from functions._core.engine import Engine, ProcessState
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.events.reports import KnownRefusals, RefusedReport
from functions._core.mcp_session import ServerAnswer
from functions._core.ports import Ports
from functions._core.records.json_text import Parse, parse_json
from functions._core.records.principal import ApiKey, Principal, Role
from functions._core.rules import Rules
from functions.api.access import Authenticate
from functions.api.analyst_state import AnalystState
from functions.api.change_feed import ChangeFeed
from functions.api.freeze_reader import RecentFreezes
from functions.api.metrics_state import MetricsState
from functions.api.rate_limits import Limiter
from functions.api.rollup_reader import RecentRollups

MAX_BODY = 16 * 1024 * 1024
MAX_REPORT = 1024 * 1024
MAX_HELD = 64 * 1024 * 1024
MAX_WATCHERS = 64
MAX_FOLLOWERS = 256
MAX_TOOL_CALLS = 32
MAX_ANALYSES = 16


class Held:
    """How many bytes of bodies are held now, of all requests together; `limit` bounds it."""

    def __init__(self, limit: int = MAX_HELD) -> None:
        self.limit = limit
        self.size = 0


class RefusedProofs:
    """The signatures and tokens that this process has refused: of each code how many, and when the last one came."""

    def __init__(self) -> None:
        self.seen: dict[str, tuple[int, datetime]] = {}

    def note(self, code: str, at: datetime) -> None:
        """Count one; the codes are those of the platform, so there are few."""
        self.seen[code] = self.seen.get(code, (0, at))[0] + 1, at


class ReadEvents(Protocol):
    """The codec of CloudEvents over HTTP."""

    def __call__(
        self, headers: Mapping[str, str], body: bytes, *, received_at: datetime, parse: Parse = parse_json
    ) -> tuple[list[CloudEvent], bool]:
        """Return the events of a message and whether it was a batch; raise `Rejected` for a malformed one."""


class PassportSigner(Protocol):
    """A private key, and the public one by which others check its signatures; see `PassportKey` of the engine."""

    @property
    def keyid(self) -> str:
        """The thumbprint of the public key."""

    @property
    def algorithm(self) -> str:
        """EdDSA or ES256."""

    @property
    def public_pem(self) -> str:
        """The public key."""

    @property
    def sign(self) -> Callable[[bytes], bytes]:
        """Return the signature of bytes."""


async def _pause(_flow_id: str, seconds: float) -> None:
    """Wait without being told of anything: the flow may end in another process."""
    await asyncio.sleep(seconds)


async def _whole(event: CloudEvent) -> CloudEvent:
    """Return an event as it is: it has its data with it."""
    return event


def _no_avro(_body: bytes, _kind: str) -> dict[str, Any]:
    """Read no Avro."""
    raise Rejected("Avro is not read here", code="unsupported_media_type", status=415)


def _never_down() -> datetime | None:
    """Return when the platform came up: it was never away."""


def _unarmed(_at: datetime) -> None:
    """Wake nobody: the round of another process finds it."""


def _untold(_refused: RefusedReport) -> None:
    """Tell nobody."""


def _unmoved() -> int:
    """Return how often this process has changed freezes: others do."""
    return 0


def _no_key() -> PassportSigner | None:
    """Return no key."""
    return None


def _uncounted(_source: str, _seconds: float, _status: str) -> None:
    """Count nothing."""


def _unobserved(_query_name: str, _seconds: float, _failure: str | None) -> None:
    """Count nothing."""


class Calls(Protocol):
    """Calls servers that a caller names, within the networks that are allowed; see `OutboundClient`."""

    def check(self, url: str) -> None:
        """Raise `Rejected` for an address that may not be called."""

    async def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout: float,  # noqa: ASYNC109 as there
        limit: int,
    ) -> ServerAnswer:
        """Return the answer; raise `Unavailable` for none, `Rejected` for an address that may not be called."""


class Watchers:
    """Those who follow the registry, or flows: each holds a connection, so there are so many, and so many of one.

    Calls of tools are counted as well: `doing` says in a refusal what too many do.
    """

    def __init__(
        self, limit: int = MAX_WATCHERS, of_one: int = MAX_WATCHERS // 4, doing: str = "follow what happens"
    ) -> None:
        self._limit, self._of_one, self._doing = limit, of_one, doing
        self._clients: Counter[str] = Counter()

    def check(self, client: str) -> None:
        """Raise `Rejected`, status 503, when one more of a client is one too many."""
        if self._clients.total() >= self._limit or self._clients[client] >= self._of_one:
            raise Rejected(f"too many {self._doing}; try again later", code="overloaded", status=503)

    @contextmanager
    def one(self, client: str) -> Iterator[None]:
        """Count one more for as long as the context is open; see `check`."""
        self.check(client)
        self._clients[client] += 1
        try:
            yield
        finally:
            self._clients[client] -= 1
            self._clients += Counter()  # forgets those who follow no more


class OneAtATime:
    """Work that takes long: one piece at a time in this process."""

    def __init__(self) -> None:
        self._busy = False

    @contextmanager
    def one(self) -> Iterator[None]:
        """Be the one for as long as the context is open; raise `Rejected`, status 429, while another one is."""
        if self._busy:
            raise Rejected("another calculation runs; try again in a few seconds", code="busy", status=429)
        self._busy = True
        try:
            yield
        finally:
            self._busy = False


class SignInOffer(Protocol):
    """What a person's browser has to know to sign in at the identity provider."""

    @property
    def issuer(self) -> str:
        """The provider."""

    @property
    def authorization_endpoint(self) -> str | None:
        """Where the browser goes; None while the provider cannot be asked."""

    @property
    def client_id(self) -> str:
        """The console's name at the provider."""

    @property
    def scope(self) -> str:
        """The scopes that it asks for."""


class SignedInPerson(Protocol):
    """Somebody who has signed in, and the token that proves it."""

    @property
    def token(self) -> str:
        """The token."""

    @property
    def expires_at(self) -> datetime:
        """Until when it holds."""

    @property
    def principal(self) -> Principal:
        """The caller that it proves."""


class SigningIn(Protocol):
    """Lets people sign in at the identity provider; see `SignIn`."""

    async def offer(self) -> SignInOffer:
        """Return what a browser has to know; never raises."""

    async def redeem(self, code: str, verifier: str, nonce: str, redirect_uri: str) -> SignedInPerson:
        """Return who has signed in; raise `Rejected`, status 401, or `Unavailable`."""


class KeyKeeper(Protocol):
    """The API keys."""

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

    async def page(self, after: str | None, limit: int) -> Sequence[ApiKey]:
        """Return up to `limit` keys that hold, by id, from behind `after`."""

    async def knows(self, key_id: str) -> bool:
        """Whether there is a key of this id."""

    async def revoke(self, key_id: str) -> bool:
        """Forget a key; tell whether there was one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertServices:
    """What alerts of an Alertmanager need.

    `secrets` prove it. `heard` is told each alert by its status, SLO and name, `refused` why a proof was not good.
    """

    secrets: Sequence[str]
    heard: Callable[[str, str, str], None]
    refused: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookServices:
    """What subscriptions and incoming webhooks need.

    `check` raises `Rejected` for a URL that is never called; `consent` asks a sink for the handshake and returns the
    requests per minute that it allows. `changed` is told of each subscription that is another now, or has something to
    be delivered. `told` says whether the platform tells a type of event at all. `pipeline_secrets` prove those who send
    webhooks here; `refused` is told why a signature was not good.
    """

    check: Callable[[str], None]
    consent: Callable[[str], Awaitable[int | None]]
    changed: Callable[[str], Awaitable[None]]
    told: Callable[[str], bool]
    fresh_id: Callable[[], str]
    pipeline_secrets: Sequence[str]
    refused: Callable[[str], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiServices:
    """Everything the api may use.

    `metrics` returns the Prometheus text. `ready` returns what is known of the platform's state; the platform is not
    ready while it raises `Unavailable` or says `ready: False` in it. `base_url` is where workers reach the platform.
    `max_body` and `max_report` are in bytes, `held` counts those of all bodies that are being read. `identify` returns
    whom a credential proves; None: access is off, and nobody is asked. Then clients have to name loopback or one of
    `hosts` (lower case); None lets them name any. `limiter` counts the requests of each client; None: nobody is
    limited. `origins` (scheme://host, with a port that is not the scheme's) are those of web pages that are the
    platform's own. `ended` returns when a flow may have ended, or `REGISTRY` changed, after the given seconds at the
    latest. `watchers` counts those who follow the registry, `followers` those who follow flows, whom `changes` tells;
    `replays` are policies that are tried on the history, `passports` those that are made; `calls` fetches what others
    offer. `up_since` returns when the platform began to take reports, if it can be down. `queried` is told of each
    query of a workflow: its name, its seconds, why it failed; `report_refused` of each report that is not taken, of
    which `refusals` are known to be kept. `longest_wait` is how many seconds a call may wait for a flow, whatever
    it asks for. `keys` are the API keys; None: none are kept. `fetched` returns an event with its data, wherever
    that was left. `read_avro` returns the JSON object of an Avro body of a kind, such as `execution_ticket`.
    `webhooks` is None where there are none, `sign_in` where nobody can sign in. `state` returns the state of this
    process, and asks nobody for it. `rollups` are the last ones that somebody looked at, `freezes` those that were
    read last, and `freezes_moved` counts how often this process has changed some; `metrics_state` is how the server
    of metrics stood last. `calculate` returns the answer of a `simulation` or a `cost`; None: not here.
    `passport_key` returns the key that signs passports; None: there is none. `tool_calls` counts the calls of
    registered tools that are under way, `analyses` the texts and figures that are being analysed. `analysts` is what
    was read for them last, `learns` which functions look at history here; `source_asked` is told of each source of an
    analysis: its name, its seconds, and `ok` or why it said nothing.
    """

    ports: Ports
    engine: Engine
    rules: Rules
    read_events: ReadEvents
    metrics: Callable[[], Awaitable[bytes]]
    ready: Callable[[], Awaitable[Mapping[str, object]]]
    version: str
    base_url: str = ""
    max_body: int = MAX_BODY
    max_report: int = MAX_REPORT
    held: Held = field(default_factory=Held)
    ended: Callable[[str, float], Awaitable[object]] = _pause
    up_since: Callable[[], datetime | None] = _never_down
    report_refused: Callable[[RefusedReport], None] = _untold
    refusals: KnownRefusals = field(default_factory=KnownRefusals)
    queried: Callable[[str, float, str | None], None] = _unobserved
    identify: Authenticate | None = None
    sign_in: SigningIn | None = None
    keys: KeyKeeper | None = None
    limiter: Limiter | None = None
    hosts: Collection[str] | None = None
    origins: Collection[str] = ()
    longest_wait: float = inf
    fetched: Callable[[CloudEvent], Awaitable[CloudEvent]] = _whole
    read_avro: Callable[[bytes, str], dict[str, Any]] = _no_avro
    webhooks: WebhookServices | None = None
    alerting: AlertServices | None = None
    watchers: Watchers = field(default_factory=Watchers)
    followers: Watchers = field(default_factory=partial(Watchers, MAX_FOLLOWERS, MAX_FOLLOWERS // 2))
    changes: ChangeFeed = field(default_factory=ChangeFeed)
    replays: OneAtATime = field(default_factory=OneAtATime)
    calls: Calls | None = None
    arm: Callable[[datetime], None] = _unarmed
    state: Callable[[], ProcessState] = ProcessState
    refused_proofs: RefusedProofs = field(default_factory=RefusedProofs)
    calculate: Callable[[str, Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
    rollups: RecentRollups = field(default_factory=RecentRollups)
    freezes: RecentFreezes = field(default_factory=RecentFreezes)
    freezes_moved: Callable[[], int] = _unmoved
    metrics_state: MetricsState = field(default_factory=MetricsState)
    passport_key: Callable[[], PassportSigner | None] = _no_key
    passports: OneAtATime = field(default_factory=OneAtATime)
    tool_calls: Watchers = field(default_factory=partial(Watchers, MAX_TOOL_CALLS, MAX_TOOL_CALLS // 2, "call tools"))
    analyses: Watchers = field(
        default_factory=partial(Watchers, MAX_ANALYSES, MAX_ANALYSES // 2, "have things analysed")
    )
    analysts: AnalystState = field(default_factory=AnalystState)
    learns: Mapping[str, bool] = field(default_factory=dict)
    source_asked: Callable[[str, float, str], None] = _uncounted


def services_of(request: Request) -> ApiServices:
    """Return the services of the app that the request came to."""
    services: ApiServices = request.app.state.services
    return services


async def _services(request: Request) -> ApiServices:
    # A plain function would be run in a thread.
    return services_of(request)


Services = Annotated[ApiServices, Depends(_services)]
