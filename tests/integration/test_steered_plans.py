"""Plans with conditions and waits, each through the real functions of one platform."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from functions._core.decision.expressions import Condition
from functions._core.events.envelope import CloudEvent
from functions._core.records.values import Outcome, TicketStatus, Waiting
from functions._engine.events_in import EventsIn
from tests.support.steering import out, saying, statuses
from tests.support.world import decision, running_world, task

COMPLETED, FAILED, SKIPPED, CANCELLED = (
    TicketStatus.COMPLETED,
    TicketStatus.FAILED,
    TicketStatus.SKIPPED,
    TicketStatus.CANCELLED,
)


def paid(order: str, amount: int) -> CloudEvent:
    return CloudEvent(
        id=str(uuid4()),
        source="/shop",
        type="com.example.paid",
        time=datetime.now(UTC),
        subject=order,
        data={"order": order, "amount": amount},
        extensions={},
    )


async def test_a_branch_whose_condition_is_false_is_skipped_with_what_depends_on_it(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(a={"rows": 3})
        await world.register()
        flow = await world.run(
            task("a"),
            task("many", "a", when="outputs.a.rows > 10"),
            task("after", "many"),
            task("few", "a", when="outputs.a.rows <= 10"),
            task("any", "few", "many", on_skipped="any"),
            task("none", "many", on_skipped="any"),
            task("run", "many", on_skipped="run"),
        )
        assert flow.outcome is Outcome.COMPLETED
        assert await statuses(world, flow.flow_id) == {
            "a": COMPLETED,
            "many": SKIPPED,
            "after": SKIPPED,
            "few": COMPLETED,
            "any": COMPLETED,
            "none": SKIPPED,
            "run": COMPLETED,
        }


async def test_a_condition_that_cannot_be_evaluated_is_the_failure_of_its_ticket(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(a={"rows": 3})
        await world.register()
        flow = await world.run(task("a"), task("b", "a", when="outputs.a.missing > 10"))
        ticket = (await world.tickets(flow.flow_id))["b"]
        assert (flow.outcome, ticket.status) == (Outcome.FAILED, FAILED)
        assert ticket.reason is not None
        assert ticket.reason.code == "condition_failed"


async def test_a_failure_that_is_allowed_counts_as_done(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(a=ValueError("no"))
        await world.register()
        flow = await world.run(
            task("a", allow_failure=True),
            task("fallback", "a", when="statuses.a == 'FAILED'", parameters={"before": out("a")}),
            task("normal", "a", when="statuses.a == 'COMPLETED'"),
            task("end", "fallback", "normal", on_skipped="any"),
        )
        found = await statuses(world, flow.flow_id)
        assert flow.outcome is Outcome.COMPLETED
        assert found == {"a": FAILED, "fallback": COMPLETED, "normal": SKIPPED, "end": COMPLETED}
        assert next(one for one in world.workers.assignments if one["task_id"] == "fallback")["parameters"] == {
            "before": None
        }


async def test_a_wait_ends_at_its_moment_without_a_worker(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(a={"pause": 0.05})
        await world.register()
        soon = (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()
        flow = await world.run(
            task("a"),
            task("span", "a", task_type="WAIT", wait={"seconds": out("a", "/pause")}),
            task("moment", task_type="WAIT", wait={"until": soon}),
            task("end", "span", "moment"),
        )
        tickets = await world.tickets(flow.flow_id)
        assert flow.outcome is Outcome.COMPLETED
        assert [one["task_id"] for one in world.workers.assignments] == ["a", "end"]
        assert tickets["span"].attempt == 0
        assert (tickets["span"].actual_duration_ms or 0) >= 50
        assert (tickets["moment"].completed_at or datetime.now(UTC)) >= datetime.fromisoformat(soon)


@pytest.mark.parametrize("rule", ["fail", "continue"])
async def test_an_approval_that_nobody_gives_ends_by_its_own_rule(tmp_path: Path, rule: str) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow = await world.run(
            task("ask", task_type="APPROVE", approval={"timeout_ms": 50, "on_timeout": rule}), task("end", "ask")
        )
        found = await statuses(world, flow.flow_id)
        assert found == ({"ask": FAILED, "end": CANCELLED} if rule == "fail" else {"ask": COMPLETED, "end": COMPLETED})


async def test_a_wait_can_stop_the_clock_of_the_sla(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow_id = await world.submit(
            decision(
                task("ask", task_type="APPROVE", approval={"timeout_ms": 3_600_000, "stops_clock": True}),
                task("end", "ask"),
                sla_deadline_seconds=600,
            )
        )
        await world.ticket(flow_id, lambda one: one.waiting is Waiting.APPROVAL, "waits")
        flow = await world.flow(flow_id)
        assert flow is not None
        assert timedelta(seconds=4_190) < flow.sla_deadline - flow.received_at < timedelta(seconds=4_210)
        end = (await world.tickets(flow_id))["end"]
        assert end.sla.deadline == flow.sla_deadline
        await world.cancel(flow_id)


@pytest.mark.parametrize("early", [True, False])
async def test_a_wait_ends_by_the_event_that_it_is_about(tmp_path: Path, *, early: bool) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(order={"id": "o-7"})
        await world.register()
        wanted = {
            "type": "com.example.paid",
            "correlation": {"at": "/order", "equals": out("order", "/id")},
            "filter": "event.data.amount >= 100",
        }
        plan = (
            task("order"),
            task("paid", "order", task_type="WAIT", wait={"event": wanted}),
            task("ship", "paid", parameters={"amount": out("paid", "/data/amount")}),
        )
        others = [paid("o-8", 500), paid("o-7", 5)]
        if early:
            for event in (*others, paid("o-7", 120)):
                await world.platform.take_event(event)
            flow_id = await world.submit(decision(*plan))
        else:
            flow_id = await world.submit(decision(*plan))
            await world.ticket(flow_id, lambda one: one.waiting is Waiting.EVENT, "waits")
            for event in (*others, paid("o-7", 120)):
                await world.platform.take_event(event)
        flow = await world.ended(flow_id)
        ship = next(one for one in world.workers.assignments if one["task_id"] == "ship")
        assert (flow.outcome, ship["parameters"]) == (Outcome.COMPLETED, {"amount": 120})


@pytest.mark.parametrize("rule", ["fail", "continue"])
async def test_an_event_that_never_comes_ends_its_wait_by_its_own_rule(tmp_path: Path, rule: str) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        wait = {"event": {"type": "com.example.never"}, "timeout_ms": 50, "on_timeout": rule}
        flow = await world.run(task("wait", task_type="WAIT", wait=wait), task("end", "wait"))
        found = await statuses(world, flow.flow_id)
        assert found == (
            {"wait": FAILED, "end": CANCELLED} if rule == "fail" else {"wait": COMPLETED, "end": COMPLETED}
        )


async def test_a_wait_that_was_never_entered_is_entered_by_its_next_wakeup(tmp_path: Path) -> None:
    async with running_world(tmp_path, limits={"reemit": timedelta(milliseconds=100)}) as world:
        await world.register()
        real = world.platform.after_commit
        world.platform.after_commit = [act for act in real if not isinstance(getattr(act, "__self__", None), EventsIn)]
        flow_id = await world.submit(
            decision(task("wait", task_type="WAIT", wait={"event": {"type": "com.example.paid"}}))
        )
        await world.ticket(flow_id, lambda one: one.waiting is Waiting.EVENT, "waits")
        world.platform.after_commit = real
        await world.platform.take_event(paid("o-1", 1))
        assert (await world.ended(flow_id)).outcome is Outcome.COMPLETED


async def test_a_correlation_that_cannot_be_filled_in_is_a_failure(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(order={})
        await world.register()
        wanted = {"type": "x", "correlation": {"at": "subject", "equals": out("order", "/id")}}
        flow = await world.run(task("order"), task("wait", "order", task_type="WAIT", wait={"event": wanted}))
        reason = (await world.tickets(flow.flow_id))["wait"].reason
        assert reason is not None
        assert (flow.outcome, reason.code) == (Outcome.FAILED, "unresolved_reference")


async def test_a_condition_is_evaluated_beside_the_event_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    threads, holds = set[int](), Condition.holds

    def noted(condition: Condition, variables: Mapping[str, Any]) -> bool:
        threads.add(threading.get_ident())
        return holds(condition, variables)

    monkeypatch.setattr(Condition, "holds", noted)
    async with running_world(tmp_path, threads=True) as world:
        world.workers.behave = saying(a={"rows": 3})
        await world.register()
        wanted = {"type": "com.example.paid", "filter": "event.data.amount >= 100"}
        flow_id = await world.submit(
            decision(
                task("a"),
                task("b", "a", when="outputs.a.rows > 2"),
                task("c", "b", task_type="WAIT", wait={"event": wanted}),
            )
        )
        await world.ticket(flow_id, lambda one: one.waiting is Waiting.EVENT, "waits")
        await world.platform.take_event(paid("o-1", 100))
        assert (await world.ended(flow_id)).outcome is Outcome.COMPLETED
    assert threads
    assert threading.get_ident() not in threads
