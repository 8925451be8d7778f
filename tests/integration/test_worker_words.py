"""What workers and people say about workers is taken as it is meant, or refused by name."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._core.values import Health
from functions._core.worker_record import WorkerTelemetry
from tests.builders import make_worker
from tests.http_api import Api, problem_of, running_api

WORKER = {"worker_id": "w1", "endpoint": "http://127.0.0.1:1/w1", "capabilities": ["python"]}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as opened:
        yield opened


@pytest.mark.parametrize(
    "telemetry",
    [
        {"success_rate": 7},
        {"success_rate": -0.1},
        {"total_executions": -5},
        {"avg_duration_ms": -1},
        {"avg_duration_ms": 1e300},
        {"total_executions": 10**30},
    ],
)
async def test_numbers_that_cannot_be_are_refused_by_name(api: Api, telemetry: dict[str, Any]) -> None:
    answer = await api.client.post("/api/v1/workers", json=WORKER | {"telemetry": telemetry})
    [fault] = problem_of(answer, 422, "invalid_data")["errors"]
    assert fault["where"] == f"body.telemetry.{next(iter(telemetry))}"
    assert (await api.client.post("/api/v1/workers", json=WORKER)).status_code == 201
    beat = await api.client.post("/api/v1/workers/w1/heartbeat", json={"telemetry": telemetry})
    problem_of(beat, 422, "invalid_data")


async def test_a_row_of_before_with_odd_numbers_can_be_read(api: Api) -> None:
    odd = WorkerTelemetry(success_rate=7, total_executions=-5)
    await api.world.ports.registry.put(make_worker(telemetry=odd))
    [shown] = (await api.get("/api/v1/workers"))["items"]
    assert shown["telemetry"]["success_rate"] == 7


async def test_workers_are_listed_by_how_they_fare(api: Api) -> None:
    for worker_id, status in {"w1": "HEALTHY", "w2": "UNHEALTHY"}.items():
        await api.client.post("/api/v1/workers", json=WORKER | {"worker_id": worker_id})
        await api.client.post(f"/api/v1/workers/{worker_id}/heartbeat", json={"status": status})
    for health, expected in {Health.HEALTHY: ["w1"], Health.UNHEALTHY: ["w2"], Health.DEGRADED: []}.items():
        found = (await api.get("/api/v1/workers", status=health.value))["items"]
        assert [worker["worker_id"] for worker in found] == expected
    assert (await api.client.get("/api/v1/workers", params={"status": "SICK"})).status_code == 422


async def test_a_misspelt_field_of_a_question_is_refused(api: Api) -> None:
    answer = await api.client.post("/api/v1/workers/discover", json={"capabilites": ["go"]})
    assert problem_of(answer, 422, "invalid_data")["errors"][0]["where"] == "body.capabilites"
    answer = await api.client.post("/api/v1/telemetry/flush", json={"intent": "i"})
    assert answer.status_code == 422


async def test_the_secret_of_a_registration_is_told_once(api: Api) -> None:
    answers = [(await api.client.post("/api/v1/workers", json=WORKER)).json() for _ in range(2)]
    first, second = (answer["signing_secret"] for answer in answers)
    assert first != second
    for path in ("/api/v1/workers", "/api/v1/workers/w1", "/api/v1/audits", "/api/v1/events"):
        text = (await api.client.get(path)).text
        assert "whsec_" not in text
        assert "signing_secret" not in text
