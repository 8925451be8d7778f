"""What the api refuses at the door, by name: misspelt parameters and fields, numbers that cannot be."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.support.http_api import Api, problem_of, running_api

WORKER = {"worker_id": "w1", "endpoint": "http://127.0.0.1:1/w1", "capabilities": ["python"]}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running_one:
        yield running_one


async def test_every_route_refuses_a_parameter_that_it_does_not_know_and_names_it(api: Api) -> None:
    checked = 0
    for path, operations in api.app.openapi()["paths"].items():
        for method, operation in operations.items():
            named = {part["name"] for part in operation.get("parameters", ()) if part["in"] == "query"}
            answer = await api.client.request(
                method, re.sub(r"\{\w+\}", "x", path), params={"statsu": "FAILED", "dryrun": "1"}
            )
            document = problem_of(answer, 400, "unknown_parameter")
            assert "'statsu', 'dryrun'" in document["detail"]
            assert all(name in document["detail"] for name in named), (method, path)
            checked += 1
    assert checked > 45


async def test_parameters_that_are_known_are_taken_as_before(api: Api) -> None:
    assert (await api.client.get("/api/v1/flows", params={"status": "failed", "limit": 1})).status_code == 200
    answer = await api.client.get("/api/v1/flows", params=[("limti", "1"), ("limti", "2"), ("x" * 500, "")])
    assert len(problem_of(answer, 400, "unknown_parameter")["detail"]) < 500


async def test_a_misspelt_field_of_a_question_is_named_and_nothing_is_done(api: Api) -> None:
    await api.world.register()
    for path, body in (
        ("/api/v1/workers/discover", {"capabilitys": ["rust"]}),
        ("/api/v1/telemetry/flush", {"intent": "i-1"}),
    ):
        document = problem_of(await api.client.post(path, json=body), 422, "invalid_data")
        assert [error["where"] for error in document["errors"]] == [f"body.{name}" for name in body]


@pytest.mark.parametrize(
    "said",
    [
        {"success_rate": 7},
        {"success_rate": -0.1},
        {"total_executions": -5},
        {"avg_duration_ms": -1},
        {"avg_duration_ms": 1e300},
        {"total_executions": 10**30},
    ],
    ids=str,
)
async def test_telemetry_that_cannot_be_is_refused_from_whichever_side_it_comes(api: Api, said: dict[str, Any]) -> None:
    where = next(iter(said))
    answer = await api.client.post("/api/v1/workers", json={**WORKER, "telemetry": said})
    assert [e["where"] for e in problem_of(answer, 422, "invalid_data")["errors"]] == [f"body.telemetry.{where}"]
    assert (await api.get("/api/v1/workers"))["items"] == []
    assert (await api.client.post("/api/v1/workers", json=WORKER)).status_code == 201
    problem_of(await api.client.post("/api/v1/workers/w1/heartbeat", json={"telemetry": said}), 422, "invalid_data")
    event = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/w"}
    for event_type, data in (
        ("registered", {**WORKER, "telemetry": said}),
        ("heartbeat", {"worker_id": "w1", "telemetry": said}),
    ):
        headers = {**event, "ce-type": f"io.neuralhive.worker.{event_type}.v1"}
        problem_of(await api.client.post("/", json=data, headers=headers), 422, "invalid_data")


async def test_workers_are_listed_by_the_health_that_they_have_now(api: Api) -> None:
    for worker_id in ("w1", "w2"):
        await api.world.register(worker_id)
    store = api.world.ports.registry
    silent = await store.worker("w2")
    assert silent is not None
    rules = api.world.platform.rules
    await store.put(silent.but(last_seen=silent.last_seen - rules.unhealthy - timedelta(seconds=1), version=2))
    for asked, found in (("UNHEALTHY", ["w2"]), ("healthy", ["w1"]), ("Degraded", []), (None, ["w1", "w2"])):
        items = (await api.get("/api/v1/workers", **({"status": asked} if asked else {})))["items"]
        assert [item["worker_id"] for item in items] == found
    problem_of(await api.client.get("/api/v1/workers", params={"status": "ill"}), 422, "invalid_data")


async def test_every_reference_of_the_document_leads_to_a_component_of_its_own(api: Api) -> None:
    document = api.app.openapi()
    references = set(_references(document))
    assert {reference for reference in references if reference.count("/") != 3} == set()
    schemas = document["components"]["schemas"]
    assert {reference.rpartition("/")[2] for reference in references} - schemas.keys() == set()
    assert [name for name, schema in schemas.items() if "$defs" in schema] == []
    titles = [schema["title"] for schema in schemas.values() if "title" in schema]
    assert len(set(titles)) == len(titles), "generators of clients name classes by titles"
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)


def _references(value: Any) -> Any:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for part in value.values():
            yield from _references(part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(part)
