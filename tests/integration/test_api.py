"""What people and tools see over HTTP, on the real platform; every answer is held to /openapi.json."""

import re
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.events.catalogue import CATALOGUE
from functions._core.records.values import TicketStatus, flow_id_of, format_time
from functions.api.ingress import HANDLERS, INTERNAL
from functions.api.questions import found
from functions.api.resources import APPLIED, DELETED
from tests.support.builders import make_flow, make_history, make_letter, make_step, make_ticket
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, decision_event, task, until


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def ended(api: Api, *tasks: dict[str, Any], **more: Any) -> str:
    """Run a plan to its end over HTTP and return the flow id."""
    answer = await api.post(decision_event(decision(*tasks, **more)))
    assert answer.status_code == 202, answer.text
    flow_id: str = answer.json()["flow_id"]
    await api.world.ended(flow_id)
    return flow_id


async def held(api: Api, *tasks: dict[str, Any]) -> tuple[str, Any]:
    """Send a plan to a worker that accepts and says nothing; return the flow id and the first assignment."""
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    flow_id = await api.world.submit(decision(*tasks))

    async def assigned() -> Any:
        return next((a for a in api.world.workers.assignments if a["flow_id"] == flow_id), None)

    return flow_id, await until(assigned, "an assignment")


async def test_a_decision_is_answered_with_the_flow_id_that_clients_can_compute(api: Api) -> None:
    answer = await api.post(decision_event(decision(task("a"), decision_id="d-1")))
    assert (answer.status_code, answer.json()) == (202, {"flow_id": flow_id_of("d-1")})


async def test_a_flow_shows_its_tickets_counted_its_steps_and_its_sla(api: Api) -> None:
    await api.world.register()
    flow_id = await ended(api, task("a"), task("b", "a"))
    flow = await api.get(f"/api/v1/flows/{flow_id}")
    assert (flow["status"], flow["success"], flow["tickets_completed"]) == ("COMPLETED", True, 2)
    assert flow["tickets_by_status"]["COMPLETED"] == 2
    assert [step["step"] for step in flow["steps"]] == ["C1", "C2", "C3", "C4", "C5", "C6"]
    assert 0 < flow["sla_remaining_ms"] < 14_400_000
    assert flow["sla_violated"] is False
    assert (flow["status"], flow["tickets_generated"], flow["telemetry_published"]) == ("COMPLETED", 2, True)


async def test_a_running_flow_counts_its_tickets_as_they_are_now(api: Api) -> None:
    api.world.workers.behave = lambda assignment: {"status": "COMPLETED"} if assignment["task_id"] == "a" else None
    await api.world.register()
    flow_id = await api.world.submit(decision(task("a"), task("b", "a"), task("c", "b")))

    async def second_one() -> object:
        return (await api.world.tickets(flow_id)).get("b", None) if len(api.world.workers.assignments) == 2 else None

    await until(second_one, "the second assignment")
    flow = await api.get(f"/api/v1/flows/{flow_id}")
    assert (flow["status"], flow["success"], flow["tickets_completed"]) == ("EXECUTING", False, 1)
    assert (flow["tickets_by_status"]["PENDING"], flow["tickets_by_status"]["COMPLETED"]) == (1, 1)


async def test_flows_come_newest_first_page_by_page_and_by_status_in_any_letter_case(api: Api) -> None:
    await api.world.register()
    flow_ids = [await ended(api, task("a")) for _ in range(3)]
    first = await api.get("/api/v1/flows", limit=2)
    second = await api.get("/api/v1/flows", limit=2, cursor=first["cursor"])
    assert [flow["flow_id"] for flow in (*first["items"], *second["items"])] == flow_ids[::-1]
    assert second["cursor"] is None
    assert len((await api.get("/api/v1/flows", status="completed"))["items"]) == 3
    assert (await api.get("/api/v1/flows", status="FAILED"))["items"] == []


