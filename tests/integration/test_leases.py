"""The reference worker against a whole platform: heartbeat leases, and work undone with the help of its own output."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from functions._worker import ShellExecutor, SimulatedExecutor
from tests.support.builders import T0
from tests.support.loopback import Loopback
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import decision, task, until


@asynccontextmanager
async def site(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path / "data") as at:
        at.running.engine.dispatcher.up_since = T0  # long ago: nobody is excused for what could not be heard
        yield at


async def test_a_task_may_take_longer_than_its_lease_while_its_worker_gives_signs_of_life(tmp_path: Path) -> None:
    slow = task("slow", estimated_duration_ms=3000, heartbeat_timeout_ms=1000)
    async with site(tmp_path) as at, at.worker("w1", SimulatedExecutor(), announce_from_ms=None):
        flow = await at.ended(await at.submit(decision(slow)))
        ticket = (await at.tickets(flow["flow_id"]))["slow"]
    assert (flow["status"], ticket["attempt"], ticket["retry_count"]) == ("COMPLETED", 1, 0)
    assert ticket["actual_duration_ms"] >= 2900


async def test_a_worker_that_gives_no_sign_of_life_loses_the_ticket_to_another_one(tmp_path: Path) -> None:
    quick = task("quick", estimated_duration_ms=10, heartbeat_timeout_ms=300)
    async with site(tmp_path) as at, Loopback() as silent:
        await at.register("silent", slots=1, endpoint=f"{silent.url}/")
        flow_id = await at.submit(decision(quick))

        async def asked() -> bool | None:
            return True if any(request.path == "/" for request in silent.requests) else None

        await until(asked, "the silent worker to get the ticket")
        async with at.worker("w1", SimulatedExecutor(), announce_from_ms=None):
            flow = await at.ended(flow_id)
        history = await at.history(flow_id)
        ticket = (await at.tickets(flow_id))["quick"]
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
    async with site(tmp_path) as at, at.worker("w1", ShellExecutor(UNDOES), announce_from_ms=None):
        flow = await at.ended(await at.submit(decision(*plan)))
        tickets = await at.tickets(flow["flow_id"])
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
