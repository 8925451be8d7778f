"""Whole flows through the real platform over the memory adapters: what users see in the end, and why."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.memory.registry import MemoryRegistry
from functions._adapters.memory.state import State
from functions._adapters.memory.store import MemoryStore
from functions._core.decision.admission import admit
from functions._core.errors import Rejected, Unavailable
from functions._core.events.commands import ApprovalGrant
from functions._core.events.envelope import CloudEvent
from functions._core.placement.workers import Heartbeat
from functions._core.records.audits import AuditRecord
from functions._core.records.models import Flow, Phase
from functions._core.records.values import FlowStatus, TicketStatus, Waiting, flow_id_of, ticket_id_of
from functions._core.records.worker import Answer, Worker
from tests.support.world import LocalWorld, decision, decision_event, report_event, running_world, task, until

DIAMOND = (task("a"), task("b", "a"), task("c", "a"), task("d", "b", "c"))


def codes(flow: Flow) -> list[str]:
    """Return the codes of a flow's reasons."""
    return [reason.code for reason in flow.reasons]


async def test_a_diamond_completes_with_each_ticket_done_once_and_in_order(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow = await world.run(*DIAMOND)
        history = await world.transitions(flow.flow_id)
    assert flow.status is FlowStatus.COMPLETED
    assert flow.tally == {"COMPLETED": 4}
    done = [task_id for kind, task_id in history if kind == "ticket.completed"]
    assert sorted(filter(None, done)) == ["a", "b", "c", "d"]
    for before, after in (("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")):
        assert history.index(("ticket.completed", before)) < history.index(("ticket.assigned", after))


async def test_telemetry_has_one_event_for_each_step_and_one_frame_with_full_correlation(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow = await world.run(*DIAMOND)
        events = world.sink.events
    assert [event.event_type for event in events] == ["flow.step.completed"] * 6 + ["telemetry.frame"]
    assert [event.data["step"] for event in events[:6]] == ["C1", "C2", "C3", "C4", "C5", "C6"]
    assert all(event.data["status"] == "completed" for event in events[:6])
    for event in events:
        correlation = {name: event.data[name] for name in ("flow_id", "plan_id", "intent_id", "decision_id")}
        assert correlation == {
            "flow_id": flow.flow_id,
            "plan_id": flow.plan_id,
            "intent_id": "intent-1",
            "decision_id": flow.decision_id,
        }
        assert event.data["trace_id"] == flow.trace_id
    named = [len(event.data["ticket_ids"]) for event in events]
    assert named == [0, 4, 4, 4, 4, 4, 4]
    assert all(event.data["metadata"] for event in events[:6])
    assert (events[-1].data["retries"], events[-1].data["sla_violations"]) == (0, 0)
    assert events[-1].data["tickets_by_status"] == {"COMPLETED": 4}


async def test_a_failed_task_is_tried_again_and_the_flow_completes(tmp_path: Path) -> None:
    def fails_once(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        if assignment["task_id"] == "b" and assignment["attempt"] == 1:
            return {"status": "FAILED", "error": {"type": "flaky", "message": "try again"}}
        return {"status": "COMPLETED"}

    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = fails_once
        flow = await world.run(*DIAMOND)
        ticket = (await world.tickets(flow.flow_id))["b"]
    assert flow.status is FlowStatus.COMPLETED
    assert (ticket.attempt, ticket.retry_count) == (2, 1)
    assert ticket.error_message is None


async def test_a_final_failure_cancels_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    def refuses_b(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        if assignment["task_id"] == "b":
            return {"status": "FAILED", "error": {"type": "bad_input", "message": "no such file", "retryable": False}}
        return {"status": "COMPLETED"}

    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = refuses_b
        flow = await world.run(*DIAMOND, task("e", "d"))
        tickets = await world.tickets(flow.flow_id)
    assert flow.status is FlowStatus.FAILED
    assert codes(flow) == ["ticket_failed"]
    assert {name: t.status.value for name, t in tickets.items()} == {
        "a": "COMPLETED",
        "b": "FAILED",
        "c": "COMPLETED",
        "d": "CANCELLED",
        "e": "CANCELLED",
    }
    assert tickets["d"].reason is not None
    assert tickets["d"].reason.where == "b"
    assert "no such file" in tickets["d"].reason.message
    assert flow.tally == {"COMPLETED": 2, "FAILED": 1, "CANCELLED": 2}


async def test_a_flow_past_its_deadline_ends_timed_out_and_tells_its_workers(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = lambda _assignment: None
        flow = await world.run(*DIAMOND, sla_deadline_seconds=0.2)
        tickets = await world.tickets(flow.flow_id)
        history = await world.transitions(flow.flow_id)
        await until(lambda: _first(world.workers.cancellations), "the notice to the worker")
    assert flow.status is FlowStatus.TIMED_OUT
    assert codes(flow) == ["sla_timeout"]
    assert {t.status for t in tickets.values()} == {TicketStatus.CANCELLED}
    assert history.count(("sla.violated", None)) == 1
    assert flow.tally == {"CANCELLED": 4}


async def test_cancel_stops_what_is_live_and_a_late_report_changes_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = lambda _assignment: None
        flow_id = await world.submit(decision(*DIAMOND))
        assignment = await until(lambda: _first(world.workers.assignments), "the first assignment")
        await world.cancel(flow_id, "ada", "changed my mind")
        flow = await world.ended(flow_id)
        late = await world.platform.report(report_event(assignment, status="COMPLETED"))
        tickets = await world.tickets(flow_id)
    assert flow.status is FlowStatus.CANCELLED
    assert "ada: changed my mind" in flow.reasons[0].message
    assert (late.result, late.cancel) == ("superseded", (assignment["ticket_id"],))
    assert {t.status for t in tickets.values()} == {TicketStatus.CANCELLED}


async def test_cancelling_an_ended_flow_changes_nothing(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow = await world.run(task("a"))
        again = await world.cancel(flow.flow_id, "ada", "too late")
    assert again == flow


async def test_tickets_wait_for_a_worker_and_go_on_when_one_registers(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register("other", "terraform")
        flow_id = await world.submit(decision(task("a")))
        ticket = await world.ticket(flow_id, lambda one: one.waiting is Waiting.WORKER, "waits for a worker")
        await world.register("w1")
        flow = await world.ended(flow_id)
    assert [(r.worker_id, r.reason) for r in ticket.refusals] == [("other", "does not offer python")]
    assert flow.status is FlowStatus.COMPLETED


async def test_a_ticket_that_no_worker_ever_offers_to_do_fails_with_no_worker(tmp_path: Path) -> None:
    async with running_world(tmp_path, no_worker_seconds=0.1) as world:
        flow = await world.run(task("a"), task("b", "a"))
        tickets = await world.tickets(flow.flow_id)
    assert flow.status is FlowStatus.FAILED
    assert tickets["a"].reason is not None
    assert tickets["a"].reason.code == "no_worker"
    assert "python" in tickets["a"].reason.message
    assert tickets["b"].status is TicketStatus.CANCELLED


async def test_more_tickets_than_slots_are_all_done_never_more_at_once_than_slots(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register(slots=2)
        most = 0

        async def watch() -> None:
            nonlocal most
            while True:
                most = max(most, (await world.ports.ticket_counts.active()).get("w1", 0))
                await asyncio.sleep(0)

        watcher = asyncio.create_task(watch())
        flow = await world.run(*(task(f"t{n}") for n in range(40)))
        watcher.cancel()
    assert flow.status is FlowStatus.COMPLETED
    assert most == 2


async def test_a_busy_worker_is_passed_over_for_the_next_candidate(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register("w1")
        await world.register("w2")
        world.workers.answer = lambda worker, _event: Answer(429 if worker.worker_id == "w1" else 202, "full")
        flow = await world.run(*(task(f"t{n}") for n in range(6)))
        tickets = await world.tickets(flow.flow_id)
    assert flow.status is FlowStatus.COMPLETED
    assert {t.worker_id for t in tickets.values()} == {"w2"}


async def test_work_is_spread_over_workers_of_equal_worth(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        for number in range(4):
            await world.register(f"w{number}")
        flow = await world.run(*(task(f"t{n}") for n in range(20)))
        tickets = await world.tickets(flow.flow_id)
    held = [[t.worker_id for t in tickets.values()].count(f"w{n}") for n in range(4)]
    assert held == [5, 5, 5, 5]


async def test_a_silent_worker_loses_its_tickets_to_another_one(tmp_path: Path) -> None:
    async with running_world(tmp_path, heartbeat_seconds=0.3) as world:
        await world.register("silent")
        world.workers.behave = lambda a: None if a["attempt"] == 1 else {"status": "COMPLETED"}
        flow_id = await world.submit(decision(task("a")))
        await until(lambda: _first(world.workers.assignments), "the assignment")
        await world.register("w2")
        beating = asyncio.create_task(_beat(world, "w2"))
        flow = await world.ended(flow_id)
        ticket = (await world.tickets(flow_id))["a"]
        beating.cancel()
        history = await world.transitions(flow_id)
    assert flow.status is FlowStatus.COMPLETED
    assert (ticket.worker_id, ticket.attempt, ticket.retry_count) == ("w2", 2, 0)
    assert ("ticket.reassigned", "a") in history


async def test_a_worker_that_leaves_gives_its_tickets_to_another_one_at_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register("w1")
        world.workers.behave = lambda a: None if a["attempt"] == 1 else {"status": "COMPLETED"}
        flow_id = await world.submit(decision(task("a")))
        await until(lambda: _first(world.workers.assignments), "the assignment")
        await world.register("w2")
        assert await world.platform.deregister("w1", "maintenance")
        flow = await world.ended(flow_id)
    assert flow.status is FlowStatus.COMPLETED


async def test_a_task_that_must_not_be_done_twice_fails_when_its_worker_is_lost(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register("w1")
        world.workers.behave = lambda _assignment: None
        flow_id = await world.submit(decision(task("a", idempotent=False), task("b", "a")))
        await world.ticket(flow_id, lambda one: one.acknowledged_at is not None, "a worker has accepted")
        await world.register("w2")
        await world.platform.deregister("w1", "gone")
        flow = await world.ended(flow_id)
        tickets = await world.tickets(flow_id)
    assert flow.status is FlowStatus.FAILED
    assert tickets["a"].reason is not None
    assert "not idempotent" in tickets["a"].reason.message
    assert tickets["b"].status is TicketStatus.CANCELLED


async def test_what_was_rejected_ends_rejected_and_is_audited(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow = await world.run(task("a"), final_decision="reject")
        audits = await world.ports.views.audits(flow.flow_id, 10)
    assert flow.status is FlowStatus.REJECTED
    assert codes(flow) == ["decision_rejected"]
    assert flow.tickets_generated == 0
    found = [audit for audit in audits if isinstance(audit, AuditRecord)]
    assert [(audit.valid, [e.code for e in audit.errors]) for audit in found] == [(False, ["decision_rejected"])]


@pytest.mark.parametrize(
    "change",
    [{"final_decision": "review_required"}, {"final_decision": "conditional"}, {"requires_human_review": True}],
)
async def test_what_needs_approval_waits_for_it_with_its_reasons(tmp_path: Path, change: dict[str, Any]) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow_id = await world.submit(decision(task("a"), **change))
        flow = await world.reached(flow_id, "AWAITING_APPROVAL")
        assert codes(flow) == ["approval_required"]
        assert await world.tickets(flow_id) == {}
        await world.platform.order(ApprovalGrant(flow_id=flow_id, requested_by="ada", reason="seen"))
        ended = await world.ended(flow_id)
    assert (ended.status, ended.reasons) == (FlowStatus.COMPLETED, ())


async def test_a_bad_decision_ends_rejected_with_every_reason_at_once(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        data = decision(task("a", "b"), task("b", "a"), task("c", "nowhere"), task("c"))
        await world.submit(data)
        flow = await world.ended(flow_id_of(data["decision_id"]))
    assert flow.status is FlowStatus.REJECTED
    assert {"cyclic_dependencies", "unknown_dependency", "duplicate_task_id"} <= set(codes(flow))
    assert any("a → b → a" in reason.message for reason in flow.reasons)


async def test_the_same_decision_ten_times_at_once_is_one_flow(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        data = decision(*DIAMOND)
        ids = await asyncio.gather(*(world.platform.admit(decision_event(data)) for _ in range(10)))
        flow = await world.ended(ids[0])
        history = await world.transitions(flow.flow_id)
        flows, _ = await world.ports.views.flows(status=None, cursor=None, limit=50)
    assert set(ids) == {flow_id_of(data["decision_id"])}
    assert len(flows) == 1
    assert len(history) == len(set(history)) == 3 + 2 * 4 + 2


async def test_the_same_decision_id_with_other_content_is_kept_as_a_dead_letter(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        data = decision(task("a"))
        first = await world.submit(data)
        with pytest.raises(Rejected, match="other content") as refused:
            await world.submit({**data, "intent_id": "another"})
        letters, _ = await world.ports.dead_letters.letters(None, 10)
        flow = await world.ended(first)
    assert (refused.value.code, refused.value.status) == ("decision_conflict", 422)
    assert [letter.reason.code for letter in letters] == ["decision_conflict"]
    assert flow.status is FlowStatus.COMPLETED


async def test_a_task_gets_the_output_of_an_upstream_task_by_reference(tmp_path: Path) -> None:
    def build(assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"status": "COMPLETED", "output": {"image": {"tag": "v7"}} if assignment["task_id"] == "a" else None}

    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = build
        wanted = {"tag": {"$output": "a", "path": "/image/tag"}, "kept": [1, {"x": True}]}
        flow = await world.run(task("a"), task("b", "a", parameters=wanted))
        assignment = next(a for a in world.workers.assignments if a["task_id"] == "b")
        stored = (await world.tickets(flow.flow_id))["b"].parameters
    assert assignment["parameters"] == {"tag": "v7", "kept": [1, {"x": True}]}
    assert stored == wanted


async def test_a_reference_to_an_output_that_is_not_there_fails_the_ticket(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        wanted = {"tag": {"$output": "a", "path": "/image/tag"}}
        flow = await world.run(task("a"), task("b", "a", parameters=wanted))
        ticket = (await world.tickets(flow.flow_id))["b"]
    assert flow.status is FlowStatus.FAILED
    assert ticket.reason is not None
    assert ticket.reason.code == "unresolved_reference"


async def test_reports_are_recorded_once_and_old_attempts_are_superseded(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = lambda _assignment: None
        flow_id = await world.submit(decision(task("a"), task("b", "a")))
        first = await until(lambda: _first(world.workers.assignments), "the assignment")
        running = await world.platform.report(report_event(first, status="RUNNING", progress=10))
        failed = await world.platform.report(report_event(first, status="FAILED", error="broken"))
        second = await until(lambda: _first(world.workers.assignments[1:]), "the second attempt")
        stale = await world.platform.report(report_event(first, status="COMPLETED"))
        done = await world.platform.report(report_event(second, status="COMPLETED"))
        again = await world.platform.report(report_event(second, status="COMPLETED"))
        contrary = await world.platform.report(report_event(second, status="FAILED"))
        ticket = (await world.tickets(flow_id))["a"]
    results = [heard.result for heard in (running, failed, stale, done, again, contrary)]
    assert results == ["recorded", "recorded", "superseded", "recorded", "duplicate", "superseded"]
    assert (ticket.status, ticket.attempt) == (TicketStatus.COMPLETED, 2)


async def test_telemetry_waits_in_order_while_the_sink_is_away_and_the_flow_ends_all_the_same(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.sink.down = True
        first = await world.run(task("a"))
        buffered = await world.ports.telemetry_buffer.size()
        second = await world.run(task("a"))
        world.sink.down = False
        third = await world.run(task("a"))
        await until(lambda: _empty(world), "the buffer to drain")
        frames = [event.subject for event in world.sink.events if event.event_type == "telemetry.frame"]
    assert (first.status, first.telemetry_published, buffered) == (FlowStatus.COMPLETED, False, 7)
    assert third.telemetry_published is False
    assert frames == [first.flow_id, second.flow_id, third.flow_id]


async def test_a_step_that_cannot_be_done_ends_the_flow_failed_and_leaves_a_dead_letter(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        data = decision(task("a"))
        event = decision_event(data)
        flow_id = flow_id_of(data["decision_id"])
        # A plan that C1 would refuse reaches C2 only if the stored decision was damaged in between.
        await _admit_validated(world, event, b'{"decision_id": 1}')
        flow = await world.ended(flow_id)
        letters, _ = await world.ports.dead_letters.letters(None, 10)
    assert flow.status is FlowStatus.FAILED
    assert [letter.function for letter in letters] == ["generate_tickets"]


async def test_heartbeats_name_the_tickets_to_stop(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        world.workers.behave = lambda _assignment: None
        flow_id = await world.submit(decision(task("a")))
        assignment = await until(lambda: _first(world.workers.assignments), "the assignment")
        beat = Heartbeat.model_validate({"running": [{"ticket_id": assignment["ticket_id"], "attempt": 1}]})
        wanted = await world.platform.heartbeat("w1", beat)
        await world.cancel(flow_id, "ada", "stop")
        unwanted = await world.platform.heartbeat("w1", beat)
        with pytest.raises(Rejected) as unknown:
            await world.platform.heartbeat("nobody", Heartbeat())
    assert wanted.cancel == ()
    assert unwanted.cancel == (ticket_id_of(flow_id, "a"),)
    assert unknown.value.status == 404


async def _admit_validated(world: LocalWorld, event: CloudEvent, text: bytes) -> None:
    """Store a flow that waits for C2 with another decision than the one that was validated."""
    now = world.ports.clock.now()
    _, step = admit(event, text, now, world.platform.rules)
    assert step.flow is not None
    flow = step.flow.but(
        status=FlowStatus.GENERATING,
        phases=(*step.flow.phases, Phase(status=FlowStatus.GENERATING, entered_at=now)),
        next_wakeup_at=now,
    )
    await world.ports.store.commit(replace(step, flow=flow, events=()))
    world.platform.sweeper.arm(now)


async def _first(items: Any) -> Any:
    return items[0] if items else None


async def _empty(world: LocalWorld) -> bool | None:
    return True if await world.ports.telemetry_buffer.size() == 0 else None


async def _beat(world: LocalWorld, worker_id: str) -> None:
    while True:
        await world.platform.heartbeat(worker_id, Heartbeat())
        await asyncio.sleep(0.02)


async def test_what_fails_in_passing_is_tried_again_after_pauses_that_grow(tmp_path: Path) -> None:
    retry = {"max_retries": 2, "initial_ms": 100, "coefficient": 3, "jitter": 0}
    async with running_world(tmp_path) as world:
        left = [{"status": "FAILED"}, {"status": "FAILED"}, {"status": "COMPLETED"}]
        world.workers.behave = lambda _assignment: left.pop(0)
        await world.register()
        flow = await world.run(task("a", retry=retry))
        history = await world.history(flow.flow_id)
        ticket = (await world.tickets(flow.flow_id))["a"]
    assert (flow.status, ticket.attempt, ticket.retry_count) == (FlowStatus.COMPLETED, 3, 2)
    times = [(entry["type"], datetime.fromisoformat(entry["at"])) for entry in history]
    retried = [at for kind, at in times if kind == "ticket.retried"]
    again = [at for kind, at in times if kind == "ticket.assigned"][1:]
    first, second = (later - earlier for earlier, later in zip(retried, again, strict=True))
    assert first >= timedelta(milliseconds=100)
    assert second >= timedelta(milliseconds=300)


class AwayRegistry(MemoryRegistry):
    """A registry that does not answer while it is `away`."""

    away = True

    async def workers(self) -> Sequence[Worker]:
        if self.away:
            raise Unavailable("the registry does not answer")
        return await super().workers()


async def test_while_the_registry_is_away_tickets_wait_and_go_on_when_it_is_back(tmp_path: Path) -> None:
    stores = MemoryStore().stores
    registry = AwayRegistry(State())
    registry.away = False
    async with running_world(tmp_path, replace(stores, registry=registry)) as world:
        await world.register()
        registry.away = True
        flow_id = await world.submit(decision(task("a")))
        await world.reached(flow_id, "EXECUTING")
        (ticket,) = (await world.tickets(flow_id)).values()
        assert (ticket.status, ticket.waiting) == ("PENDING", "DISCOVERY")
        registry.away = False
        assert (await world.ended(flow_id)).status == "COMPLETED"
