"""What a function of the cluster does with an event that the broker has delivered.

An event is answered when its effect is durable and what it led to is with the broker. One that was handled already has
no effect; what its flow has committed and not published is published then.
"""

import json
from base64 import b64decode
from binascii import Error as NotBase64
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from functions._core.delivery import MISDIRECTED, PASSING_REASONS
from functions._core.errors import Rejected, Unreadable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.healing import HEALING_DUE
from functions._core.events.jobs import JOB_DUE
from functions._core.events.policies import DUE
from functions._core.events.routes import ROUTES, TRANSITIONS, receiver_of
from functions._core.events.slo_data import BudgetUpdated
from functions._core.machine.flow import CHAIN
from functions._core.placement.workers import Deregistration, Heartbeat, Registration
from functions._core.records.dead_letters import OUTSIDE, id_from_outside
from functions._core.records.models import Reason
from functions._engine.dispatch import flow_of, read
from functions._engine.outbox_relay import OutboxRelay
from functions._engine.platform import Platform
from functions._engine.wiring import dead_letter
from functions._observability.logs import ids_of, log

TICKS = frozenset({type_of("clock.ticked"), "dev.knative.sources.ping"})
"""A PingSource names its events itself; to the functions each is a `clock.ticked`."""

HOPELESS = frozenset({"400", "413", "415", "500"})
"""With these our functions say, or have said again and again, that an event cannot be handled as it is."""

KNATIVE_ERROR = "knativeerror"
"""What the names of the extensions begin with in which a broker says why it has given up an event."""

Tick = Callable[[], Awaitable[None]]


