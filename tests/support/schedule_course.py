"""A stored plan and a schedule of it on any platform: a decision names the plan, and a moment makes one flow."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.support.http_world import HttpWorld
from tests.support.world import PATIENCE_S, decision, task, until

SOON = timedelta(seconds=3)
"""How far ahead the moment of the schedule is: after it was stored, and not worth a wait."""


async def a_schedule_runs_a_stored_plan(world: HttpWorld, seconds: float = PATIENCE_S) -> None:
    """Store a plan, submit it by its name, and let a schedule run it at one moment: exactly one flow comes of that."""
    name = f"nightly-{uuid4().hex[:12]}"
    version = f"/api/v1/plans/{name}/versions/1.0.0"
    plan = {"tasks": [task("extract"), task("load", "extract")]}
    status, stored = await world.call("PUT", version, plan)
    assert status == 201, stored
    wanted = decision(cognitive_plan={"plan": f"{name}@1.0.0"})
    await _completes(world, await world.submit(wanted), seconds)

    moments = [(datetime.now(UTC) + SOON).isoformat()]
    each = {key: value for key, value in wanted.items() if key not in {"decision_id", "plan_id"}}
    status, made = await world.call("PUT", f"/api/v1/schedules/{name}", {"decision": each, "moments": moments})
    assert status == 201, made
    flow_id = (await _only_run(world, name, seconds))["flow_id"]
    flow = await _completes(world, flow_id, seconds)
    assert flow["decision_id"].startswith(f"schedule:{name}:")
    assert (await world.get(f"/api/v1/schedules/{name}"))["state"] == "OVER"
    assert (await _only_run(world, name, seconds))["status"] == "COMPLETED"
    flows = (await world.get("/api/v1/flows", text=f"schedule:{name}:"))["items"]
    assert [one["flow_id"] for one in flows] == [flow_id]
    for path in (f"/api/v1/schedules/{name}", version):
        status, document = await world.call("DELETE", path, {})
        assert status == 204, document


async def _only_run(world: HttpWorld, name: str, seconds: float) -> dict[str, Any]:
    """Wait for the first run of a schedule; it must have no other."""

    async def begun() -> list[dict[str, Any]] | None:
        return (await world.get(f"/api/v1/schedules/{name}/runs"))["items"] or None

    (run,) = await until(begun, f"a run of {name} (see {world.where})", seconds)
    assert run["result"] == "STARTED", run
    return run


async def _completes(world: HttpWorld, flow_id: str, seconds: float) -> dict[str, Any]:
    flow = await world.ended(flow_id, seconds)
    assert flow["status"] == "COMPLETED", flow
    assert sorted(await world.tickets(flow_id)) == ["extract", "load"]
    return flow
