"""What a process knows of guards: the stored policies, read when they are asked for, and the policy server."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from functions._adapters.http.client import HttpClient
from functions._core.guards.gate import Guards, GuardState, NoGuards, Stage
from functions._core.guards.policy import GUARD_POLICIES, GuardPolicy
from functions._core.ports import Clock, KeyValues, Ports
from functions._engine.budget_gate import RememberedGate
from functions._engine.guard_settings import GuardSettings

KNOWN = timedelta(seconds=10)
"""Guard policies may be so old when a flow comes, or a ticket wants a worker."""

NONE_KNOWN = timedelta(minutes=2)
"""That there is none may be so old: where nobody uses guards, reading costs a flow on AWS hardly anything."""


class RememberedGuards:
    """The guards as one process knows them; implements `Guards`."""

    def __init__(self, entries: KeyValues, clock: Clock, behind: Guards, *, defaults: bool = False) -> None:
        """Know no policy yet: the first question reads. What `behind` knows is looked at beside them."""
        self._entries = entries
        self._clock = clock
        self._behind = behind
        self._defaults = defaults
        self._known: tuple[datetime, timedelta, GuardState | None] | None = None

    async def state(self) -> GuardState | None:
        """See `Guards.state`."""
        now = self._clock.now()
        if self._known is None or not timedelta() <= now - self._known[0] < self._known[1]:
            # Its age counts from before the read: what was stored by then is in it.
            policies = await self._policies()
            self._known = now, KNOWN if policies else NONE_KNOWN, await self._with_server(policies)
        return self._known[2]

    async def _with_server(self, policies: Sequence[GuardPolicy]) -> GuardState | None:
        behind = await self._behind.state()
        if behind is not None:
            return replace(behind, policies=(*behind.policies, *policies))
        return GuardState(policies=policies) if policies else None

    async def _policies(self) -> Sequence[GuardPolicy]:
        found = await GUARD_POLICIES.all(self._entries)
        if self._defaults:
            from functions._core.guards.defaults import with_defaults  # cold start: few switch them on

            found = with_defaults(found)
        return [policy for policy in found if policy.enabled]

    def forget(self) -> None:
        """See `Guards.forget`."""
        self._known = None


class ServerGuards:
    """A policy server and no policies of our own; implements `Guards`."""

    def __init__(self, server: GuardState) -> None:
        """Ask this server."""
        self._server = server

    async def state(self) -> GuardState | None:
        """See `Guards.state`."""
        return self._server

    def forget(self) -> None:
        """Know nothing, as before."""


def guards_by_server(settings: GuardSettings, client: HttpClient) -> Guards:
    """Return the guards of the policy server that the settings name; without one nothing is looked at."""
    named = ((Stage.PLAN, settings.opa_plan), (Stage.TICKET, settings.opa_ticket))
    paths = {stage: path for stage, path in named if path}
    if settings.opa_url is None or not paths:
        return NoGuards()
    from functions._adapters.http.opa import OpaServer  # cold start: few need it

    token = settings.opa_token.get_secret_value() if settings.opa_token is not None else None
    url, seconds = str(settings.opa_url), settings.opa_timeout_seconds
    server = OpaServer(client, url, paths, token=token, timeout_seconds=seconds)
    outage = settings.policy_outage == "open"
    return ServerGuards(GuardState(server=server, stages=frozenset(paths), passes=outage))


def gated(ports: Ports, *, guard_defaults: bool) -> Ports:
    """Return ports with the gates of this process, which remember budgets and policies."""
    gate = RememberedGate(ports.key_values, ports.clock)
    guards = RememberedGuards(ports.key_values, ports.clock, ports.guards, defaults=guard_defaults)
    return replace(ports, budget_gate=gate, guards=guards)
