"""Plans by name and version: they never change, decisions use them, and strangers get nothing out of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from random import Random
from typing import Any

import pytest

from functions._adapters.stores import Stores
from functions._core.decision import stored_plans
from functions._core.decision.named_plans import PlanReference
from functions._core.decision.stored_plans import (
    PARTS,
    PLAN_BYTES,
    SPACE,
    content_of,
    described,
    remove_version,
    resolved,
    store_version,
    stored_version,
    versions_of,
)
from functions._core.errors import Rejected
from functions._engine.clock import SystemClock
from tests.support.decisions import NOW, a_document, a_task
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision_event

PATH = "/api/v1/plans"
PLAN = {"tasks": [a_task("extract"), a_task("load", "extract")], "labels": {"team": "data"}}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def put(api: Api, name: str, version: str, plan: object = PLAN) -> Any:
    return await api.client.put(f"{PATH}/{name}/versions/{version}", json=plan)


async def test_a_version_is_stored_once_and_never_changes(api: Api) -> None:
    new = await put(api, "nightly", "1.2.0")
    assert new.status_code == 201, new.text
    assert (new.json()["tasks"], new.json()["warnings"]) == (2, [])
    again = await put(api, "nightly", "1.2.0", {**PLAN, "plan_id": "ignored", "$schema": "ignored"})
    assert (again.status_code, again.json()["created_at"]) == (200, new.json()["created_at"])
    other = {**PLAN, "labels": {"team": "others"}}
    problem_of(await put(api, "nightly", "1.2.0", other), 409, "plan_exists")
    read = await api.client.get(f"{PATH}/nightly/versions/1.2.0")
    assert read.json()["plan"] == PLAN
    kept = await api.get("/api/v1/audits?kind=action")
    assert [(one["action"], one["target"]) for one in kept["items"]] == [("store_plan", "nightly@1.2.0")]


async def test_versions_are_ordered_as_versions_not_as_text(api: Api) -> None:
    for version in ("1.9.0", "1.10.0", "0.99.99", "1.2.0"):
        await put(api, "nightly", version)
    await put(api, "nightly-2", "3.0.0")
    await put(api, "a", "0.0.1")
    listed = (await api.get(f"{PATH}/nightly/versions"))["items"]
    assert [one["version"] for one in listed] == ["1.10.0", "1.9.0", "1.2.0", "0.99.99"]
    names = (await api.get(PATH))["items"]
    assert [(one["name"], one["newest"], one["versions"]) for one in names] == [
        ("a", "0.0.1", 1),
        ("nightly", "1.10.0", 4),
        ("nightly-2", "3.0.0", 1),
    ]


@pytest.mark.parametrize(("reference", "plan_id"), [("nightly", "nightly@2.0.0"), ("nightly@1.0.0", "nightly@1.0.0")])
async def test_a_decision_uses_a_stored_plan_and_keeps_its_content(api: Api, reference: str, plan_id: str) -> None:
    await put(api, "nightly", "1.0.0")
    await put(api, "nightly", "2.0.0", {"tasks": [a_task("only")]})
    data = a_document({"plan": reference})
    del data["plan_id"]
    answer = await api.post(decision_event(data))
    assert answer.status_code == 202, answer.text
    flow_id = answer.json()["flow_id"]
    kept = (await api.client.get(f"/api/v1/flows/{flow_id}/decision")).json()
    assert (kept["plan_id"], kept["cognitive_plan"]["plan_id"]) == (plan_id, plan_id)
    assert len(kept["cognitive_plan"]["tasks"]) == (1 if reference == "nightly" else 2)
    assert (await api.client.delete(f"{PATH}/nightly/versions/{plan_id[-5:]}")).status_code == 204
    assert (await api.client.get(f"/api/v1/flows/{flow_id}/decision")).json() == kept


async def test_a_decision_that_names_its_plan_id_keeps_it(api: Api) -> None:
    await put(api, "nightly", "1.0.0")
    answer = await api.post(decision_event(a_document({"plan": "nightly"}, plan_id="mine")))
    kept = (await api.client.get(f"/api/v1/flows/{answer.json()['flow_id']}/decision")).json()
    assert (kept["plan_id"], kept["cognitive_plan"]["plan_id"]) == ("mine", "mine")


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        ({"plan": "nowhere"}, "unknown_plan"),
        ({"plan": "nowhere@1.0.0"}, "unknown_plan"),
        ({"plan": "../../etc/passwd"}, "invalid_plan_reference"),
        ({"plan": "a@latest"}, "invalid_plan_reference"),
        ({"plan": "a@1.0"}, "invalid_plan_reference"),
        ({"plan": "a@01.0.0"}, "invalid_plan_reference"),
        ({"plan": "a\x00b"}, "invalid_plan_reference"),
        ({"plan": "a" * 101}, "invalid_plan_reference"),
        ({"plan": 5}, "invalid_plan_reference"),
        ({"plan": None}, "invalid_plan_reference"),
        ({"plan": ["a"]}, "invalid_plan_reference"),
        ({"plan": "a", "version": "1.0.0"}, "invalid_plan_reference"),
    ],
)
async def test_a_reference_that_leads_nowhere_is_refused_before_there_is_a_flow(
    api: Api, plan: object, code: str
) -> None:
    problem_of(await api.post(decision_event(a_document(plan))), 422, code)
    assert (await api.get("/api/v1/flows"))["items"] == []


async def test_a_plan_that_c1_would_refuse_is_not_stored_and_every_error_is_named(api: Api) -> None:
    answer = await put(api, "bad", "1.0.0", {"tasks": [a_task("a", "b"), a_task("b", "a"), a_task("c"), a_task("c")]})
    errors = problem_of(answer, 422, "invalid_plan")["errors"]
    assert {error["code"] for error in errors} >= {"duplicate_task_id", "cyclic_dependencies"}
    wrongs: tuple[object, ...] = ({}, {"tasks": []}, {"tasks": 5}, {"tasks": [{}]})
    for wrong in wrongs:
        problem_of(await put(api, "bad", "1.0.0", wrong), 422, "invalid_plan")
    others: tuple[object, ...] = ([], 5, "x")
    for no_object in others:
        problem_of(await put(api, "bad", "1.0.0", no_object), 422, "invalid_data")
    assert (await api.get(PATH))["items"] == []


@pytest.mark.parametrize("name", ["a b", "-a", "a@1.0.0", "%00", "a" * 101, "..%2f", "ä"])
async def test_a_name_or_a_version_of_another_form_is_refused(api: Api, name: str) -> None:
    assert (await put(api, name, "1.0.0")).status_code in {404, 422}
    for version in ("1.0", "1.0.0-x", "01.0.0", "9999999999.0.0", "latest", "%31.0.0%0a"):
        assert (await put(api, "a", version)).status_code in {404, 422}
    assert (await api.get(PATH))["items"] == []


async def test_a_plan_that_is_too_large_is_refused_before_it_is_read(api: Api) -> None:
    giant = {"tasks": [a_task("a", parameters={"x": "y" * PLAN_BYTES})]}
    problem_of(await put(api, "a", "1.0.0", giant), 413, "too_large")
    deep = b'{"tasks":' + b"[" * 10_000 + b"]" * 10_000 + b"}"
    headers = {"content-type": "application/json"}
    problem_of(await api.client.put(f"{PATH}/a/versions/1.0.0", content=deep, headers=headers), 400, "too_deep")
    problem_of(await api.client.put(f"{PATH}/a/versions/1.0.0", content=b"{}"), 415, "not_json")


async def test_so_many_versions_are_stored_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored_plans, "MAX_VERSIONS", 2)
    await put(api, "a", "1.0.0")
    await put(api, "b", "1.0.0")
    problem_of(await put(api, "c", "1.0.0"), 409, "too_many_plans")
    assert (await put(api, "b", "1.0.0")).status_code == 200


async def test_each_role_may_do_what_it_is_for(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key="a-key-of-an-administrator") as api:
        api.client.headers["x-api-key"] = "a-key-of-an-administrator"

        async def key(*roles: str) -> dict[str, str]:
            made = await api.client.post("/api/v1/keys", json={"name": "x", "roles": roles})
            return {"x-api-key": made.json()["key"]}

        viewer, operator, worker = await key("viewer"), await key("operator"), await key("worker")
        path = f"{PATH}/a/versions/1.0.0"
        for headers in (viewer, worker):
            problem_of(await api.client.put(path, json=PLAN, headers=headers), 403, "insufficient_role")
        assert (await api.client.put(path, json=PLAN, headers=operator)).status_code == 201
        for where in (PATH, f"{PATH}/a/versions", path):
            assert (await api.client.get(where, headers=viewer)).status_code == 200
            problem_of(await api.client.get(where, headers=worker), 403, "insufficient_role")
        problem_of(await api.client.delete(path, headers=operator), 403, "insufficient_role")
        assert (await api.client.delete(path)).status_code == 204
        problem_of(await api.client.delete(path), 404, "unknown_plan")
        problem_of(await api.client.get(path, headers=viewer), 404, "unknown_plan")


class Suite:
    """Versions on each store."""

    async def test_a_large_plan_comes_back_as_it_was(self, stores: Stores) -> None:
        entries = stores.key_values(SystemClock())
        noise = Random(1)
        tasks = [a_task(f"t{n}", parameters={"x": noise.randbytes(200).hex()}) for n in range(1_500)]
        plan = {"tasks": tasks, "labels": {"a": "u"}, "result": {"größe": ["ü", None, 1.5]}}
        one, new = await store_version(entries, described("large", "1.0.0", plan, NOW, "ada"), plan)
        assert new
        assert one.parts > 5
        assert await content_of(entries, one) == plan
        decision = await resolved(entries, a_document({"plan": "large@1.0.0"}))
        assert decision["cognitive_plan"] == {**plan, "plan_id": "plan-1"}
        assert await remove_version(entries, PlanReference("large", "1.0.0"))
        assert await entries.page(SPACE, None, 10) == []
        assert await entries.page(PARTS, None, 10) == []

    async def test_of_two_that_store_a_version_at_the_same_time_one_wins(self, stores: Stores) -> None:
        entries = stores.key_values(SystemClock())
        plans = [{**PLAN, "labels": {"n": str(n % 2)}} for n in range(6)]

        async def store(n: int) -> bool | str:
            at = NOW + timedelta(milliseconds=n)
            try:
                return (await store_version(entries, described("a", "1.0.0", plans[n], at, "ada"), plans[n]))[1]
            except Rejected as refused:
                return refused.code

        outcomes = await asyncio.gather(*(store(n) for n in range(6)))
        assert outcomes.count(True) == 1
        won = outcomes.index(True)
        assert all(
            outcome == (False if n % 2 == won % 2 else "plan_exists") for n, outcome in enumerate(outcomes) if n != won
        )
        one = await stored_version(entries, PlanReference("a", None))
        assert one is not None
        assert await content_of(entries, one) == plans[won]
        assert len(await entries.page(PARTS, None, 10)) == 1

    async def test_the_newest_of_a_name_is_found_whatever_lies_beside_it(self, stores: Stores) -> None:
        entries = stores.key_values(SystemClock())
        for name, version in (("a", "1.0.0"), ("a", "1.0.10"), ("a", "1.0.9"), ("a-b", "9.0.0"), ("a.b", "8.0.0")):
            await store_version(entries, described(name, version, PLAN, NOW, "ada"), PLAN)
        newest = await stored_version(entries, PlanReference("a", None))
        assert newest is not None
        assert newest.version == "1.0.10"
        assert await stored_version(entries, PlanReference("a-", None)) is None
        assert [one.version for one in await versions_of(entries, "a")] == ["1.0.10", "1.0.9", "1.0.0"]

    async def test_a_record_that_cannot_be_read_is_left_out(self, stores: Stores) -> None:
        entries = stores.key_values(SystemClock())
        await entries.put(SPACE, "a@999999998.999999999.999999999", json.dumps({"name": 1}).encode(), version=0)
        assert await versions_of(entries) == []
        assert await stored_version(entries, PlanReference("a", "1.0.0")) is None


class TestOnMemory(OnMemory, Suite): ...


class TestOnSqlite(OnSqlite, Suite): ...


class TestOnPostgres(OnPostgres, Suite): ...


class TestOnDynamo(OnDynamo, Suite): ...
