"""Tests of projects: what they count, how much they cover, and tests that are hostile to what runs them."""

import shutil
import socket
from pathlib import Path
from typing import Any

import pytest

from functions._executors.file_store import FolderStore
from functions._executors.forge.run_tests import RunTestsExecutor
from functions._executors.settings import ExecutorSettings
from tests.conftest import require
from tests.support.forge_desk import SHOP, ForgeDesk, hostile

WAYS = [pytest.param("on", marks=pytest.mark.slow), "off"]
"""Slow, as with the other programs: machines of CI may have no bubblewrap."""

HALF = '"""Half of it is tested."""\n\n\ndef half() -> int:\n    a = 1\n    b = 2\n    return a + b\n'
MIXED = """
import pytest

def test_passes(): assert 1 == 1
def test_fails(): assert 1 == 2
def test_breaks(missing): pass
@pytest.mark.skip
def test_is_left_out(): pass
"""
LIES = """<?xml version="1.0"?><testsuites><testsuite name="t"><testcase name="a"/></testsuite></testsuites>"""


@pytest.fixture(params=WAYS)
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> ForgeDesk:
    require(request.param == "off" or shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
    return ForgeDesk(tmp_path, request.param)


@pytest.fixture
def confined(tmp_path: Path) -> ForgeDesk:
    require(shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
    return ForgeDesk(tmp_path, "on")


def runs(pid: str) -> bool:
    """Whether there is a process; one that has ended, and that nobody has asked for its status, has no command."""
    command = Path(f"/proc/{pid}/cmdline")
    return command.exists() and command.read_bytes() != b""


async def fails(desk: ForgeDesk, files: dict[str, str | bytes], language: str = "python") -> Any:
    return await desk.failure("forge_run_tests", {"code": desk.project(files, language)})


class TestNumbers:
    async def test_numbers_and_coverage_are_one_score(self, desk: ForgeDesk) -> None:
        output = await desk.test(desk.project({**SHOP, "src/shop/half.py": HALF}))
        # Two lines of prices are run, one of half, and none of the functions in it.
        assert (output["passed"], output["failed"], output["skipped"], output["minimum"]) == (2, 0, 0, 0.8)
        assert output["coverage"] == pytest.approx(2 / 6)
        assert output["score"] == pytest.approx(2 / 6 / 0.8, abs=1e-5)
        junit = b"".join(FolderStore(desk.folder / "store").read(output["junit"]["uri"]))
        assert b"test_adds" in junit
        assert "2 of 2 tests passed, 33.3% of lines covered" in desk.log
        assert desk.left == []

    async def test_failing_tests_do_not_fail_the_stage_and_skipped_ones_count(self, desk: ForgeDesk) -> None:
        output = await desk.test(desk.project({**SHOP, "tests/test_more.py": MIXED}), min_coverage=0.5)
        assert (output["passed"], output["failed"], output["skipped"]) == (3, 2, 1)
        assert output["score"] == 0.5
        assert "tests.test_more.test_fails, tests.test_more.test_breaks" in desk.log

    async def test_a_project_does_not_say_how_it_is_measured(self, desk: ForgeDesk) -> None:
        options = "[tool.pytest.ini_options]\naddopts = '-k nothing --cov-fail-under=100'\n"
        own = f"[tool.coverage.run]\nomit = ['*']\n{options}"
        brought = {"junit.xml": LIES, "reports/junit.xml": LIES, "coverage.xml": "<coverage line-rate='1'/>"}
        output = await desk.test(desk.project({**SHOP, **brought, "pyproject.toml": own, "src/shop/half.py": HALF}))
        assert (output["passed"], output["coverage"]) == (2, pytest.approx(2 / 6))

    async def test_a_project_without_code_to_measure_needs_no_coverage(self, desk: ForgeDesk) -> None:
        files = {"main.tf": "locals {}\n", "tests/test_module.py": "def test_is_there():\n    assert open('main.tf')\n"}
        output = await desk.test(desk.project(files, "hcl"))
        assert (output.get("coverage"), output["score"]) == (None, 1)
        output = await desk.test(desk.project(files, "python"))
        assert (output.get("coverage"), output["score"]) == (None, 0), "a program whose coverage nobody knows"
        output = await desk.test(desk.project({**files, "lambda/app.py": "x = 1\n"}, "hcl"))
        assert (output["coverage"], output["score"]) == (0, 0), "code is measured, whatever its project is called"


class TestNoSuite:
    async def test_a_project_without_tests_fails_for_good(self, desk: ForgeDesk) -> None:
        files = {name: text for name, text in SHOP.items() if not name.startswith("tests")}
        failed = await fails(desk, dict(files))
        assert (failed.kind, failed.retryable) == ("no_tests", False)
        assert desk.left == []

    async def test_a_suite_that_cannot_run_fails_for_good_with_its_last_words(self, desk: ForgeDesk) -> None:
        failed = await fails(desk, {**SHOP, "tests/test_other.py": "import nothing_of_that_name\n"})
        assert (failed.kind, failed.retryable) == ("suite_broken", False)
        assert "No module named 'nothing_of_that_name'" in failed.message

    async def test_hostile_archives_and_owners_who_do_not_want_it(self, desk: ForgeDesk) -> None:
        failed = await desk.failure("forge_run_tests", {"code": hostile(desk, ("../../out.py", b"x"))})
        assert (failed.kind, failed.retryable) == ("bad_project", False)
        desk.settings = desk.settings.model_copy(update={"commands": ("bandit",)})
        failed = await fails(desk, dict(SHOP))
        assert (failed.kind, failed.retryable) == ("not_allowed", False)


class TestAttacks:
    async def test_a_report_that_is_not_the_runners_is_none(self, desk: ForgeDesk) -> None:
        text = f"import os\ndef test_a():\n    open('../reports/junit.xml', 'w').write({LIES!r})\n    raise KeyError\n"
        output = await desk.test(desk.project({"a.py": "x = 1\n", "test_a.py": text}))
        assert (output["passed"], output["failed"]) == (0, 1), "the runner writes its report last"
        failed = await fails(desk, {"test_a.py": "import os\ndef test_a():\n    os._exit(0)\n"})
        assert (failed.kind, failed.retryable) == ("report", False)

    async def test_a_report_is_never_read_through_a_link(self, desk: ForgeDesk) -> None:
        secret = desk.folder / "secret.xml"
        secret.write_text(LIES)
        for text in (
            f"os.symlink({str(secret)!r}, '../reports/junit.xml')",
            f"os.rmdir('../reports'); os.symlink({str(desk.folder)!r}, '../reports')",
        ):
            failed = await fails(desk, {"test_a.py": f"import os\ndef test_a():\n    {text}\n    os._exit(0)\n"})
            assert (failed.kind, failed.retryable) == ("report", False)
        assert secret.read_text() == LIES

    async def test_code_is_measured_also_when_tests_remove_what_says_so(self, desk: ForgeDesk) -> None:
        text = "import os\ndef test_a():\n    os.remove('../coverage.ini')\n    os.remove('a.py')\n"
        output = await desk.test(desk.project({"a.py": "x = 1\n", "test_a.py": text}, "hcl"))
        assert output["score"] == 0

    async def test_tests_that_hang_are_ended_with_all_that_they_have_started(self, desk: ForgeDesk) -> None:
        text = """
import os, subprocess, time
def test_a():
    started = subprocess.Popen(["sleep", "600"])
    if os.path.exists("../../here"):
        open("../../pid", "w").write(str(started.pid))
    time.sleep(600)
"""
        desk.settings = desk.settings.model_copy(update={"environment": {"WORKER_FORGE_TEST_SECONDS": "4"}})
        (desk.folder / "work").mkdir()
        (desk.folder / "work" / "here").touch()
        failed = await fails(desk, {"test_a.py": text})
        assert (failed.kind, failed.retryable) == ("tests_hang", False)
        pid = desk.folder / "work" / "pid"
        assert not pid.exists() or not runs(pid.read_text()), "without a sandbox numbers are those of the machine"
        assert [name for name in desk.left if name.startswith("t-1")] == []

    async def test_tests_that_flood_are_ended(self, desk: ForgeDesk) -> None:
        text = "import os\ndef test_a():\n    while True:\n        os.write(9, b'x' * 65536)\n"
        failed = await fails(desk, {"conftest.py": "import os\nos.dup2(2, 9)\n", "test_a.py": text})
        assert (failed.kind, failed.retryable) == ("output_too_large", False)

    @pytest.mark.slow
    async def test_tests_that_kill_fork_and_call_are_contained(self, confined: ForgeDesk) -> None:
        attacks = """
import contextlib, os, signal, socket, pytest

def test_nobody_else_is_seen():
    assert all(int(pid) < 50 for pid in os.listdir("/proc") if pid.isdigit())

def test_its_parent_cannot_be_killed():
    with contextlib.suppress(PermissionError):
        os.kill(1, signal.SIGKILL)
    assert os.path.exists("/proc/1")

def test_there_is_no_network():
    with pytest.raises(OSError):
        socket.create_connection(("127.0.0.1", PORT), timeout=2)

def test_processes_have_a_bound():
    pids = []
    with pytest.raises(BlockingIOError):
        for _ in range(1000):
            pid = os.fork()
            if pid == 0:
                signal.pause()
            pids.append(pid)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)

def test_the_machine_cannot_be_written_to():
    for place in ("/usr/x", "/etc/x", "STORE/x"):
        with pytest.raises(OSError):
            open(place, "w")
"""
        with socket.create_server(("127.0.0.1", 0)) as server:
            text = attacks.replace("PORT", str(server.getsockname()[1])).replace("STORE", str(confined.folder))
            output = await confined.test(confined.project({"a.py": "", "test_a.py": text}))
        assert (output["passed"], output["failed"]) == (5, 0), confined.log
        assert confined.left == []

    async def test_tests_that_are_killed_may_end_better(self, desk: ForgeDesk) -> None:
        failed = await fails(desk, {"test_a.py": "import os\ndef test_a():\n    os.kill(os.getpid(), 9)\n"})
        assert (failed.kind, failed.retryable) == ("tests_killed", True)


@pytest.mark.parametrize("seconds", ["0", "none", "-1", "nan", "1e9"])
def test_a_time_that_is_none_is_told_when_the_worker_starts(seconds: str) -> None:
    with pytest.raises(ValueError, match="WORKER_FORGE_TEST_SECONDS"):
        RunTestsExecutor(ExecutorSettings(environment={"WORKER_FORGE_TEST_SECONDS": seconds}))


async def test_doctor_names_what_runs_tests() -> None:
    executor = RunTestsExecutor(ExecutorSettings(sandbox="off", commands=("pytest",)))
    checks = {check.name: check.ok for check in await executor.check()}
    assert checks == {"sandbox": True, "folder": True, "programs": True, "pytest": True, "pytest_cov": True}
