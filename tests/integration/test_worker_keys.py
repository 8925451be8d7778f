"""A key for one worker acts for that worker alone; keys and their makers get no more than they were given."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.events.envelope import type_of
from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.world import decision, decision_event, task

KEY = "a-key-that-nobody-guesses"
TICKETS = "/api/v1/tickets"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, api_key=KEY) as running_one:
        running_one.client.headers["x-api-key"] = KEY
        yield running_one


async def key(api: Api, *roles: str, name: str = "some", **form: Any) -> dict[str, str]:
    """Make a key; return the header that sends it."""
    answer = await api.client.post("/api/v1/keys", json={"name": name, "roles": roles, **form})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return {"x-api-key": answer.json()["key"]}


async def ticket(api: Api, ticket_id: str) -> str:
    form = {"plan_id": "p", "task_type": "BUILD", "ticket_id": ticket_id, "required_capabilities": ["nobody-offers"]}
    assert (await api.client.post(TICKETS, json=form)).status_code == 201
    return f"{TICKETS}/{ticket_id}"


async def send(api: Api, event_type: str, data: dict[str, Any], headers: dict[str, str]) -> httpx.Response:
    event = replace(decision_event(decision(task("a"))), id=f"e-{event_type}", type=type_of(event_type), data=data)
    api.client.headers.update(headers)
    try:
        return await api.post(event)
    finally:
        api.client.headers["x-api-key"] = KEY


def worker(worker_id: str) -> dict[str, Any]:
    return {"worker_id": worker_id, "endpoint": "http://127.0.0.1:9/", "capabilities": ["python"]}


async def test_a_key_for_one_worker_registers_beats_and_leaves_as_that_one_alone(api: Api) -> None:
    w1 = await key(api, "worker", worker_id="w1")
    assert (await api.client.post("/api/v1/workers", json=worker("w2"))).status_code == 201
    for worker_id in ("w1", "w2"):
        paths: list[tuple[str, str, dict[str, Any] | None]] = [
            ("POST", "/api/v1/workers", worker(worker_id)),
            ("POST", f"/api/v1/workers/{worker_id}/heartbeat", {}),
            ("GET", f"/api/v1/workers/{worker_id}", None),
            ("DELETE", f"/api/v1/workers/{worker_id}", None),
        ]
        for method, path, body in paths:
            answer = await api.client.request(
                method, path, headers=w1 | {"content-type": "application/json"}, json=body
            )
            if worker_id == "w2":
                problem_of(answer, 403, "foreign_worker")
            else:
                assert answer.status_code < 300, answer.text
        for event_type, more in (
            ("worker.registered", worker(worker_id)),
            ("worker.heartbeat", {"worker_id": worker_id}),
            ("worker.deregistered", {"worker_id": worker_id}),
        ):
            answer = await send(api, event_type, more, w1)
            if worker_id == "w2":
                problem_of(answer, 403, "foreign_worker")
            else:
                assert answer.status_code == 202, answer.text
    assert [one["worker_id"] for one in (await api.get("/api/v1/workers"))["items"]] == ["w2"]


async def test_a_heartbeat_whose_subject_is_another_worker_is_refused(api: Api) -> None:
    w1 = await key(api, "worker", worker_id="w1")
    assert (await api.client.post("/api/v1/workers", json=worker("w2"))).status_code == 201
    event = replace(decision_event(decision(task("a"))), type=type_of("worker.heartbeat"), subject="w2", data={})
    api.client.headers.update(w1)
    problem_of(await api.post(event), 403, "foreign_worker")
    batch = await api.post(event, batch=True)
    assert batch.json()["errors"][0]["code"] == "foreign_worker"


async def test_a_key_for_one_worker_claims_and_reports_for_that_one_alone(api: Api) -> None:
    w1, any_worker = await key(api, "worker", worker_id="w1"), await key(api, "worker")
    mine, other = await ticket(api, "t-1"), await ticket(api, "t-2")
    claim = {"status": "RUNNING", "worker_id": "w2"}
    problem_of(await api.client.patch(f"{mine}/status", json=claim, headers=w1), 403, "foreign_worker")
    named = {"status": "RUNNING", "metadata": {"worker_id": "w2"}}
    problem_of(await api.client.patch(f"{mine}/status", json=named, headers=w1), 403, "foreign_worker")
    answer = await api.client.patch(f"{mine}/status", json={"status": "RUNNING"}, headers=w1)
    assert (answer.status_code, answer.json()["worker_id"]) == (200, "w1")
    assert (await api.client.patch(f"{other}/status", json=claim, headers=any_worker)).status_code == 200
    for body in ({"attempt": 1}, {"attempt": 1, "worker_id": "w2"}, {"attempt": 2}):
        answer = await api.client.patch(f"{other}/status", json={"status": "COMPLETED", **body}, headers=w1)
        assert answer.status_code in {403, 409}
        assert (await api.get(other))["status"] == "RUNNING"
    problem_of(await api.client.patch(f"{other}/status", json=claim, headers=w1), 403, "foreign_worker")
    problem_of(await api.client.get(f"{other}/token", headers=w1), 403, "foreign_worker")
    assert (await api.client.get(f"{mine}/token", headers=w1)).status_code == 200
    done = {"status": "COMPLETED", "attempt": 1, "output": 1}
    assert (await api.client.patch(f"{mine}/status", json=done, headers=w1)).status_code == 200


async def test_a_claim_that_comes_as_an_event_takes_the_role_worker(api: Api) -> None:
    path = await ticket(api, "t-1")
    flow_id = (await api.get(path))["flow_id"]
    data = {"flow_id": flow_id, "ticket_id": "t-1", "worker_id": "w1"}
    viewer = await send(api, "ticket.claim_requested", data, await key(api, "viewer"))
    problem_of(viewer, 403, "insufficient_role")
    foreign = await send(api, "ticket.claim_requested", data, await key(api, "worker", worker_id="w2"))
    problem_of(foreign, 403, "foreign_worker")
    cancel = {"flow_id": flow_id, "ticket_id": "t-1"}
    refused = await send(api, "ticket.cancel_requested", cancel, await key(api, "worker"))
    problem_of(refused, 403, "insufficient_role")
    assert (await send(api, "ticket.claim_requested", data, await key(api, "worker"))).status_code == 202
    assert (await api.get(path))["worker_id"] == "w1"


@pytest.mark.parametrize("roles", [["operator"], ["worker", "viewer"], ["admin"]])
async def test_only_a_key_of_the_role_worker_is_for_one_worker(api: Api, roles: list[str]) -> None:
    form = {"name": "x", "roles": roles, "worker_id": "w1"}
    problem_of(await api.client.post("/api/v1/keys", json=form), 422, "invalid_data")


async def test_an_idempotency_key_is_its_callers_own(api: Api) -> None:
    """Whoever guesses the key of another client learns nothing of its ticket, and keeps nothing from it."""
    ada, eve = await key(api, "operator", name="ada"), await key(api, "operator", name="eve")
    known = {"idempotency-key": "order-17"}
    form = {"plan_id": "p", "task_type": "BUILD"}
    first = await api.client.post(TICKETS, json=form, headers=ada | known)
    again = await api.client.post(TICKETS, json=form, headers=ada | known)
    assert (first.status_code, again.status_code) == (201, 200)
    guessed = await api.client.post(TICKETS, json={**form, "plan_id": "q"}, headers=eve | known)
    assert guessed.status_code == 201
    assert guessed.json()["ticket_id"] != first.json()["ticket_id"] == again.json()["ticket_id"]
    renewed = await key(api, "operator", name="ada")
    assert (await api.client.post(TICKETS, json=form, headers=renewed | known)).status_code == 200


async def test_an_idempotency_key_of_another_caller_keeps_no_order_from_being_carried_out(api: Api) -> None:
    ada, eve = await key(api, "operator", name="ada"), await key(api, "operator", name="eve")
    flow_id = (await api.get(await ticket(api, "t-1")))["flow_id"]
    flow, known = f"/api/v1/flows/{flow_id}", {"idempotency-key": "pause-1"}
    for verb, headers, status in (
        ("pause", eve | known, "PAUSED"),
        ("resume", eve, "EXECUTING"),
        ("pause", eve | known, "EXECUTING"),  # the same order again
        ("pause", ada | known, "PAUSED"),
    ):
        assert (await api.client.post(f"{flow}/{verb}", json={}, headers=headers)).status_code == 202
        assert (await api.get(flow))["status"] == status


async def test_a_key_with_scopes_makes_no_key_without_them(api: Api) -> None:
    keeper = await key(api, "admin", scopes=["keys"])
    scopes: list[list[str]] = [[], ["keys", "flows"], ["flows"]]
    for more in scopes:
        form = {"name": "x", "roles": ["admin"], "scopes": more}
        refused = await api.client.post("/api/v1/keys", json=form, headers=keeper)
        problem_of(refused, 403, "insufficient_scope")
    same = {"name": "x", "roles": ["admin"], "scopes": ["keys"]}
    assert (await api.client.post("/api/v1/keys", json=same, headers=keeper)).status_code == 201


async def test_a_ticket_token_opens_nothing_more_than_its_ticket_with_a_key_beside_it(api: Api) -> None:
    """Two credentials do not add up: the caller is the one that is found first."""
    mine, other = await ticket(api, "t-1"), await ticket(api, "t-2")
    claim = {"status": "RUNNING", "worker_id": "w1"}
    for path in (mine, other):
        assert (await api.client.patch(f"{path}/status", json=claim)).status_code == 200
    token = (await api.get(f"{mine}/token"))["access_token"]
    del api.client.headers["x-api-key"]
    w2 = {"x-api-key": "flowc_0000000000000000_" + "0" * 64}
    problem_of(await api.client.get(other, headers=w2 | bearer(token)), 403, "foreign_token")
