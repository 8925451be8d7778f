"""Plans with repetitions and sub-flows, each through the real functions of one platform."""

from collections import Counter
from pathlib import Path

import pytest

from functions._core.errors import Rejected
from functions._core.events.commands import (
    PauseRequest,
    RedriveRequest,
    ResumeRequest,
    SkipRequest,
    TicketCancelRequest,
)
from functions._core.machine.replay import StoredState, differences, fold
from functions._core.records.values import Outcome, TicketStatus, Waiting
from tests.support.steering import out, saying, statuses
from tests.support.world import decision, running_world, task

COMPLETED, FAILED, SKIPPED, CANCELLED = (
    TicketStatus.COMPLETED,
    TicketStatus.FAILED,
    TicketStatus.SKIPPED,
    TicketStatus.CANCELLED,
)


SUB = {
    "tasks": [
        task("fetch", parameters={"what": {"$input": "/url"}}),
        task("clean", "fetch", parameters={"raw": out("fetch")}),
    ],
    "result": {"rows": out("clean", "/rows")},
}


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
