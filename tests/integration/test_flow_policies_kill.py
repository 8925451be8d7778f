"""`kill -9` of a real platform while a policy acts: each command counts once, also those for other flows."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.policy_course import HOPELESS, POLICIES
from tests.support.processes import Platform, running_platform
from tests.support.world import decision, task, until

KILLS = (0.003, 0.006, 0.01, 0.02, 0.04)
"""Seconds from the answer to a decision, whose flow is at risk from the start, to the kill."""

ACTIONS = [
    {"action": "pause_others", "at_most": 1, "labels": {"kind": "batch"}},
    {"action": "raise_priority", "to": "CRITICAL"},
]


async def commands(platform: Platform, flow_id: str) -> list[dict[str, Any]]:
    """Return the commands that policies have given to a flow."""
    found = (await platform.get("/api/v1/audits", kind="action", flow_id=flow_id, limit=500))["items"]
    return [one for one in found if one["who"] == "policy p"]


@pytest.mark.timeout(300)
async def test_a_policy_acts_once_whenever_the_platform_is_killed(tmp_path: Path) -> None:
    async with running_platform(tmp_path, rate_limits="off") as platform:
        form = {"on": "at_risk", "selector": {"labels": {"kind": "urgent"}}, "actions": ACTIONS}
        assert (await platform.call("PUT", f"{POLICIES}/p", form))[0] == 201
        waits = task("a", required_capabilities=["nobody-has-this"])
        low: dict[str, Any] = {"labels": {"kind": "batch"}, "priority": "low", "sla_deadline_seconds": 100_000}
        batch = [await platform.submit(decision(waits, **low)) for _ in range(2 * len(KILLS))]
        for flow_id in batch:
            await platform.reached(flow_id, "EXECUTING")
        urgent = []
        for late in KILLS:
            hopeless = decision(task("a", **HOPELESS), labels={"kind": "urgent"}, sla_deadline_seconds=1_800)
            urgent.append(await platform.submit(hopeless))
            await asyncio.sleep(late)
            platform.kill()
            platform.start()
            await platform.ready()

        for flow_id in urgent:

            async def acted(about: str = flow_id) -> bool | None:
                details = (await platform.get(f"/api/v1/why/{about}"))["details"]
                return any("Policy p acted" in line for line in details) or None

            await until(acted, f"the policy to act on {flow_id}")
            assert [one["action"] for one in await commands(platform, flow_id)] == ["adjust_flow"]
        paused = [one for flow_id in batch for one in await commands(platform, flow_id)]
        assert [one["action"] for one in paused] == ["pause_flow"] * len(KILLS)
        reasons = [one["why"].rpartition(" ")[2] for one in paused]
        assert sorted(reasons) == sorted(urgent), "each urgent flow has paused one"

        # They go on when the urgent ones have ended, also those that an earlier process has paused.
        for flow_id in urgent:
            assert (await platform.call("POST", f"/api/v1/flows/{flow_id}/cancel", {}))[0] in {200, 202}
        for flow_id in batch:
            await platform.reached(flow_id, "EXECUTING")
