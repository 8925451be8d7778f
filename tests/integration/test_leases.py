"""The reference worker against a whole platform: heartbeat leases, and work undone with the help of its own output."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.records.values import flow_id_of
from functions._engine.settings import Settings
from functions._hosts.one_machine.process import running
from functions._worker import Executor, ShellExecutor, SimulatedExecutor, WorkerConfig, WorkerProcess
from tests.support.builders import T0
from tests.support.loopback import Loopback
from tests.support.world import PATIENCE_S, decision, task, until


@dataclass
class Site:
    """A running platform over HTTP and SQLite."""

    url: str
    client: httpx.AsyncClient

    def worker(self, worker_id: str, executor: Executor) -> WorkerProcess:
        """Return a worker that offers `python`, yet to be started."""
        return WorkerProcess(
            WorkerConfig(
                worker_id=worker_id,
                platform_url=self.url,
                capabilities=("python",),
                slots=4,
                executor=executor,
                announce_from_ms=None,
                grace_seconds=0,
            )
        )

    async def submit(self, data: Mapping[str, Any]) -> str:
        envelope = {
            "specversion": "1.0",
            "id": "1",
            "source": "/tests",
            "type": "io.neuralhive.decision.consolidated.v1",
            "data": data,
        }
        headers = {"content-type": "application/cloudevents+json"}
        (await self.client.post("/", content=json.dumps(envelope), headers=headers)).raise_for_status()
        return flow_id_of(data["decision_id"])

    async def get(self, path: str) -> Any:
        return (await self.client.get(f"/api/v1/{path}")).json()

    async def ended(self, flow_id: str) -> dict[str, Any]:
        """Return the flow once it has ended, with its tickets by task."""

        async def probe() -> dict[str, Any] | None:
            flow: dict[str, Any] = await self.get(f"flows/{flow_id}")
            return flow if flow["ended_at"] else None

        flow = await until(probe, f"the end of {flow_id}")
        tickets = (await self.get(f"flows/{flow_id}/tickets"))["items"]
        return flow | {"tickets": {ticket["task_id"]: ticket for ticket in tickets}}


@asynccontextmanager
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    settings = Settings(port=0, data=tmp_path / "data", log_level="error")
    async with running(settings) as platform, httpx.AsyncClient(base_url=platform.url, timeout=PATIENCE_S) as client:
        platform.engine.dispatcher.up_since = T0  # long ago: nobody is excused for what could not be heard
        yield Site(platform.url, client)


async def test_a_task_may_take_longer_than_its_lease_while_its_worker_gives_signs_of_life(tmp_path: Path) -> None:
    slow = task("slow", estimated_duration_ms=3000, heartbeat_timeout_ms=1000)
    async with site(tmp_path) as at, at.worker("w1", SimulatedExecutor()):
        flow = await at.ended(await at.submit(decision(slow)))
    ticket = flow["tickets"]["slow"]
    assert (flow["status"], ticket["attempt"], ticket["retry_count"]) == ("COMPLETED", 1, 0)
    assert ticket["actual_duration_ms"] >= 2900


async def test_a_worker_that_gives_no_sign_of_life_loses_the_ticket_to_another_one(tmp_path: Path) -> None:
    quick = task("quick", estimated_duration_ms=10, heartbeat_timeout_ms=300)
    async with site(tmp_path) as at, Loopback() as silent:
        registration = {"worker_id": "silent", "endpoint": f"{silent.url}/", "capabilities": ["python"], "slots": 1}
        (await at.client.post("/api/v1/workers", json=registration)).raise_for_status()
        flow_id = await at.submit(decision(quick))

        async def asked() -> bool | None:
            return True if any(request.path == "/" for request in silent.requests) else None

        await until(asked, "the silent worker to get the ticket")
        async with at.worker("w1", SimulatedExecutor()):
            flow = await at.ended(flow_id)
        history = (await at.get(f"flows/{flow_id}/history"))["items"]
    ticket = flow["tickets"]["quick"]
    assert (flow["status"], ticket["worker_id"], ticket["attempt"]) == ("COMPLETED", "w1", 2)
    [retried] = [entry for entry in history if entry["type"] == "ticket.retried"]
    assert (retried["cause"], retried["worker_id"]) == ("heartbeat_lost", "silent")
    assert "nor given a sign of life within 300 ms" in retried["detail"]["reason"]["message"]


UNDOES = """
case "$FLOWC_TASK_TYPE/$FLOWC_TASK_ID" in
  COMPENSATE/*) cat ;;
  */smoke) exit 1 ;;
  *) echo '{"release": "v7", "hosts": ["a", "b"]}' ;;
esac
"""


@pytest.mark.parametrize("refers_to", ["deploy", "build"])
async def test_what_undoes_a_task_gets_the_output_of_that_task_and_of_those_before_it(
    tmp_path: Path, refers_to: str
) -> None:
    undo = {"parameters": {"release": {"$output": refers_to, "path": "/release"}, "keep": 1}}
    plan = (
        task("build"),
        task("deploy", "build", task_type="DEPLOY", compensation=undo),
        task("smoke", "deploy", retry={"max_retries": 0}),
    )
    async with site(tmp_path) as at, at.worker("w1", ShellExecutor(UNDOES)):
        flow = await at.ended(await at.submit(decision(*plan)))
    tickets = flow["tickets"]
    assert (flow["status"], flow["tickets_compensated"]) == ("FAILED", 1)
    assert (tickets["deploy"]["status"], tickets["smoke"]["status"]) == ("COMPENSATED", "FAILED")
    undone = tickets["compensate:deploy"]
    assert undone["output"]["task_type"] == "COMPENSATE"
    assert undone["output"]["parameters"] == {
        "action": "rollback_deployment",
        "release": "v7",
        "keep": 1,
        "compensates": {"ticket_id": tickets["deploy"]["ticket_id"], "task_id": "deploy"},
    }