async def test_tickets_are_found_by_flow_and_by_filters_and_show_their_slack(api: Api) -> None:
    flow_id, assignment = await held(api, task("a"), task("b", "a"))
    of_flow = (await api.get(f"/api/v1/flows/{flow_id}/tickets"))["items"]
    assert [ticket["task_id"] for ticket in of_flow] == ["a", "b"]
    assert [ticket["slack_state"] for ticket in of_flow] == ["on_track", "on_track"]
    assert all(ticket["slack_ms"] > 0 for ticket in of_flow)
    pending = (await api.get("/api/v1/tickets", flow_id=flow_id, status="pending", priority="Normal"))["items"]
    assert [ticket["task_id"] for ticket in pending] == ["b"]
    one = await api.get(f"/api/v1/tickets/{assignment['ticket_id']}")
    assert (one["task_id"], one["worker_id"], one["attempt"]) == ("a", "w1", 1)


async def test_children_are_found_by_the_ticket_that_they_are_of(api: Api) -> None:
    flow = make_flow(7)
    above = make_ticket(flow, 1)
    children = [make_ticket(flow, 2 + index, parent=above.ticket_id, index=index) for index in range(3)]
    await api.world.ports.store.commit(make_step(flow, above, *children))
    page = await api.get("/api/v1/tickets", parent=above.ticket_id, limit=2)
    assert (len(page["items"]), page["total"]) == (2, 3)
    rest = await api.get("/api/v1/tickets", parent=above.ticket_id, cursor=page["cursor"])
    found = [ticket["ticket_id"] for ticket in (*page["items"], *rest["items"])]
    assert found == [child.ticket_id for child in children]
    for nobody in (
        {"parent": children[0].ticket_id},
        {"parent": "nobody"},
        {"parent": above.ticket_id, "flow_id": "x"},
    ):
        assert (await api.get("/api/v1/tickets", **nobody))["items"] == []


async def test_history_is_followed_by_asking_again_with_after(api: Api) -> None:
    await api.world.register()
    flow_id = await ended(api, task("a"))
    path = f"/api/v1/flows/{flow_id}/history"
    whole = await api.get(path)
    first = await api.get(path, limit=2)
    rest = await api.get(path, after=first["after"])
    assert first["items"] + rest["items"] == whole["items"]
    assert whole["items"][0]["type"] == "decision.consolidated"
    assert whole["items"][-1]["type"] == "flow.completed"
    assert await api.get(path, after=whole["after"]) == {"items": [], "after": whole["after"]}


async def test_the_events_of_all_flows_are_cloudevents_with_their_correlation(api: Api) -> None:
    await api.world.register()
    flow_ids = {await ended(api, task("a")) for _ in range(2)}
    page = await api.get("/api/v1/events", limit=500)
    assert {event["partitionkey"] for event in page["items"]} == flow_ids
    assert len({event["id"] for event in page["items"]}) == len(page["items"])
    kinds = {event["type"] for event in page["items"]}
    assert "io.neuralhive.ticket.completed.v1" in kinds
    assert all(event["specversion"] == "1.0" and event["traceparent"] for event in page["items"])
    assert (await api.get("/api/v1/events", after=page["after"]))["items"] == []


async def test_the_stored_decision_comes_back_as_it_was_sent(api: Api) -> None:
    sent = decision(task("a"), note={"kept": [1, 2.5, None, "ü"]})
    flow_id = await api.world.submit(sent)
    assert await api.get(f"/api/v1/flows/{flow_id}/decision") == sent


async def test_a_refused_decision_says_why_on_the_flow_and_in_the_audit(api: Api) -> None:
    flow_id = await ended(api, task("a", "b"), task("b", "a"))
    flow = await api.get(f"/api/v1/flows/{flow_id}")
    assert (flow["status"], [reason["code"] for reason in flow["reasons"]]) == ("REJECTED", ["cyclic_dependencies"])
    audits = (await api.get("/api/v1/audits", flow_id=flow_id))["items"]
    assert [(audit["valid"], audit["errors"][0]["code"]) for audit in audits] == [(False, "cyclic_dependencies")]
    assert (await api.get("/api/v1/audits", flow_id="other"))["items"] == []


async def test_a_cancelled_flow_is_returned_and_its_worker_is_told(api: Api) -> None:
    flow_id, assignment = await held(api, task("a"))
    body = {"requested_by": "ann", "reason": "wrong branch"}
    answer = await api.client.post(f"/api/v1/flows/{flow_id}/cancel", json=body)
    assert (answer.status_code, answer.json()["outcome"]) == (202, "CANCELLED")
    assert answer.json()["reasons"][0]["message"] == "cancelled by ann: wrong branch"
    flow = await api.world.ended(flow_id)
    again = await api.client.post(f"/api/v1/flows/{flow_id}/cancel")
    assert (again.status_code, again.json()["ended_at"]) == (
        202,
        (await api.get(f"/api/v1/flows/{flow_id}"))["ended_at"],
    )

    async def told() -> object:
        return next((c for c in api.world.workers.cancellations if c["ticket_id"] == assignment["ticket_id"]), None)

    await until(told, "the cancellation")
    assert flow.status == "CANCELLED"


