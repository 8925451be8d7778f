"""What people order, carried out by a whole platform: the verbs' effects, and that the history tells all of them."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Rejected
from functions._core.events import commands
from functions._core.records.audits import ActionRecord, AuditKind
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Outcome, TicketStatus, Waiting
from tests.support.ordering import (
    DIAMOND,
    REVIEWED,
    SAID,
    assert_history_tells_all,
    breaks_at,
    done,
    finish,
    silent,
    taken,
    ticket_at,
)
from tests.support.world import LocalWorld, decision, running_world, task


async def carry_out(world: LocalWorld, order: commands.AnyCommand, order_id: str | None = None) -> Flow:
    """Carry out an order."""
    return (await world.platform.order(order, order_id=order_id)).flow


async def pause(world: LocalWorld, flow_id: str) -> Flow:
    """Pause a flow."""
    return await carry_out(world, commands.PauseRequest(flow_id=flow_id, **SAID))


async def resume(world: LocalWorld, flow_id: str) -> Flow:
    """Let a paused flow go on."""
    return await carry_out(world, commands.ResumeRequest(flow_id=flow_id, **SAID))


async def redrive(world: LocalWorld, flow_id: str, sla_seconds: float | None = None) -> Flow:
    """Redrive a flow."""
    return await carry_out(world, commands.RedriveRequest(flow_id=flow_id, sla_seconds=sla_seconds, **SAID))


class TestPauseAndResume:
    async def test_running_tickets_end_in_a_pause_and_nothing_is_assigned_until_it_is_resumed(
        self, tmp_path: Path
    ) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a"), task("b", "a")))
            first = await taken(world, "a")
            paused = await pause(world, flow_id)
            assert (paused.status, paused.deadline) == (FlowStatus.PAUSED, None)
            assert await finish(world, first) == "recorded"
            waits = await ticket_at(world, flow_id, "b", waiting=Waiting.RESUME)
            await asyncio.sleep(0.1)
            assert [a["task_id"] for a in world.workers.assignments] == ["a"]
            await world.platform.recheck(flow_id)
            resumed = await resume(world, flow_id)
            assert resumed.status is FlowStatus.EXECUTING
            stood = resumed.phase.entered_at - paused.phase.entered_at
            assert stood > timedelta(seconds=0.1)
            assert resumed.sla_deadline - paused.sla_deadline == stood
            ticket = (await world.tickets(flow_id))["b"]
            assert ticket.sla.deadline - waits.sla.deadline == stood
            await finish(world, await taken(world, "b"))
            flow = await world.ended(flow_id)
            assert flow.outcome is Outcome.COMPLETED
            await assert_history_tells_all(world, flow_id)

    async def test_a_deadline_that_was_given_as_a_moment_does_not_move(self, tmp_path: Path) -> None:
        limit = (datetime.now(UTC) + timedelta(hours=1)).replace(microsecond=0)
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a"), sla_deadline=limit.isoformat()))
            await taken(world, "a")
            assert (await pause(world, flow_id)).deadline == limit
            await asyncio.sleep(0.02)
            assert (await resume(world, flow_id)).sla_deadline == limit

    async def test_a_deadline_that_was_given_as_a_moment_ends_a_paused_flow(self, tmp_path: Path) -> None:
        limit = datetime.now(UTC) + timedelta(seconds=0.7)
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a"), sla_deadline=limit.isoformat()))
            await taken(world, "a")
            await pause(world, flow_id)
            flow = await world.ended(flow_id)
            assert (flow.outcome, flow.phases[-3].status) == (Outcome.TIMED_OUT, FlowStatus.PAUSED)
            await assert_history_tells_all(world, flow_id)

    async def test_a_pause_ends_by_itself(self, tmp_path: Path) -> None:
        async with running_world(tmp_path, limits={"pause": timedelta(seconds=0.3)}) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a"), task("b", "a")))
            await taken(world, "a")
            await pause(world, flow_id)
            await finish(world, await taken(world, "a"))
            await finish(world, await taken(world, "b"))
            assert (await world.ended(flow_id)).outcome is Outcome.COMPLETED
            assert ("flow.resumed", None) in await world.transitions(flow_id)

    async def test_a_flow_whose_last_ticket_ended_in_the_pause_ends_when_it_is_resumed(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a")))
            first = await taken(world, "a")
            await pause(world, flow_id)
            await finish(world, first)
            assert (await resume(world, flow_id)).outcome is Outcome.COMPLETED
            await world.ended(flow_id)

    async def test_a_long_pause_does_not_use_up_the_time_of_the_flow(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a"), sla_deadline_seconds=1))
            await taken(world, "a")
            await pause(world, flow_id)
            await asyncio.sleep(1.1)
            resumed = await resume(world, flow_id)
            assert resumed.next_wakeup_at is not None
            assert resumed.next_wakeup_at - resumed.phase.entered_at > timedelta(seconds=0.4)
            assert resumed.announced == "on_track"

    async def test_only_a_flow_that_works_can_be_paused_and_only_one_that_has_not_ended_resumed(
        self, tmp_path: Path
    ) -> None:
        async with running_world(tmp_path) as world:
            await world.register()
            flow = await world.run(task("a"))
            for order in (commands.PauseRequest(flow_id=flow.flow_id), commands.ResumeRequest(flow_id=flow.flow_id)):
                with pytest.raises(Rejected, match="is COMPLETED") as refused:
                    await carry_out(world, order)
                assert refused.value.status == 409


class TestApproval:
    async def test_an_approved_flow_begins_and_has_the_time_that_it_waited(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            await world.register()
            flow_id = await world.submit(decision(task("a"), **REVIEWED))
            waits = await world.reached(flow_id, "AWAITING_APPROVAL")
            await asyncio.sleep(0.05)
            approved = await carry_out(world, commands.ApprovalGrant(flow_id=flow_id, **SAID))
            assert approved.sla_deadline - waits.sla_deadline == approved.phase.entered_at - waits.phase.entered_at
            flow = await world.ended(flow_id)
            assert (flow.outcome, flow.reasons) == (Outcome.COMPLETED, ())
            line = next(e for e in await world.ports.views.history(flow_id, 0, 50) if e.type == "plan.validated")
            assert (line.detail["requested_by"], line.detail["reason"]) == ("ada", "because")
            await assert_history_tells_all(world, flow_id)

    async def test_a_denied_flow_is_rejected_with_the_reason(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            flow_id = await world.submit(decision(task("a"), **REVIEWED))
            await world.reached(flow_id, "AWAITING_APPROVAL")
            await carry_out(world, commands.ApprovalDenial(flow_id=flow_id, **SAID))
            flow = await world.ended(flow_id)
            assert flow.outcome is Outcome.REJECTED
            assert [(r.code, r.message) for r in flow.reasons] == [("approval_denied", "denied by ada: because")]
            with pytest.raises(Rejected, match="does not wait for approval"):
                await carry_out(world, commands.ApprovalGrant(flow_id=flow_id))
            assert (await carry_out(world, commands.ApprovalDenial(flow_id=flow_id))).version == flow.version
            await assert_history_tells_all(world, flow_id)

    async def test_a_decision_that_nobody_waits_for_any_more_is_refused_unless_it_is_so_already(
        self, tmp_path: Path
    ) -> None:
        async with running_world(tmp_path) as world:
            await world.register()
            approved, cancelled = [await world.submit(decision(task("a"), **REVIEWED)) for _ in range(2)]
            await world.reached(approved, "AWAITING_APPROVAL")
            await world.reached(cancelled, "AWAITING_APPROVAL")
            await carry_out(world, commands.ApprovalGrant(flow_id=approved))
            await world.cancel(cancelled)
            flow = await world.ended(approved)
            assert await carry_out(world, commands.ApprovalGrant(flow_id=approved)) == flow
            refused: tuple[commands.AnyCommand, ...] = (
                commands.ApprovalDenial(flow_id=approved),
                commands.ApprovalGrant(flow_id=cancelled),
            )
            for order in refused:
                with pytest.raises(Rejected, match="does not wait for approval"):
                    await carry_out(world, order)

    async def test_what_nobody_approves_in_time_is_rejected(self, tmp_path: Path) -> None:
        async with running_world(tmp_path, limits={"approval": timedelta(seconds=0.1)}) as world:
            flow = await world.run(task("a"), **REVIEWED)
            assert flow.outcome is Outcome.REJECTED
            assert [reason.code for reason in flow.reasons] == ["approval_expired"]
            await assert_history_tells_all(world, flow.flow_id)


class TestRedrive:
    async def test_only_what_failed_is_done_again(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = breaks_at("b")
            await world.register()
            failed = await world.run(*DIAMOND)
            assert failed.outcome is Outcome.FAILED
            old = next(a for a in world.workers.assignments if a["task_id"] == "b")
            world.workers.behave = done
            world.workers.assignments.clear()
            redriven = await redrive(world, failed.flow_id)
            assert (redriven.outcome, redriven.reasons, redriven.tally) == (None, (), {})
            flow = await world.ended(failed.flow_id)
            assert (flow.outcome, flow.redrives) == (Outcome.COMPLETED, 1)
            assert [a["task_id"] for a in world.workers.assignments] == ["b", "d"]
            assert await finish(world, old, "FAILED") == "superseded"
            tickets = await world.tickets(flow.flow_id)
            assert {name: ticket.attempt for name, ticket in tickets.items()} == {"a": 1, "b": 2, "c": 1, "d": 1}
            given = failed.sla_deadline - failed.received_at
            assert redriven.sla_deadline == redriven.phase.entered_at + given
            await assert_history_tells_all(world, flow.flow_id)

    async def test_a_flow_that_ran_out_of_time_gets_the_time_that_the_order_says(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            late = await world.run(*DIAMOND, sla_deadline_seconds=0.3)
            assert late.outcome is Outcome.TIMED_OUT
            world.workers.behave = done
            redriven = await redrive(world, late.flow_id, 60)
            assert redriven.sla_deadline - redriven.phase.entered_at == timedelta(seconds=60)
            assert (await world.ended(late.flow_id)).outcome is Outcome.COMPLETED
            await assert_history_tells_all(world, late.flow_id)

    async def test_work_that_was_undone_is_done_again_and_undone_again_when_that_fails(self, tmp_path: Path) -> None:
        undoable = task("a", compensation={"parameters": {"action": "undo"}})
        async with running_world(tmp_path) as world:
            world.workers.behave = breaks_at("b")
            await world.register()
            flow = await world.run(undoable, task("b", "a"))
            for redrives in (1, 2):
                assert {n: t.status.value for n, t in (await world.tickets(flow.flow_id)).items()} == {
                    "a": "COMPENSATED",
                    "b": "FAILED",
                    "compensate:a": "COMPLETED",
                }
                await assert_history_tells_all(world, flow.flow_id)
                await redrive(world, flow.flow_id)
                flow = await world.ended(flow.flow_id)
                assert (flow.outcome, flow.redrives) == (Outcome.FAILED, redrives)
            world.workers.behave = done
            await redrive(world, flow.flow_id)
            flow = await world.ended(flow.flow_id)
            assert flow.outcome is Outcome.COMPLETED
            assert flow.tally == {"COMPLETED": 2}
            # Each run is outside work of its own: a job of a run before is never taken for that of this one.
            keys = [one["idempotency_key"] for one in world.workers.assignments if one["task_id"] == "a"]
            ticket_id = (await world.tickets(flow.flow_id))["a"].ticket_id
            assert keys == [f"{ticket_id}-0", *(f"{ticket_id}-0-{run}" for run in (1, 2, 3))]
            await assert_history_tells_all(world, flow.flow_id)

    async def test_a_flow_with_nothing_left_to_do_completes(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a")))
            first = await taken(world, "a")
            await pause(world, flow_id)
            await finish(world, first)
            await world.cancel(flow_id)
            assert (await world.ended(flow_id)).outcome is Outcome.CANCELLED
            await redrive(world, flow_id)
            assert (await world.ended(flow_id)).outcome is Outcome.COMPLETED
            await assert_history_tells_all(world, flow_id)

    async def test_a_flow_without_tickets_begins_at_its_validation_with_a_new_deadline(self, tmp_path: Path) -> None:
        limit = (datetime.now(UTC) + timedelta(seconds=0.5)).isoformat()
        async with running_world(tmp_path) as world:
            await world.register()
            late = await world.run(task("a"), sla_deadline=limit, **REVIEWED)
            assert late.outcome is Outcome.TIMED_OUT
            redriven = await redrive(world, late.flow_id, 60)
            waits = await world.reached(late.flow_id, "AWAITING_APPROVAL")
            assert (waits.sla_deadline, waits.sla_limit) == (redriven.sla_deadline, None)
            await carry_out(world, commands.ApprovalGrant(flow_id=late.flow_id, **SAID))
            assert (await world.ended(late.flow_id)).outcome is Outcome.COMPLETED
            await assert_history_tells_all(world, late.flow_id)

    async def test_what_succeeded_was_refused_or_still_runs_is_not_redriven(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            await world.register()
            good, bad = await world.run(task("a")), await world.run(task("a", "a"))
            world.workers.behave = silent
            running = await world.submit(decision(task("a")))
            await world.reached(running, "EXECUTING")
            for flow_id, status in (
                (good.flow_id, "COMPLETED"),
                (bad.flow_id, "REJECTED"),
                (running, "EXECUTING"),
            ):
                with pytest.raises(Rejected, match=f"is {status}; only flows that ended as CANCELLED, FAILED"):
                    await redrive(world, flow_id)


class TestTickets:
    async def test_retry_now_cuts_a_backoff_short(self, tmp_path: Path) -> None:
        def fails_once(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
            return {"status": "FAILED" if assignment["attempt"] == 1 else "COMPLETED"}

        async with running_world(tmp_path) as world:
            world.workers.behave = fails_once
            await world.register()
            flow_id = await world.submit(decision(task("a", retry={"initial_ms": 60_000, "max_retries": 1})))
            ticket = await ticket_at(world, flow_id, "a", waiting=Waiting.RETRY)
            flow = await carry_out(world, commands.RetryRequest(flow_id=flow_id, ticket_id=ticket.ticket_id, **SAID))
            flow = await world.ended(flow_id)
            assert flow.outcome is Outcome.COMPLETED
            assert flow.ended_at is not None
            assert flow.ended_at - flow.received_at < timedelta(seconds=10)
            await assert_history_tells_all(world, flow_id)
            with pytest.raises(Rejected, match="is COMPLETED: it is done"):
                await carry_out(world, commands.RetryRequest(flow_id=flow_id, ticket_id=ticket.ticket_id))

    async def test_reassign_gives_a_hung_ticket_to_another_worker(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register("w1")
            flow_id = await world.submit(decision(task("a")))
            hung = await taken(world, "a")
            await world.register("w2")
            world.workers.behave = done
            order = commands.ReassignRequest(flow_id=flow_id, ticket_id=hung["ticket_id"], **SAID)
            await carry_out(world, order)
            flow = await world.ended(flow_id)
            ticket = (await world.tickets(flow_id))["a"]
            assert (flow.outcome, ticket.worker_id, ticket.attempt) == (Outcome.COMPLETED, "w2", 2)
            assert [c["ticket_id"] for c in world.workers.cancellations] == [ticket.ticket_id]
            assert await finish(world, hung, "FAILED") == "superseded"
            line = next(e for e in await world.ports.views.history(flow_id, 0, 50) if e.type == "ticket.reassigned")
            assert line.detail["reason"]["message"] == "taken from worker w1 by ada: because"
            await assert_history_tells_all(world, flow_id)

    async def test_a_task_that_must_not_be_done_twice_is_not_reassigned(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a", idempotent=False)))
            hung = await taken(world, "a")
            with pytest.raises(Rejected, match="not idempotent and worker w1 has it"):
                await carry_out(world, commands.ReassignRequest(flow_id=flow_id, ticket_id=hung["ticket_id"]))

    async def test_what_depends_on_a_skipped_ticket_gets_the_given_output(self, tmp_path: Path) -> None:
        reader = task("b", "a", parameters={"from": {"$output": "a", "path": "/file"}})
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(task("a"), reader))
            held = await taken(world, "a")
            skip = commands.SkipRequest(flow_id=flow_id, ticket_id=held["ticket_id"], output={"file": "x.txt"}, **SAID)
            await carry_out(world, skip)
            reads = await taken(world, "b")
            assert reads["parameters"] == {"from": "x.txt"}
            assert await finish(world, held, "FAILED") == "superseded"
            await finish(world, reads)
            assert (await world.ended(flow_id)).outcome is Outcome.COMPLETED
            ticket = (await world.tickets(flow_id))["a"]
            assert (ticket.status, ticket.skipped, ticket.output) == (TicketStatus.COMPLETED, True, {"file": "x.txt"})
            await assert_history_tells_all(world, flow_id)

    async def test_a_ticket_that_waits_for_others_is_neither_skipped_nor_retried(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            flow_id = await world.submit(decision(*DIAMOND))
            await taken(world, "a")
            last = (await world.tickets(flow_id))["d"].ticket_id
            for kind in (commands.SkipRequest, commands.RetryRequest):
                with pytest.raises(Rejected, match="waits for 2 of its dependencies"):
                    await carry_out(world, kind(flow_id=flow_id, ticket_id=last))

    async def test_a_ticket_of_another_flow_is_not_touched(self, tmp_path: Path) -> None:
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register()
            one, other = [await world.submit(decision(task("a"))) for _ in range(2)]
            ticket = await ticket_at(world, other, "a", status=TicketStatus.ASSIGNED)
            with pytest.raises(Rejected, match="has no ticket") as refused:
                await carry_out(world, commands.SkipRequest(flow_id=one, ticket_id=ticket.ticket_id))
            assert refused.value.status == 404

    async def test_skips_and_reports_at_the_same_time_end_each_ticket_once(self, tmp_path: Path) -> None:
        tasks = [task(f"t{number}") for number in range(20)]
        join = task("join", *(one["task_id"] for one in tasks))
        async with running_world(tmp_path) as world:
            world.workers.behave = silent
            await world.register(slots=30)
            flow_id = await world.submit(decision(*tasks, join))
            held = [await taken(world, one["task_id"]) for one in tasks]

            async def skipped(ticket_id: str) -> object:
                return await carry_out(world, commands.SkipRequest(flow_id=flow_id, ticket_id=ticket_id, **SAID))

            doing: list[Any] = []
            for number, assignment in enumerate(held):
                both = [finish(world, assignment), skipped(assignment["ticket_id"])]
                doing += both if number % 2 else reversed(both)
            came = await asyncio.gather(*doing, return_exceptions=True)
            assert all(isinstance(one, str | Flow | Rejected) for one in came), came
            await finish(world, await taken(world, "join"))
            assert (await world.ended(flow_id)).outcome is Outcome.COMPLETED
            ends = [task_id for kind, task_id in await world.transitions(flow_id) if kind == "ticket.completed"]
            assert sorted(filter(None, ends)) == sorted([*(one["task_id"] for one in tasks), "join"])
            assert any(ticket.skipped for ticket in (await world.tickets(flow_id)).values())
            await assert_history_tells_all(world, flow_id)


async def test_an_order_that_comes_twice_counts_once_and_is_kept_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        world.workers.behave = silent
        await world.register()
        flow_id = await world.submit(decision(task("a")))
        await taken(world, "a")
        order = commands.PauseRequest(flow_id=flow_id, **SAID)
        await carry_out(world, order, "o-1")
        resumed = await resume(world, flow_id)
        assert (await carry_out(world, order, "o-1")).version == resumed.version
        kept = await world.ports.views.audits(flow_id, 10, kind=AuditKind.ACTION)
        said = [(a.action, a.who, a.why) for a in kept if isinstance(a, ActionRecord)]
        assert said == [("resume_flow", "ada", "because"), ("pause_flow", "ada", "because")]


async def test_the_history_tells_all_of_retries_failures_and_cancellations(tmp_path: Path) -> None:
    def fails_twice(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"status": "FAILED" if assignment["attempt"] <= 2 else "COMPLETED"}

    quick = {"retry": {"initial_ms": 1, "max_retries": 2}}
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = fails_twice
        retried = await world.run(task("a", **quick), task("b", "a", **quick))
        assert retried.outcome is Outcome.COMPLETED
        world.workers.behave = breaks_at("b")
        failed = await world.run(*DIAMOND)
        world.workers.behave = silent
        cancelled = await world.submit(decision(*DIAMOND))
        await world.reached(cancelled, "EXECUTING")
        await assert_history_tells_all(world, cancelled)
        await world.cancel(cancelled)
        await world.ended(cancelled)
        refused = await world.run(task("a", "a"))
        for flow_id in (retried.flow_id, failed.flow_id, cancelled, refused.flow_id):
            await assert_history_tells_all(world, flow_id)
