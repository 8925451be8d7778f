"""Stages that look at a project, and whose worker is killed: another one begins them again, with the same result."""

import os
from pathlib import Path

from tests.support.forge_desk import SHOP, ForgeDesk
from tests.support.loopback import until
from tests.support.processes import running_platform, worker_process
from tests.support.scans import program
from tests.support.world import decision, task

WAITS = """
import os
import time
with open({began!r}, "a") as began:
    began.write(str(os.getpid()) + "\\n")
while not os.path.exists({go!r}):
    time.sleep(0.05)
"""
TEST = "import unittest\nclass TestA(unittest.TestCase):\n    def test_a(self):\n"


def pids(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


async def test_both_stages_of_a_worker_that_is_killed_are_begun_again(tmp_path: Path) -> None:
    go = str(tmp_path / "go")
    scanned, tested = tmp_path / "scanned", tmp_path / "tested"
    scans = WAITS.format(began=str(scanned), go=go) + "open('../report.json', 'w').write('{\"SchemaVersion\": 2}')\n"
    programs = program(tmp_path / "bin", "trivy", scans)
    waits = WAITS.format(began=str(tested), go=go).strip().replace("\n", "\n        ")
    code = ForgeDesk(tmp_path).project({**SHOP, "tests/test_waits.py": f"{TEST}        {waits}\n"})
    tasks = [
        task(
            name,
            task_type=task_type,
            parameters={"provider": f"forge_{name}", "code": code},
            required_capabilities=[],
        )
        for name, task_type in (("validate_code", "VALIDATE"), ("run_tests", "TEST"))
    ]
    async with running_platform(tmp_path, heartbeat_seconds=0.5) as platform:
        for name in ("doomed", "other"):
            how = ("--executor", "forge_validate_code,forge_run_tests")
            worker = worker_process(tmp_path, platform.url, name, *how)
            worker.environment = {
                "PATH": f"{programs}:{os.environ['PATH']}",
                "WORKER_SANDBOX": "off",
                "WORKER_COMMANDS": "trivy,ruff,pytest",
                "WORKER_TRIVY_CACHE": str(tmp_path),
                "WORKER_FOLDER": str(tmp_path / "work"),
                "WORKER_LOGS": str(tmp_path / "store"),
            }
            platform.hired.append(worker)
        platform.hired[0].start()
        flow_id = await platform.submit(decision(*tasks))
        await until(lambda: len(pids(scanned)) == len(pids(tested)) == 1, "a scanner and a test")
        platform.hired[0].kill()
        platform.hired[1].start()
        await until(lambda: len(pids(scanned)) == len(pids(tested)) == 2, "those of another worker")
        for pid in (pids(scanned)[0], pids(tested)[0]):
            await until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the end of the first ones")  # type: ignore[misc]
        (tmp_path / "go").write_text("")
        flow = await platform.ended(flow_id)
        tickets = await platform.tickets(flow_id)
    assert flow["status"] == "COMPLETED", flow["reasons"]
    looked, ran = tickets["validate_code"], tickets["run_tests"]
    assert {(one["worker_id"], one["retry_count"]) for one in (looked, ran)} == {("other", 0)}
    assert looked["output"]["quality"] == 0.7, "security, lint and policies"
    assert (ran["output"]["passed"], ran["output"]["failed"], ran["output"]["coverage"]) == (3, 0, 1)
