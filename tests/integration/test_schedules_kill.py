"""`kill -9` of a real platform around the moments of a schedule: each moment has its run, and none has two."""

import asyncio
from datetime import datetime, timedelta
from pathlib import Path
from time import time
from typing import Any

import pytest

from tests.support.http_workers import HttpWorkers
from tests.support.processes import Platform, running_platform
from tests.support.world import decision, task, until

PATH = "/api/v1/schedules/ticking"
KILLS = (-0.02, 0.002, 0.005, 0.01, 0.02, 0.04)
"""Seconds from a moment to the kill."""


async def moments(platform: Platform) -> list[datetime]:
    """Return the moments of all flows, the earliest first."""
    _, page = await platform.call("GET", "/api/v1/flows?limit=500")
    found = [one["decision_id"].removeprefix("schedule:ticking:") for one in page["items"]]
    return sorted(map(datetime.fromisoformat, found))


@pytest.mark.timeout(300)
async def test_each_moment_has_one_run_whenever_the_platform_is_killed(tmp_path: Path) -> None:
    form: dict[str, Any] = {
        "decision": {key: value for key, value in decision(task("a")).items() if key != "decision_id"},
        "every_seconds": 1,
        "overlap": "queue",
        "catch_up": {"seconds": 3600, "runs": 100},
    }
    async with HttpWorkers() as workers, running_platform(tmp_path, rate_limits="off") as platform:
        await platform.register("w1", endpoint=f"{workers.url}/w1")
        assert (await platform.call("PUT", PATH, form))[0] == 201
        for late in KILLS:
            known = len(await moments(platform))

            async def goes_on(before: int = known) -> bool | None:
                return len(await moments(platform)) > before or None

            await until(goes_on, "another run")
            await asyncio.sleep(1 - time() % 1 + late)
            platform.kill()
            platform.start()
            await platform.ready()

        assert (await platform.call("POST", f"{PATH}/pause", {}))[0] == 200
        _, schedule = await platform.call("GET", PATH)
        found = await moments(platform)
        assert len(found) == len(set(found)) == schedule["counts"]["STARTED"], "none has two"
        every = [*found, *map(datetime.fromisoformat, schedule["queue"])]
        assert every == [found[0] + timedelta(seconds=number) for number in range(len(every))], "none has no run"
        assert {"MISSED", "SKIPPED", "REFUSED"}.isdisjoint(schedule["counts"])