async def test_why_names_the_missing_capability_and_what_happens_next(api: Api) -> None:
    await api.world.register("w1", "python")
    flow_id = await api.world.submit(decision(task("a", required_capabilities=["terraform"])))
    ticket = await api.world.ticket(flow_id, lambda one: one.waiting == "WORKER", "waits for a worker")
    of_ticket = await api.get(f"/api/v1/why/{ticket.ticket_id}")
    assert of_ticket["waits_for"] == "a worker that offers 'terraform'"
    assert of_ticket["refusals"] == [{"worker_id": "w1", "reason": "does not offer terraform"}]
    assert "no_worker" in of_ticket["then"]
    assert of_ticket["text"][0] == of_ticket["headline"]
    of_flow = await api.get(f"/api/v1/why/{flow_id}")
    assert any("terraform" in sentence for sentence in of_flow["text"])
    assert of_flow["last_events"][-1]["type"] == "tickets.generated"


async def test_why_ranks_a_waiting_ticket_anew_and_names_everybody_left_out(api: Api) -> None:
    for number in range(12):
        await api.world.register(f"w{number}", "python")
    flow_id = await api.world.submit(decision(task("a", required_capabilities=["terraform"])))
    ticket = await api.world.ticket(flow_id, lambda one: bool(one.refusals), "nobody may have")
    assert len(ticket.refusals) < 12
    of_ticket = await api.get(f"/api/v1/why/{ticket.ticket_id}")
    assert {one["worker_id"] for one in of_ticket["refusals"]} == {f"w{number}" for number in range(12)}
    assert (
        len([sentence for sentence in of_ticket["text"] if "were left out: does not offer terraform" in sentence]) == 1
    )
    assert of_ticket["candidates"] == []


async def test_why_names_the_circuit_breaker_that_a_ticket_waits_behind(api: Api) -> None:
    worker = await api.world.register("w1", "python")
    until_then = worker.last_seen + timedelta(hours=1)
    shut = worker.but(failures=5, doubt="timed_out", suspended_until=until_then, version=worker.version + 1)
    await api.world.ports.registry.put(shut)
    flow_id = await api.world.submit(decision(task("a")))
    ticket = await api.world.ticket(flow_id, lambda one: one.waiting == "SLOT", "waits for a slot")
    told = f"as the circuit breaker of worker w1 is open until {until_then:%H:%M:%S} UTC"
    assert told in (await api.get(f"/api/v1/why/{ticket.ticket_id}"))["headline"].replace(f"{until_then:%Y-%m-%d} ", "")
    assert any(
        told in line.replace(f"{until_then:%Y-%m-%d} ", "")
        for line in (await api.get(f"/api/v1/why/{flow_id}"))["text"]
    )


async def test_workers_are_shown_with_their_pheromone_in_the_domain_that_is_asked_for(api: Api) -> None:
    await api.world.register("w1", "python")
    assert (await api.get("/api/v1/workers"))["items"][0]["pheromone"] is None
    await api.world.submit(decision(task("a", task_type="BUILD")))

    async def learned() -> Any:
        one = await api.get("/api/v1/workers/w1?domain=BUILD")
        return one if one["pheromone"] > 0.5 else None

    known = (await until(learned, "the worker to have done well"))["pheromone"]
    assert (await api.get("/api/v1/workers?domain=BUILD"))["items"][0]["pheromone"] == pytest.approx(known, abs=0.01)
    assert (await api.get("/api/v1/workers?domain=nobody%00's"))["items"][0]["pheromone"] == 0.5
    problem_of(await api.client.get(f"/api/v1/workers?domain={'x' * 65}"), 422, "invalid_data")


