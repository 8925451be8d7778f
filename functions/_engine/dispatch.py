"""The life of one event: load, let its function decide, advance, commit, then send what was committed.

Within a process the events of one flow are handled one after the other; between processes the versions of the
records decide. An event is answered only when its effect is durable.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from time import perf_counter
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from functions._core.errors import Conflict, FlowcError, IllegalTransition, Rejected, Unavailable
from functions._core.events.catalogue import ROUTES
from functions._core.events.envelope import CloudEvent
from functions._core.events.reports import Report
from functions._core.events.subscribers import subscriber_events
from functions._core.machine.advance import advance
from functions._core.machine.context import CLOCK, Context
from functions._core.machine.flow import Broke
from functions._core.machine.outcomes import AnyOutcome
from functions._core.ports import Answer, Due, Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.set_aside import UnreadableRecord
from functions._core.rules import Rules
from functions._engine.wiring import FUNCTIONS, answered, enforce_sla, left_out, reported
from functions._observability.dispatch_result import Handling

Model = TypeVar("Model", bound=BaseModel)

COMMIT_TRIES = 8
"""Reloads after a conflict before the event goes back to the queue."""

KINDS = {"assign": "ticket.answered", "dead_letter": "event.buried"}
"""What functions handle that reaches them without an event of its own."""


@dataclass(frozen=True, slots=True, eq=False)
class ReportMessage:
    """A worker's report, and the event that brought it."""

    event: CloudEvent
    report: Report


class DispatchResult(NamedTuple):
    """What became of an event: the records it was decided on, and the committed step."""

    context: Context
    step: ChangeSet


