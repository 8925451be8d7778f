"""Dependencies that others imply: nothing waits by them, they are told, and outputs are still referred to by them."""

from pathlib import Path

from functions._core.events.commands import RedriveRequest
from functions._core.records.audits import AuditRecord
from functions._core.records.values import FlowStatus
from tests.support.command_line import flowc, written
from tests.support.http_api import running_api
from tests.support.world import running_world, task

TRIANGLE = (
    task("a"),
    task("b", "a"),
    task("c", "a", "b", parameters={"found": {"$output": "a", "path": "/value"}}),
)


async def test_an_edge_that_others_imply_is_no_wait_and_its_output_is_still_there(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        world = api.world
        world.workers.behave = lambda one: {"status": "COMPLETED", "output": {"value": one["task_id"]}}
        await world.register()
        flow = await world.run(*TRIANGLE)
        tickets = await world.tickets(flow.flow_id)
        (audit,) = await world.ports.views.audits(flow.flow_id, 5)
        shown = await api.get(f"/api/v1/flows/{flow.flow_id}")
    ids = {name: ticket.ticket_id for name, ticket in tickets.items()}
    assert flow.status is FlowStatus.COMPLETED
    assert [assignment["task_id"] for assignment in world.workers.assignments] == ["a", "b", "c"]
    assert world.workers.assignments[2]["parameters"] == {"found": "a"}
    assert (tickets["c"].dependencies, tickets["a"].dependants) == ((ids["a"], ids["b"]), (ids["b"],))
    assert isinstance(audit, AuditRecord)
    assert (audit.levels, audit.critical_path_ms, audit.redundant_edges) == (3, 3000, ("a → c",))
    assert audit.duration_ms is not None
    assert 0 <= audit.duration_ms < 60_000  # whole milliseconds
    assert (shown["levels"], shown["critical_path_ms"], shown["redundant_edges"]) == (3, 3000, ["a → c"])


async def test_what_is_done_again_waits_by_an_edge_again_when_the_task_between_stays_done(tmp_path: Path) -> None:
    done_once: list[str] = []

    def behave(one: dict[str, object]) -> dict[str, object]:
        name = str(one["task_id"])
        done_once.append(name)
        if name == "c" and done_once.count("c") == 1:
            return {"status": "FAILED", "error": {"type": "x", "message": "no", "retryable": False}}
        return {"status": "COMPLETED", "output": {"value": done_once.count(name)}}

    undone = (task("a", compensation=True), *TRIANGLE[1:])
    async with running_world(tmp_path) as world:
        world.workers.behave = behave  # type: ignore[assignment]
        await world.register()
        failed = await world.run(*undone)
        assert {name: t.status.value for name, t in (await world.tickets(failed.flow_id)).items()} == {
            "a": "COMPENSATED",
            "b": "COMPLETED",
            "c": "FAILED",
            "compensate:a": "COMPLETED",
        }
        await world.platform.order(RedriveRequest(flow_id=failed.flow_id))
        again = await world.ended(failed.flow_id)
    assert again.status is FlowStatus.COMPLETED
    assert world.workers.assignments[-1]["parameters"] == {"found": 2}


def test_validate_tells_levels_critical_path_redundant_edges_and_its_time(tmp_path: Path) -> None:
    file, _ = written(tmp_path, *TRIANGLE)
    result = flowc("validate", file)
    assert result.exit_code == 0, result.output
    assert "3 levels, critical path 3 s, checked in " in result.stdout
    assert "imply it: a → c" in result.output
    as_json = flowc("validate", file, "--json")
    assert '"redundant_edges"' in as_json.stdout