async def test_why_shows_an_assigned_ticket_with_the_ranking_of_its_assignment(api: Api) -> None:
    api.world.workers.behave = lambda _assignment: None
    await api.world.register("w1", "python", slots=3)
    flow_id = await api.world.submit(decision(task("a")))

    async def held() -> Any:
        return next((t for t in (await api.world.tickets(flow_id)).values() if t.acknowledged_at), None)

    ticket = await until(held, "the ticket to be assigned")
    of_ticket = await api.get(f"/api/v1/why/{ticket.ticket_id}")
    [ranked] = of_ticket["candidates"]
    assert (ranked["worker_id"], ranked["health_score"], ranked["pheromone_score"], ranked["slots"]) == (
        "w1",
        1,
        0.5,
        3,
    )
    assert of_ticket["ranked_at"] == format_time(ticket.assigned_at)


async def test_why_a_flow_is_at_risk_or_paused_is_taken_from_its_history(api: Api) -> None:
    flow = make_flow(8, status="PAUSED")
    why = {"code": "no_slack", "message": "task a cannot be done in time any more"}
    lines = [
        make_history(flow, 1, type="sla.at_risk", detail={"reason": why}),
        make_history(flow, 2, type="flow.paused", detail={"requested_by": "ada", "reason": "the vendor is down"}),
        *(make_history(flow, number, ticket_id="t") for number in range(600)),
    ]
    await api.world.ports.store.commit(make_step(flow, history=tuple(lines)))
    text = (await api.get(f"/api/v1/why/{flow.flow_id}"))["text"]
    assert "Paused by ada: the vendor is down." in text


async def test_why_a_flow_failed_names_the_ticket_and_its_reason(api: Api) -> None:
    api.world.workers.behave = lambda _assignment: {
        "status": "FAILED",
        "error": {"type": "no_disk", "message": "the disk is full", "retryable": False},
    }
    await api.world.register()
    flow_id = await ended(api, task("a"), task("b", "a"))
    explained = await api.get(f"/api/v1/why/{flow_id}")
    assert explained["waits_for"] is None
    assert any("the disk is full (no_disk)" in sentence for sentence in explained["text"])


async def test_why_shows_the_end_of_a_history_however_long_it_is(api: Api) -> None:
    flow = make_flow(7)
    lines = [make_history(flow, number, ticket_id="even" if number % 2 == 0 else None) for number in range(1207)]
    ticket = make_ticket(flow, 1, ticket_id="even")
    await api.world.ports.store.commit(make_step(flow, ticket, history=tuple(lines)))
    of_flow = (await api.get(f"/api/v1/why/{flow.flow_id}"))["last_events"]
    assert [entry["cause"] for entry in of_flow] == [f"event-{number}" for number in range(1197, 1207)]
    of_ticket = (await api.get("/api/v1/why/even"))["last_events"]
    assert [entry["cause"] for entry in of_ticket] == [f"event-{number}" for number in range(1188, 1207, 2)]


async def test_an_id_that_cannot_exist_is_not_asked_for() -> None:
    async def look(_record_id: str) -> object:
        raise AssertionError("the store was asked")

    for record_id in ("a\0b", "\n", "\x7f", "\x9f"):
        with pytest.raises(Rejected, match="there is no flow"):
            await found("flow", record_id, look)


async def test_a_worker_is_new_once_and_known_after(api: Api) -> None:
    body = {"worker_id": "w7", "endpoint": "http://127.0.0.1:1/w7", "capabilities": [" Python ", "go"], "slots": 2}
    first = await api.client.post("/api/v1/workers", json=body)
    second = await api.client.post("/api/v1/workers", json=body)
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["heartbeat_interval_seconds"] == 30.0
    assert (first.json()["capabilities"], first.json()["health"]) == (["go", "python"], "HEALTHY")
    assert [worker["worker_id"] for worker in (await api.get("/api/v1/workers"))["items"]] == ["w7"]


async def test_a_worker_shows_its_health_its_silence_and_what_it_holds(api: Api, clock_ahead: "Ahead") -> None:
    await held(api, task("a"))
    fresh = await api.get("/api/v1/workers/w1")
    assert (fresh["health"], fresh["active_tickets"]) == ("HEALTHY", 1)
    clock_ahead(seconds=61)
    silent = await api.get("/api/v1/workers/w1")
    assert silent["health"] == "DEGRADED"
    assert 61 <= silent["silence_seconds"] < 90


