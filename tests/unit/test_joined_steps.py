"""Steps that follow from each other are one commit, and nothing of a flow depends on that."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Unavailable
from functions._core.machine.context import Context
from functions._core.records.change_set import ChangeSet
from functions._core.records.control import Children
from functions._core.records.values import FlowStatus, TicketStatus
from functions._core.rules import Rules
from functions._engine import joined_steps, report_intake
from functions._engine.wiring import FUNCTIONS
from tests.support.builders import T0, later, make_flow, make_plan, make_step
from tests.support.world import LocalWorld, decision, report_event, running_world, task, until

MIDDLE = [f"middle-{number}" for number in range(3)]
DIAMOND = (task("first"), *(task(name, "first") for name in MIDDLE), task("last", *MIDDLE))


def commits_of(world: LocalWorld, monkeypatch: pytest.MonkeyPatch) -> list[ChangeSet]:
    """Return the commits of a world, which grow as they come."""
    commits: list[ChangeSet] = []
    commit: Callable[[ChangeSet], Awaitable[None]] = world.ports.store.commit

    async def noting(step: ChangeSet) -> None:
        await commit(step)
        commits.append(step)

    monkeypatch.setattr(world.ports.store, "commit", noting)
    return commits


def first_types(step: ChangeSet) -> list[str]:
    """Return the types of the transitions of a step."""
    return [entry.type for entry in step.history]


async def history(world: LocalWorld, flow_id: str) -> Mapping[str, list[tuple[str, str | None]]]:
    """Return the transitions of a flow, and of each of its tasks, in their order."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for entry in await world.ports.views.history(flow_id, 0, 200):
        found.setdefault(entry.task_id or "", []).append((entry.type, entry.to_status))
    return found


async def test_the_history_is_the_same_with_half_as_many_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    histories, numbers = [], []
    for joins in (False, True):
        async with running_world(tmp_path, joins=joins) as world:
            await world.register()
            commits = commits_of(world, monkeypatch)
            flow = await world.run(*DIAMOND)
            histories.append(await history(world, flow.flow_id))
            numbers.append(len(commits))
        assert flow.status is FlowStatus.COMPLETED
    assert histories[0] == histories[1]
    assert numbers[1] <= numbers[0] / 2


async def test_a_decision_and_its_first_assignment_are_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        commits = commits_of(world, monkeypatch)
        await world.run(task("a"))
    first = commits[0]
    assert first_types(first) == ["decision.consolidated", "plan.validated", "tickets.generated", "ticket.assigned"]
    assert [ticket.status for ticket in first.tickets] == [TicketStatus.ASSIGNED]
    assert len(first.deliveries) == 1
    assert first.events == ()


async def test_a_report_its_acknowledgement_and_the_assignments_that_follow_are_one_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_intake, "ACKNOWLEDGEMENT_SECONDS", 60)
    async with running_world(tmp_path) as world:
        await world.register()
        commits = commits_of(world, monkeypatch)
        await world.run(task("a"), task("b", "a"))
    (reported,) = (step for step in commits if "ticket.completed" in first_types(step) and step.deliveries)
    assert first_types(reported) == ["ticket.completed", "ticket.assigned"]
    first = next(ticket for ticket in reported.tickets if ticket.task_id == "a")
    assert first.acknowledged_at is not None


async def test_an_acknowledgement_is_recorded_without_a_report(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = lambda _assignment: None
        await world.register()
        flow_id = await world.submit(decision(task("a")))

        async def acknowledged() -> bool | None:
            return all(ticket.acknowledged_at for ticket in (await world.tickets(flow_id)).values()) or None

        await until(acknowledged, "the acknowledgement")


async def test_an_acknowledgement_that_waits_is_recorded_when_the_platform_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report_intake, "ACKNOWLEDGEMENT_SECONDS", 60)
    async with running_world(tmp_path) as world:
        world.workers.behave = lambda _assignment: None
        await world.register()
        flow_id = await world.submit(decision(task("a")))

        async def waits() -> bool | None:
            return world.platform._intake.busy or None  # noqa: SLF001 seen from nowhere else

        await until(waits, "the worker to have answered")
    (ticket,) = (await world.tickets(flow_id)).values()
    assert ticket.acknowledged_at is not None


