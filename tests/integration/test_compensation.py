"""The whole platform undoes what a flow did that does not succeed: in reverse order, once, and never in circles."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.events.commands import RedriveRequest
from functions._core.records.audits import AuditKind, IncidentRecord, Severity
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, TicketStatus
from tests.support.world import LocalWorld, decision, running_world, task, until

CHAIN = [task("a", compensation=True), task("b", "a", compensation=True), task("c", "b", compensation=True)]
NO = {"status": "FAILED", "error": {"type": "broken", "message": "it does not work", "retryable": False}}

Behaviour = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def failing(*task_ids: str) -> Behaviour:
    """Return workers that cannot do some tasks and do all others."""
    return lambda assignment: NO if assignment["task_id"] in task_ids else {"status": "COMPLETED", "output": 1}


def silent(*task_ids: str) -> Behaviour:
    """Return workers that never end some tasks and do all others."""
    return lambda assignment: None if assignment["task_id"] in task_ids else {"status": "COMPLETED"}


async def incidents(world: LocalWorld, flow: Flow) -> list[IncidentRecord]:
    """Return the incidents of a flow, the first one first."""
    found = await world.ports.views.audits(flow.flow_id, 50, kind=AuditKind.INCIDENT)
    return [audit for audit in reversed(found) if isinstance(audit, IncidentRecord)]


def done(world: LocalWorld) -> list[str]:
    """Return the tasks in the order in which workers got them."""
    return [assignment["task_id"] for assignment in world.workers.assignments]


async def test_a_flow_that_fails_in_the_middle_undoes_what_it_did_in_reverse_order(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = failing("c")
        flow = await world.run(*CHAIN)
        tickets = await world.tickets(flow.flow_id)
        history = await world.transitions(flow.flow_id)
    assert flow.status is FlowStatus.FAILED
    assert done(world) == ["a", "b", "c", "compensate:b", "compensate:a"]
    assert {name: tickets[name].status.value for name in "abc"} == {
        "a": "COMPENSATED",
        "b": "COMPENSATED",
        "c": "FAILED",
    }
    assert tickets["a"].compensation_ticket_id == tickets["compensate:a"].ticket_id
    assert tickets["compensate:a"].metadata == {"compensates": tickets["a"].ticket_id}
    assert flow.tally == {"COMPENSATED": 2, "FAILED": 1}
    assert history.index(("ticket.compensated", "b")) < history.index(("ticket.compensated", "a"))
    assert [phase.status.value for phase in flow.phases][-3:] == ["COMPENSATING", "PUBLISHING", "FAILED"]


async def test_a_failing_compensation_is_a_critical_incident_and_what_it_was_built_on_stays(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = failing("c", "compensate:b")
        flow = await world.run(*CHAIN)
        tickets = await world.tickets(flow.flow_id)
        raised = await incidents(world, flow)
    assert done(world) == ["a", "b", "c", "compensate:b"]
    assert {name: tickets[name].status.value for name in "ab"} == {"a": "FAILED", "b": "FAILED"}
    assert "its work stands" in (tickets["a"].error_message or "")
    assert tickets["compensate:a"].status is TicketStatus.CANCELLED
    assert [incident.severity for incident in raised] == [Severity.WARNING, Severity.CRITICAL]
    assert raised[1].escalation_required
    assert set(raised[1].affected_tickets) == {tickets[f"compensate:{name}"].ticket_id for name in "ab"}


async def test_a_cancelled_flow_undoes_what_it_did(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = silent("b")
        flow_id = await world.submit(decision(*CHAIN))
        await until(lambda: _assigned(world, "b"), "b to be assigned")
        await world.cancel(flow_id)
        flow = await world.ended(flow_id)
        tickets = await world.tickets(flow_id)
    assert flow.status is FlowStatus.CANCELLED
    assert (tickets["a"].status, tickets["b"].status) == (TicketStatus.COMPENSATED, TicketStatus.CANCELLED)
    assert done(world)[-1] == "compensate:a"


async def test_a_flow_past_its_deadline_undoes_what_it_did_although_its_time_is_over(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = silent("b")
        flow = await world.run(*CHAIN, sla_deadline_seconds=0.4)
        tickets = await world.tickets(flow.flow_id)
        raised = await incidents(world, flow)
    assert flow.status is FlowStatus.TIMED_OUT
    assert tickets["a"].status is TicketStatus.COMPENSATED
    assert [incident.incident_type.value for incident in raised] == ["SLA_VIOLATION"]


async def test_undoing_that_takes_too_long_is_given_up_with_an_incident(tmp_path: Path) -> None:
    async with running_world(tmp_path, compensation_seconds=0.3) as world:
        await world.register()
        world.workers.behave = lambda a: NO if a["task_id"] == "c" else silent("compensate:b")(a)
        flow = await world.run(*CHAIN)
        tickets = await world.tickets(flow.flow_id)
        raised = await incidents(world, flow)
    assert flow.status is FlowStatus.FAILED
    assert flow.tally == {"FAILED": 3}
    assert tickets["compensate:b"].status is TicketStatus.CANCELLED
    assert raised[-1].severity is Severity.CRITICAL
    assert "given up" in raised[-1].details[0]


async def test_a_flow_that_succeeds_undoes_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow = await world.run(*CHAIN)
        tickets = await world.tickets(flow.flow_id)
    assert flow.status is FlowStatus.COMPLETED
    assert tickets.keys() == {"a", "b", "c"}


@pytest.mark.parametrize("lost", ["compensation.requested", "tickets.ready"])
async def test_a_lost_event_does_not_keep_a_flow_from_undoing(tmp_path: Path, lost: str) -> None:
    async with running_world(tmp_path, joins=False, limits={"reemit": timedelta(seconds=0.1)}) as world:
        await world.register()
        world.workers.behave = failing("c")
        take = world.platform.outbox.take
        dropped: list[Any] = []

        def lossy(events: Any) -> None:
            events = list(events)
            here = [e for e in events if e.event_type == lost and not dropped and len(world.workers.assignments) >= 3]
            dropped.extend(here)
            take([event for event in events if event not in here])

        world.platform.outbox.take = lossy  # type: ignore[method-assign]
        flow = await world.run(*CHAIN)
    assert dropped
    assert flow.tally == {"COMPENSATED": 2, "FAILED": 1}


async def _assigned(world: LocalWorld, task_id: str) -> bool | None:
    return True if task_id in done(world) else None


async def test_work_that_could_not_be_undone_is_not_done_again_by_a_redrive(tmp_path: Path) -> None:
    charge = [task("charge", idempotent=False, compensation=True), task("ship", "charge")]
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = failing("ship", "compensate:charge")
        flow = await world.run(*charge)
        before = (await world.tickets(flow.flow_id))["charge"]
        world.workers.behave = failing()
        await world.platform.order(RedriveRequest(flow_id=flow.flow_id))
        again = await world.ended(flow.flow_id)
        after = (await world.tickets(flow.flow_id))["charge"]
    assert before.status is TicketStatus.FAILED
    assert again.status is FlowStatus.COMPLETED
    assert (after.status, after.output, after.reason) == (TicketStatus.COMPLETED, 1, None)
    assert done(world) == ["charge", "ship", "compensate:charge", "ship"]