async def test_a_heartbeat_keeps_a_worker_known_and_tells_it_what_to_stop(api: Api) -> None:
    flow_id, assignment = await held(api, task("a"))
    await api.client.post(f"/api/v1/flows/{flow_id}/cancel")
    running = [{"ticket_id": assignment["ticket_id"], "attempt": assignment["attempt"]}]
    answer = await api.client.post("/api/v1/workers/w1/heartbeat", json={"status": "degraded", "running": running})
    assert answer.json() == {"status": "DEGRADED", "cancel": [assignment["ticket_id"]]}
    assert (await api.client.post("/api/v1/workers/w1/heartbeat")).json() == {"status": "HEALTHY", "cancel": []}
    problem_of(await api.client.post("/api/v1/workers/w2/heartbeat"), 404, "unknown_worker")


async def test_a_worker_that_leaves_is_gone(api: Api) -> None:
    await api.world.register()
    assert (await api.client.delete("/api/v1/workers/w1")).status_code == 204
    problem_of(await api.client.delete("/api/v1/workers/w1"), 404, "unknown_worker")
    problem_of(await api.client.get("/api/v1/workers/w1"), 404, "unknown_worker")


async def test_discovery_ranks_who_offers_everything_and_names_who_does_not(api: Api) -> None:
    await api.world.register("w1", "python")
    await api.world.register("w2", "python", "go")
    answer = await api.client.post("/api/v1/workers/discover", json={"capabilities": ["Go", "python"]})
    assert [worker["worker_id"] for worker in answer.json()["items"]] == ["w2"]
    assert answer.json()["items"][0]["endpoint"] == "http://127.0.0.1:1/w2"
    assert answer.json()["refusals"] == [{"worker_id": "w1", "reason": "does not offer go"}]
    limited = await api.client.post("/api/v1/workers/discover", json={"limit": 1})
    assert len(limited.json()["items"]) == 1


async def test_dead_letters_are_listed_read_replayed_and_dropped_whatever_their_id(api: Api) -> None:
    await api.world.register()
    assert (await api.post(decision_event(decision(task("a"), decision_id="d-1")))).status_code == 202
    problem_of(await api.post(decision_event(decision(task("b"), decision_id="d-1"))), 422, "decision_conflict")
    kept = (await api.get("/api/v1/dead-letters"))["items"]
    assert [letter["reason"]["code"] for letter in kept] == ["decision_conflict"]
    letters = api.world.ports.dead_letters
    await letters.put(make_letter(letter_id="t/1/COMPLETED"))
    path = "/api/v1/dead-letters/t/1/COMPLETED"
    assert (await api.get(path))["letter_id"] == "t/1/COMPLETED"
    assert (await api.client.delete(path)).status_code == 204
    problem_of(await api.client.get(path), 404, "unknown_dead_letter")
    problem_of(await api.client.post(f"{path}/replay"), 404, "unknown_dead_letter")


async def test_a_replayed_letter_is_handled_again_and_gone(api: Api) -> None:
    flow_id = await api.world.submit(decision(task("a")))
    event = {
        "specversion": "1.0",
        "id": "cancel/1",
        "source": "/tests",
        "type": "io.neuralhive.flow.cancel_requested.v1",
        "time": "2026-03-01T12:00:00.000Z",
        "subject": flow_id,
        "data": {"flow_id": flow_id},
        "partitionkey": flow_id,
    }
    await api.world.ports.dead_letters.put(make_letter(letter_id="cancel/1", flow_id=flow_id, event=event))
    answer = await api.client.post("/api/v1/dead-letters/cancel/1/replay")
    assert (answer.status_code, answer.json()["letter_id"]) == (202, "cancel/1")
    assert (await api.world.ended(flow_id)).status == "CANCELLED"
    assert (await api.get("/api/v1/dead-letters"))["items"] == []


@pytest.mark.parametrize("path", ["flows/{}", "flows/{}/tickets", "flows/{}/history", "flows/{}/decision"])
@pytest.mark.parametrize("record_id", ["nobody", "00000000-0000-0000-0000-000000000000", "ü%20%F0%9F%98%80", "a%00b"])
async def test_a_flow_that_does_not_exist_is_a_404_whatever_its_id_looks_like(
    api: Api, path: str, record_id: str
) -> None:
    problem_of(await api.client.get(f"/api/v1/{path.format(record_id)}"), 404, "unknown_flow")


