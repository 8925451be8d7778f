"""Flows that have ended, and SLOs over them, for tests of budgets and freezes."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from functions._adapters.memory import MemorySink
from functions._adapters.stores import Stores
from functions._core.ports import Ports
from functions._core.records.models import Flow
from functions._core.slo.definition import Slo
from functions._core.slo.freezing import FreezePolicy
from functions._core.slo.stored import put_new
from functions._engine.tokens import JwtTokens
from tests.support.builders import later, make_flow, make_step, make_ticket, seconds
from tests.support.clocks import HandClock
from tests.support.world import LocalWorkers

NOW = datetime.fromisoformat("2025-03-01T12:34:56.789Z")


def ports_of(stores: Stores) -> tuple[Ports, HandClock]:
    """Return ports over a store, at `NOW`."""
    clock = HandClock()
    clock.time = NOW
    tokens = JwtTokens(b"a secret" * 4, clock)
    return stores.ports(telemetry_sink=MemorySink(), gateway=LocalWorkers(), clock=clock, tokens=tokens), clock


async def ended_flow(
    stores: Stores | Ports,
    number: int,
    end: datetime,
    outcome: str = "COMPLETED",
    *,
    took: float = 1,
    tickets: tuple[Mapping[str, Any], ...] = (),
    **fields: object,
) -> Flow:
    """Store a flow that ended at a moment, with tickets of these fields."""
    flow = make_flow(number, received_at=end - seconds(took), sla_deadline=end + seconds(60), **fields)
    made = [make_ticket(flow, place, **one, next_wakeup_at=None) for place, one in enumerate(tickets, 1)]
    await stores.store.commit(make_step(flow, *made))
    phases = (*flow.phases, {"status": outcome, "entered_at": end})
    more = {"status": outcome, "outcome": outcome, "ended_at": end, "next_wakeup_at": None, "phases": phases}
    over = later(flow, **more)
    await stores.store.commit(make_step(over))
    return over


def slo(slo_id: str = "s", history: Mapping[str, Any] | None = None, **fields: object) -> Slo:
    """Return an SLO over the own history: the success of flows, unless `history` says otherwise."""
    form = {"name": slo_id, "service_name": "orchestrator", "target": 0.9, "created_at": NOW, "updated_at": NOW}
    query = {"sli_query": {"history": history or {"measure": "flow_success"}}}
    return Slo.model_validate({**form, **query, "slo_id": slo_id, **fields})


def policy(policy_id: str = "p", **fields: object) -> FreezePolicy:
    """Return a policy that freezes the service of `slo`."""
    form = {"name": policy_id, "scope": "SERVICE", "target": "orchestrator", "policy_id": policy_id}
    return FreezePolicy.model_validate({**form, "created_at": NOW, "updated_at": NOW, **fields})


async def stored(ports: Ports, *records: Slo | FreezePolicy) -> None:
    """Store SLOs and policies."""
    for one in records:
        await put_new(ports.key_values, one)
