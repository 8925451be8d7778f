"""The token of a ticket over HTTP: who gets one, what for, and what it opens."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import pytest

from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.world import decision, report_event, task, until

KEY = "a-key-that-nobody-guesses"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running_one:
        running_one.world.workers.behave = lambda _assignment: None
        await running_one.world.register()
        yield running_one


async def assignments(api: Api, *tasks: dict[str, Any]) -> list[Any]:
    await api.world.submit(decision(*tasks))

    async def assigned() -> Any:
        known = api.world.workers.assignments
        return list(known) if len(known) >= len(tasks) else None

    return list(await until(assigned, "the assignments"))


def path_of(assignment: Any) -> str:
    return f"/api/v1/tickets/{assignment['ticket_id']}/token"


def read(token: str) -> dict[str, Any]:
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


async def test_a_token_says_what_it_is_good_for_and_holds_an_hour_at_most(api: Api) -> None:
    (assignment,) = await assignments(api, task("a"))
    answer = await api.client.get(path_of(assignment))
    assert answer.headers["cache-control"] == "no-store"
    document = answer.json()
    claims = read(document["access_token"])
    assert claims["iss"] == claims["aud"] == "execution-ticket-service"
    assert (claims["sub"], claims["ticket_id"], claims["attempt"]) == ("w1", assignment["ticket_id"], 1)
    assert {"jti", "plan_id", "intent_id", "task_type", "security_level", "required_capabilities"} <= claims.keys()
    assert claims["scopes"] == document["scopes"] == ["ticket:read", "ticket:update", f"task:{claims['task_type']}"]
    assert jwt.get_unverified_header(document["access_token"]) == {"alg": "HS256", "typ": "JWT"}
    assert 3590 < document["expires_in"] <= 3600
    assert claims["exp"] - claims["iat"] in {3600, 3601}
    assert claims["nbf"] == claims["iat"]
    assert read((await api.client.get(path_of(assignment))).json()["access_token"])["jti"] != claims["jti"]


async def test_a_token_reports_on_its_ticket_and_opens_no_other(api: Api) -> None:
    one, other = await assignments(api, task("a"), task("b"))
    token = (await api.client.get(path_of(one))).json()["access_token"]
    problem_of(await api.report(other, report_event(other, status="RUNNING"), token), 403, "foreign_token")
    problem_of(await api.client.get(path_of(other), headers=bearer(token)), 403, "foreign_token")
    assert (await api.client.get(path_of(one), headers=bearer(token))).status_code == 200
    assert (await api.report(one, report_event(one, status="COMPLETED"), token)).json()["result"] == "recorded"
    problem_of(await api.client.get(path_of(one)), 409, "no_attempt")
    problem_of(await api.client.get("/api/v1/tickets/x/token"), 404, "unknown_ticket")


async def test_a_token_is_revoked_by_the_next_attempt(api: Api) -> None:
    (assignment,) = await assignments(api, task("a"))
    token = (await api.client.get(path_of(assignment))).json()["access_token"]
    ticket = f"/api/v1/tickets/{assignment['ticket_id']}"
    assert (await api.client.post(f"{ticket}/reassign", json={})).status_code == 202

    async def moved() -> bool | None:
        return True if (await api.client.get(ticket)).json()["attempt"] > 1 else None

    await until(moved, "the next attempt")
    problem_of(await api.client.get(ticket, headers=bearer(token)), 403, "foreign_token")
    problem_of(await api.client.get(path_of(assignment), headers=bearer(token)), 403, "foreign_token")
    done = report_event(assignment, status="COMPLETED")
    assert (await api.report(assignment, done, token)).json() == {"result": "superseded", "cancel": True}


async def test_who_got_a_token_is_kept_and_the_token_is_not(api: Api) -> None:
    (assignment,) = await assignments(api, task("a"))
    token = (await api.client.get(path_of(assignment))).json()["access_token"]
    shown = (await api.client.get("/api/v1/audits?kind=action")).text
    assert "issue_token" in shown
    assert token not in shown
    assert token.rpartition(".")[2] not in shown


async def test_without_private_keys_nothing_is_published(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key=KEY) as api:
        answer = await api.client.get("/.well-known/jwks.json")
        assert answer.json() == {"keys": []}
        assert "max-age" in answer.headers["cache-control"]
        problem_of(await api.client.post("/.well-known/jwks.json"), 405, "method_not_allowed")
