"""Dates, durations and sizes at their limits, by every route that takes or shows them: never a 5xx.

One platform serves all examples of a test, so whatever each of them has left is on the pages of all flows in the end.
"""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import structlog

from functions._core.decision.vocabulary import MAX_SPAN_MS
from functions._core.records.values import flow_id_of, ticket_id_of
from tests.support.one_machine import one_machine
from tests.support.world import decision, task, until

EVENT = {"ce-specversion": "1.0", "ce-source": "/t", "ce-type": "io.neuralhive.decision.consolidated.v1"}

DATES = [
    "0001-01-01T00:00:00Z",
    "0001-01-01T00:00:00+14:00",
    "0001-01-01T00:00:00-14:00",
    "1970-01-01T00:00:00Z",
    "9999-12-31T23:59:59.999Z",
    "9999-12-31T23:59:59.999999+14:00",
    "9999-12-31T23:59:59.999-14:00",
    "9999-12-31T23:59:60Z",
    0,
    1,
    253_402_300_799_999,
    253_402_300_800_000,
    "253402300799999",
    -1,
    1e308,
    "99999-01-01T00:00:00Z",
]
SPANS = [1, MAX_SPAN_MS, MAX_SPAN_MS + 1, 2**63, 10**400, -1, 0, 0.5, 1e308]
CHAIN = [task(f"t{n}", *([f"t{n - 1}"] if n else []), estimated_duration_ms=MAX_SPAN_MS) for n in range(1000)]

PLAN = [task("a"), task("b", "a", estimated_duration_ms=MAX_SPAN_MS)]
DECISIONS: Mapping[str, list[dict[str, Any]]] = {
    "deadline": [{"sla_deadline": date} for date in DATES],
    "deadline of a reviewed one": [{"sla_deadline": date, "requires_human_review": True} for date in DATES],
    "validity": [{"valid_until": date} for date in DATES],
    "seconds": [{"sla_deadline_seconds": span} for span in [*SPANS, MAX_SPAN_MS / 1000]],
    "seconds of a reviewed one": [{"sla_deadline_seconds": MAX_SPAN_MS / 1000, "requires_human_review": True}],
}
LAST = ("redrive", "deny", "cancel")
"""Orders after which there are no others."""

ESTIMATES = [{"estimated_duration_ms": span} for span in SPANS] + [{"timeout_ms": span} for span in SPANS]


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    with structlog.testing.capture_logs():  # to draw tracebacks takes longer than all else
        async with served(tmp_path) as found:
            yield found


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    async with one_machine(folder) as at:
        yield at.client


async def routes(client: httpx.AsyncClient) -> Mapping[str, Mapping[str, Any]]:
    paths: Mapping[str, Mapping[str, Any]] = (await client.get("/openapi.json")).json()["paths"]
    return paths


async def sent(client: httpx.AsyncClient, data: Mapping[str, Any]) -> str | None:
    """Send a decision as JSON that may hold what httpx would not write; return the flow if there is one."""
    answer = await client.post("/", json=data, headers={**EVENT, "ce-id": str(uuid4())})
    assert answer.status_code < 500, answer.text
    return flow_id_of(data["decision_id"]) if answer.status_code == 202 else None


async def settled(client: httpx.AsyncClient, flow_id: str) -> None:
    """Wait until a flow does not move by itself."""

    async def probe() -> str | None:
        status: str = (await client.get(f"/api/v1/flows/{flow_id}")).json().get("status", "?")
        return status if status not in {"VALIDATING", "GENERATING", "PUBLISHING"} else None

    await until(probe, f"flow {flow_id} to come to rest")


async def faults(
    client: httpx.AsyncClient, paths: Mapping[str, Mapping[str, Any]], flow_id: str, task_id: str = "a"
) -> list[str]:
    """Return every answer of a 5xx by which a flow is shown or given orders; the orders that end it come last."""
    names = {"flow_id": flow_id, "workflow_id": flow_id, "ticket_id": ticket_id_of(flow_id, task_id), "id": flow_id}
    operations = [
        (method == "post", path.endswith(LAST), re.sub(r"\{(\w+)\}", lambda name: names.get(name[1], "x"), path))
        for path, methods in paths.items()
        for method in methods
        if method in {"get", "post"} and not path.endswith("/reports")
        if any(f"{{{name}}}" in path for name in names)
    ]
    return await broken(client, [("POST" if ordering else "GET", where) for ordering, _, where in sorted(operations)])


async def broken(client: httpx.AsyncClient, requests: Iterable[tuple[str, str]]) -> list[str]:
    """Return every answer of a 5xx."""
    answers = [await client.request(method, where) for method, where in requests]
    return [f"{one.url.path}: {one.status_code} {one.text[:100]}" for one in answers if one.status_code >= 500]


