"""Workers of every kind do one plan together: pushed to and asking, in Python and Node, half of them killed."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.conftest import ROOT, require
from tests.support.plans import layers, proves_itself
from tests.support.processes import Platform, running_platform
from tests.support.world import decision, task
from tests.support.world import until as eventually

PYTHON = """
import sys
from flowc.worker import Worker

def work(task):
    return {"done": task["task_id"]}

Worker(capabilities=["python"], handler=work, delivery=sys.argv[1], slots=2).run()
"""
SIZES = (8, 12, 6, 12, 4, 1)
"""Tasks of each layer: 43 together."""


@contextmanager
def staff(folder: Path, url: str) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Start two workers of each of four kinds, those that are killed first; all of them are ended in the end."""
    commands = [
        [sys.executable, "-c", PYTHON, "push"],
        [sys.executable, "-c", PYTHON, "pull"],
        ["node", "examples/worker.mjs"],
        ["node", "examples/pull_worker.mjs"],
    ]
    environment = {**os.environ, "FLOWC_URL": url, "PYTHONPATH": str(ROOT)}
    started = []
    try:
        for number, command in enumerate(commands * 2):
            with (folder / f"worker-{number}.log").open("wb") as out:
                started.append(subprocess.Popen(command, cwd=ROOT, env=environment, stdout=out, stderr=out))
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait(60)


async def progress(platform: Platform, flow_id: str, completed: int) -> None:
    """Wait until so many tickets are completed."""

    async def enough() -> bool | None:
        tickets = await platform.tickets(flow_id)
        return sum(each["status"] == "COMPLETED" for each in tickets.values()) >= completed or None

    await eventually(enough, f"{completed} completed tickets")


async def test_workers_of_every_kind_do_43_tickets_while_half_of_them_are_killed(tmp_path: Path) -> None:
    require(shutil.which("node") is not None, "apt-get install nodejs")
    plan = decision(*(task(name, *after) for name, after in layers(random.Random(43), SIZES)))
    assert len(plan["cognitive_plan"]["tasks"]) == 43
    async with running_platform(tmp_path, heartbeat_seconds=2) as platform:
        with staff(tmp_path, platform.url) as workers:

            async def all_there() -> bool | None:
                return len((await platform.get("/api/v1/workers"))["items"]) == len(workers) or None

            await eventually(all_there, "all workers to register")
            flow_id = await platform.submit(plan)
            for number, killed in enumerate(workers[: len(workers) // 2], 1):
                await progress(platform, flow_id, 4 * number)
                killed.kill()
            assert (await platform.ended(flow_id))["status"] == "COMPLETED"
        history = await platform.history(flow_id)
        assert proves_itself(plan["cognitive_plan"], history) == []
        by = {each["worker_id"] for each in (await platform.tickets(flow_id)).values()}
        assert len(by) >= 4, by
