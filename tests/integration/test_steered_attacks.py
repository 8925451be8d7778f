"""Plans with repetitions, sub-flows and branches where something comes at the wrong moment."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.sql.sqlite import SqliteStore
from functions._adapters.sql.sqlite.flows import SqliteFlows
from functions._core.events.commands import RedriveRequest, RetryRequest
from functions._core.machine import steering
from functions._core.machine.step_builder import StepBuilder
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import Outcome, TicketStatus
from tests.support.steering import saying
from tests.support.world import decision, report_event, running_world, task

COMPLETED, FAILED, CANCELLED = TicketStatus.COMPLETED, TicketStatus.FAILED, TicketStatus.CANCELLED
BROKEN = {"status": "FAILED", "error": {"type": "broken", "message": "no", "retryable": False}}


@pytest.mark.parametrize("limit", [2, 3])
async def test_items_that_are_done_already_do_not_stop_those_that_are_done_again(tmp_path: Path, limit: int) -> None:
    async with running_world(tmp_path) as world:
        broken = [True]

        def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any] | None:
            name = assignment["task_id"]
            if broken[0] and name == "each[0]":
                return BROKEN
            return None if broken[0] and name == "each[2]" else {"status": "COMPLETED", "output": name}

        world.workers.behave = behave
        await world.register(slots=50)
        each = task("each", foreach={"items": list(range(7)), "limit": limit, "max_failures": 1})
        flow_id = await world.submit(decision(each))
        await world.ticket(flow_id, lambda one: one.index == 6 and one.status is COMPLETED, "is done")
        third = next(one for one in world.workers.assignments if one["task_id"] == "each[2]")
        await world.platform.report(report_event(third, **BROKEN))
        assert (await world.ended(flow_id)).outcome is Outcome.FAILED
        broken[0] = False
        await world.platform.order(RedriveRequest(flow_id=flow_id))
        flow = await world.reached(flow_id, "COMPLETED")
        assert (flow.tally, flow.tolerated) == ({"COMPLETED": 8}, {})


async def test_a_retry_of_a_task_with_children_does_these_again_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        broken = [True]

        def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any] | None:
            name = assignment["task_id"]
            if name == "other":
                return None
            return BROKEN if broken[0] and name.startswith("each") else {"status": "COMPLETED"}

        world.workers.behave = behave
        await world.register(slots=50)
        each = task("each", foreach={"items": list(range(5)), "limit": 2})
        flow_id = await world.submit(decision(each, task("end", "each"), task("other")))
        parent = await world.ticket(flow_id, lambda one: one.task_id == "each" and one.status is FAILED, "failed")
        broken[0] = False
        begun = len(world.workers.assignments)
        await world.platform.order(RetryRequest(flow_id=flow_id, ticket_id=parent.ticket_id, force=True))
        await world.ticket(flow_id, lambda one: one.task_id == "end" and one.status is COMPLETED, "is done")
        again = [one["task_id"] for one in world.workers.assignments[begun:]]
        assert sorted(again) == [*(f"each[{n}]" for n in range(5)), "end"]
        other = next(one for one in world.workers.assignments if one["task_id"] == "other")
        await world.platform.report(report_event(other, status="COMPLETED"))
        flow = await world.ended(flow_id)
        assert (flow.outcome, flow.tolerated) == (Outcome.COMPLETED, {})


async def test_a_task_after_a_skipped_one_is_retried_with_the_other_that_failed(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        broken = [True]

        def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any] | None:
            name = assignment["task_id"]
            if name == "other":
                return None
            return BROKEN if broken[0] and name == "bad" else {"status": "COMPLETED"}

        world.workers.behave = behave
        await world.register(slots=50)
        flow_id = await world.submit(
            decision(task("no", when="false"), task("bad"), task("end", "no", "bad", on_skipped="any"), task("other"))
        )
        await world.ticket(flow_id, lambda one: one.task_id == "end" and one.status is CANCELLED, "is cancelled")
        bad = (await world.tickets(flow_id))["bad"]
        broken[0] = False
        await world.platform.order(RetryRequest(flow_id=flow_id, ticket_id=bad.ticket_id, force=True))
        await world.ticket(flow_id, lambda one: one.task_id == "end" and one.status is COMPLETED, "is done")
        other = next(one for one in world.workers.assignments if one["task_id"] == "other")
        await world.platform.report(report_event(other, status="COMPLETED"))
        flow = await world.ended(flow_id)
        assert flow.outcome is Outcome.COMPLETED


async def test_work_of_items_is_undone_before_the_work_that_it_was_built_on(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = lambda one: BROKEN if one["task_id"] == "bad" else {"status": "COMPLETED"}
        await world.register(slots=50)
        undo: dict[str, Any] = {"compensation": {}}
        flow = await world.run(
            task("before", **undo),
            task("each", "before", foreach={"items": [1, 2, 3]}, **undo),
            task("sub", "each", task_type="SUBFLOW", plan={"tasks": [task("a", **undo), task("b", "a", **undo)]}),
            task("after", "sub", **undo),
            task("bad", "after"),
        )
        assert flow.outcome is Outcome.FAILED
        names = [one["task_id"].removeprefix("compensate:") for one in world.workers.assignments]
        undone = names[names.index("bad") + 1 :]
        assert undone[:3] == ["after", "sub/b", "sub/a"]
        assert sorted(undone[3:6]) == ["each[0]", "each[1]", "each[2]"]
        assert undone[6:] == ["before"]


@pytest.mark.parametrize("within", [False, True])
async def test_a_short_plan_cannot_copy_a_long_text_for_each_item(tmp_path: Path, within: bool) -> None:
    long = {"parameters": {"text": "x" * 70_000}}
    form = {"task_type": "SUBFLOW", "plan": {"tasks": [task("a", **long)]}} if within else long
    async with running_world(tmp_path) as world:
        await world.register(slots=50)
        flow = await world.run(task("each", foreach={"items": list(range(1_000))}, **form))
        (ticket,) = (await world.tickets(flow.flow_id)).values()
        assert ticket.reason is not None
        assert (flow.outcome, ticket.reason.code) == (Outcome.FAILED, "items_too_large")


async def test_lists_in_sub_flows_of_lists_end_at_the_tickets_of_a_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steering, "MAX_TICKETS", 60)
    async with running_world(tmp_path) as world:
        await world.register(slots=50)
        inner = task("inner", foreach={"items": list(range(20))})
        each = task(
            "each", task_type="SUBFLOW", foreach={"items": list(range(20)), "limit": 5}, plan={"tasks": [inner]}
        )
        flow = await world.run(each)
        tickets = await world.tickets(flow.flow_id)
        codes = {one.reason.code for one in tickets.values() if one.reason is not None}
        assert (flow.outcome, flow.tickets_generated) == (Outcome.FAILED, len(tickets))
        assert "too_many_tickets" in codes
        assert len(tickets) <= 60


@pytest.mark.parametrize("size", [2_000])
async def test_a_long_list_takes_little_more_for_each_item_than_a_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    events, changed, read = list[int](), Counter[int](), Counter[int]()
    step, found = StepBuilder.step, SqliteFlows.tickets
    items = size

    def measured(builder: StepBuilder) -> ChangeSet:
        made = step(builder)
        events.extend(
            len(json.dumps(event.data)) + len(str(event.extensions)) for event in (*made.events, *made.telemetry)
        )
        changed[items] += len(made.tickets)
        assert len(made.tickets) <= 500
        return made

    async def counted(store: SqliteFlows, ids: Any, flow_id: str | None = None) -> Any:
        read[items] += len(ids)
        return await found(store, ids, flow_id)

    monkeypatch.setattr(StepBuilder, "step", measured)
    monkeypatch.setattr(SqliteFlows, "tickets", counted)
    store = SqliteStore.open(tmp_path / "data")
    async with running_world(tmp_path, store.stores) as world:
        await world.register(slots=200)
        for items in (size // 10, size):
            source = [{"number": number, "text": "x" * 80} for number in range(items)]
            world.workers.behave = saying(list=source, each=lambda given: {"n": given["n"]["number"]})
            each = task("each", "list", foreach={"items": {"$output": "list"}, "limit": 50})
            each["parameters"] = {"n": {"$item": ""}}
            flow = await world.run(task("list"), each, decision_id=f"of {items}")
            tickets = await world.tickets(flow.flow_id)
            assert (flow.outcome, flow.tally) == (Outcome.COMPLETED, {"COMPLETED": items + 2})
            assert tickets["each"].output == [{"n": number} for number in range(items)]
    await store.close()
    for count in (changed, read):
        assert count[size] / size <= 1.3 * count[size // 10] / (size // 10)
    assert max(events) < 64 * 1024
