"""Healing on any platform: a task that fails for good is tried once more by a playbook, then a person is called."""

import asyncio
from typing import Any
from uuid import uuid4

from functions._engine.healing import FRESH_SECONDS
from tests.support.http_world import HttpWorld
from tests.support.world import PATIENCE_S, decision, task, until

PLAYBOOKS, RUNS = "/api/v1/playbooks", "/api/v1/healing-runs"


async def an_incident_is_healed(world: HttpWorld, seconds: float = PATIENCE_S) -> None:
    """Make a playbook, submit a flow that fails, and look at what was done in whose name.

    Workers do as parameters say, see `Obeying`.
    """
    name = f"heals-{uuid4().hex[:12]}"
    form = {
        "match": {"labels": {"kind": name}, "incident_types": ["INCONSISTENCY"]},
        "steps": [{"action": "retry_ticket"}, {"action": "escalate"}],
        "verify_after_seconds": 1,
    }
    status, made = await world.call("PUT", f"{PLAYBOOKS}/{name}", form)
    assert status == 201, made
    await asyncio.sleep(FRESH_SECONDS)  # so long other processes may believe that there are none
    flow_id = await world.submit(decision(task("a", parameters={"error": True}), labels={"kind": name}))

    async def escalated() -> Any | None:
        items = (await world.get(RUNS, flow_id=flow_id))["items"]
        return next((one for one in items if one["state"] == "ESCALATED"), None)

    run = await until(escalated, f"the healing of {flow_id} (see {world.where})", seconds)
    assert [(one["action"], one["state"]) for one in run["actions"]] == [("retry_ticket", "DONE")], run
    assert run["why"] == "the playbook says that a person has to look"
    found = (await world.get("/api/v1/audits", kind="action", flow_id=flow_id))["items"]
    assert [(one["action"], one["who"]) for one in found] == [("retry_ticket", f"healing:{name}")]
    raised = (await world.get("/api/v1/incidents", flow_id=flow_id))["items"]
    assert {one["incident_id"] for one in raised} == {run["incident"]["incident_id"], *run["caused"]}
    details: list[str] = (await world.get(f"/api/v1/why/{flow_id}"))["details"]
    assert any(f"Playbook {name} took up the incident" in line for line in details), details
    status, document = await world.call("DELETE", f"{PLAYBOOKS}/{name}", {})
    assert status == 204, document