@pytest.mark.parametrize("path", ["tickets/x", "why/x", "why/a%00b"])
async def test_a_ticket_that_does_not_exist_is_a_404(api: Api, path: str) -> None:
    problem_of(await api.client.get(f"/api/v1/{path}"), 404, "unknown_ticket")


async def test_every_wrong_parameter_is_named(api: Api) -> None:
    answer = await api.client.get("/api/v1/flows", params={"limit": "many", "status": "odd", "cursor": "x" * 300})
    document = problem_of(answer, 422, "invalid_data")
    assert sorted(error["where"] for error in document["errors"]) == ["query.cursor", "query.limit", "query.status[0]"]
    for limit in (0, 501, -1):
        problem_of(await api.client.get("/api/v1/tickets", params={"limit": limit}), 422, "invalid_data")
    problem_of(await api.client.get("/api/v1/events", params={"after": 2**63}), 422, "invalid_data")
    problem_of(await api.client.get("/api/v1/flows", params={"cursor": "x"}), 400, "invalid_cursor")
    problem_of(await api.client.get("/api/v1/tickets", params={"plan_id": "a\0b"}), 422, "invalid_data")


async def test_whole_numbers_may_have_a_point(api: Api) -> None:
    assert (await api.client.post("/api/v1/workers/discover", json={"limit": 1.0})).status_code == 200


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("workers", {"slots": True}, "slots"),
        ("workers", {"running": [{"ticket_id": "t", "attempt": False}]}, "running[0].attempt"),
        ("workers", {"telemetry": {"success_rate": True}}, "telemetry.success_rate"),
        ("workers", {"telemetry": {"total_executions": "1"}}, "telemetry.total_executions"),
        ("workers/w/heartbeat", {"telemetry": {"avg_duration_ms": False}}, "telemetry.avg_duration_ms"),
        ("workers/discover", {"limit": True}, "limit"),
        ("workflows/start", {"cognitive_plan": {"plan_id": "p"}, "priority": True}, "priority"),
    ],
)
async def test_what_is_no_number_is_not_taken_for_one(api: Api, path: str, body: dict[str, Any], where: str) -> None:
    worker = {"worker_id": "w", "endpoint": "http://127.0.0.1:1"} if path == "workers" else {}
    document = problem_of(await api.client.post(f"/api/v1/{path}", json=worker | body), 422, "invalid_data")
    assert [error["where"] for error in document["errors"]] == [f"body.{where}"]


