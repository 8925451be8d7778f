"""Plans with conditions, waits, repetitions and sub-flows, each through the real functions of one platform."""

import threading
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from functions._core.decision.expressions import Condition
from functions._core.errors import Rejected
from functions._core.events.commands import (
    PauseRequest,
    RedriveRequest,
    ResumeRequest,
    SkipRequest,
    TicketCancelRequest,
)
from functions._core.events.envelope import CloudEvent
from functions._core.machine.replay import StoredState, differences, fold
from functions._core.records.values import Outcome, TicketStatus, Waiting
from functions._engine.events_in import EventsIn
from tests.support.world import LocalWorld, decision, running_world, task

COMPLETED, FAILED, SKIPPED, CANCELLED = (
    TicketStatus.COMPLETED,
    TicketStatus.FAILED,
    TicketStatus.SKIPPED,
    TicketStatus.CANCELLED,
)


def out(task_id: str, path: str = "") -> dict[str, str]:
    return {"$output": task_id, "path": path}


def saying(**outputs: Any) -> Any:
    """Return workers that answer each task with its output; a function gets the parameters."""

    def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        name = assignment["task_id"].rpartition("/")[2].partition("[")[0]
        output = outputs.get(name)
        output = output(assignment["parameters"]) if callable(output) else output
        if isinstance(output, Exception):
            return {"status": "FAILED", "error": {"type": "broken", "message": str(output), "retryable": False}}
        return {"status": "COMPLETED", "output": output}

    return behave


async def statuses(world: LocalWorld, flow_id: str) -> dict[str, TicketStatus]:
    return {name: ticket.status for name, ticket in (await world.tickets(flow_id)).items()}


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


