"""Labels: given by plan, decision and task, kept with flow and ticket, and asked for over HTTP."""

from pathlib import Path
from typing import Any

from functions._core.records.values import FlowStatus
from tests.support.http_api import running_api
from tests.support.world import decision, running_world, task


def marked(labels: dict[str, str], of_plan: dict[str, str], *tasks: Any) -> dict[str, Any]:
    """Return a decision with labels of its own and of its plan."""
    given = decision(*tasks, labels=labels)
    return given | {"cognitive_plan": {**given["cognitive_plan"], "labels": of_plan}}


async def test_labels_of_the_decision_come_over_those_of_the_plan(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow_id = await world.submit(marked({"env": "prod"}, {"env": "test", "team": "pay"}, task("a")))
        flow = await world.ended(flow_id)
        assert (flow.status, flow.labels) == (FlowStatus.COMPLETED, {"env": "prod", "team": "pay"})


async def test_flows_and_tickets_are_listed_by_labels(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        world = api.world
        await world.register()
        both = await world.submit(marked({"env": "prod"}, {"team": "pay"}, task("a")))
        one = await world.submit(marked({}, {"team": "pay"}, task("a")))
        await world.submit(decision(task("a")))
        for flow_id in (both, one):
            await world.ended(flow_id)

        async def ids(query: str) -> list[str]:
            return [flow["flow_id"] for flow in (await api.get(f"/api/v1/flows?{query}"))["items"]]

        assert await ids("label=team:pay") == [one, both]
        assert await ids("label=team:pay&label=env:prod") == [both]
        assert await ids("label=team:pay&status=completed&limit=1") == [one]
        assert await ids("label=team:nobody") == []
        assert (await api.get("/api/v1/tickets?label=team:nobody")) == {"items": [], "cursor": None, "total": 0}
        labels = "&".join(f"label=n{n}:v" for n in range(6))
        for wrong in ("label=team", "label=:", "label=team%00:pay", "label=", f"label=a:{'b' * 64}", labels):
            for path in ("flows", "tickets"):
                answer = await api.client.get(f"/api/v1/{path}?{wrong}")
                assert answer.status_code == 422, (path, wrong)