@pytest.mark.parametrize("error", [Unavailable("not now"), OSError("broken")])
async def test_an_acknowledgement_outlives_a_report_that_could_not_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(report_intake, "ACKNOWLEDGEMENT_SECONDS", 60)
    async with running_world(tmp_path) as world:
        world.workers.behave = lambda _assignment: None
        await world.register()
        flow_id = await world.submit(decision(task("a")))

        async def waits() -> bool | None:
            return world.platform._intake.busy or None  # noqa: SLF001 seen from nowhere else

        await until(waits, "the worker to have answered")
        report = report_event(world.workers.assignments[0], status="COMPLETED")
        with monkeypatch.context() as broken:

            async def refuse(_step: ChangeSet) -> None:
                raise error

            broken.setattr(world.ports.store, "commit", refuse)
            with pytest.raises(type(error)):
                await world.platform.report(report)
        assert world.platform._intake.busy  # noqa: SLF001 likewise
        await world.platform.report(report)
        (ticket,) = (await world.tickets(flow_id)).values()
        assert ticket.status is TicketStatus.COMPLETED
        assert ticket.acknowledged_at is not None


async def test_a_function_that_fails_leaves_its_event_to_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = 2

    async def failing(*given: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise Unavailable("not now")
        return await real(*given)

    real = FUNCTIONS["generate_tickets"]
    monkeypatch.setitem(FUNCTIONS, "generate_tickets", failing)
    async with running_world(tmp_path) as world:
        await world.register()
        commits = commits_of(world, monkeypatch)
        flow = await world.run(task("a"))
    assert first_types(commits[0]) == ["decision.consolidated", "plan.validated"]
    assert [event.event_type for event in commits[0].events] == ["plan.validated"]
    assert flow.status is FlowStatus.COMPLETED


@pytest.mark.parametrize("number", [joined_steps.MOST_TICKETS, joined_steps.MOST_TICKETS + 1])
async def test_a_large_plan_is_not_made_in_the_commit_of_its_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    async with running_world(tmp_path) as world:
        await world.register(slots=1000)
        commits = commits_of(world, monkeypatch)
        await world.run(*(task(f"t{place}") for place in range(number)))
    assert ("tickets.generated" in first_types(commits[0])) is (number <= joined_steps.MOST_TICKETS)


async def test_a_ticket_that_waits_for_a_slot_goes_through_the_queue(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running_world(tmp_path) as world:
        await world.register(slots=1)
        commits = commits_of(world, monkeypatch)
        flow = await world.run(task("a"), task("b"))
    assert first_types(commits[0])[-1] == "tickets.generated"
    assert [event.event_type for event in commits[0].events] == ["tickets.ready"]
    assert flow.status is FlowStatus.COMPLETED


async def test_a_decision_that_comes_ten_times_at_once_is_one_flow(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        data = decision(task("a"))
        ids = await asyncio.gather(*(world.submit(data) for _ in range(10)))
        flow = await world.ended(ids[0])
        assert len(set(ids)) == 1
        assert flow.status is FlowStatus.COMPLETED
        assert len(world.workers.assignments) == 1


async def test_a_function_reads_the_tickets_as_the_steps_before_in_its_commit_leave_them(tmp_path: Path) -> None:
    flow = make_flow(status=FlowStatus.EXECUTING)
    parent, other = make_plan(flow, 2)
    counted = later(parent, children=Children(total=2, made=2, begun=2, completed=1))
    async with running_world(tmp_path) as world:
        await world.ports.store.commit(make_step(flow, parent, other))
        ahead = joined_steps.Ahead(world.ports, world.ports.store)
        context = Context(flow=flow, tickets={}, now=T0, rules=Rules(), function="monitor", cause="")
        step = ChangeSet(flow_id=flow.flow_id, tickets=(counted,))
        ahead.add(joined_steps.StepTaken("monitor", (), context, None, step, 0.0))
        found = await ahead.ports().store.tickets([parent.ticket_id, other.ticket_id], flow.flow_id)
    assert found == {parent.ticket_id: counted, other.ticket_id: other}
