"""A worker that asks for its tickets, request by request."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from tests.support.http_api import Api
from tests.support.world import report_event

LEASE = "/api/v1/tasks/lease"
Assignment = Mapping[str, Any]


async def register_pulling(api: Api, worker_id: str = "p1", *capabilities: str, **more: Any) -> dict[str, Any]:
    """Register a worker that asks for its tickets; without capabilities it offers `python`."""
    about = {"worker_id": worker_id, "delivery": "pull", "capabilities": capabilities or ("python",), **more}
    answer = await api.client.post("/api/v1/workers", json=about)
    assert answer.status_code in {200, 201}, answer.text
    registered: dict[str, Any] = answer.json()
    return registered


async def ask(api: Api, worker_id: str = "p1", **more: Any) -> httpx.Response:
    """Ask for tickets."""
    return await api.client.post(LEASE, json={"worker_id": worker_id, **more}, timeout=None)


async def leased(api: Api, worker_id: str = "p1", **more: Any) -> list[dict[str, Any]]:
    """Return the assignments that a worker is given when it asks for them."""
    answer = await ask(api, worker_id, **more)
    assert answer.status_code == 200, answer.text
    assert answer.headers["cache-control"] == "no-store"
    return [event["data"] for event in answer.json()["assignments"]]


def running(assignments: Sequence[Assignment]) -> list[dict[str, Any]]:
    """Return what a worker says that it has."""
    return [{"ticket_id": one["ticket_id"], "attempt": one["attempt"]} for one in assignments]


async def done(api: Api, assignment: Assignment, status: str = "COMPLETED", **more: Any) -> dict[str, Any]:
    """Report the end of an attempt; return the answer."""
    answer = await api.report(assignment, report_event(assignment, status=status, **more))
    assert answer.status_code == 200, answer.text
    result: dict[str, Any] = answer.json()
    return result
