"""A world that heals: playbooks that are put, incidents that come again, runs that are waited for."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from functions._core.errors import Unavailable
from functions._core.healing import stored
from functions._core.healing.playbooks import Playbook, PlaybookForm
from functions._core.healing.runs import HealingRun, HealingState
from functions._core.machine.tables import ENDED_FLOWS
from functions._core.ports import Ports
from functions._core.records.audits import ActionRecord, AuditKind, IncidentRecord
from tests.support.world import LocalWorld, decision, task, until

FAILS = {"status": "FAILED", "error": {"type": "broken", "message": "it is broken", "retryable": False}}
"""What a worker reports of a task that fails for good."""


def step(action: str, **more: Any) -> dict[str, Any]:
    return {"action": action, **more}


def form(*steps: Mapping[str, Any] | str, **more: Any) -> dict[str, Any]:
    """Return a playbook that looks at once whether an action has helped."""
    given = [step(one) if isinstance(one, str) else dict(one) for one in steps]
    return {"steps": given, "verify_after_seconds": 1, **more}


async def put(ports: Ports, name: str, *steps: Mapping[str, Any] | str, **more: Any) -> Playbook:
    """Store a playbook past the api."""
    now, read = ports.clock.now(), PlaybookForm.model_validate(form(*steps, **more))
    made = Playbook(**dict(read), name=name, created_at=now, updated_at=now)
    await stored.PLAYBOOKS.put(ports.key_values, name, made)
    return made


def failing(times: int) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return workers whose first `times` tasks fail for good."""
    left = [times]

    def behave(_assignment: Mapping[str, Any]) -> Mapping[str, Any]:
        left[0] -= 1
        return FAILS if left[0] >= 0 else {"status": "COMPLETED"}

    return behave


async def run_of(world: LocalWorld, flow_id: str, wanted: Callable[[HealingRun], bool]) -> HealingRun:
    """Return the one run of a flow as soon as it is as `wanted`."""

    async def probe() -> HealingRun | None:
        with suppress(Unavailable):
            await world.platform.companions.healing.look()  # as the clock does every few seconds
        found = await stored.runs_of(world.ports.key_values, flow_id)
        assert len(found) <= 1, found
        return next(filter(wanted, found), None)

    return await until(probe, f"the healing of {flow_id}")


async def healed(world: LocalWorld, flow_id: str) -> HealingRun:
    """Return the run of a flow once it has ended."""
    return await run_of(world, flow_id, lambda run: run.state is not HealingState.ACTIVE)


async def submitted(world: LocalWorld, **more: Any) -> str:
    return await world.submit(decision(task("a", **more), sla_deadline_seconds=3600))


async def at_rest(world: LocalWorld, flow_id: str) -> None:
    """Wait until a flow has ended."""

    async def probe() -> bool | None:
        flow = await world.flow(flow_id)
        return (flow is not None and flow.status in ENDED_FLOWS) or None

    await until(probe, f"the end of {flow_id}")


async def incidents(ports: Ports, flow_id: str) -> Sequence[IncidentRecord]:
    found = await ports.views.audits(flow_id, 100, kind=AuditKind.INCIDENT)
    return [one for one in found if isinstance(one, IncidentRecord)]


async def actions(ports: Ports, flow_id: str) -> list[tuple[str, str]]:
    """Return who did what to a flow, the first first."""
    found = await ports.views.audits(flow_id, 100, kind=AuditKind.ACTION)
    return [(one.action, one.who) for one in reversed(found) if isinstance(one, ActionRecord)]