PAGES = ("/api/v1/flows", "/api/v1/tickets", "/api/v1/audits", "/api/v1/events", "/api/v1/flow-c/status", "/metrics")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", DECISIONS)
async def test_no_date_or_time_of_a_decision_breaks_a_page(client: httpx.AsyncClient, kind: str) -> None:
    paths = await routes(client)
    offences: dict[str, list[str]] = {}
    for fields in DECISIONS[kind]:
        flow_id = await sent(client, decision(*PLAN, **fields))
        if flow_id is not None:
            await settled(client, flow_id)
            offences[str(fields)] = await faults(client, paths, flow_id)
    assert len(offences) == len(DECISIONS[kind])
    offences["all of them"] = await broken(client, [("GET", page) for page in PAGES])
    assert {name: found for name, found in offences.items() if found} == {}


@pytest.mark.timeout(240)
async def test_no_duration_of_a_task_breaks_a_page(client: httpx.AsyncClient) -> None:
    paths = await routes(client)
    offences: dict[str, list[str]] = {}
    for fields in ESTIMATES:
        flow_id = await sent(client, decision(task("a", **fields), task("b", "a", **fields)))
        if flow_id is not None:
            await settled(client, flow_id)
            offences[str(fields)] = await faults(client, paths, flow_id)
    assert len(offences) > 10
    offences["all of them"] = await broken(client, [("GET", page) for page in PAGES])
    assert {name: found for name, found in offences.items() if found} == {}


@pytest.mark.timeout(240)
async def test_a_chain_of_a_thousand_tasks_of_ten_years_is_shown(client: httpx.AsyncClient) -> None:
    flow_id = await sent(client, decision(*CHAIN))
    assert flow_id is not None
    await settled(client, flow_id)
    assert await faults(client, await routes(client), flow_id, "t999") == []
    reasons = (await client.get(f"/api/v1/flows/{flow_id}")).json()["reasons"]
    assert [reason for reason in reasons if reason["code"] == "internal"] == []


LIMITS: Mapping[str, list[Any]] = {
    "limit": [0, 1, 500, 501, -1, 2**63, 10**400, "1e3", "0x1"],
    "after": [0, 2**63 - 1, 2**63, -1, 10**400],
    "cursor": ["0", "9" * 18, "9" * 200, "-1", "x"],
    "window_hours": [0, 24 * 366, 24 * 366 + 1, 10**400, -1],
    "wait_seconds": [0, 0.001, "inf", "nan", -1, 1e308],
}


async def test_no_parameter_at_its_limits_breaks_a_route(client: httpx.AsyncClient) -> None:
    paths = await routes(client)
    asked, found = 0, []
    for path, operations in paths.items():
        for method, operation in operations.items():
            for parameter in operation.get("parameters", ()):
                for value in LIMITS.get(parameter["name"], ()) if parameter["in"] == "query" else ():
                    where = re.sub(r"\{\w+\}", "x", path)
                    answer = await client.request(method, where, params={parameter["name"]: value})
                    asked += 1
                    if answer.status_code >= 500:
                        found.append(f"{method} {answer.url}: {answer.status_code}")
    assert asked > 60
    assert found == []


BODIES: Mapping[str, list[dict[str, Any]]] = {
    "/api/v1/flows/x/redrive": [{"sla_seconds": value} for value in (1e-9, 365 * 86_400, 1e308, -1, 10**400)],
    "/api/v1/workers": [
        {"worker_id": "w", "endpoint": "http://127.0.0.1:1", **more}
        for more in (
            {"slots": 10_000},
            {"slots": 10**400},
            {"capabilities": ["c" * 100_000] * 5},
            {"metadata": {"k": "v" * 500_000}},
            {"telemetry": {"avg_duration_ms": 10**15, "total_executions": 10**15, "success_rate": 1}},
            {"worker_id": "w" * 255, "endpoint": "http://127.0.0.1:1/" + "x" * 2029},
        )
    ],
    "/api/v1/workers/discover": [{"limit": value} for value in (0, 1, 10**400)],
    "/api/v1/workflows/start": [
        {"cognitive_plan": {"plan_id": "p", "tasks": PLAN[:1]}, "correlation_id": f"c-{number}", **more}
        for number, more in enumerate(
            {"sla_deadline_seconds": value} for value in (1e-9, MAX_SPAN_MS / 1000, 1e308, 10**400)
        )
    ],
}


async def test_no_number_of_a_body_at_its_limits_breaks_a_route(client: httpx.AsyncClient) -> None:
    found = []
    for path, bodies in BODIES.items():
        for body in bodies:
            answer = await client.post(path, json=body)
            if answer.status_code >= 500:
                found.append(f"{path} {str(body)[:100]}: {answer.status_code} {answer.text[:200]}")
    for path in ("/api/v1/workers", "/api/v1/flows", "/api/v1/workers/discover", "/metrics", "/api/v1/flow-c/status"):
        answer = await client.request("POST" if path.endswith("discover") else "GET", path)
        if answer.status_code >= 500:
            found.append(f"{path} afterwards: {answer.status_code}")
    assert found == []
