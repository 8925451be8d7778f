"""`flowc check`: twelve categories against real platforms, good ones and bad ones."""

import asyncio
import json
import sqlite3
from pathlib import Path
from typing import Any

from typer.testing import Result

from functions._cli.check_report import CATEGORIES
from tests.support.command_line import flowc
from tests.support.processes import Platform, running_platform

REGISTRY_CHECKS = {"reachable", "ready", "register", "heartbeat", "discover", "get", "metrics", "deregister"}
KEY = "k" * 32


async def checked(*arguments: str, **environment: str) -> tuple[Result, dict[str, Any], dict[str, dict[str, str]]]:
    """Run `flowc check --json`; return what came, the report, and the status of each check by category and name."""
    result = await asyncio.to_thread(flowc, "check", "--json", *arguments, **environment)
    report = json.loads(result.stdout)
    found = {one["name"]: {check["name"]: check["status"] for check in one["checks"]} for one in report["categories"]}
    return result, report, found


async def left_behind(platform: Platform, **headers: str) -> tuple[list[str], list[str], list[Any]]:
    """Return the workers, the states of the flows, and the dead letters that a check has left."""
    pages = [(await platform.call("GET", f"/api/v1/{name}", **headers))[1] for name in ("workers", "flows")]
    workers = [worker["worker_id"] for worker in pages[0]["items"]]
    letters = (await platform.call("GET", "/api/v1/dead-letters", **headers))[1]["items"]
    return workers, [flow["status"] for flow in pages[1]["items"]], letters


async def test_a_good_platform_passes_every_check_of_all_twelve_categories(tmp_path: Path) -> None:
    async with running_platform(tmp_path) as platform:
        result, report, found = await checked(FLOWC_URL=platform.url)
        assert result.exit_code == 0, result.output
        _, flows, _ = left = await left_behind(platform)
        assert left == ([], ["COMPLETED"], [])
        again, _, _ = await checked(FLOWC_URL=platform.url)
        assert again.exit_code == 0
        people = await asyncio.to_thread(flowc, "check", FLOWC_URL=platform.url)
    assert tuple(found) == CATEGORIES
    assert {status for checks in found.values() for status in checks.values()} == {"passed"}
    assert all(found.values())
    assert (report["ok"], report["success_rate"], report["failed"]) == (True, 1.0, 0)
    assert found["registry"].keys() == REGISTRY_CHECKS
    assert people.exit_code == 0
    assert "checks passed (100%)" in people.stdout
    assert flows == ["COMPLETED"]


async def test_a_worker_that_cannot_be_reached_is_found_and_nothing_stays_under_way(tmp_path: Path) -> None:
    async with running_platform(tmp_path) as platform:
        away = ("--endpoint", "http://127.0.0.1:1", "--timeout", "2")
        result, report, found = await checked(*away, FLOWC_URL=platform.url)
        assert await left_behind(platform) == ([], ["CANCELLED"], [])
    assert result.exit_code == 1
    assert found["workflow"]["completes"] == "failed"
    assert found["ingress"]["takes a decision"] == found["registry"]["deregister"] == "passed"
    assert 0.5 < report["success_rate"] < 1


async def test_a_key_is_needed_where_there_is_one_and_its_role_decides(tmp_path: Path) -> None:
    async with running_platform(tmp_path, api_key=KEY) as platform:
        allowed, _, _ = await checked(FLOWC_URL=platform.url, FLOWC_API_KEY=KEY)
        assert allowed.exit_code == 0, allowed.output
        without, _, found = await checked("--timeout", "1", FLOWC_URL=platform.url)
        workers, flows, letters = await left_behind(platform, **{"x-api-key": KEY})
    assert without.exit_code == 1
    assert found["health"]["health"] == "passed"
    assert found["ingress"]["takes a decision"] == found["store"]["lists"] == found["registry"]["register"] == "failed"
    assert (workers, flows, letters) == ([], ["COMPLETED"], [])


async def test_a_worker_that_may_not_be_where_it_is_and_one_that_cannot_listen_say_why(tmp_path: Path) -> None:
    async with running_platform(tmp_path, worker_networks="public") as platform:
        result, report, found = await checked("--timeout", "1", FLOWC_URL=platform.url)
        deaf = await asyncio.to_thread(flowc, "check", "--host", "192.0.2.1", FLOWC_URL=platform.url)
        assert (await left_behind(platform))[0] == []
    assert result.exit_code == 1
    assert found["registry"]["register"] == "failed"
    registry = next(one for one in report["categories"] if one["name"] == "registry")
    assert any("forbidden" in check["detail"] for check in registry["checks"] if check["name"] == "register")
    assert (deaf.exit_code, "cannot listen on 192.0.2.1" in deaf.stderr) == (1, True)


async def test_nobody_at_the_address_is_a_report_as_well() -> None:
    result, report, found = await checked("--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert found["prerequisites"]["platform answers"] == "failed"
    assert report["categories"][-1]["status"] == "skipped"


async def test_a_folder_is_checked_without_its_platform_and_while_it_runs(tmp_path: Path) -> None:
    async with running_platform(tmp_path):
        running, report, found = await checked("--data", str(tmp_path / "data"))
    assert running.exit_code == 0, running.output
    assert found["store"] == {"integrity": "passed", "schema": "passed"}
    assert report["categories"][-1]["status"] == "skipped"
    stopped, _, _ = await checked("--data", str(tmp_path / "data"))
    assert stopped.exit_code == 0


async def test_a_folder_that_is_damaged_newer_or_open_to_others_is_told(tmp_path: Path) -> None:
    async with running_platform(tmp_path):
        pass
    folder = tmp_path / "data"
    with sqlite3.connect(folder / "flowc.db") as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA user_version = 999")
    (folder / "worker.key").chmod(0o644)
    result, _, found = await checked("--data", str(folder))
    assert result.exit_code == 1
    assert found["store"]["schema"] == found["prerequisites"]["only its owner may read it"] == "failed"
    (folder / "flowc.db").write_bytes(b"nothing of this is a database" * 1000)
    assert (await checked("--data", str(folder)))[2]["store"]["integrity"] == "failed"
    assert (await checked("--data", str(tmp_path / "none")))[2]["prerequisites"]["folder"] == "failed"
