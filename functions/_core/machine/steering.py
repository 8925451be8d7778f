"""Findings about tickets that something steers: conditions, waits, repetitions, sub-flows. Loads what they need."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any

from functions._core.decision.expressions import compiled
from functions._core.decision.model import SubPlan
from functions._core.errors import Undeliverable
from functions._core.learning.guard import guarded
from functions._core.machine.beginning import (
    ENDS,
    Begun,
    Finding,
    Hopeless,
    Joined,
    Listed,
    Omitted,
    SubflowRead,
    Waits,
)
from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome, reached
from functions._core.machine.related_tickets import NONE_RELATED, around_ends, stops_clock
from functions._core.machine.releasing import decided, more_may_begin
from functions._core.machine.relief import beside
from functions._core.machine.resolved_values import (
    CHILDREN_AT_ONCE,
    children_of,
    output_of,
    resolved,
    resolved_parameters,
)
from functions._core.planning.children import copied_bytes, item_names, subplan_of
from functions._core.planning.result import last_tasks
from functions._core.ports import Ports
from functions._core.records.control import LONGEST_MS, Control, OnSkipped, Wait
from functions._core.records.json_text import json_size
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import (
    TicketStatus,
    Waiting,
    add_time,
    parse_time,
    ticket_id_of,
    time_span,
)
from functions._core.rules import COPIED_BYTES, LARGE_DECISION, LARGE_STEP, MAX_TICKETS, OUTPUT_BYTES


async def found(tickets: Sequence[Ticket], context: Context, ports: Ports) -> Mapping[str, Finding]:
    """Return the findings about tickets, by id; a ticket without one needs a worker, or nothing."""
    findings = {}
    for ticket in tickets:
        try:
            finding = await _Look(ticket, ticket.control or Control(), context, ports).finding()
        except Undeliverable as error:
            finding = Hopeless(Reason(code=error.code, message=str(error)))
        if finding is not None:
            findings[ticket.ticket_id] = finding
    return findings


async def begun(findings: Mapping[str, Finding], others: AnyOutcome, context: Context, ports: Ports) -> AnyOutcome:
    """Return `Begun`, with the tickets that are touched by those that end."""
    by_id = context.tickets
    joined = [by_id[i] for i, finding in findings.items() if isinstance(finding, Joined)]
    ending = [by_id[i] for i, finding in findings.items() if isinstance(finding, ENDS) and by_id[i] not in joined]
    around = await around_ends(joined, ending, ports) if joined or ending else NONE_RELATED
    if not around.clock and any(map(stops_clock, map(by_id.__getitem__, findings))):
        live = await ports.store.tickets_of(context.flow.flow_id, live_only=True)
        around = replace(around, clock=live)
    if skipped := [by_id[i] for i, finding in findings.items() if isinstance(finding, Omitted)]:
        after = {one.ticket_id: one for one in around.live}
        touched = [await beside(one, after, ports.store) for one in skipped]
        around = replace(around, beside={i: one for some in touched for i, one in some.items()})
    outcome = Begun(findings, around, others)
    large = any(isinstance(one, SubflowRead) and len(one.decision) > LARGE_DECISION for one in findings.values())
    return reached(lambda: outcome, heavy=large or len(around.touched) + len(around.clock) > LARGE_STEP)


class _Look:
    """Looks at one ticket."""

    def __init__(self, ticket: Ticket, control: Control, context: Context, ports: Ports) -> None:
        self._ticket = ticket
        self._control = control
        self._context = context
        self._ports = ports
        self._most = context.rules.references_bytes

    async def finding(self) -> Finding | None:
        """Return the finding about it; raise `Undeliverable` for one that cannot begin, or go on."""
        if self._ticket.status is TicketStatus.WAITING:
            return await self._goes_on()
        reason = await self._not_wanted()
        return await self._begins() if reason is None else Omitted(reason)

    async def _begins(self) -> Finding | None:
        control = self._control
        if control.approval is not None:
            return Waits(Waiting.APPROVAL, add_time(self._context.now, time_span(control.approval.timeout_ms)))
        if control.wait is not None:
            return await self._wait(control.wait)
        if control.foreach is not None:
            return await self._listed(first=0, begun=0)
        if control.subflow:
            if self._context.flow.tickets_generated >= MAX_TICKETS:
                return _hopeless("too_many_tickets", f"the flow has {MAX_TICKETS} tickets already")
            text = await self._ports.store.decision(self._ticket.flow_id)
            before = await self._made_before() if self._ticket.children is not None else {}
            return SubflowRead(text, before, await guarded(self._ports))
        return None

    async def _not_wanted(self) -> Reason | None:
        """Return why the ticket is skipped."""
        ticket, control = self._ticket, self._control
        if control.on_skipped is OnSkipped.ANY and ticket.dependencies:
            before = await self._ports.store.tickets(ticket.dependencies, ticket.flow_id)
            if all(one.status is TicketStatus.SKIPPED for one in before.values()):
                return Reason(code="dependency_skipped", message="all tasks that it depends on were skipped")
        if control.when is None or await self._holds(control.when):
            return None
        return Reason(code="condition_false", message=f"its condition does not hold: {control.when[:200]}")

    async def _holds(self, text: str) -> bool:
        ticket, condition = self._ticket, compiled(text)
        ids = {ticket_id_of(ticket.flow_id, ticket.scope + task_id): task_id for task_id in condition.tasks}
        upstream = await self._ports.store.tickets(ids, ticket.flow_id) if ids else {}
        variables: dict[str, Any] = {
            "outputs": {ids[i]: await output_of(one, self._ports.store, self._most) for i, one in upstream.items()},
            "statuses": {ids[i]: one.status.value for i, one in upstream.items()},
        }
        if "input" in condition.names and ticket.scope:
            around = ticket_id_of(ticket.flow_id, ticket.scope[:-1])
            owner = (await self._ports.store.tickets([around], ticket.flow_id))[around]
            variables["input"] = await resolved_parameters(owner, self._ports.store, self._most)
        return bool(await self._ports.beside(partial(condition.holds, variables)))

    async def _wait(self, wait: Wait) -> Finding:
        now = self._context.now
        if wait.event is not None:
            if wait.event.correlation is not None:  # one that cannot be filled in is a failure now, not later
                await self._value(wait.event.correlation.equals, "wait.event.correlation.equals")
            timeout = wait.timeout_ms
            if timeout is None and wait.stops_clock:
                return Waits(Waiting.EVENT, add_time(now, self._context.rules.approval))
            limit = self._context.flow.sla_deadline
            return Waits(Waiting.EVENT, limit if timeout is None else add_time(now, time_span(timeout)))
        if wait.seconds is not None:
            seconds = await self._value(wait.seconds, "wait.seconds")
            number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
            if not number or not 0 <= seconds * 1000 <= LONGEST_MS:
                return _hopeless("invalid_wait", f"wait.seconds must be a number from 0 on, it is {_shown(seconds)}")
            return Waits(Waiting.MOMENT, add_time(now, time_span(seconds * 1000)))
        value = await self._value(wait.until, "wait.until")
        try:
            moment = parse_time(value)
        except ValueError:
            moment = None
        if not isinstance(moment, datetime) or moment.tzinfo is None:
            return _hopeless("invalid_wait", f"wait.until must be a moment, it is {_shown(value)}")
        return Waits(Waiting.MOMENT, moment)

    async def _goes_on(self) -> Finding | None:
        """Return what follows for a ticket that has children."""
        ticket, counts = self._ticket, self._ticket.children
        if counts is None:
            return None
        if decided(ticket, counts):
            foreach = self._control.foreach
            if counts.failed > (foreach.max_failures if foreach else 0):
                return Hopeless(await self._children_failed())
            return await (self._joined_items() if foreach else self._joined_tasks())
        more = counts.made < counts.total or more_may_begin(ticket, counts)
        return await self._listed(counts.made, counts.begun) if self._control.foreach and more else None

    async def _listed(self, first: int, begun: int) -> Finding:
        ticket, foreach = self._ticket, self._control.foreach
        items = await self._value(foreach.items if foreach else None, "foreach.items")
        items = [] if items is None else items
        if not isinstance(items, list):
            return _hopeless("not_a_list", f"foreach.items must be a list, it is {_shown(items)}")
        if foreach is not None and len(items) > foreach.max_items:
            return _hopeless("too_many_items", f"foreach.items has {len(items)} entries, {foreach.max_items} may be")
        if not items:
            return Joined([])
        if ticket.children is None and (why := await self._too_much(len(items))) is not None:
            return why
        last = min(first + CHILDREN_AT_ONCE, len(items))
        names = item_names(first, last)
        known = await children_of(ticket, names, self._ports.store)
        existing = {first + place: known[name] for place, name in enumerate(names) if name in known}
        done = [i for i, one in existing.items() if one.status is TicketStatus.COMPLETED and one.item != items[i]]
        if done:
            text = f"item {done[0]} was done in a run before, and is another one now"
            return _hopeless("items_changed", text)
        window = await children_of(ticket, item_names(begun, min(begun + CHILDREN_AT_ONCE, first)), self._ports.store)
        ordered = sorted(window.values(), key=lambda one: one.index or 0)
        return Listed(len(items), first, items[first:last], existing, ordered)

    async def _too_much(self, items: int) -> Hopeless | None:
        """Return why so many items are more than a flow may have."""
        if self._context.flow.tickets_generated + items > MAX_TICKETS:
            return _hopeless("too_many_tickets", f"with {items} items the flow would have more than {MAX_TICKETS}")
        subflow, plan = self._control.subflow, None
        if subflow:
            plan = await self._subplan()
        if (copied := copied_bytes(self._ticket, plan) * items) > COPIED_BYTES:
            text = f"{items} items would copy {copied} bytes of parameters, more than {COPIED_BYTES}: refer to the data"
            return _hopeless("items_too_large", text)
        return None

    async def _made_before(self) -> Mapping[str, Ticket]:
        names = [f"/{task.task_id}" for task in (await self._subplan()).tasks]
        return {one.ticket_id: one for one in (await children_of(self._ticket, names, self._ports.store)).values()}

    async def _names(self) -> Sequence[str]:
        """Return the ends of the task ids of all children."""
        if self._control.foreach is not None:
            return item_names(0, self._ticket.children.made if self._ticket.children else 0)
        return [f"/{task.task_id}" for task in (await self._subplan()).tasks]

    async def _children_failed(self) -> Reason:
        """Return the reason of a ticket whose children failed: that of the first one."""
        names, counts = await self._names(), self._ticket.children
        number = counts.failed if counts else 0
        for start in range(0, len(names), CHILDREN_AT_ONCE):
            some = names[start : start + CHILDREN_AT_ONCE]
            children = await children_of(self._ticket, some, self._ports.store)
            for name in some:
                child = children.get(name)
                if child is not None and child.status is TicketStatus.FAILED and child.reason is not None:
                    of = f"{number} of {counts.total if counts else len(names)} children failed, the first is"
                    return Reason(code="child_failed", message=f"{of} {child.task_id}: {child.reason.message}")
        return Reason(code="child_failed", message=f"{number} children came to nothing")

    async def _joined_items(self) -> Finding:
        """Return the outputs of all items, in their order; of one that failed it is null."""
        names, outputs, size = await self._names(), list[Any](), 0
        for start in range(0, len(names), CHILDREN_AT_ONCE):
            some = names[start : start + CHILDREN_AT_ONCE]
            children = await children_of(self._ticket, some, self._ports.store)
            found = [children[name].output if name in children else None for name in some]
            outputs += found
            size += json_size(found)
            if size > OUTPUT_BYTES:
                return Joined(None, apart=True)
        return Joined(outputs)

    async def _joined_tasks(self) -> Finding:
        """Return the result of the plan within the ticket."""
        plan = await self._subplan()
        result = plan.result
        if result is None:
            result = {task_id: {"$output": task_id} for task_id in last_tasks(plan.tasks)}
        inside = self._ticket.but(scope=f"{self._ticket.task_id}/", index=None)
        return Joined(await resolved(result, "result", inside, self._ports.store, OUTPUT_BYTES))

    async def _subplan(self) -> SubPlan:
        """Return the plan within the ticket; a large decision is read beside the loop."""
        text, path = await self._ports.store.decision(self._ticket.flow_id), self._control.subflow
        read = partial(subplan_of, text, path)
        plan: SubPlan = (await self._ports.beside(read) if len(text) > LARGE_DECISION else read())[1]
        return plan

    async def _value(self, value: object, root: str) -> Any:  # noqa: ANN401 any JSON
        return await resolved(value, root, self._ticket, self._ports.store, self._most)


def _hopeless(code: str, message: str) -> Hopeless:
    return Hopeless(Reason(code=code, message=message))


def _shown(value: object) -> str:
    return repr(value)[:60]
