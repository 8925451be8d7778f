"""The Python clients against a real platform on loopback, in the words of the library that they follow."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flowc.client import (
    BadAnswer,
    CircuitBreaker,
    Conflicting,
    ExecutionTicketClient,
    FlowCContext,
    FlowCOrchestrator,
    FlowCTelemetryPublisher,
    Invalid,
    NoAnswer,
    NotEnded,
    NotFound,
    OrchestratorClient,
    RetryPolicy,
    SyncExecutionTicketClient,
    SyncFlowCOrchestrator,
    SyncOrchestratorClient,
    SyncWorkerAgentClient,
    TaskAssignment,
    Unauthorized,
    WorkerAgentClient,
)
from functions._core.records.values import flow_id_of
from tests.support.loopback import Answer, Loopback, Request, until
from tests.support.one_machine import OneMachine, one_machine
from tests.support.stand_in_platform import SECRET, Gate, StandIn, working
from tests.support.world import decision, task

pytestmark = pytest.mark.asyncio(loop_scope="module")

QUICK = RetryPolicy(first_pause=0.01, longest_pause=0.1)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def platform(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMachine]:
    """One platform for all tests of this module, each with plans and capabilities of its own."""
    async with one_machine(tmp_path_factory.mktemp("platform")) as machine:
        yield machine


def done() -> Gate:
    """Return an executor whose tasks end at once."""
    gate = Gate()
    gate.opened.set()
    return gate


class TestWholeFlow:
    async def test_a_decision_is_carried_out_in_one_call(self, platform: OneMachine) -> None:
        what = decision(task("a", required_capabilities=["whole"]), task("b", "a", required_capabilities=["whole"]))
        async with platform.worker("whole", done(), "whole"), FlowCOrchestrator(platform.url) as orchestrator:
            await orchestrator.initialize()
            result = await orchestrator.execute_flow_c(what)
            assert (result.success, result.tickets_generated, result.tickets_completed) == (True, 2, 2)
            assert [step.step for step in result.steps] == ["C1", "C2", "C3", "C4", "C5", "C6"]
            assert all(step.status == "completed" and step.duration_ms is not None for step in result.steps)
            assert await orchestrator.execute_flow_c(what) == result
            await orchestrator.close()

    async def test_the_trace_of_the_context_is_the_trace_of_the_flow(self, platform: OneMachine) -> None:
        what = decision(task("a", required_capabilities=["traced"]))
        context = FlowCContext.of(what, datetime.now(UTC))
        async with platform.worker("traced", done(), "traced"), FlowCOrchestrator(platform.url) as orchestrator:
            result = await orchestrator.execute_flow_c(what, traceparent=context.traceparent)
        assert result.flow_id == context.workflow_id
        assert (await platform.get(f"/api/v1/flows/{result.flow_id}"))["traceparent"] == context.traceparent

    async def test_one_that_takes_longer_goes_on_and_is_waited_for_again(
        self, platform: OneMachine, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("flowc.client.orchestrator.POLL_SECONDS", 0.05)  # so that one wait takes several calls
        gate, what = Gate(), decision(task("a", required_capabilities=["slow"]))
        async with platform.worker("slow", gate, "slow"), FlowCOrchestrator(platform.url) as orchestrator:
            with pytest.raises(NotEnded) as late:
                await orchestrator.execute_flow_c(what, timeout_seconds=0.3)
            assert late.value.flow_id == flow_id_of(what["decision_id"])
            waiting = asyncio.create_task(orchestrator.execute_flow_c(what))
            await until(lambda: gate.log, "the task to start")
            gate.opened.set()
            assert (await waiting).success

    async def test_a_flow_that_fails_is_a_result_and_a_decision_that_is_none_an_exception(
        self, platform: OneMachine
    ) -> None:
        gate = done()
        gate.end = ValueError("it broke")
        gate.end.retryable = False  # type: ignore[attr-defined]
        what = decision(task("a", required_capabilities=["broken"]))
        async with platform.worker("broken", gate, "broken"), FlowCOrchestrator(platform.url) as orchestrator:
            result = await orchestrator.execute_flow_c(what)
            assert (result.success, result.status, result.tickets_failed) == (False, "FAILED", 1)
            assert result.error
            with pytest.raises(Invalid) as wrong:
                await orchestrator.execute_flow_c({})
            assert (wrong.value.status, wrong.value.code) == (400, "invalid_decision")

    async def test_plain_calls_do_the_same(self, platform: OneMachine) -> None:
        what = decision(task("a", required_capabilities=["plain"]))

        def program() -> bool:
            with SyncFlowCOrchestrator(platform.url) as orchestrator:
                orchestrator.initialize()
                return orchestrator.execute_flow_c(what).success

        async with platform.worker("plain", done(), "plain"):
            assert await asyncio.to_thread(program)


class TestWorkflows:
    async def test_a_workflow_is_started_and_asked_about(self, platform: OneMachine) -> None:
        plan = decision(task("a", required_capabilities=["flow"]), task("b", required_capabilities=["flow"]))[
            "cognitive_plan"
        ]
        async with OrchestratorClient(base_url=platform.url) as orchestrator:
            workflow_id = await orchestrator.start_workflow(
                cognitive_plan=plan, correlation_id="corr-abc", priority=5, sla_deadline_seconds=14400
            )
            status = await orchestrator.query_workflow(workflow_id, "get_status")
            assert status["status"]
            async with platform.worker("flow", done(), "flow"):
                result = await orchestrator.wait_for_result(workflow_id)
            assert result.success
            tickets = await orchestrator.query_workflow(workflow_id=workflow_id, query_name="get_tickets")
            assert len(tickets["tickets"]) == 2
            status = await orchestrator.query_workflow(workflow_id, "get_status")
            assert (status["status"], status["tickets_generated"]) == ("COMPLETED", 2)
            workflow = await orchestrator.get_workflow(workflow_id)
            assert (workflow.workflow_id, workflow.status) == (workflow_id, "COMPLETED")
            with pytest.raises(NotFound) as unknown:
                await orchestrator.query_workflow(workflow_id, "get_weather")
            assert unknown.value.code == "unknown_query"

    async def test_a_workflow_is_cancelled_by_a_signal(self, platform: OneMachine) -> None:
        plan = decision(task("a", required_capabilities=["nobody"]))["cognitive_plan"]

        def program() -> tuple[str, str]:
            with SyncOrchestratorClient(platform.url) as orchestrator:
                workflow_id = orchestrator.start_workflow(plan)
                with pytest.raises(NotEnded):
                    orchestrator.wait_for_result(workflow_id, timeout_seconds=0)
                taken = orchestrator.signal_workflow(workflow_id, "cancel_workflow", {"reason": "enough"}, "s-1")
                return taken["result"], orchestrator.wait_for_result(workflow_id).status

        assert await asyncio.to_thread(program) == ("accepted", "CANCELLED")


class TestTickets:
    async def test_a_ticket_is_created_claimed_and_ended(self, platform: OneMachine) -> None:
        async with ExecutionTicketClient(base_url=platform.url) as tickets:
            ticket = await tickets.create_ticket(
                {
                    "plan_id": "plan-456",
                    "task_type": "code_generation",
                    "required_capabilities": ["python", "terraform"],
                    "payload": {"template_id": "microservice", "parameters": {"language": "python"}},
                }
            )
            assert (ticket.task_type, ticket.status) == ("BUILD", "PENDING")
            await platform.register("worker-1", "python", "terraform", slots=1)
            with pytest.raises(NotFound):
                await tickets.get_ticket("unknown")
            found = await tickets.list_tickets(plan_id="plan-456")
            assert [each.ticket_id for each in found.items] == [ticket.ticket_id]

    async def test_a_claimed_ticket_is_reported_by_its_token(self, platform: OneMachine) -> None:
        async with ExecutionTicketClient(base_url=platform.url) as tickets:
            ticket = await tickets.create_ticket(plan_id="p", task_type="EXECUTE", required_capabilities=["claimed"])
            running = await tickets.update_status(ticket.ticket_id, "running", metadata={"worker_id": "me"})
            assert (running.status, running.worker_id, running.attempt) == ("RUNNING", "me", 1)
            with pytest.raises(Conflicting):
                await tickets.update_status(ticket.ticket_id, "running", worker_id="other")
            token = await tickets.get_token(ticket.ticket_id)
            ended = await tickets.update_status(
                ticket.ticket_id, "completed", output={"answer": 42}, token=token.access_token
            )
            assert (ended.status, ended.output) == ("COMPLETED", {"answer": 42})

    async def test_a_failed_ticket_is_tried_again(self, platform: OneMachine) -> None:
        def program() -> list[str]:
            with SyncExecutionTicketClient(platform.url) as tickets:
                ticket = tickets.create_ticket(
                    plan_id="p", task_type="TEST", required_capabilities=["again"], idempotency_key="again-1"
                )
                same = tickets.create_ticket(
                    plan_id="p", task_type="TEST", required_capabilities=["again"], idempotency_key="again-1"
                )
                assert same.ticket_id == ticket.ticket_id
                running = tickets.update_status(ticket.ticket_id, "running", worker_id="me")
                error = {"type": "broken", "message": "it broke", "retryable": False}
                failed = tickets.update_status(ticket.ticket_id, "failed", attempt=running.attempt, error=error)
                return [failed.status, tickets.retry_ticket(ticket.ticket_id, force=True).status]

        assert await asyncio.to_thread(program) == ["FAILED", "PENDING"]

    async def test_to_say_assigned_of_an_assigned_ticket_changes_nothing(self, platform: OneMachine) -> None:
        gate = Gate()
        async with (
            platform.worker("assigned", gate, "assigned", announce_from_ms=None),
            ExecutionTicketClient(platform.url) as tickets,
        ):
            ticket = await tickets.create_ticket(plan_id="p", task_type="EXECUTE", required_capabilities=["assigned"])
            await until(lambda: gate.log, "the task to start")
            known = await tickets.update_status(ticket.ticket_id, "assigned", metadata={"worker_id": "assigned"})
            assert (known.status, known.worker_id) == ("ASSIGNED", "assigned")
            gate.opened.set()


class TestWorkerAgents:
    async def test_a_worker_gets_the_five_fields_of_an_assignment(self, platform: OneMachine) -> None:
        async with Loopback() as worker:
            registration = {"worker_id": "five", "endpoint": f"{worker.url}/", "capabilities": ["five"]}
            await platform.send("/api/v1/workers", registration)
            what = decision(task("a", required_capabilities=["five"], parameters={"language": "python"}))
            await platform.submit(what)
            await until(lambda: worker.requests, "the assignment")
            assignment = TaskAssignment.model_validate(worker.requests[0].json)
        assert (assignment.task_id, assignment.task_type) == ("a", "EXECUTE")
        assert assignment.payload["ticket_id"] == assignment.ticket_id
        assert assignment.sla_deadline

    async def test_a_program_gives_a_worker_a_task_and_asks_how_it_fares(self) -> None:
        gate = Gate()
        async with StandIn() as stand_in, working(stand_in, gate) as desk:
            given = TaskAssignment.model_validate(desk.assignment("t-1"))
            async with WorkerAgentClient(base_url=desk.worker.endpoint, signing_secret=SECRET) as worker:
                with pytest.raises(NotFound):
                    await worker.get_task_status("t-1")
                assert (await worker.assign_task(given)).result == "taken"
                assert (await worker.assign_task(given)).result == "known"
                status = await worker.get_task_status("t-1")
                assert (status.task_id, status.status, status.progress) == ("task-1", "RUNNING", None)
                gate.opened.set()
                await stand_in.reported("COMPLETED")
                status = await worker.get_task_status("t-1")
                assert (status.status, status.result) == ("COMPLETED", {"ok": True})

    async def test_a_stranger_learns_nothing_and_no_question_serves_twice(self) -> None:
        async with StandIn() as stand_in, working(stand_in, Gate()) as desk:
            await desk.assign("t-1")
            await desk.assign("t-2")
            stranger = SyncWorkerAgentClient(desk.worker.endpoint, signing_secret="whsec_c3RyYW5nZXI=")
            with stranger, pytest.raises(Unauthorized):
                await asyncio.to_thread(stranger.get_task_status, "t-1")
            assert (await desk.call("GET", "api/v1/tasks/t-1", {})).status == 401
            ours = SyncWorkerAgentClient(desk.worker.endpoint, signing_secret=SECRET)
            [headers] = [ours._signed("task-status_t-1_once", b"")]  # noqa: SLF001 - to send it twice
            assert (await desk.call("GET", "api/v1/tasks/t-2", headers)).status == 401
            assert (await desk.call("GET", "api/v1/tasks/t-1", ours._signed("task-status_t-1_2", b""))).status == 200  # noqa: SLF001
            assert (await desk.call("GET", "api/v1/tasks/t-1", headers)).status == 409


class TestTelemetry:
    async def test_events_reach_the_sink_and_what_waits_is_flushed_by_hand(self, platform: OneMachine) -> None:
        async with Loopback() as sink:
            publisher = FlowCTelemetryPublisher(sink.url, topic="telemetry-flow-c", platform_url=platform.url)
            await publisher.initialize()
            about: dict[str, Any] = {"intent_id": "intent-123", "plan_id": "plan-456", "decision_id": "decision-789"}
            about |= {"workflow_id": "wf", "ticket_ids": ["t-1"], "duration_ms": 1500, "metadata": {"workers_found": 3}}
            assert await publisher.publish_event("step_completed", step="C3", status="completed", **about)
            [request] = sink.requests
            assert request.headers["content-type"] == "application/cloudevents+json"
            assert "x-api-key" not in request.headers
            assert request.json["data"]["metadata"] == {"workers_found": 3}
            await sink.stop()
            assert not await publisher.publish_event("step_completed", step="C4", **about)
            await sink.start()
            assert await publisher.flush_buffer("intent-123") >= 1
            await publisher.close()


class TestDoors:
    async def test_what_fails_in_passing_is_repeated_with_the_same_key(self) -> None:
        answers = [Answer(503), Answer(500), Answer(200, b'{"ticket_id": "t"}')]

        async def answer(_: Request) -> Answer:
            return answers.pop(0)

        async with Loopback() as service, ExecutionTicketClient(service.url, api_key="key", retry=QUICK) as tickets:
            service.answer = answer
            assert (await tickets.create_ticket(plan_id="p", task_type="TEST")).ticket_id == "t"
            assert len({request.headers["idempotency-key"] for request in service.requests}) == 1
            traces = {request.headers["traceparent"] for request in service.requests}
            assert len(traces) == 3
            assert {request.headers["x-api-key"] for request in service.requests} == {"key"}

    async def test_a_service_that_goes_on_failing_is_left_alone(self) -> None:
        breaker = CircuitBreaker(failures=3)
        async with OrchestratorClient("http://127.0.0.1:1", retry=QUICK, breaker=breaker) as orchestrator:
            with pytest.raises(NoAnswer):
                await orchestrator.get_workflow("w")
        assert breaker.state == "open"

    async def test_an_answer_that_is_too_large_is_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("flowc.client.service.ANSWER_LIMIT", 1000)

        async def huge(_: Request) -> Answer:
            return Answer(200, json.dumps({"workflow_id": "x" * 5000}).encode())

        async with Loopback() as service:
            service.answer = huge
            async with OrchestratorClient(service.url) as orchestrator:
                with pytest.raises(BadAnswer, match="more than"):
                    await orchestrator.get_workflow("w")
            with SyncOrchestratorClient(service.url) as plain, pytest.raises(BadAnswer, match="more than"):
                await asyncio.to_thread(plain.get_workflow, "w")

    async def test_a_key_that_is_wrong_is_told_by_its_status(self, tmp_path: Path) -> None:
        async with one_machine(tmp_path, api_key="right-key-of-the-test") as guarded:
            async with OrchestratorClient(guarded.url, api_key="wrong") as stranger:
                with pytest.raises(Unauthorized):
                    await stranger.get_workflow("w")
            async with OrchestratorClient(guarded.url, api_key="right-key-of-the-test") as ours:
                with pytest.raises(NotFound):
                    await ours.get_workflow("w")
