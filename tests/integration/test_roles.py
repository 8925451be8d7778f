"""What each role may do, and under whose name it is kept."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute

from functions._core.records.principal import Principal, Role
from functions.api.app import create_app
from functions.api.roles import AREAS, ROLES, area_of
from functions.api.routes import routes_of
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, decision_event, report_event, task, until

JSON = {"content-type": "application/json"}


def test_every_route_says_which_role_it_needs(api: Api) -> None:
    paths = api.app.openapi()["paths"]
    routes = {f"{method.upper()} {path}" for path, methods in paths.items() for method in methods}
    assert routes - ROLES.keys() == set()
    assert ROLES.keys() - routes == set()


def test_no_route_is_left_out_of_the_document(api: Api) -> None:
    hidden = [route for route in api.app.routes if isinstance(route, APIRoute) and not route.include_in_schema]
    assert hidden == []


def test_the_area_of_a_route_is_a_word() -> None:
    assert (area_of("/"), area_of("/metrics"), area_of("/api/v1/flows/{flow_id}")) == ("events", "metrics", "flows")
    assert {"tickets", "workers", "dead-letters"} <= AREAS


def test_routes_that_ask_nobody_for_a_role_are_refused() -> None:
    with pytest.raises(TypeError, match=r"is no functions\.api\.routes\.Routes"):
        routes_of(APIRouter())


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running_one:
        yield running_one


WATCHES = {"GET /api/v1/agents/watch"}
"""Routes that wait for a change when none has come."""

CALLERS = {
    "viewer": Principal("vera", frozenset({Role.VIEWER})),
    "operator": Principal("otto", frozenset({Role.OPERATOR})),
    "worker": Principal("wanda", frozenset({Role.WORKER})),
    "admin": Principal("ada", frozenset({Role.ADMIN})),
    "nobody": Principal("nora", frozenset()),
    "metrics": Principal("prometheus", frozenset({Role.VIEWER}), scopes=frozenset({"metrics"})),
}


@pytest.fixture
async def guarded(api: Api) -> Api:
    """Serve the api to callers whose key is their name in `CALLERS`."""

    async def identify(credential: str) -> Principal | None:
        return CALLERS.get(credential)

    document = api.app.openapi()
    api.app = create_app(replace(api.app.state.services, identify=identify))
    api.app.openapi_schema = document
    api.client._transport = httpx.ASGITransport(api.app, raise_app_exceptions=False)  # noqa: SLF001
    return api


async def status(api: Api, caller: str, method: str, path: str, **given: Any) -> int:
    headers = JSON | {"x-api-key": caller} if method != "GET" else {"x-api-key": caller}
    answer = await api.client.request(method, path, headers=headers, **given)
    if answer.status_code == 403:
        problem_of(answer, 403, answer.json()["code"])
        assert answer.json()["code"] in {"insufficient_scope", "insufficient_role"}
    return answer.status_code


@pytest.mark.parametrize(
    ("method", "path", "may"),
    [
        ("GET", "/api/v1/flows", "viewer operator admin"),
        ("GET", "/metrics", "viewer operator admin metrics"),
        ("GET", "/api/v1/tickets/x", "viewer operator worker admin"),
        ("GET", "/api/v1/workers/x", "viewer operator worker admin"),
        ("POST", "/api/v1/workers/x/heartbeat", "operator worker admin"),
        ("DELETE", "/api/v1/workers/x", "operator worker admin"),
        ("POST", "/api/v1/flows/x/cancel", "operator admin"),
        ("POST", "/api/v1/tickets/x/skip", "operator admin"),
        ("DELETE", "/api/v1/dead-letters/x", "operator admin"),
        ("GET", "/api/v1/nowhere", " ".join(CALLERS)),
        ("GET", "/health", " ".join(CALLERS)),
    ],
)
async def test_a_route_is_open_to_those_of_its_roles(guarded: Api, method: str, path: str, may: str) -> None:
    answered = {caller: await status(guarded, caller, method, path) for caller in CALLERS}
    assert {caller for caller, code in answered.items() if code != 403} == set(may.split())
    assert (await guarded.client.request(method, path, headers=JSON)).status_code == (200 if path == "/health" else 401)


async def test_an_event_needs_the_role_of_its_type(guarded: Api) -> None:
    sent = decision_event(decision(task("a")))
    answers = {}
    for caller in CALLERS:
        guarded.client.headers["x-api-key"] = caller
        answers[caller] = (await guarded.post(sent)).status_code
        batch = await guarded.post(sent, batch=True)
        assert batch.status_code == (202 if answers[caller] == 202 else 400), batch.text
    assert answers == dict.fromkeys(CALLERS, 403) | {"operator": 202, "admin": 202}


async def test_an_action_is_the_callers_whoever_the_request_names(guarded: Api) -> None:
    guarded.client.headers["x-api-key"] = "operator"
    guarded.world.workers.behave = lambda _assignment: None
    await guarded.world.register()
    flow_id = (await guarded.post(decision_event(decision(task("a"))))).json()["flow_id"]

    async def assigned() -> Any:
        return next(iter(guarded.world.workers.assignments), None)

    await until(assigned, "an assignment")
    client = guarded.client
    assert (await client.post(f"/api/v1/flows/{flow_id}/cancel", json={"requested_by": "mallory"})).status_code == 202
    assert (await client.delete("/api/v1/workers/w1?requested_by=mallory", headers=JSON)).status_code == 204
    actions = (await client.get("/api/v1/audits?kind=action")).json()["items"]
    assert {(action["action"], action["who"]) for action in actions} == {
        ("cancel_flow", "otto"),
        ("deregister_worker", "otto"),
    }
    assert "mallory" not in (await client.get(f"/api/v1/flows/{flow_id}/history")).text


async def test_an_order_that_comes_as_an_event_is_the_callers_too(guarded: Api) -> None:
    guarded.client.headers["x-api-key"] = "operator"
    flow_id = (await guarded.post(decision_event(decision(task("a"))))).json()["flow_id"]
    order = replace(
        decision_event(decision(task("a"))),
        id="o-1",
        type="io.neuralhive.flow.cancel_requested.v1",
        data={"flow_id": flow_id, "requested_by": "mallory"},
    )
    assert (await guarded.post(order)).status_code == 202
    history = (await guarded.client.get(f"/api/v1/flows/{flow_id}/history")).text
    assert "otto" in history
    assert "mallory" not in history


async def test_the_token_of_a_ticket_opens_that_ticket_alone(api: Api) -> None:
    """It holds where access is off, too, and only for the attempt that it was made for."""
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    await api.world.submit(decision(task("a"), task("b")))

    async def assigned() -> Any:
        return api.world.workers.assignments if len(api.world.workers.assignments) > 1 else None

    one, other = (await until(assigned, "two assignments"))[:2]
    bearer = {"authorization": f"Bearer {one['token']}"}
    own, foreign = (f"/api/v1/tickets/{assignment['ticket_id']}" for assignment in (one, other))
    assert (await api.client.get(own, headers=bearer)).json()["ticket_id"] == one["ticket_id"]
    problem_of(await api.client.get(foreign, headers=bearer), 403, "foreign_token")
    problem_of(await api.client.post(f"{own}/skip", headers=bearer, json={}), 403, "insufficient_role")
    tampered = {"authorization": f"Bearer {one['token'][:-4]}AAAA"}
    problem_of(await api.client.get(own, headers=tampered), 401, "bad_token")
    failed = report_event(one, status="FAILED", error={"type": "x", "message": "again", "retryable": True})
    assert (await api.report(one, failed)).json()["result"] == "recorded"
    assert (await api.client.post(f"{own}/retry", json={})).status_code in {202, 409}

    async def moved() -> bool | None:
        ticket = (await api.client.get(own)).json()
        return True if ticket["attempt"] > one["attempt"] else None

    await until(moved, "the next attempt")
    problem_of(await api.client.get(own, headers=bearer), 403, "foreign_token")


async def test_no_role_gets_further_than_the_table_of_roles_says(guarded: Api) -> None:
    """Every route, every caller: what is refused is refused before its body is looked at."""
    for route, needed in ROLES.items():
        method, _, path = route.partition(" ")
        for caller, principal in CALLERS.items():
            headers = {**JSON, "x-api-key": caller}
            place = path.replace("{", "").replace("}", "")
            params = {"timeout": "0.1"} if route in WATCHES else {}
            answer = await guarded.client.request(method, place, headers=headers, params=params, content=b"\xff")
            may = not needed or principal.may(*needed)
            closed = bool(needed and principal.scopes) and area_of(path) not in principal.scopes
            assert (answer.status_code == 403) == (not may or closed), (route, caller, answer.text)
