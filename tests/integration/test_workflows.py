"""Workflows as older clients know them: started, executed, asked and told over HTTP, on the real platform."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions._core.records.values import flow_id_of
from functions._engine.flow_waiters import FlowWaiters
from functions._worker import SimulatedExecutor
from tests.support.builders import T0, later, make_flow, make_step, make_ticket, seconds
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import one_machine
from tests.support.world import decision, task, until

START = "/api/v1/workflows/start"
EXECUTE = "/api/v1/flow-c/execute"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


def a_plan(*tasks: dict[str, Any], plan_id: str = "plan-1") -> dict[str, Any]:
    return {"plan_id": plan_id, "tasks": list(tasks) or [task("a")]}


async def held(api: Api) -> str:
    """Return a flow whose one ticket is with a worker that says nothing."""
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    flow_id = await api.world.submit(decision(task("a")))

    async def assigned() -> object:
        return api.world.workers.assignments or None

    await until(assigned, "an assignment")
    return flow_id


async def test_a_started_plan_is_done_and_started_again_it_is_the_same_workflow(api: Api) -> None:
    await api.world.register()
    body = {"cognitive_plan": a_plan(), "correlation_id": "c-1", "priority": 9, "sla_deadline_seconds": 60}
    first = await api.client.post(START, json=body)
    assert first.status_code == 202
    assert first.json()["workflow_id"] == flow_id_of("orch-flow-c-c-1")
    assert first.json()["correlation_id"] == "c-1"
    flow = await api.world.ended(first.json()["workflow_id"])
    assert (flow.status, flow.priority, flow.correlation_id) == ("COMPLETED", "CRITICAL", "c-1")
    assert (flow.sla_deadline - flow.received_at) == seconds(60)
    again = await api.client.post(START, json=body)
    assert (again.status_code, again.json()) == (200, {**first.json(), "status": "COMPLETED"})
    other = body | {"cognitive_plan": a_plan(task("b"))}
    problem_of(await api.client.post(START, json=other), 422, "decision_conflict")


async def test_without_a_correlation_id_the_content_decides_which_workflow_it_is(api: Api) -> None:
    async def start(**body: Any) -> str:
        answer = await api.client.post(START, json=body)
        assert answer.status_code in {200, 202}, answer.text
        workflow_id: str = answer.json()["workflow_id"]
        assert answer.json()["correlation_id"] == workflow_id
        return workflow_id

    ids = [
        await start(cognitive_plan=a_plan()),
        await start(cognitive_plan=a_plan(task("b"))),
        await start(cognitive_plan=a_plan(), priority=1),
        await start(cognitive_plan={"plan_data": a_plan()}),
    ]
    assert len(set(ids)) == 3
    assert ids[3] == ids[0]
    flow = await api.world.ports.store.flow(ids[0])
    assert flow is not None
    assert (flow.plan_id, flow.intent_id) == ("plan-1", "plan-1")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "invalid_data"),
        ({"cognitive_plan": "text"}, "invalid_data"),
        ({"cognitive_plan": {"tasks": []}}, "invalid_data"),
        ({"cognitive_plan": {"plan_id": "p"}, "priority": 11}, "invalid_data"),
        ({"cognitive_plan": {"plan_id": "p"}, "priority": 0}, "invalid_data"),
        ({"cognitive_plan": {"plan_id": "p"}, "sla_deadline_seconds": 0}, "invalid_data"),
        ({"cognitive_plan": {"plan_id": "p"}, "correlation_id": "x" * 201}, "invalid_data"),
    ],
)
async def test_what_cannot_be_started_is_refused(api: Api, body: dict[str, Any], code: str) -> None:
    problem_of(await api.client.post(START, json=body), 422, code)
    assert (await api.get("/api/v1/flows"))["items"] == []


async def test_executing_a_decision_waits_for_its_result(api: Api) -> None:
    await api.world.register()
    answer = await api.client.post(EXECUTE, json=decision(task("a"), task("b", "a"), decision_id="d-1"))
    assert answer.status_code == 200, answer.text
    result = answer.json()
    assert (result["flow_id"], result["success"], result["tickets_completed"]) == (flow_id_of("d-1"), True, 2)
    assert [step["step"] for step in result["steps"]] == ["C1", "C2", "C3", "C4", "C5", "C6"]
    assert (result["telemetry_published"], result["error"]) == (True, None)


async def test_executing_again_gives_the_same_result_and_other_content_is_refused(api: Api) -> None:
    await api.world.register()
    body = decision(task("a"), decision_id="d-1")
    first, second = [await api.client.post(EXECUTE, json=body) for _ in range(2)]
    assert first.json() == second.json()
    assert len(api.world.workers.assignments) == 1
    problem_of(await api.client.post(EXECUTE, json=decision(task("b"), decision_id="d-1")), 422, "decision_conflict")
    problem_of(await api.client.post(EXECUTE, json={}), 400, "invalid_decision")
    problem_of(await api.client.post(EXECUTE, json=[]), 422, "invalid_data")
    problem_of(await api.client.post(EXECUTE, json=body, params={"wait_seconds": 301}), 422, "invalid_data")


async def test_an_execution_that_takes_longer_says_where_to_ask_for_it(api: Api) -> None:
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    answer = await api.client.post(EXECUTE, json=decision(task("a")), params={"wait_seconds": 0.05})
    assert answer.status_code == 202
    document = answer.json()
    assert document["links"] == {
        "self": f"/api/v1/flows/{document['flow_id']}",
        "result": f"/api/v1/flows/{document['flow_id']}/result",
    }
    assert (await api.get(document["links"]["self"]))["flow_id"] == document["flow_id"]
    problem_of(await api.client.get(document["links"]["result"]), 409, "not_ended")


async def test_who_waits_is_woken_by_the_end_rather_than_by_asking(api: Api) -> None:
    asked: list[float] = []
    woken = asyncio.Event()

    async def ended(flow_id: str, pause: float) -> None:
        asked.append(pause)
        await api.world.platform.flow_waiters.wait(flow_id, 60 if pause else 0)
        woken.set()

    api.app.state.services = replace(api.app.state.services, ended=ended)
    await api.world.register()
    answer = await api.client.post(EXECUTE, json=decision(task("a")))
    assert (answer.status_code, woken.is_set(), len(asked)) == (200, True, 1)


async def test_where_nobody_tells_of_the_end_it_is_asked_for_ever_less_often(api: Api) -> None:
    pauses: list[float] = []

    async def ended(_flow_id: str, pause: float) -> None:
        pauses.append(pause)
        await asyncio.sleep(0)

    api.app.state.services = replace(api.app.state.services, ended=ended)
    flow = make_flow(1)
    await api.world.ports.store.commit(make_step(flow))

    async def end() -> None:
        while len(pauses) < 8:
            await asyncio.sleep(0)
        await api.world.ports.store.commit(make_step(later(flow, status="FAILED", outcome="FAILED", ended_at=T0)))

    from functions.api.waiting import end_of

    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(end_of(api.app.state.services, flow.flow_id, 30))
        tasks.create_task(end())
    assert waiting.result().status == "FAILED"
    assert pauses[:8] == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0]


async def test_nobody_is_remembered_as_waiting_after_the_wait() -> None:
    flow_waiters = FlowWaiters()
    await flow_waiters.wait("f", 0)
    flow = make_flow(1, status="COMPLETED", outcome="COMPLETED", ended_at=T0)
    waits = [asyncio.create_task(flow_waiters.wait(flow.flow_id, 60)) for _ in range(2)]
    await asyncio.sleep(0)
    flow_waiters.observe(make_step(make_flow(2, status="FAILED", outcome="FAILED", ended_at=T0)))
    flow_waiters.observe(make_step(make_flow(1)))
    await asyncio.sleep(0)
    assert not any(wait.done() for wait in waits)
    flow_waiters.observe(make_step(flow))
    await asyncio.gather(*waits)
    assert flow_waiters.waiting == 0


async def test_a_workflow_is_the_flow_of_the_same_id(api: Api) -> None:
    await api.world.register()
    flow = await api.world.run(task("a"))
    workflow = await api.get(f"/api/v1/workflows/{flow.flow_id}")
    assert workflow == await api.get(f"/api/v1/flows/{flow.flow_id}") | {"workflow_id": flow.flow_id}
    problem_of(await api.client.get("/api/v1/workflows/nobody"), 404, "unknown_workflow")


@pytest.mark.parametrize("by_name", [False, True], ids=["in the body", "in the path"])
async def test_status_and_tickets_are_asked_for_by_query(api: Api, *, by_name: bool) -> None:
    await api.world.register()
    flow = await api.world.run(task("a"), task("b", "a"))

    async def ask(name: str) -> Any:
        path = f"/api/v1/workflows/{flow.flow_id}/query"
        body: dict[str, Any] = {} if by_name else {"query_name": name, "args": []}
        answer = await api.client.post(f"{path}/{name}" if by_name else path, json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    status = await ask("get_status")
    assert (status["status"], status["tickets_generated"], status["tickets_completed"]) == ("COMPLETED", 2, 2)
    assert [ticket["task_id"] for ticket in (await ask("get_tickets"))["tickets"]] == ["a", "b"]


async def test_tickets_are_not_there_yet_before_they_are_made(api: Api) -> None:
    flow = make_flow(1)
    await api.world.ports.store.commit(make_step(flow))
    path = f"/api/v1/workflows/{flow.flow_id}/query/get_tickets"
    answer = await api.client.post(path)
    assert (answer.status_code, answer.json()) == (202, {"tickets": []})
    rejected = later(flow, status="REJECTED", outcome="REJECTED", ended_at=T0)
    await api.world.ports.store.commit(make_step(rejected))
    answer = await api.client.post(path)
    assert (answer.status_code, answer.json()) == (200, {"tickets": []})


async def test_queries_are_observed_and_unknown_ones_refused(api: Api) -> None:
    seen: list[tuple[str, str | None]] = []

    def queried(name: str, seconds: float, failure: str | None) -> None:
        assert seconds >= 0
        seen.append((name, failure))

    api.app.state.services = replace(api.app.state.services, queried=queried)
    flow = make_flow(1)
    await api.world.ports.store.commit(make_step(flow))
    path = f"/api/v1/workflows/{flow.flow_id}/query"
    assert (await api.client.post(path, json={"query_name": "get_status"})).status_code == 200
    problem_of(await api.client.post(path, json={"query_name": "get_weather"}), 404, "unknown_query")
    problem_of(await api.client.post(f"{path}/get_weather"), 404, "unknown_query")
    problem_of(await api.client.post("/api/v1/workflows/nobody/query/get_status"), 404, "unknown_workflow")
    problem_of(await api.client.post(path, json={}), 422, "invalid_data")
    assert seen == [
        ("get_status", None),
        ("unknown", "unknown_query"),
        ("unknown", "unknown_query"),
        ("get_status", "unknown_workflow"),
    ]


@pytest.mark.parametrize("by_name", [False, True], ids=["in the body", "in the path"])
async def test_a_workflow_is_cancelled_by_a_signal(api: Api, *, by_name: bool) -> None:
    flow_id = await held(api)
    path = f"/api/v1/workflows/{flow_id}/signal"
    body: dict[str, Any] = {"args": [{"requested_by": "ada", "reason": "wrong plan"}]}
    if by_name:
        path = f"{path}/cancel_workflow"
    else:
        body["signal_name"] = "cancel_workflow"
    answer = await api.client.post(path, json=body)
    assert (answer.status_code, answer.json()["result"]) == (202, "accepted")
    flow = await api.world.ended(flow_id)
    assert flow.status == "CANCELLED"
    assert flow.reasons[0].message == "cancelled by ada: wrong plan"
    problem_of(await api.client.post(path, json=body), 409, "workflow_ended")


async def test_a_signal_that_a_ticket_has_ended_is_no_report(api: Api) -> None:
    flow_id = await held(api)
    (ticket,) = (await api.world.tickets(flow_id)).values()
    path = f"/api/v1/workflows/{flow_id}/signal/ticket_completed"
    answer = await api.client.post(path, json={"args": {"ticket_id": ticket.ticket_id}})
    assert (answer.status_code, answer.json()["status"]) == (202, "EXECUTING")
    assert (await api.world.tickets(flow_id))["a"] == ticket
    problem_of(await api.client.post(path, json={"args": {"ticket_id": "other"}}), 404, "unknown_ticket")
    problem_of(await api.client.post(path, json={"args": {"ticket_id": 7}}), 422, "invalid_data")


async def test_a_signal_ends_a_flow_whose_tickets_have_all_ended_without_waiting_for_its_wakeup(api: Api) -> None:
    now = api.world.ports.clock.now()
    flow = make_flow(
        1,
        status="EXECUTING",
        received_at=now,
        sla_deadline=now + seconds(3600),
        next_wakeup_at=now + seconds(3600),
        tickets_generated=1,
    )
    done = make_ticket(flow, 1, status="COMPLETED", completed_at=now, next_wakeup_at=None)
    await api.world.ports.store.commit(make_step(flow, done))
    path = f"/api/v1/workflows/{flow.flow_id}/signal"
    answer = await api.client.post(path, json={"signal_name": "ticket_completed", "signal_id": "s-1"})
    assert (answer.status_code, answer.json()["signal_id"]) == (202, "s-1")
    assert (await api.world.ended(flow.flow_id)).status == "COMPLETED"


async def test_unknown_signals_and_workflows_are_404(api: Api) -> None:
    flow = make_flow(1)
    await api.world.ports.store.commit(make_step(flow))
    path = f"/api/v1/workflows/{flow.flow_id}/signal"
    problem_of(await api.client.post(path, json={"signal_name": "explode"}), 404, "unknown_signal")
    problem_of(await api.client.post(f"{path}/explode"), 404, "unknown_signal")
    problem_of(
        await api.client.post("/api/v1/workflows/nobody/signal/cancel_workflow"),
        404,
        "unknown_workflow",
    )
    problem_of(await api.client.post(path, json={}), 422, "invalid_data")


async def test_a_signal_that_comes_too_late_to_cancel_is_a_conflict(api: Api) -> None:
    flow = make_flow(1, status="PUBLISHING", outcome="COMPLETED")
    await api.world.ports.store.commit(make_step(flow))
    path = f"/api/v1/workflows/{flow.flow_id}/signal/cancel_workflow"
    problem_of(await api.client.post(path), 409, "workflow_ended")


async def test_tickets_are_found_by_their_plan_and_status(api: Api) -> None:
    one, two = make_flow(1, plan_id="plan/1"), make_flow(2)
    tickets = [make_ticket(one, 1), make_ticket(one, 2, status="RUNNING", worker_id="w"), make_ticket(one, 3)]
    await api.world.ports.store.commit(make_step(one, *tickets))
    await api.world.ports.store.commit(make_step(two, make_ticket(two, 1)))
    path = "/api/v1/tickets/by-plan/plan/1"
    assert [ticket["task_id"] for ticket in (await api.get(path))["items"]] == ["task-1", "task-2", "task-3"]
    assert [ticket["task_id"] for ticket in (await api.get(path, status="running"))["items"]] == ["task-2"]
    first = await api.get(path, limit=2)
    rest = await api.get(path, limit=2, cursor=first["cursor"])
    assert [ticket["task_id"] for ticket in rest["items"]] == ["task-3"]
    assert (await api.get("/api/v1/tickets/by-plan/nobody"))["items"] == []


async def test_a_signal_of_a_known_id_changes_nothing_even_after_the_end(api: Api) -> None:
    flow_id = await held(api)
    path = f"/api/v1/workflows/{flow_id}/signal/cancel_workflow"
    first = await api.client.post(path, json={"signal_id": "s-1", "args": {"requested_by": "ada"}})
    await api.world.ended(flow_id)
    again = await api.client.post(path, json={"signal_id": "s-1"})
    assert [answer.json()["result"] for answer in (first, again)] == ["accepted", "duplicate"]
    assert (again.status_code, again.json()["status"]) == (202, "CANCELLED")
    problem_of(await api.client.post(path, json={"signal_id": "s-2"}), 409, "workflow_ended")
    other = f"/api/v1/workflows/{flow_id}/signal/ticket_completed"
    problem_of(await api.client.post(other, json={"signal_id": "s-1"}), 409, "workflow_ended")
    kept = (await api.get("/api/v1/audits", flow_id=flow_id, kind="action"))["items"]
    signed = [(action["action"], action["who"]) for action in kept]
    assert signed == [("cancel_workflow", "ada"), ("cancel_flow", "ada")]


async def test_queries_are_timed_and_their_failures_counted(api: Api) -> None:
    flow = make_flow(1)
    await api.world.ports.store.commit(make_step(flow))
    for name in ("get_status", "get_weather"):
        await api.client.post(f"/api/v1/workflows/{flow.flow_id}/query/{name}")
    text = (await api.client.get("/metrics")).text
    prefix = "neural_hive_flow_c_workflow_query"
    assert f'{prefix}_duration_seconds_count{{query_name="get_status"}} 1.0' in text
    assert f'{prefix}_failures_total{{query_name="unknown",reason="unknown_query"}} 1.0' in text
    assert f'{prefix}_failures_total{{query_name="get_status"' not in text


async def test_nobody_waits_for_a_flow_on_a_platform_that_stops(api: Api) -> None:
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    waiting = asyncio.create_task(api.client.post(EXECUTE, json=decision(task("a"))))

    async def waits() -> object:
        return api.world.platform.flow_waiters.waiting or None

    await until(waits, "somebody who waits")
    api.world.platform.flow_waiters.close()
    for answer in (await waiting, await api.client.post(EXECUTE, json=decision(task("b")))):
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


async def test_over_a_real_server_and_a_real_store_everything_is_the_same(tmp_path: Path) -> None:
    async with one_machine(tmp_path) as at:
        client = at.client
        async with at.worker("w1", SimulatedExecutor(1000)) as started:
            await started.registered.wait()
            executed = await client.post(EXECUTE, json=decision(task("a"), task("b", "a")))
            assert (executed.status_code, executed.json()["success"]) == (200, True)
        await client.post(START, json={"cognitive_plan": a_plan(), "correlation_id": "c-1"})
        flow_id = flow_id_of("orch-flow-c-c-1")
        signal = await client.post(f"/api/v1/workflows/{flow_id}/signal/cancel_workflow", json={"signal_id": "s"})
        assert signal.status_code == 202
        again = await client.post(f"/api/v1/workflows/{flow_id}/signal/cancel_workflow", json={"signal_id": "s"})
        assert again.json()["result"] == "duplicate"
        status = (await client.get("/api/v1/flow-c/status")).json()
        assert status["total_processed"] + status["active_executions"] == 2
        kept = (await client.get("/api/v1/audits", params={"kind": "action"})).json()["items"]
        assert [(action["action"], action["who"]) for action in kept] == [
            ("cancel_workflow", "a signal"),
            ("cancel_flow", "a signal"),
            ("deregister_worker", "w1"),
        ]
        assert (await client.post("/api/v1/telemetry/flush")).json()["left"] == 0
