"""A spent error budget holds deployments back, on any platform, until a person lets them go, or the freeze ends."""

from typing import Any
from uuid import uuid4

from tests.support.http_world import HttpWorld
from tests.support.world import PATIENCE_S, Document, decision, task, until


async def a_deployment_waits_for_its_budget(world: HttpWorld, seconds: float = PATIENCE_S) -> None:
    """Let a flow fail, so that the budget of its service is spent; deploy the service, and let a person decide."""
    service = f"checkout-{uuid4().hex[:12]}"
    policy = {"name": f"freeze {service}", "scope": "SERVICE", "target": service}
    await world.send("/api/v1/policies", policy)
    slo_id = await _spent(world, service, seconds)

    async def frozen() -> Document | None:
        found = (await world.get("/api/v1/policies/freezes/active", service_name=service))["items"]
        return found[0] if found else None

    freeze = await until(frozen, f"{service} to be frozen (see {world.where})", seconds)
    assert (freeze["slo_id"], freeze["active"]) == (slo_id, True)
    deploys: dict[str, Any] = {"task_type": "DEPLOY", "parameters": {"service": service}}
    flow_id = await world.submit(decision(task("build"), task("one", **deploys), task("two", "build", **deploys)))

    async def both_wait() -> dict[str, Document] | None:
        tickets = await world.tickets(flow_id)
        waits = [tickets[one]["waiting"] for one in ("one", "two") if one in tickets]
        return tickets if waits == ["FREEZE", "FREEZE"] else None

    held = await until(both_wait, f"both deployments to be held back (see {world.where})", seconds)
    assert held["build"]["status"] == "COMPLETED"
    assert held["one"]["reason"]["code"] == "blocked_by_freeze"
    assert f"freeze {freeze['event_id']}" in held["one"]["reason"]["message"]
    told = " ".join((await world.get(f"/api/v1/why/{held['two']['ticket_id']}"))["text"])
    assert f"service {service} is frozen since" in told
    assert "at least 50 % of each error budget is left" in told
    await world.send(f"/api/v1/tickets/{held['one']['ticket_id']}/freeze-exception", {"reason": "it repairs it"})

    async def one_is_done() -> dict[str, Document] | None:
        tickets = await world.tickets(flow_id)
        return tickets if tickets["one"]["status"] == "COMPLETED" else None

    after = await until(one_is_done, f"the excepted deployment to be done (see {world.where})", seconds)
    assert (after["two"]["status"], after["two"]["attempt"]) == ("PENDING", 0)
    await world.send(f"/api/v1/policies/freezes/{freeze['event_id']}/resolve", {"reason": "a false alarm"})
    flow = await world.ended(flow_id, seconds)
    assert flow["status"] == "COMPLETED", flow
    kinds = [entry["type"] for entry in await world.history(flow_id)]
    assert (kinds.count("ticket.held_back"), kinds.count("ticket.freeze_excepted")) == (2, 1)


async def _spent(world: HttpWorld, service: str, seconds: float) -> str:
    """Make an SLO of the own history of a service, and let its budget be spent; return the id of the SLO."""
    form = {
        "name": f"flows of {service}",
        "service_name": service,
        "target": 0.5,
        "window_days": 1,
        "sli_query": {"history": {"measure": "flow_success", "labels": {"service": service}}},
    }
    slo_id = str((await world.send("/api/v1/slos", form))["slo_id"])
    nobody = task("never", required_capabilities=[f"nobody-offers-{service}"])
    flow_id = await world.submit(decision(nobody, labels={"service": service}, sla_deadline_seconds=2))
    assert (await world.ended(flow_id, seconds))["status"] == "TIMED_OUT"

    async def exhausted() -> bool | None:
        status, budget = await world.call("POST", f"/api/v1/budgets/{slo_id}/recalculate", {})
        return True if status == 200 and budget["status"] == "EXHAUSTED" else None

    await until(exhausted, f"the budget of {service} to be spent (see {world.where})", seconds)
    return slo_id