async def test_a_task_is_done_for_each_item_and_joined(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(
            list={"ids": list(range(25))},
            each=lambda given: {"twice": 2 * given["id"], "place": given["place"]},
            sum=lambda given: sum(one["twice"] for one in given["all"]),
        )
        await world.register(slots=50)
        flow = await world.run(
            task("list"),
            task(
                "each",
                "list",
                foreach={"items": out("list", "/ids"), "limit": 4},
                parameters={"id": {"$item": ""}, "place": {"$index": True}},
            ),
            task("sum", "each", parameters={"all": out("each"), "third": out("each", "/3/twice")}),
        )
        tickets = await world.tickets(flow.flow_id)
        assert flow.outcome is Outcome.COMPLETED
        assert flow.tickets_generated == len(tickets) == 28
        assert tickets["each"].output == [{"twice": 2 * n, "place": n} for n in range(25)]
        assert tickets["sum"].output == 600
        assert next(one for one in world.workers.assignments if one["task_id"] == "sum")["parameters"]["third"] == 6
        assert flow.tally == {"COMPLETED": 28}


async def test_no_more_items_are_at_work_than_the_limit_allows(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register(slots=50)
        world.workers.behave = lambda _assignment: None
        flow_id = await world.submit(decision(task("each", foreach={"items": list(range(300)), "limit": 7})))
        await world.ticket(flow_id, lambda one: one.children is not None and one.children.made == 300, "has all")
        held = Counter((await statuses(world, flow_id)).values())
        assert held[TicketStatus.ASSIGNED] + held[TicketStatus.RUNNING] <= 7
        assert len(world.workers.assignments) <= 7
        await world.cancel(flow_id)
        assert set((await statuses(world, flow_id)).values()) == {CANCELLED}


@pytest.mark.parametrize("items", [[], None])
async def test_an_empty_list_is_done_at_once(tmp_path: Path, items: object) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(list={"ids": items})
        await world.register()
        flow = await world.run(
            task("list"), task("each", "list", foreach={"items": out("list", "/ids")}), task("end", "each")
        )
        tickets = await world.tickets(flow.flow_id)
        assert (flow.outcome, tickets["each"].output, tickets["end"].status) == (Outcome.COMPLETED, [], COMPLETED)


@pytest.mark.parametrize("allowed", [1, 2])
async def test_so_many_items_may_fail_as_the_plan_says(tmp_path: Path, allowed: int) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(each=lambda given: ValueError("odd") if given["n"] in {1, 3} else given["n"])
        await world.register(slots=50)
        flow = await world.run(
            task(
                "each",
                foreach={"items": list(range(30)), "limit": 2, "max_failures": allowed},
                parameters={"n": {"$item": ""}},
            ),
            task("end", "each"),
        )
        tickets = await world.tickets(flow.flow_id)
        each = tickets["each"]
        if allowed == 2:
            assert (flow.outcome, each.status, tickets["end"].status) == (Outcome.COMPLETED, COMPLETED, COMPLETED)
            assert each.output[:5] == [0, None, 2, None, 4]
        else:
            assert (flow.outcome, each.status, tickets["end"].status) == (Outcome.FAILED, FAILED, CANCELLED)
            assert each.reason is not None
            assert (each.reason.code, "each[1]: odd" in each.reason.message) == ("child_failed", True)
            assert not [one for one in tickets.values() if one.live]


@pytest.mark.parametrize(
    ("items", "code"),
    [({"a": 1}, "not_a_list"), ("text", "not_a_list"), (list(range(4)), "too_many_items")],
)
async def test_what_is_no_list_or_too_long_fails(tmp_path: Path, items: object, code: str) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(list={"ids": items})
        await world.register()
        foreach = {"items": out("list", "/ids"), "max_items": 3}
        flow = await world.run(task("list"), task("each", "list", foreach=foreach))
        reason = (await world.tickets(flow.flow_id))["each"].reason
        assert reason is not None
        assert (flow.outcome, reason.code) == (Outcome.FAILED, code)


SUB = {
    "tasks": [
        task("fetch", parameters={"what": {"$input": "/url"}}),
        task("clean", "fetch", parameters={"raw": out("fetch")}),
    ],
    "result": {"rows": out("clean", "/rows")},
}


async def test_a_sub_flow_sees_its_input_and_gives_its_result(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(
            a={"url": "u1"}, fetch=lambda given: {"from": given["what"]}, clean=lambda given: {"rows": [given["raw"]]}
        )
        await world.register()
        flow = await world.run(
            task("a"),
            task("sub", "a", task_type="SUBFLOW", plan=SUB, parameters={"url": out("a", "/url")}),
            task("end", "sub", parameters={"rows": out("sub", "/rows")}),
        )
        tickets = await world.tickets(flow.flow_id)
        assert flow.outcome is Outcome.COMPLETED
        assert tickets["sub"].output == {"rows": [{"from": "u1"}]}
        assert set(tickets) == {"a", "sub", "sub/fetch", "sub/clean", "end"}
        assert flow.tickets_generated == 5


async def test_a_sub_flow_for_each_item(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(
            fetch=lambda given: {"from": given["what"]}, clean=lambda given: {"rows": given["raw"]["from"]}
        )
        await world.register(slots=50)
        flow = await world.run(
            task(
                "sub",
                task_type="SUBFLOW",
                plan=SUB,
                foreach={"items": ["x", "y", "z"], "limit": 2},
                parameters={"url": {"$item": ""}},
            )
        )
        tickets = await world.tickets(flow.flow_id)
        assert flow.outcome is Outcome.COMPLETED
        assert tickets["sub"].output == [{"rows": "x"}, {"rows": "y"}, {"rows": "z"}]
        assert "sub[2]/clean" in tickets
        assert len(tickets) == 1 + 3 * 3


async def test_a_sub_flow_that_fails_is_a_failed_task(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(fetch=ValueError("gone"))
        await world.register()
        flow = await world.run(
            task("sub", task_type="SUBFLOW", plan=SUB, parameters={"url": "u"}, allow_failure=True),
            task("end", "sub", when="statuses.sub == 'FAILED'"),
        )
        found = await statuses(world, flow.flow_id)
        assert flow.outcome is Outcome.COMPLETED
        assert found == {"sub": FAILED, "sub/fetch": FAILED, "sub/clean": CANCELLED, "end": COMPLETED}


async def test_a_redrive_does_the_items_again_that_came_to_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        broken = {3}
        world.workers.behave = saying(each=lambda given: ValueError("odd") if given["n"] in broken else given["n"])
        await world.register(slots=50)
        each = task("each", foreach={"items": list(range(12)), "limit": 2}, parameters={"n": {"$item": ""}})
        flow = await world.run(each, task("end", "each"))
        assert flow.outcome is Outcome.FAILED
        before = [one["task_id"] for one in world.workers.assignments]
        broken.clear()
        await world.platform.order(RedriveRequest(flow_id=flow.flow_id))
        flow = await world.reached(flow.flow_id, "COMPLETED")
        again = [one["task_id"] for one in world.workers.assignments][len(before) :]
        tickets = await world.tickets(flow.flow_id)
        assert tickets["each"].output == list(range(12))
        assert not {"each[0]", "each[1]"} & set(again)
        assert (flow.tolerated, flow.tickets_generated) == ({}, 14)
        assert flow.tally == {"COMPLETED": 14}


async def test_items_are_undone_one_by_one_and_done_again_by_a_redrive(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        broken = [True]
        world.workers.behave = saying(
            each=lambda given: given["n"], end=lambda _given: ValueError("late") if broken[0] else "ok"
        )
        await world.register(slots=50)
        flow = await world.run(
            task(
                "each",
                foreach={"items": [1, 2, 3]},
                parameters={"n": {"$item": ""}},
                compensation={"parameters": {"number": {"$item": ""}}},
            ),
            task("end", "each", retry={"max_retries": 0}),
        )
        assert flow.outcome is Outcome.FAILED
        undone = [one for one in world.workers.assignments if one["task_id"].startswith("compensate:")]
        assert sorted(one["parameters"]["number"] for one in undone) == [1, 2, 3]
        found = await statuses(world, flow.flow_id)
        assert {found[name] for name in ("each", "each[0]", "each[1]", "each[2]")} == {TicketStatus.COMPENSATED}
        history = await world.platform.ports.views.history(flow.flow_id, 0, 100)
        stored = map(StoredState.of, (await world.tickets(flow.flow_id)).values())
        assert differences(fold(history), flow, stored) == ()
        broken[0] = False
        await world.platform.order(RedriveRequest(flow_id=flow.flow_id))
        flow = await world.reached(flow.flow_id, "COMPLETED")
        assert flow.tally == {"COMPLETED": 5}


async def test_a_pause_holds_items_back_and_a_resume_lets_them_go_on(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register(slots=50)
        flow_id = await world.submit(
            decision(task("ask", task_type="APPROVE"), task("each", foreach={"items": list(range(20)), "limit": 3}))
        )
        await world.platform.order(PauseRequest(flow_id=flow_id))
        await world.platform.order(ResumeRequest(flow_id=flow_id))
        await world.ticket(flow_id, lambda one: one.task_id == "each" and one.status is COMPLETED, "is done")
        ask = await world.ticket(flow_id, lambda one: one.waiting is Waiting.APPROVAL, "waits")
        await world.platform.order(SkipRequest(flow_id=flow_id, ticket_id=ask.ticket_id, output={"approved": True}))
        assert (await world.ended(flow_id)).outcome is Outcome.COMPLETED


async def test_cancelling_a_task_with_children_cancels_these(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = lambda assignment: None if "each" in assignment["task_id"] else {"status": "COMPLETED"}
        await world.register(slots=50)
        each = task("each", foreach={"items": list(range(9)), "limit": 3})
        flow_id = await world.submit(decision(each, task("other"), task("end", "each")))
        await world.ticket(flow_id, lambda one: one.acknowledged_at is not None and one.index == 2, "is taken")
        tickets = await world.tickets(flow_id)
        with pytest.raises(Rejected, match="waits for its turn"):
            await world.platform.order(SkipRequest(flow_id=flow_id, ticket_id=tickets["each[7]"].ticket_id))
        with pytest.raises(Rejected, match="has children at work"):
            await world.platform.order(SkipRequest(flow_id=flow_id, ticket_id=tickets["each"].ticket_id))
        await world.platform.order(TicketCancelRequest(flow_id=flow_id, ticket_id=tickets["each"].ticket_id))
        flow = await world.ended(flow_id)
        found = await statuses(world, flow_id)
        assert flow.outcome is Outcome.CANCELLED
        assert {status for name, status in found.items() if name != "other"} == {CANCELLED}
        assert {one["task_id"] for one in world.workers.cancellations} == {"each[0]", "each[1]", "each[2]"}


async def test_outputs_that_are_too_large_together_stay_with_the_items(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(each=lambda given: {"text": "x" * 40_000, "n": given["n"]})
        await world.register(slots=50)
        flow = await world.run(
            task("each", foreach={"items": list(range(8))}, parameters={"n": {"$item": ""}}),
            task("end", "each", parameters={"fifth": out("each", "/4/n")}),
            task("all", "each", parameters={"all": out("each")}, allow_failure=True),
        )
        tickets = await world.tickets(flow.flow_id)
        end = next(one for one in world.workers.assignments if one["task_id"] == "end")
        assert (flow.outcome, end["parameters"]) == (Outcome.COMPLETED, {"fifth": 4})
        assert tickets["each"].output is None
        reason = tickets["all"].reason
        assert reason is not None
        assert "stand for more than" in reason.message


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


async def test_a_condition_on_outputs_that_stay_with_the_items_fails_instead_of_seeing_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = saying(each=lambda _given: "x" * 40_000)
        await world.register(slots=50)
        flow = await world.run(
            task("each", foreach={"items": list(range(8))}),
            task("end", "each", when="outputs.each == null"),
        )
        reason = (await world.tickets(flow.flow_id))["end"].reason
        assert reason is not None
        assert (flow.outcome, reason.code) == (Outcome.FAILED, "references_too_large")


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
