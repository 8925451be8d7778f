"""Documents over HTTP and as CloudEvents: what is taken, what is refused, and who may."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from functions._core.records.principal import Role
from functions._core.slo import resources as kept
from functions._core.slo import stored
from functions._core.slo.budget import Indicator, budget_of
from functions._core.slo.documents import made_id
from functions.api import resources
from tests.support.builders import make_event
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import until
from tests.unit.test_slo_documents import ALIASES, policy, slo

PATH = "/api/v1/resources"
LATENCY, GATE = f"{PATH}/SLODefinition/latency", f"{PATH}/SLAPolicy/gate"
YAML, JSON = {"content-type": "application/yaml"}, {"content-type": "application/json"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def put(api: Api, document: dict[str, Any], path: str = LATENCY) -> dict[str, Any]:
    answer = await api.client.put(path, json=document)
    assert answer.status_code in {200, 201}, answer.text
    applied: dict[str, Any] = answer.json()
    return applied


async def the_slo(api: Api) -> Any:
    return await stored.slo(api.world.ports.key_values, made_id("SLODefinition", "latency"))


async def test_a_document_is_applied_read_with_its_status_and_deleted(api: Api) -> None:
    made = await api.client.put(LATENCY, content=yaml.safe_dump(slo()), headers=YAML)
    assert (made.status_code, made.json()["result"]) == (201, "created")
    status = made.json()["status"]
    assert (status["synced"], status["sloId"], status["message"]) == (True, made_id("SLODefinition", "latency"), "")
    assert status["lastSyncTime"] is not None
    assert (await put(api, slo()))["result"] == "unchanged"
    assert (await put(api, slo(windowDays=7)))["result"] == "changed"
    one = await the_slo(api)
    budget = budget_of(one, one.updated_at, "b", Indicator(0.995), {})
    await stored.put_budget(api.world.ports.key_values, stored.BudgetState(budget=budget), 0)
    shown = (await api.client.get(LATENCY)).json()
    assert (shown["spec"]["windowDays"], shown["status"]["budgetRemaining"]) == (7, 50)
    assert shown["metadata"] == {"name": "latency"}
    assert (await api.client.delete(LATENCY, headers=JSON)).status_code == 204
    assert not (await the_slo(api)).enabled
    for method in ("GET", "DELETE"):
        problem_of(await api.client.request(method, LATENCY, headers=JSON), 404, "unknown_resource")
    audits = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert [one["action"] for one in audits][:3] == ["delete_resource", "apply_resource", "apply_resource"]


async def test_a_policy_shows_its_id(api: Api) -> None:
    status = (await put(api, policy(), GATE))["status"]
    assert (status["policyId"], status["sloId"]) == (made_id("SLAPolicy", "gate"), None)


async def test_documents_are_listed_in_pages_by_kind_and_name(api: Api) -> None:
    for name in ("a", "b", "c"):
        await put(api, slo({"name": name}), f"{PATH}/SLODefinition/{name}")
    await put(api, policy(), GATE)
    first = (await api.client.get(f"{PATH}?limit=3")).json()
    rest = (await api.client.get(f"{PATH}?limit=3&cursor={first['cursor']}")).json()
    names = [one["metadata"]["name"] for one in (*first["items"], *rest["items"])]
    assert (names, rest["cursor"]) == (["gate", "a", "b", "c"], None)
    of_kind = (await api.client.get(f"{PATH}?kind=SLODefinition&limit=2")).json()
    assert [one["metadata"]["name"] for one in of_kind["items"]] == ["a", "b"]
    policies = (await api.client.get(f"{PATH}?kind=SLAPolicy")).json()
    assert ([one["kind"] for one in policies["items"]], policies["cursor"]) == (["SLAPolicy"], None)


async def test_a_dry_run_changes_nothing_and_says_what_would_be(api: Api) -> None:
    answer = await api.client.put(f"{LATENCY}?dry_run=true", json=slo())
    assert (answer.status_code, answer.json()["result"], answer.json()["dry_run"]) == (200, "created", True)
    assert await the_slo(api) is None
    problem_of(await api.client.get(LATENCY), 404, "unknown_resource")
    problem_of(await api.client.put(f"{LATENCY}?dry_run=true", json=slo(windowDays=99)), 422, "invalid_data")


async def test_every_fault_of_a_document_is_named(api: Api) -> None:
    answer = await api.client.put(GATE, json=policy(triggerThreshold=60))
    (fault,) = problem_of(answer, 422, "invalid_data")["errors"]
    assert fault["where"] == "spec"
    both = problem_of(await api.client.put(LATENCY, json=slo(windowDays=0, nonsense=1)), 422, "invalid_data")
    assert {one["where"] for one in both["errors"]} == {"spec.windowDays", "spec.nonsense"}


async def test_a_name_that_something_else_has_is_refused(api: Api) -> None:
    await put(api, slo())
    answer = await api.client.put(f"{PATH}/SLODefinition/other", json=slo({"name": "other"}, name="latency"))
    problem_of(answer, 409, "slo_exists")


@pytest.mark.parametrize(
    ("path", "content", "headers", "status", "code"),
    [
        (LATENCY, b"x" * (resources.MAX_TEXT + 1), YAML, 413, "too_large"),
        (LATENCY, ALIASES, YAML, 400, "too_complex"),
        (LATENCY, b"a: " + b"[" * 1000, YAML, 400, "too_deep"),
        (LATENCY, b"- 1\n---\n- 2", YAML, 400, "malformed_yaml"),
        (LATENCY, b"!!python/name:os.system x", YAML, 400, "malformed_yaml"),
        (LATENCY, b"", YAML, 422, "invalid_data"),
        (LATENCY, b"{", JSON, 400, "malformed_json"),
        (LATENCY, b"a=b", {"content-type": "application/x-www-form-urlencoded"}, 415, "not_json"),
        (LATENCY, json.dumps(slo({"annotations": {"a": "x" * 20_000}})).encode(), JSON, 413, "too_large"),
        (LATENCY, b'{"spec": "\\ud800"}', JSON, 400, "malformed_json"),
        (LATENCY, b'spec: "\\ud800"', YAML, 400, "malformed_yaml"),
        (LATENCY, b"spec: 1000000000000000000000000", YAML, 422, "invalid_data"),
        (LATENCY, json.dumps({**slo(), "spec": {f"f{n}": 1 for n in range(1500)}}).encode(), JSON, 422, "invalid_data"),
        (GATE, json.dumps(slo()).encode(), JSON, 422, "other_name"),
        (f"{PATH}/Pod/latency", json.dumps(slo()).encode(), JSON, 422, "invalid_data"),
        (f"{PATH}/SLODefinition/..%2f..%2fx", json.dumps(slo()).encode(), JSON, 404, "not_found"),
        (f"{PATH}/SLODefinition/a%00b", json.dumps(slo()).encode(), JSON, 422, "invalid_data"),
    ],
)
async def test_what_strangers_send_is_refused(
    api: Api, path: str, content: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    problem_of(await api.client.put(path, content=content, headers=headers), status, code)
    assert (await api.client.get(PATH)).json()["items"] == []


async def test_documents_come_and_go_as_events(api: Api) -> None:
    applied = replace(make_event(data=slo(), extensions={}), type=resources.APPLIED, source="/git")
    answer = await api.post(applied)
    assert (answer.status_code, answer.json()) == (202, {"resource": "SLODefinition/latency", "result": "created"})
    assert (await the_slo(api)).enabled
    assert (await api.post(applied)).json()["result"] == "unchanged"
    names = {"kind": "SLODefinition", "metadata": {"name": "latency"}}
    deleted = replace(applied, type=resources.DELETED, data=names)
    assert (await api.post(deleted)).json() == {"resource": "SLODefinition/latency", "result": "deleted"}
    assert not (await the_slo(api)).enabled
    problem_of(await api.post(deleted), 404, "unknown_resource")
    wrongs: tuple[Any, ...] = (slo(windowDays=0), [], None, {"kind": "x"})
    for wrong in wrongs:
        problem_of(await api.post(replace(applied, data=wrong)), 422, "invalid_data")
    large = slo({"annotations": {"a": "x" * 100_000}})
    problem_of(await api.post(replace(applied, data=large)), 413, "too_large")
    for name in ("../x", "\0", "x" * 5000):
        hostile = replace(deleted, data={"kind": "SLO", "metadata": {"name": name}})
        problem_of(await api.post(hostile), 404, "unknown_resource")


async def test_who_may(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key="k" * 32) as api:
        admin = {"x-api-key": "k" * 32}
        for role, read, write in ((Role.VIEWER, 200, 403), (Role.WORKER, 403, 403), (Role.OPERATOR, 200, 201)):
            form = {"name": role.value, "roles": [role.value]}
            made = await api.client.post("/api/v1/keys", json=form, headers=admin)
            key = {"x-api-key": made.json()["key"]}
            assert (await api.client.get(PATH, headers=key)).status_code == read
            assert (await api.client.put(LATENCY, json=slo(), headers=key)).status_code == write
            sent = await api.client.post("/", content=b"{}", headers={**key, **of_event(resources.APPLIED)})
            assert sent.status_code == (422 if role is Role.OPERATOR else 403)
        assert (await api.client.put(LATENCY, content=ALIASES, headers=YAML)).status_code == 401


def of_event(event_type: str) -> dict[str, str]:
    attributes = {"specversion": "1.0", "id": "1", "source": "/git", "type": event_type}
    return {**JSON, **{f"ce-{name}": value for name, value in attributes.items()}}


async def test_a_platform_repairs_what_somebody_has_changed(api: Api) -> None:
    await put(api, slo())
    entries, platform = api.world.ports.key_values, api.world.platform
    await stored.changed_slo(entries, made_id("SLODefinition", "latency"), lambda one: one.but(target=0.5))
    await platform.catch_up()

    async def repaired() -> bool | None:
        return (await the_slo(api)).target == 0.99 or None

    await until(repaired, "the SLO is as its document says")
    assert (await api.client.get(LATENCY)).json()["status"]["synced"]


async def test_a_platform_without_slos_looks_at_nothing(api: Api) -> None:
    await api.world.platform.companions.slo_documents.reconcile()
    assert await api.world.ports.key_values.page(kept.ROUNDS, None, 1) == []


async def test_what_a_document_makes_changes_with_the_document_alone(api: Api) -> None:
    made = (await put(api, slo()))["status"]["sloId"]
    policy_id = (await put(api, policy(), GATE))["status"]["policyId"]
    for path, change in ((f"/api/v1/slos/{made}", {"target": 0.5}), (f"/api/v1/policies/{policy_id}", {"name": "x"})):
        assert (await api.client.get(path)).status_code == 200
        problem_of(await api.client.put(path, json=change), 409, "managed_by_document")
        problem_of(await api.client.delete(path, headers=JSON), 409, "managed_by_document")
    await api.client.delete(LATENCY, headers=JSON)
    assert (await api.client.put(f"/api/v1/slos/{made}", json={"target": 0.5})).status_code == 200
