"""A pipeline whose worker is killed in each of its stages: processes, the real executors and a shipped template."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from functions._core.forge.stages import STAGES
from tests.conftest import require
from tests.support.pipelines import PIPELINES
from tests.support.processes import Platform, Process, running_platform
from tests.support.world import until

ENDED = {"COMPLETED", "FAILED", "REJECTED", "CANCELLED", "TIMED_OUT"}
SHOP = {"artifact_id": "acme/shop", "parameters": {"template_id": "python-library", "project_name": "shop"}}
SECONDS = 300.0


async def ended(platform: Platform, worker: Process, key: str, kills: set[str]) -> dict[str, Any]:
    """Return a pipeline that has ended; the worker is killed once in each of the stages `kills`, and comes again."""
    pipeline_id = (await platform.send(PIPELINES, SHOP, **{"idempotency-key": key}))["pipeline_id"]
    left = set(kills)

    async def over() -> dict[str, Any] | None:
        pipeline: dict[str, Any] = await platform.get(f"{PIPELINES}/{pipeline_id}")
        running = {
            stage["name"] for stage in pipeline["stages"] if stage["status"] == "RUNNING" and stage["started_at"]
        }
        if running & left:
            left.difference_update(running)
            worker.kill()
            worker.start()
        return pipeline if pipeline["status"] in ENDED else None

    pipeline = await until(over, f"pipeline {pipeline_id} to end", SECONDS)
    assert left == set(), "a stage was too quick to be seen"
    return pipeline


@pytest.mark.slow
async def test_a_pipeline_goes_on_after_a_kill_in_each_stage_and_makes_the_same(tmp_path: Path) -> None:
    require(shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
    async with running_platform(tmp_path, heartbeat_seconds=2) as platform:
        worker = Process(
            ["worker", "--id", "forge-1", "--url", platform.url, "--executor", "forge"],
            tmp_path / "worker.log",
            {"WORKER_LOGS": str(tmp_path / "kept")},
        )
        worker.start()
        try:
            undisturbed = await ended(platform, worker, "k-1", set())
            kills = {"compose_code", "validate_code", "run_tests", "package"}
            killed = await ended(platform, worker, "k-2", kills)
        finally:
            worker.kill()
        made = [
            (await platform.get(f"{PIPELINES}/{pipeline['pipeline_id']}/artifacts"))
            for pipeline in (undisturbed, killed)
        ]
    assert (undisturbed["status"], killed["status"], killed["error"]) == ("COMPLETED", "COMPLETED", None)
    attempts = {stage["name"]: stage["attempts"] for stage in killed["stages"]}
    assert {name for name in STAGES[:-1] if attempts[name] > 1} == kills
    assert [one["checksum"] for one in killed["artifacts"]] == [one["checksum"] for one in undisturbed["artifacts"]]
    first, second = ([one["content_hash"] for one in each["code"]] for each in made)
    assert first == second
