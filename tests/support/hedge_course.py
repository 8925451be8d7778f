"""A hanging attempt on any platform: its policy begins a second one on another worker, whose result is the ticket's."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

from functions._engine.flow_policies import FRESH_SECONDS
from tests.support.http_workers import HttpWorkers
from tests.support.http_world import HttpWorld
from tests.support.policy_course import POLICIES
from tests.support.world import PATIENCE_S, Document, decision, task, until

SHARE_S = 5
"""Seconds after which the first task is late: a worker has to have it by then, or nothing is there to hedge."""

BEAT_S = 15.0
"""Seconds between two heartbeats of a worker."""


def first_hangs(assignment: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Behave like workers of which the first never says how the task `a` ended."""
    if assignment["task_id"] == "a" and assignment["attempt"] == 1:
        return [{"status": "RUNNING"}]
    return [{"status": "COMPLETED", "output": {"attempt": assignment["attempt"]}}]


async def a_hanging_attempt_is_hedged(world: HttpWorld, seconds: float = PATIENCE_S, share: float = SHARE_S) -> None:
    """Let two workers do a flow whose first task hangs, and look at who did what; `share` is its time in seconds."""
    kind = uuid4().hex[:12]
    form = {"on": "breached", "of": "ticket", "selector": {"labels": {"kind": kind}}, "actions": [{"action": "hedge"}]}
    status, made = await world.call("PUT", f"{POLICIES}/{kind}", form)
    assert status == 201, made
    workers = HttpWorkers(first_hangs)
    await workers.start()
    beating = asyncio.create_task(_beat(world, [f"{kind}-one", f"{kind}-two"]))
    try:
        await asyncio.sleep(FRESH_SECONDS)  # so long other processes may believe that there are none
        for name in ("one", "two"):
            await world.register(f"{kind}-{name}", kind, slots=1, endpoint=f"{workers.url}/{name}")
        needs = {"required_capabilities": [kind]}
        first = task("a", **needs, estimated_duration_ms=int(1000 * share), timeout_ms=600_000)
        then = task("b", "a", **needs, estimated_duration_ms=119_000)
        flow_id = await world.submit(decision(first, then, labels={"kind": kind}, sla_deadline_seconds=125 + share))
        flow = await world.ended(flow_id, seconds)
        assert flow["status"] == "COMPLETED", flow
        await _says_so(world, flow_id, kind)
        await _late_result_is_superseded(world, flow_id, workers, seconds)
    finally:
        beating.cancel()
        await workers.stop()
    for name in ("one", "two"):
        await world.call("DELETE", f"/api/v1/workers/{kind}-{name}", {})
    status, document = await world.call("DELETE", f"{POLICIES}/{kind}", {})
    assert status == 204, document


async def _beat(world: HttpWorld, names: Sequence[str]) -> None:
    """Let workers show that they are alive, so that only one of them seems to hang."""
    while True:
        await asyncio.sleep(BEAT_S)
        for name in names:
            await world.call("POST", f"/api/v1/workers/{name}/heartbeat", {})


async def _says_so(world: HttpWorld, flow_id: str, kind: str) -> None:
    """Look at the ticket, the history and the explanations of a flow whose first task was hedged."""
    ticket = (await world.tickets(flow_id))["a"]
    hedge = ticket["hedge"]
    assert (ticket["attempt"], ticket["output"], ticket["retry_count"]) == (2, {"attempt": 2}, 0)
    assert {ticket["worker_id"], hedge["worker_id"]} == {f"{kind}-one", f"{kind}-two"}
    assert (hedge["attempt"], hedge["ended_at"] is None) == (1, False)
    of_a = [one for one in await world.history(flow_id) if one.get("task_id") == "a"]
    lines = [(one["type"], one["worker_id"], one["attempt"]) for one in of_a if "hedge" in one["type"]]
    assert lines == [("ticket.hedged", ticket["worker_id"], 2), ("ticket.hedge_ended", hedge["worker_id"], 1)]
    assert [one["type"] for one in of_a].count("ticket.completed") == 1
    why = (await world.get(f"/api/v1/why/{ticket['ticket_id']}"))["details"]
    assert any(line.startswith(f"It was hedged: attempt 1 on worker {hedge['worker_id']}") for line in why), why
    of_flow = (await world.get(f"/api/v1/why/{flow_id}"))["details"]
    assert any(f"Policy {kind} acted" in line and "a second attempt at a was begun" in line for line in of_flow), (
        of_flow
    )
    audits = (await world.get("/api/v1/audits", kind="action", flow_id=flow_id))["items"]
    assert [(one["action"], one["who"]) for one in audits] == [("hedge_ticket", f"policy {kind}")]


async def _late_result_is_superseded(world: HttpWorld, flow_id: str, workers: HttpWorkers, seconds: float) -> None:
    """Let the worker that hung hear that its attempt is cancelled, and report all the same."""
    assigned = next(one for one in workers.assigned if one.json["attempt"] == 1 and one.json["task_id"] == "a")

    async def cancelled() -> bool | None:
        sent = [one for one in workers.requests if one.headers["ce-type"].endswith("ticket.cancelled.v1")]
        return any(one.path == assigned.path and one.json["attempt"] == 1 for one in sent) or None

    await until(cancelled, f"the first attempt to be cancelled (see {world.where})", seconds)
    about = assigned.json
    late: Document = {"ticket_id": about["ticket_id"], "attempt": 1, "status": "COMPLETED", "output": "late"}
    headers = {
        "authorization": f"Bearer {about['token']}",
        "ce-id": uuid4().hex,
        "ce-source": "/workers/late",
        "ce-specversion": "1.0",
        "ce-type": "io.neuralhive.ticket.reported.v1",
    }
    status, answer = await world.call("POST", f"/api/v1/flows/{flow_id}/reports", late, **headers)
    assert (status < 300, answer["result"]) == (True, "superseded"), answer
    assert (await world.tickets(flow_id))["a"]["output"] == {"attempt": 2}
