"""Predictions on their way through a platform: seen at C1, kept by flow and tickets, told at the end; nothing ends."""

from pathlib import Path

from functions._core.planning.prospects import SLA_UNLIKELY
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus
from tests.support.predicting import Serves, Told
from tests.support.world import LocalWorld, decision, running_world, task

PLAN = task("a", estimated_duration_ms=5_000), task("b", "a", estimated_duration_ms=5_000)


async def done(world: LocalWorld, **more: object) -> tuple[Flow, dict[str, Ticket]]:
    """Run the plan; return the flow and its tickets."""
    await world.register()
    flow = await world.run(*PLAN, **more)
    return flow, await world.tickets(flow.flow_id)


async def test_a_flow_keeps_what_was_predicted_beside_what_happened(tmp_path: Path) -> None:
    async with running_world(tmp_path, predictions=Serves(Told({"a": (7_000, 9_000)}))) as world:
        flow, tickets = await done(world)
    assert flow.status is FlowStatus.COMPLETED
    assert flow.prediction is not None
    assert (flow.prediction.probability, flow.prediction.model) == (1.0, "told:1")
    assert 12_000 <= flow.prediction.p50_ms <= flow.prediction.p90_ms
    assert all(one.prediction is not None and one.prediction.acts for one in tickets.values())
    assert [one.prediction.p50_ms for one in tickets.values() if one.prediction] == [7_000, 5_000]
    assert all(one.actual_duration_ms is not None for one in tickets.values())
    frame = next(event for event in world.sink.events if event.event_type == "telemetry.frame")
    assert frame.data["prediction"]["probability"] == 1.0


async def test_a_flow_that_will_hardly_be_in_time_is_warned_of_and_done(tmp_path: Path) -> None:
    async with running_world(tmp_path, predictions=Serves(Told({"a": (10**9, 10**9)}))) as world:
        flow, tickets = await done(world, sla_deadline_seconds=600)
        history = await world.history(flow.flow_id)
    assert flow.status is FlowStatus.COMPLETED
    assert SLA_UNLIKELY in {warning.code for warning in flow.warnings}
    assert not any(ticket.late for ticket in tickets.values())
    validated = next(entry for entry in history if entry["type"] == "plan.validated")
    assert validated["detail"]["prediction"]["probability"] == 0.0
    assert "sla.at_risk" not in {entry["type"] for entry in history}


async def test_the_tasks_of_a_sub_flow_are_predicted_too(tmp_path: Path) -> None:
    inner = {"tasks": [task("inner", estimated_duration_ms=4_000)]}
    sub = task("sub", task_type="SUBFLOW", plan=inner, required_capabilities=[])
    async with running_world(tmp_path, predictions=Serves(Told({"inner": (3_000, 6_000)}))) as world:
        await world.register()
        flow = await world.ended(await world.submit(decision(sub)))
        tickets = await world.tickets(flow.flow_id)
    assert flow.status is FlowStatus.COMPLETED
    assert tickets["sub"].prediction is None
    inside = tickets["sub/inner"].prediction
    assert inside is not None
    assert (inside.p50_ms, inside.p90_ms) == (3_000, 6_000)


async def test_without_a_model_nothing_is_predicted(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        flow, tickets = await done(world)
    assert flow.prediction is None
    assert {one.prediction for one in tickets.values()} == {None}
