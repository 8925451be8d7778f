"""Another plan for a flow keeps the loop no longer than a small one, however large it is and whoever asks for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.integration.test_attacks import attacked
from tests.support.world import decision, task, until

TASKS = 2_000
EVENT = {"ce-specversion": "1.0", "ce-source": "/x"}


def plan(decided: Mapping[str, Any], tasks: int, words: str) -> dict[str, Any]:
    return {**decided["cognitive_plan"], "tasks": [task(f"t{n}", description=f"{words} {n}") for n in range(tasks)]}


async def test_no_plan_keeps_the_loop(tmp_path: Path) -> None:
    decided = decision(task("t0"))
    async with attacked(tmp_path) as target:
        headers = {**EVENT, "ce-id": "1", "ce-type": "io.neuralhive.decision.consolidated.v1"}
        flow_id = (await target.send("decision", "POST", "/", json=decided, headers=headers)).json()["flow_id"]
        path = f"/api/v1/flows/{flow_id}"

        async def under_way() -> bool | None:
            return (await target.send("look", "GET", path)).json()["status"] == "EXECUTING" or None

        await until(under_way, "the flow to be under way")
        small = {"cognitive_plan": plan(decided, 2, "do"), "dry_run": True}
        await target.send("what is only done once", "POST", f"{path}/replan", json=small)
        target.longest.clear()
        for words in ("do", "do otherwise"):  # the second changes as many tickets as there are
            for dry_run in (True, False):
                asked = {"cognitive_plan": plan(decided, TASKS, words), "dry_run": dry_run}
                answer = await target.send(f"{words}, dry: {dry_run}", "POST", f"{path}/replan", json=asked)
                assert answer.status_code == (200 if dry_run else 202), answer.text
        cycle = plan(decided, TASKS, "do")
        cycle["tasks"][0]["dependencies"] = [f"t{TASKS - 1}"]
        cycle["tasks"][-1]["dependencies"] = ["t0"]
        for name, wrong in (("a cycle", cycle), ("no tasks", {**cycle, "tasks": [7] * 50_000})):
            answer = await target.send(name, "POST", f"{path}/replan", json={"cognitive_plan": wrong})
            assert answer.status_code in {400, 422}, answer.text
        for change in ({"sla_seconds": 10_000}, {"priority": "CRITICAL"}):
            answer = await target.send(f"adjust {change}", "POST", f"{path}/adjust", json=change)
            assert answer.status_code in {200, 202}, answer.text
        assert (await target.send("executions", "GET", "/api/v1/flow-c/executions")).status_code == 200
        known = await target.send("execution", "GET", f"/api/v1/flow-c/executions/{flow_id}")
        assert known.status_code in {200, 404}, known.text
