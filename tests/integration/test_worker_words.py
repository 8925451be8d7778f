"""What is shown of workers, and what is not; what is refused of them is in `test_doors`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._core.records.values import Health
from functions._core.records.worker import WorkerTelemetry
from tests.support.builders import make_worker
from tests.support.http_api import Api, running_api

WORKER = {"worker_id": "w1", "endpoint": "http://127.0.0.1:1/w1", "capabilities": ["python"]}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as opened:
        yield opened


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


async def test_the_secret_of_a_registration_is_told_once(api: Api) -> None:
    answers = [(await api.client.post("/api/v1/workers", json=WORKER)).json() for _ in range(2)]
    first, second = (answer["signing_secret"] for answer in answers)
    assert first != second
    for path in ("/api/v1/workers", "/api/v1/workers/w1", "/api/v1/audits", "/api/v1/events"):
        text = (await api.client.get(path)).text
        assert "whsec_" not in text
        assert "signing_secret" not in text