async def test_unknown_paths_and_methods_are_problems_that_say_what_is_taken(api: Api) -> None:
    problem_of(await api.client.get("/api/v2/flows"), 404, "not_found")
    problem_of(await api.client.get("/api/v1/flows/"), 404, "not_found")
    answer = await api.client.delete("/api/v1/workers")
    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, POST"
    answer = await api.client.post("/openapi.json")
    problem_of(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET, HEAD"


async def test_a_405_allows_what_the_document_lists_for_the_path_also_beside_one_with_an_id(api: Api) -> None:
    paths: Mapping[str, Mapping[str, Any]] = api.app.openapi()["paths"]
    beside = {"workers/discover", "workflows/start", "dead-letters/{letter_id}/replay"}
    assert {f"/api/v1/{path}" for path in beside} <= paths.keys()
    for path, operations in paths.items():
        answer = await api.client.request("TRACE", re.sub(r"\{\w+\}", "x", path))
        problem_of(answer, 405, "method_not_allowed")
        assert answer.headers["allow"] == ", ".join(sorted(method.upper() for method in operations)), path


async def test_health_readiness_and_metrics_are_there(api: Api) -> None:
    health = await api.get("/health")
    assert (health["status"], health["version"], health["consumer"]["status"]) == ("ok", "1.2.3", "running")
    assert (await api.get("/ready"))["ready"] is True
    metrics = await api.client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain")
    assert "neural_hive_flow_c_success_total" in metrics.text


async def test_the_platform_is_not_ready_while_it_says_so_or_lacks_something(api: Api) -> None:
    for answer in (not_yet, lacks_its_store):
        replace_service(api, ready=answer)
        refused = await api.client.get("/ready")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("error", [Unavailable("the store is away"), Conflict("moved")])
async def test_what_is_away_for_a_moment_is_a_503_with_retry_after(api: Api, error: Exception) -> None:
    def away() -> bytes:
        raise error

    replace_service(api, metrics=away)
    answer = await api.client.get("/metrics")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json()["detail"] == str(error)


async def test_an_unexpected_error_is_a_500_that_tells_nothing(api: Api) -> None:
    def broken() -> bytes:
        raise RuntimeError("the password is hunter2")

    replace_service(api, metrics=broken)
    answer = await api.client.get("/metrics")
    problem_of(answer, 500, "internal")
    assert "hunter2" not in answer.text


async def test_the_document_is_sound_and_names_every_route_and_every_taken_event(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    for pointer in references(document):
        assert resolve(document, pointer) is not None, pointer
    for name, schema in document["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema, name
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations)
    assert all(operation["responses"]["default"] for operation in operations)
    ingress = document["paths"]["/"]["post"]["requestBody"]["content"]
    cloudevents = {"application/cloudevents+json", "application/cloudevents-batch+json"}
    assert set(ingress) == {"application/json", *cloudevents}
    assert len(ingress["application/cloudevents+json"]["schema"]["oneOf"]) == len(HANDLERS.keys() - {APPLIED, DELETED})


async def test_the_documented_events_are_those_that_are_taken(api: Api) -> None:
    document = api.app.openapi()
    schema = document["paths"]["/"]["post"]["requestBody"]["content"]["application/cloudevents+json"]["schema"]
    validator = jsonschema.Draft202012Validator(schema | {"components": document["components"]})
    event = {"specversion": "1.0", "id": "1", "source": "/t", "type": "io.neuralhive.decision.consolidated.v1"}
    validator.validate(event | {"data": decision(task("a"))})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(event | {"data": {"decision_id": "d"}})
    with pytest.raises(jsonschema.ValidationError):
        validator.validate(event | {"type": "io.neuralhive.tickets.ready.v1", "data": {}})


def test_the_ingress_knows_every_type_of_the_catalogue() -> None:
    outside = {f"io.neuralhive.{entry.event_type}.v1" for entry in CATALOGUE if entry.outside}
    assert set(HANDLERS) == outside | {APPLIED, DELETED}
    assert len(outside) + len(INTERNAL) == len(CATALOGUE)


async def test_a_ticket_of_a_completed_flow_has_no_slack_but_says_that_it_was_in_time(api: Api) -> None:
    await api.world.register()
    flow_id = await ended(api, task("a"))
    ticket = (await api.get(f"/api/v1/flows/{flow_id}/tickets"))["items"][0]
    assert (ticket["status"], ticket["slack_ms"], ticket["slack_state"]) == (TicketStatus.COMPLETED, None, "on_track")


async def not_yet() -> dict[str, object]:
    return {"ready": False, "why": "still recovering"}


async def lacks_its_store() -> dict[str, object]:
    raise Unavailable("the store does not answer")


def replace_service(api: Api, **changes: Any) -> None:
    """Give the running app other services."""
    api.app.state.services = replace(api.app.state.services, **changes)


Ahead = Callable[..., None]


@dataclass
class ShiftedClock:
    """The platform's clock as the api sees it, ahead by `shift`."""

    clock: Any
    shift: timedelta

    def now(self) -> datetime:
        moment: datetime = self.clock.now() + self.shift
        return moment


@pytest.fixture
def clock_ahead(api: Api) -> Ahead:
    """Give `clock_ahead(seconds=…)`: from then on the api, and it alone, reads a later time."""

    def ahead(**shift: float) -> None:
        services = api.app.state.services
        clock = ShiftedClock(services.ports.clock, timedelta(**shift))
        replace_service(api, ports=replace(services.ports, clock=clock))

    return ahead


def references(value: object) -> list[str]:
    """Return every `$ref` in a document."""
    if isinstance(value, dict):
        here = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return [*here, *(pointer for part in value.values() for pointer in references(part))]
    return [pointer for part in value for pointer in references(part)] if isinstance(value, list) else []


def resolve(document: Any, pointer: str) -> object:
    """Return what a local reference points to."""
    for part in pointer.removeprefix("#/").split("/"):
        document = document[part.replace("~1", "/").replace("~0", "~")]
    found: object = document
    return found


async def test_a_client_without_the_checks_gets_the_same(api: Api) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api.app), base_url="http://api") as plain:
        assert (await plain.get("/health")).json()["status"] == "ok"
