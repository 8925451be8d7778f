"""Plans with repetitions, sub-flows and branches where something comes at the wrong moment."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.events.commands import RedriveRequest, RetryRequest
from functions._core.records.values import Outcome, TicketStatus
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
