"""The life of one event: load, let its function decide, advance, commit, then send what was committed.

Within a process the events of one flow are handled one after the other; between processes the versions of the
records decide. An event is answered only when its effect is durable.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from time import perf_counter
from typing import NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from functions._core.errors import Conflict, FlowcError, IllegalTransition, Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.pipelines import LABEL
from functions._core.events.policies import ASKED_ABOUT
from functions._core.events.reports import Report
from functions._core.events.routes import ROUTES
from functions._core.events.subscribers import signal_events, subscriber_events
from functions._core.machine.advance import advance
from functions._core.machine.context import CLOCK, Context
from functions._core.machine.flow import Broke
from functions._core.machine.outcomes import AnyOutcome, Heavy, concluded
from functions._core.placement.signals import DEPOSITED
from functions._core.ports import Due, Ports
from functions._core.records.change_set import ChangeSet, joined, singly
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.set_aside import UnreadableRecord
from functions._core.records.worker import Answer
from functions._core.rules import Rules
from functions._core.webhooks.owners import OWNER, for_owner, owners_of, ready_events
from functions._engine.joined_steps import Ahead, StepJoiner, StepTaken
from functions._engine.keyed_executor import HeavyWork
from functions._engine.remembered import KnownRecords, NotKept, RememberedRecords, seen_by
from functions._engine.wiring import FUNCTIONS, answered, enforce_sla, left_out, reported
from functions._observability.dispatch_result import Handling

Model = TypeVar("Model", bound=BaseModel)

AT_ONCE = 16
"""Commits of parts of one step at the same time."""

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
    """What became of an event: the records it was decided on, and its own step; others may have followed from it."""

    context: Context
    step: ChangeSet


Decide = Callable[[Context, Ports], Awaitable[AnyOutcome]]
"""What a function concludes from the records and through the ports that it is given."""


AsksPolicies = Callable[[ChangeSet, Flow, str], Awaitable[ChangeSet]]
"""See `FlowPolicies.asking`, `Healer.asking`, `PipelineResults.asking`."""


class FunctionWork(NamedTuple):
    """The work of one function on one flow: the tickets that it names, its decision, and the events behind it."""

    function: str
    tickets: Collection[str]
    decide: Decide
    causes: Sequence[CloudEvent] = ()


class Dispatcher:
    """Handles events against the ports; what is committed goes to `committed`."""

    def __init__(  # noqa: PLR0913 the parts of a process
        self,
        ports: Ports,
        rules: Rules,
        *,
        committed: Callable[[ChangeSet], None],
        observed: Callable[[Handling], None],
        subscribed: Callable[[str], bool] | None = None,
        tells_owners: bool = False,
        chain_told: bool = False,
        joins: bool = False,
        remembers: bool = False,
        commits_singly: bool = False,
        heavy: HeavyWork | None = None,
    ) -> None:
        """Call `committed` with every step right after its commit: it publishes and delivers.

        `observed` is told how each event went. `subscribed`, which may change, adds events for transitions, those whose
        type it wants; with `chain_told` also for those that are named like a chain event; with `tells_owners` all of
        tickets that name a webhook. With `joins` the steps that follow from one are committed with it, as far as
        `StepJoiner` takes them. A process that `remembers` records does not read them from the store for each decision.
        With `commits_singly` assignments are committed alone. `heavy` runs what takes long.
        """
        self._chain_told = chain_told
        self._observed = observed
        self.subscribed = subscribed
        self._tells_owners = tells_owners
        self._ports = ports
        self._rules = rules
        self.up_since: datetime | None = None
        self._committed = committed
        self._singly = commits_singly
        self._heavy = heavy or HeavyWork(threads=False)
        self._remembered = RememberedRecords(ports.store) if remembers else None
        self._records: KnownRecords = self._remembered or ports.store
        self.asks: AsksPolicies | None = None
        """Gets the steps that announce a risk or a breach, or raise an incident, and those of pipelines."""
        self.beside: Callable[[CloudEvent], Awaitable[None]] | None = None
        """Handles the events that a function handles beside the chain."""
        self._joiner = StepJoiner(ports, self._records, self.told) if joins else None

    def wants(self, event_type: str) -> bool:
        """Whether subscribers want the events of a type."""
        return self.subscribed is not None and self.subscribed(event_type)

    async def handle(self, event: CloudEvent, *, queued: bool = False) -> DispatchResult:
        """Handle one event of a route; `queued` removes it from the queue in the same write."""
        route = ROUTES.get(event.event_type)
        if route is None:
            raise Rejected(f"no function handles {event.type}", code="no_route")
        data = read(route.model, event)
        flow_id = flow_of(event)
        function = FUNCTIONS[route.function]

        async def decide(context: Context, ports: Ports) -> AnyOutcome:
            return await function(data, context, ports)

        work = FunctionWork(route.function, route.tickets(data), decide, (event,))
        return await self._settle(flow_id, work, queued=queued)

    async def reported(
        self, flow_id: str, told: Sequence[ReportMessage], answers: Mapping[str, tuple[int, Answer]] | None = None
    ) -> DispatchResult:
        """Take in what workers report on tickets of one flow, on each ticket once; before that what they `answered`."""
        reports = [one.report for one in told]

        async def decide(context: Context, ports: Ports) -> AnyOutcome:
            return await reported(reports, context, ports)

        work = FunctionWork("monitor", [report.ticket_id for report in reports], decide, [one.event for one in told])
        return await self._settle(flow_id, *([_answers(answers)] if answers else []), work)

    async def preview(self, event: CloudEvent) -> DispatchResult:
        """Return what handling an event of a route would change, and change nothing."""
        route = ROUTES[event.event_type]
        data = read(route.model, event)
        flow_id = event.extensions["partitionkey"]
        context = await self._load(flow_id, route.tickets(data), route.function, event.id)
        ports = replace(self._ports, key_values=NotKept(self._ports.key_values))
        outcome = await FUNCTIONS[route.function](data, context, ports)
        return DispatchResult(context, (await self._advanced(context, outcome))[1])

    async def due(self, due: Due) -> DispatchResult | None:
        """Act on a flow or ticket whose wake-up has come."""
        if due.flow_id is None:
            return None

        async def decide(context: Context, ports: Ports) -> AnyOutcome:
            return await enforce_sla(due, context, ports)

        tickets = (due.record_id,) if due.kind == "ticket" else ()
        return await self._settle(due.flow_id, FunctionWork("enforce_sla", tickets, decide))

    async def delivered(self, flow_id: str, answers: Mapping[str, tuple[int, Answer]]) -> DispatchResult:
        """Record what workers answered."""
        return await self._settle(flow_id, _answers(answers))

    async def left_out(self, flow_id: str, tickets: Sequence[UnreadableRecord]) -> DispatchResult:
        """Raise an incident, if none was raised, for each of the tickets of a flow that cannot be read."""

        async def decide(context: Context, ports: Ports) -> AnyOutcome:
            return await left_out(tickets, context, ports)

        return await self._settle(flow_id, FunctionWork("monitor", (), decide))

    async def broke(self, flow_id: str, reason: Reason) -> DispatchResult:
        """Give up the step that a flow is at."""

        async def decide(_context: Context, _ports: Ports) -> AnyOutcome:
            return Broke(reason)

        return await self._settle(flow_id, FunctionWork("dead_letter", (), decide))

    async def begin(self, step: ChangeSet, flow: Flow, event: CloudEvent) -> None:
        """Commit the step by which `event` makes a new flow; raise `Conflict` when there is one."""
        first = StepTaken("api", (event,), self._context(flow, {}, "api", event.id), None, step, perf_counter())
        taken = await self._commit([first])
        self._observe(taken[1:])

    async def _settle(self, flow_id: str, *works: FunctionWork, queued: bool = False) -> DispatchResult:
        """Decide and commit, and tell how it went with each of the events that are handled together.

        The works are done one after the other and committed as one; the result is that of the last.
        """
        begun, begun_at = perf_counter(), self._ports.clock.now()
        try:
            taken = await self._decided(flow_id, works, queued=queued)
        except Exception as error:
            for work in works:
                for cause in work.causes or (None,):
                    self._observed(_handling(flow_id, work.function, cause, begun, begun_at, error=error))
            raise
        self._observe(taken)
        return DispatchResult(taken[len(works) - 1].context, taken[len(works) - 1].step)

    def _observe(self, taken: Sequence[StepTaken]) -> None:
        """Tell how it went with the events of committed steps."""
        for one in taken:
            for cause in one.causes or (None,):
                flow_id, begun_at = one.context.flow.flow_id, one.context.now
                self._observed(_handling(flow_id, one.function, cause, one.begun, begun_at, taken=one))

    async def _decided(self, flow_id: str, works: Sequence[FunctionWork], *, queued: bool) -> Sequence[StepTaken]:
        """Decide and commit, again on newer records when they moved in between.

        What a function reads for itself may be newer than the context, so a step that no table has may be one of
        records that do not belong together; it is believed when it comes every time.
        """
        moved: FlowcError = Conflict(f"flow {flow_id} changed {COMMIT_TRIES} times while it was being decided on")
        fresh = self._remembered is None
        for _ in range(COMMIT_TRIES):
            ahead = Ahead(self._ports, self._records)
            try:
                taken = await self._commit([await self._take(flow_id, work, ahead, queued=queued) for work in works])
                if fresh or any(one.step.changes for one in taken):
                    return taken
            except Conflict:
                pass
            except IllegalTransition as illegal:
                moved = illegal
            fresh = True
            if self._remembered is not None:
                self._remembered.forget(flow_id)
        raise moved

    async def _commit(self, taken: Sequence[StepTaken]) -> Sequence[StepTaken]:
        """Commit steps of one flow, and those that follow from them; return all of them."""
        if self._joiner is not None:
            taken = await self._joiner.follow(taken)
        changing = [await self._asking(one) for one in taken if one.step.changes]
        if self._singly and len(changing) == 1 and len(parts := singly(changing[0])) > 1:
            await self._commit_singly(parts)
            return taken
        if changing:
            step = joined(changing)
            if self._remembered is not None:
                step = replace(step, seen=seen_by((one.context for one in taken if one.outcome is not None), step))
            await self._ports.store.commit(step)
            if self._remembered is not None:
                self._remembered.committed(step)
        for step in changing:
            self._committed(step)
        return taken

    async def _asking(self, one: StepTaken) -> ChangeSet:
        """Return a step with the events by which it asks for policies, or tells of a pipeline."""
        step, flow = one.step, one.step.flow or one.context.flow
        if self.asks is None or not (LABEL in flow.labels or any(e.type in ASKED_ABOUT for e in step.history)):
            return step
        return await self.asks(step, flow, one.function)

    async def _commit_singly(self, parts: Sequence[ChangeSet]) -> None:
        """Commit parts of a step that need not be one; raise what kept one of them from being committed."""
        for some in (parts[start : start + AT_ONCE] for start in range(0, len(parts), AT_ONCE)):
            answers = await asyncio.gather(*map(self._ports.store.commit, some), return_exceptions=True)
            for part, answer in zip(some, answers, strict=True):
                if answer is None:
                    self._committed(part)
            if failed := next(filter(None, answers), None):
                raise failed

    async def _take(self, flow_id: str, work: FunctionWork, ahead: Ahead, *, queued: bool) -> StepTaken:
        """Decide on the records as the works before leave them."""
        begun, cause = perf_counter(), work.causes[-1] if work.causes else None
        context = await self._load(flow_id, work.tickets, work.function, cause.id if cause else CLOCK, ahead)
        outcome = await work.decide(context, self._ports if ahead.flow is None else ahead.ports())
        outcome, step = await self._advanced(context, outcome)
        if queued and cause is not None:
            step = replace(step, handled=cause.id)
        taken = StepTaken(work.function, work.causes, context, outcome, step, begun)
        ahead.add(taken)
        return taken

    async def _advanced(self, context: Context, outcome: AnyOutcome) -> tuple[AnyOutcome, ChangeSet]:
        """Return the conclusion of an outcome and its step; those of a heavy one are computed beside the loop."""
        compute = partial(self._concluded, context, outcome)
        return await self._heavy.run(compute) if isinstance(outcome, Heavy) else compute()

    def _concluded(self, context: Context, outcome: AnyOutcome) -> tuple[AnyOutcome, ChangeSet]:
        found = concluded(outcome)
        return found, self.told(advance(context, found), context.flow)

    def told(self, step: ChangeSet, flow: Flow) -> ChangeSet:
        """Return a step with the events by which its transitions are told to subscribers."""
        wanted, owners = self.subscribed, owners_of(step.tickets) if self._tells_owners else None
        if not owners and (wanted is None or not step.history):
            return step
        events = subscriber_events(step, step.flow or flow, chain=self._chain_told)
        if not owners:
            told = [event for event in events if wanted is None or wanted(event.event_type)]
        else:
            told = [
                for_owner(event, owners)
                for event in events
                if event.subject in owners or (wanted is not None and wanted(event.event_type))
            ]
            told += ready_events(step, step.flow or flow, owners)
        if wanted is not None and wanted(DEPOSITED):
            told += signal_events(step, step.flow or flow)
        return replace(step, events=(*step.events, *told))

    def tells(self, event: CloudEvent) -> bool:
        """Whether anybody may want an event that no function handles."""
        return self.subscribed is not None or OWNER in event.extensions

    async def _load(
        self, flow_id: str, ticket_ids: Collection[str], function: str, cause: str, ahead: Ahead | None = None
    ) -> Context:
        known = ahead or Ahead(self._ports, self._records)
        flow = known.flow or await self._records.flow(flow_id)
        if flow is None:
            raise Unavailable(f"flow {flow_id} is not visible")
        return self._context(flow, await known.tickets(ticket_ids, flow_id), function, cause)

    def _context(self, flow: Flow, tickets: Mapping[str, Ticket], function: str, cause: str) -> Context:
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


def _answers(answers: Mapping[str, tuple[int, Answer]]) -> FunctionWork:
    async def decide(context: Context, ports: Ports) -> AnyOutcome:
        return await answered(answers, context, ports)

    return FunctionWork("assign", tuple(answers), decide)


def _handling(
    flow_id: str,
    function: str,
    cause: CloudEvent | None,
    begun: float,
    begun_at: datetime,
    *,
    taken: StepTaken | None = None,
    error: Exception | None = None,
) -> Handling:
    return Handling(
        function=function,
        type=cause.event_type if cause else KINDS.get(function, "clock.ticked"),
        flow_id=flow_id,
        begun_at=begun_at,
        seconds=perf_counter() - begun,
        event=cause,
        flow=taken.context.flow if taken else None,
        outcome=taken.outcome if taken else None,
        step=taken.step if taken else None,
        error=error,
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
