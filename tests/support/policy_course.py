"""Flow SLA policies on any platform: a flow at risk is raised in priority, another one is cancelled, each once."""

import asyncio
from typing import Any
from uuid import uuid4

from functions._engine.flow_policies import FRESH_SECONDS
from tests.support.http_world import HttpWorld
from tests.support.world import PATIENCE_S, decision, task, until

POLICIES = "/api/v1/flow-sla-policies"
HOPELESS = {"estimated_duration_ms": 3_600_000, "required_capabilities": ["nobody-has-this"]}
"""A task that cannot be done in time, and that nobody begins: its flow is at risk from the start."""


async def flows_at_risk_are_acted_upon(world: HttpWorld, seconds: float = PATIENCE_S) -> None:
    """Make policies, submit flows at risk, and look at what was done in whose name."""
    kind = uuid4().hex[:12]
    actions = {"urgent": [{"action": "raise_priority", "to": "CRITICAL"}], "cheap": [{"action": "cancel"}]}
    for name, given in actions.items():
        form = {"on": "at_risk", "selector": {"labels": {"kind": f"{kind}-{name}"}}, "actions": given}
        status, made = await world.call("PUT", f"{POLICIES}/{kind}-{name}", form)
        assert status == 201, made
    await asyncio.sleep(FRESH_SECONDS)  # so long other processes may believe that there are none
    flows = {
        name: await world.submit(
            decision(task("a", **HOPELESS), labels={"kind": f"{kind}-{name}"}, sla_deadline_seconds=1_800)
        )
        for name in actions
    }
    cheap = await world.ended(flows["cheap"], seconds)
    assert cheap["status"] == "CANCELLED", cheap
    line = await _told(world, flows["urgent"], seconds)
    assert f"Policy {kind}-urgent acted" in line
    assert "its priority was raised to CRITICAL" in line
    (waits,) = (await world.tickets(flows["urgent"])).values()
    assert waits["priority"] == "CRITICAL", waits
    hot = await world.get("/api/v1/hot-list", labels=f"kind:{kind}-urgent")
    assert [(one["flow_id"], one["task_id"]) for one in hot["items"]] == [(flows["urgent"], "a")]
    for name, verb in (("urgent", "adjust_flow"), ("cheap", "cancel_flow")):
        found = (await world.get("/api/v1/audits", kind="action", flow_id=flows[name]))["items"]
        assert [(one["action"], one["who"]) for one in found] == [(verb, f"policy {kind}-{name}")]
    status, document = await world.call("POST", f"/api/v1/flows/{flows['urgent']}/cancel", {})
    assert status in {200, 202}, document
    await world.ended(flows["urgent"], seconds)
    for name in actions:
        status, document = await world.call("DELETE", f"{POLICIES}/{kind}-{name}", {})
        assert status == 204, document


async def _told(world: HttpWorld, flow_id: str, seconds: float) -> str:
    async def line() -> str | None:
        details: list[Any] = (await world.get(f"/api/v1/why/{flow_id}"))["details"]
        return next((one for one in details if "acted" in one), None)

    return await until(line, f"a policy to act on {flow_id} (see {world.where})", seconds)