class Dispatcher:
    """Handles events against the ports; what is committed goes to `committed`."""

    def __init__(
        self,
        ports: Ports,
        rules: Rules,
        *,
        committed: Callable[[ChangeSet], None],
        observed: Callable[[Handling], None],
        subscribed: Callable[[str], bool] | None = None,
        chain_told: bool = False,
    ) -> None:
        """Call `committed` with every step right after its commit: it publishes and delivers.

        `observed` is told how each event went. `subscribed` adds events for transitions, those whose type it wants;
        with `chain_told` also for those that are named like a chain event.
        """
        self._chain_told = chain_told
        self._observed = observed
        self._subscribed = subscribed
        self._ports = ports
        self._rules = rules
        self.up_since: datetime | None = None
        self._committed = committed

    async def handle(self, event: CloudEvent, *, queued: bool = False) -> DispatchResult:
        """Handle one event of a route; `queued` removes it from the queue in the same write."""
        route = ROUTES.get(event.event_type)
        if route is None:
            raise Rejected(f"no function handles {event.type}", code="no_route")
        data = read(route.model, event)
        flow_id = flow_of(event)
        function = FUNCTIONS[route.function]

        async def decide(context: Context) -> AnyOutcome:
            return await function(data, context, self._ports)

        return await self._settle(
            flow_id, route.tickets(data), decide, function=route.function, causes=(event,), queued=queued
        )

    async def reported(self, flow_id: str, told: Sequence[ReportMessage]) -> DispatchResult:
        """Take in what workers report on tickets of one flow, on each ticket once."""
        reports = [one.report for one in told]

        async def decide(context: Context) -> AnyOutcome:
            return await reported(reports, context, self._ports)

        tickets = [report.ticket_id for report in reports]
        return await self._settle(flow_id, tickets, decide, function="monitor", causes=[one.event for one in told])

    async def preview(self, event: CloudEvent) -> DispatchResult:
        """Return what handling an event of a route would change, and change nothing."""
        route = ROUTES[event.event_type]
        data = read(route.model, event)
        flow_id = event.extensions["partitionkey"]
        context = await self._load(flow_id, route.tickets(data), route.function, event.id)
        outcome = await FUNCTIONS[route.function](data, context, self._ports)
        return DispatchResult(context, advance(context, outcome))

    async def due(self, due: Due) -> DispatchResult | None:
        """Act on a flow or ticket whose wake-up has come."""
        if due.flow_id is None:
            return None

        async def decide(context: Context) -> AnyOutcome:
            return await enforce_sla(due, context, self._ports)

        tickets = (due.record_id,) if due.kind == "ticket" else ()
        return await self._settle(due.flow_id, tickets, decide, function="enforce_sla")

    async def delivered(self, flow_id: str, answers: Mapping[str, tuple[int, Answer]]) -> DispatchResult:
        """Record what workers answered."""

        async def decide(context: Context) -> AnyOutcome:
            return await answered(answers, context, self._ports)

        return await self._settle(flow_id, tuple(answers), decide, function="assign")

    async def left_out(self, flow_id: str, tickets: Sequence[UnreadableRecord]) -> DispatchResult:
        """Raise an incident, if none was raised, for each of the tickets of a flow that cannot be read."""

        async def decide(context: Context) -> AnyOutcome:
            return await left_out(tickets, context, self._ports)

        return await self._settle(flow_id, (), decide, function="monitor")

    async def broke(self, flow_id: str, reason: Reason) -> DispatchResult:
        """Give up the step that a flow is at."""

        async def decide(_context: Context) -> AnyOutcome:
            return Broke(reason)

        return await self._settle(flow_id, (), decide, function="dead_letter")

    async def _settle(
        self,
        flow_id: str,
        ticket_ids: Collection[str],
        decide: Callable[[Context], Awaitable[AnyOutcome]],
        *,
        function: str,
        causes: Sequence[CloudEvent] = (),
        queued: bool = False,
    ) -> DispatchResult:
        """Decide and commit, and tell how it went with each of the events that are handled together."""
        begun, begun_at = perf_counter(), self._ports.clock.now()

        def told(handled: DispatchResult | None, outcome: AnyOutcome | None, error: Exception | None = None) -> None:
            seconds = perf_counter() - begun
            for cause in causes or (None,):
                self._observed(
                    Handling(
                        function=function,
                        type=cause.event_type if cause else KINDS.get(function, "clock.ticked"),
                        flow_id=flow_id,
                        begun_at=begun_at,
                        seconds=seconds,
                        event=cause,
                        flow=handled.context.flow if handled else None,
                        outcome=outcome,
                        step=handled.step if handled else None,
                        error=error,
                    )
                )

        try:
            handled, outcome = await self._decided(
                flow_id, ticket_ids, decide, function=function, cause=causes[-1] if causes else None, queued=queued
            )
        except Exception as error:
            told(None, None, error)
            raise
        told(handled, outcome)
        return handled

    async def _decided(
        self,
        flow_id: str,
        ticket_ids: Collection[str],
        decide: Callable[[Context], Awaitable[AnyOutcome]],
        *,
        function: str,
        cause: CloudEvent | None,
        queued: bool,
    ) -> tuple[DispatchResult, AnyOutcome]:
        """Decide and commit, again on newer records when they moved in between.

        What a function reads for itself may be newer than the context, so a step that no table has may be one of
        records that do not belong together; it is believed when it comes every time.
        """
        moved: FlowcError = Conflict(f"flow {flow_id} changed {COMMIT_TRIES} times while it was being decided on")
        for _ in range(COMMIT_TRIES):
            context = await self._load(flow_id, ticket_ids, function, cause.id if cause else CLOCK)
            outcome = await decide(context)
            try:
                step = self.told(advance(context, outcome), context.flow)
                if queued and cause is not None:
                    step = replace(step, handled=cause.id)
                if not step.changes:
                    return DispatchResult(context, step), outcome
                await self._ports.store.commit(step)
            except Conflict:
                continue
            except IllegalTransition as illegal:
                moved = illegal
                continue
            self._committed(step)
            return DispatchResult(context, step), outcome
        raise moved

    def told(self, step: ChangeSet, flow: Flow) -> ChangeSet:
        """Return a step with the events by which its transitions are told to subscribers."""
        wanted = self._subscribed
        if wanted is None or not step.history:
            return step
        events = subscriber_events(step, step.flow or flow, chain=self._chain_told)
        return replace(step, events=(*step.events, *(event for event in events if wanted(event.event_type))))

    async def _load(self, flow_id: str, ticket_ids: Collection[str], function: str, cause: str) -> Context:
        flow: Flow | None = await self._ports.store.flow(flow_id)
        if flow is None:
            raise Unavailable(f"flow {flow_id} is not visible")
        tickets: Mapping[str, Ticket] = await self._ports.store.tickets(ticket_ids, flow_id) if ticket_ids else {}
        return Context(
            flow=flow,
            tickets=tickets,
            # After the reads: nothing that is decided now comes before what was read.
            now=self._ports.clock.now(),
            rules=self._rules,
            function=function,
            cause=cause,
            up_since=self.up_since,
        )


def flow_of(event: CloudEvent) -> str:
    """Return the id of the flow that a chain event is about."""
    return event.extensions.get("partitionkey") or event.subject or ""


def read(model: type[Model], event: CloudEvent) -> Model:
    """Return the data of an event; raise `Rejected`, status 422, with every wrong field."""
    try:
        return model.model_validate(event.data)
    except ValidationError as error:
        problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False))
        raise Rejected(
            f"the data of {event.event_type} is wrong: {problems}", code="invalid_data", status=422
        ) from error