class EventWork:
    """The work of one function; call it with an event.

    Raises `Rejected` for an event that is never handled, `Unavailable` and `Conflict` for one that may be later.
    """

    def __init__(
        self,
        function: str,
        platform: Platform,
        publisher: OutboxRelay,
        tick: Tick,
        notify: Callable[[Sequence[CloudEvent]], Awaitable[None]] | None = None,
    ) -> None:
        """Do the work of `function`; `tick` is what is done when time has passed.

        `notify` brings transitions to webhooks, where the function does that.
        """
        self._notify = notify
        self._function = function
        self._platform = platform
        self._publisher = publisher
        self._tick = tick
        jobs: Mapping[str, Callable[[CloudEvent], Awaitable[None]]] = {
            "enforce_sla": self._timed,
            "track_workers": self._tracked,
            "dead_letter": self._given_up,
            "notify": self._notified,
            "calculate_budgets": self._ticked,
            "reconcile_resources": self._ticked,
            "learn": self._ticked,
            "analyze": self._ticked,
            "enforce_freezes": self._enforced,
            "heal_incident": self._healed,
            "run_executor": self._executed,
        }
        self._job = jobs.get(function, self._chained)

    async def __call__(self, event: CloudEvent) -> None:
        """Handle one event."""
        await self._job(event)

    async def _chained(self, event: CloudEvent) -> None:
        route = ROUTES.get(event.event_type)
        if route is None or route.function != self._function or event.type != type_of(event.event_type):
            raise self._misdirected(event)
        handled = await self._platform.handle(event)
        if handled.step.changes:
            await self._publisher.sent(handled.step.events)
        else:
            await self._publisher.resend(flow_of(event))

    async def _timed(self, event: CloudEvent) -> None:
        """Act on what time has brought about: what is due at a tick, or the policies of what comes at risk."""
        if event.type == type_of(DUE) and event.source != TRANSITIONS:
            await self._platform.companions.flow_policies.apply(event)
        else:
            await self._ticked(event)

    async def _ticked(self, event: CloudEvent) -> None:
        if event.type not in TICKS:
            raise self._misdirected(event)
        await self._tick()

    async def _enforced(self, event: CloudEvent) -> None:
        if event.type == type_of("sla.budget.updated"):
            await self._platform.enforce_policies(read(BudgetUpdated, event).slo_id)
        else:
            await self._ticked(event)

    async def _healed(self, event: CloudEvent) -> None:
        if event.type == type_of(HEALING_DUE) and event.source != TRANSITIONS:
            await self._platform.companions.healing.apply(event)
        else:
            await self._ticked(event)

    async def _executed(self, event: CloudEvent) -> None:
        if event.type == type_of(JOB_DUE) and event.source != TRANSITIONS:
            await self._platform.companions.jobs.apply(event)
        else:
            await self._ticked(event)

    async def _notified(self, event: CloudEvent) -> None:
        if self._notify is None or event.source != TRANSITIONS:
            await self._ticked(event)
        else:
            await self._notify([event])

    async def _tracked(self, event: CloudEvent) -> None:
        if event.type == type_of("worker.registered"):
            await self._platform.register(read(Registration, event))
        elif event.type == type_of("worker.heartbeat"):
            heartbeat = read(Heartbeat, event)
            await self._platform.heartbeat(heartbeat.worker_id or event.subject or "", heartbeat)
        elif event.type == type_of("worker.deregistered"):
            leaving = read(Deregistration, event)
            await self._platform.deregister(leaving.worker_id, leaving.reason)
        else:
            # The same as of enforce_sla: two that sweep never get the same record, and one may be down.
            await self._ticked(event)

    async def _given_up(self, event: CloudEvent) -> None:
        """Keep an event that the broker could not deliver, and what it says of that."""
        said = {
            name.removeprefix(KNATIVE_ERROR): value
            for name, value in event.extensions.items()
            if name.startswith(KNATIVE_ERROR)
        }
        kept = {name: value for name, value in event.extensions.items() if not name.startswith(KNATIVE_ERROR)}
        reason = _reason(said)
        breaks_flow = said.get("code") in HOPELESS and reason.code not in PASSING_REASONS
        await self.dead_letter(replace(event, extensions=kept), reason, breaks_flow=breaks_flow)

    async def dead_letter(self, event: CloudEvent, reason: Reason, *, breaks_flow: bool, outside: bool = False) -> None:
        """Keep an event as a dead letter; a flow that waits for one that can never be handled is broken off.

        For what came from `outside` no flow waits, whatever it says.
        """
        if event.type in TICKS:
            log.warning("tick.given_up", code=reason.code)
            return  # another comes within a minute
        function = OUTSIDE if outside else receiver_of(event)
        log.error("event.buried", **ids_of(event), code=reason.code, reason=reason.message)
        # The flow first: were it the other way round, a crash in between would leave it to its deadline.
        if breaks_flow and not outside:
            await self._break_off(event, reason)
        letter_id = id_from_outside(event) if outside else None
        await dead_letter(event, function, reason, self._platform.ports, letter_id=letter_id)

    async def _break_off(self, event: CloudEvent, reason: Reason) -> None:
        """Give up the step that the flow is at, if that is the one that waits for the event."""
        try:
            flow = await self._platform.ports.store.flow(flow_of(event)) if event.event_type in ROUTES else None
        except Unreadable:
            return  # its wake-up drives it on once it can be read again
        if flow is not None and CHAIN.get(flow.status) == event.event_type:
            handled = await self._platform.give_up(flow.flow_id, reason)
            await self._publisher.sent(handled.step.events)

    def _misdirected(self, event: CloudEvent) -> Rejected:
        text = f"{self._function} does not handle {event.type[:100]!r}; look at the filter of its Trigger"
        return Rejected(text, code="misdirected_event", status=MISDIRECTED)


def _reason(said: Mapping[str, str]) -> Reason:
    """Return why a broker has given up: what the function answered, as far as it is one of our problem documents."""
    code, where = said.get("code", ""), said.get("dest")
    problem = _problem(said.get("data", ""))
    message = problem.get("detail") or f"answered {code}" if code else "could not be delivered"
    return Reason(
        code=str(problem.get("code") or (f"status_{code}" if code else "undeliverable"))[:100],
        message=str(message)[:2000],
        where=where,
    )


def _problem(text: str) -> Mapping[str, Any]:
    """Return the problem document that a broker has kept, as it is or in base64; nothing when it is none."""
    for read_text in (str.encode, b64decode):
        try:
            document = json.loads(read_text(text))
        except (ValueError, NotBase64):
            continue
        if isinstance(document, dict):
            return document
    return {}
