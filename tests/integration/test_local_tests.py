"""Tests that run on the worker's machine: pytest and any program, their reports, and what they cannot do."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from functions._executors import local_tests
from functions._executors.local_tests import PytestExecutor, SuiteCommandExecutor
from functions._executors.settings import ExecutorSettings
from functions._worker.jobs import JobsExecutor
from functions._worker.tasks import TaskFailed
from tests.conftest import require
from tests.support import ci
from tests.support.ci import COVERAGE, GREEN, JUNIT

WAYS = [pytest.param("on", marks=pytest.mark.slow), "off"]
"""Slow, as with the other programs: machines of CI may have no bubblewrap."""

SUITE = """
import pathlib, pytest
from shop import total

def test_adds():
    assert total([1, 2]) == 3

def test_writes_beside_its_code():
    pathlib.Path("made.txt").write_text("x")

@pytest.mark.skip
def test_later():
    pass
"""
BROKEN = "def test_pays():\n    assert 1 == 2\n\ndef test_breaks(missing):\n    pass\n"
CONFTEST = f"import pathlib\ndef pytest_sessionfinish():\n    pathlib.Path('coverage.xml').write_text({COVERAGE!r})\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Give a folder with code, its tests, and reports that an earlier run has left."""
    folder = tmp_path / "readable" / "shop"
    folder.mkdir(parents=True)
    (folder / "shop.py").write_text("total = sum\n")
    (folder / "test_shop.py").write_text(SUITE)
    (folder / "coverage.xml").write_text("<coverage line-rate='0.99'/>")
    (folder / "junit.xml").write_text(JUNIT)
    return folder


@pytest.fixture(params=WAYS)
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> ExecutorSettings:
    require(request.param == "off" or shutil.which("bwrap") is not None, "sudo apt-get install bubblewrap")
    (tmp_path / "readable").mkdir(exist_ok=True)
    return ExecutorSettings.model_validate(
        {
            "sandbox": request.param,
            "folder": tmp_path / "work",
            "commands": ("pytest", "sh") if request.param == "off" else (),
            "readable": [tmp_path / "readable"],
        }
    )


async def run(settings: ExecutorSettings, provider: str, **parameters: Any) -> dict[str, Any]:
    jobs = JobsExecutor([PytestExecutor(settings), SuiteCommandExecutor(settings)], pauses=(0.0,))
    try:
        return await ci.run(jobs, {"provider": provider, **parameters})
    finally:
        await jobs.aclose()


async def failure(settings: ExecutorSettings, provider: str, **parameters: Any) -> TaskFailed:
    with pytest.raises(TaskFailed) as failed:
        await run(settings, provider, **parameters)
    return failed.value


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != "__pycache__")


async def shell(settings: ExecutorSettings, text: str, **more: Any) -> dict[str, Any]:
    return await run(settings, "test_command", argv=["sh", "-c", text], **{"reports": ["junit.xml"], **more})


class TestPytest:
    async def test_tests_run_in_a_copy_and_their_numbers_are_outputs(
        self, settings: ExecutorSettings, source: Path
    ) -> None:
        output = await run(settings, "pytest", source=str(source), arguments=["-q"])
        counts = {name: output[name] for name in ("conclusion", "passed", "failed", "errors", "skipped", "exit_code")}
        assert counts == {
            "conclusion": "success",
            "passed": 2,
            "failed": 0,
            "errors": 0,
            "skipped": 1,
            "exit_code": 0,
        }
        assert "2 passed, 1 skipped" in output["stdout"]
        assert output.get("coverage") is None, "what an earlier run has left is no report of this one"
        assert names_in(source) == ["coverage.xml", "junit.xml", "shop.py", "test_shop.py"]
        assert names_in(settings.folder) == []

    async def test_failing_tests_are_named(self, settings: ExecutorSettings, source: Path) -> None:
        (source / "tests").mkdir()
        (source / "tests" / "test_money.py").write_text(BROKEN)
        given = {"source": str(source), "arguments": ["-p", "no:randomly"], "paths": ["tests/test_money.py"]}
        failed = await failure(settings, "pytest", **given)
        assert (failed.kind, failed.retryable) == ("tests_failed", True)
        names = "tests.test_money.test_pays, tests.test_money.test_breaks"
        assert failed.message == f"the run ended as failure: 2 of 2 tests failed: {names}"

    async def test_coverage_is_read_and_asked_for(self, settings: ExecutorSettings, source: Path) -> None:
        (source / "conftest.py").write_text(CONFTEST)
        assert (await run(settings, "pytest", source=str(source), min_coverage=0.8))["coverage"] == 0.8
        failed = await failure(settings, "pytest", source=str(source), min_coverage=0.9)
        assert (failed.kind, failed.retryable) == ("coverage", False)

    async def test_no_test_a_wrong_argument_and_a_crash_are_told_apart(
        self, settings: ExecutorSettings, source: Path
    ) -> None:
        (source / "test_crash.py").write_text("import os\ndef test_a():\n    os._exit(1)\n")
        kinds = {
            "no_tests": {"arguments": ["-k", "nothing"]},
            "exit_status": {"arguments": ["--no-such-option"]},
        }
        for kind, given in kinds.items():
            assert (await failure(settings, "pytest", source=str(source), paths=["test_shop.py"], **given)).kind == kind
        assert (await failure(settings, "pytest", source=str(source))).kind == "exit_status"

    @pytest.mark.parametrize("path", ["-p", "--collect-only", "--rootdir=x"])
    async def test_a_path_is_no_option(self, settings: ExecutorSettings, source: Path, path: str) -> None:
        failed = await failure(settings, "pytest", source=str(source), paths=[path])
        assert f"./{path}" in failed.message


class TestCommand:
    async def test_a_program_makes_reports(self, settings: ExecutorSettings) -> None:
        text = f"mkdir out; echo '{GREEN}' > out/junit.xml; echo '{COVERAGE}' > out/coverage.xml; echo done > a.log"
        output = await shell(settings, text, reports=["out/*.xml"], artifacts=["*.log"], min_coverage=0.5)
        assert (output["passed"], output["coverage"], output["stdout"]) == (2, 0.8, "")
        assert [one["name"] for one in output["artifacts"]] == ["a.log"]
        assert output["artifacts"][0]["uri"].startswith("file://")

    @pytest.mark.parametrize("status", [0, 1])
    async def test_a_report_of_failing_tests_fails_the_task_whatever_the_exit_status(
        self, settings: ExecutorSettings, status: int
    ) -> None:
        with pytest.raises(TaskFailed, match=r"1 of 3 tests failed: shop\.Cart\.ships") as failed:
            await shell(settings, f"echo '{JUNIT}' > junit.xml; exit {status}")
        assert failed.value.kind == "tests_failed"

    @pytest.mark.parametrize(
        ("text", "kind", "words"),
        [
            ("true", "report", "no file fits junit.xml"),
            ("echo '<html/>' > junit.xml", "report", "no file fits junit.xml"),
            ("echo '<testsuite>' > junit.xml", "report", "junit.xml is no XML"),
            ("echo broken >&2; exit 3", "exit_status", "exit status 3: broken"),
            (f"echo '{GREEN}' > junit.xml; exit 3", "exit_status", "exit status 3"),
            ("ln -s /etc/passwd junit.xml", "report", "junit.xml cannot be read, or is a link"),
            ("mkfifo junit.xml", "report", "junit.xml is no file of its own"),
        ],
    )
    async def test_what_else_may_go_wrong(self, settings: ExecutorSettings, text: str, kind: str, words: str) -> None:
        with pytest.raises(TaskFailed) as failed:
            await shell(settings, text)
        assert (failed.value.kind, words in failed.value.message) == (kind, True)

    async def test_a_report_that_lies_there_already_is_none_of_this_run(
        self, settings: ExecutorSettings, source: Path
    ) -> None:
        with pytest.raises(TaskFailed, match=r"no file fits junit\.xml"):
            await shell(settings, "test -e shop.py", source=str(source))


class TestOwner:
    async def test_the_folder_of_all_jobs_may_be_in_the_source(self, settings: ExecutorSettings, source: Path) -> None:
        inside = settings.model_copy(update={"folder": source / ".flowc" / "work"})
        text = f"echo '{GREEN}' > new.xml; test -e shop.py && test ! -e .flowc/work"
        assert (await shell(inside, text, source=str(source), reports=["new.xml"]))["passed"] == 2

    async def test_the_doctor_looks_for_pytest(self, settings: ExecutorSettings) -> None:
        executor = PytestExecutor(settings)
        assert {check.name: check.ok for check in await executor.check()}["pytest"]
        await executor.aclose()

    async def test_only_folders_that_the_owner_names_are_tested(
        self, settings: ExecutorSettings, source: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "private").mkdir()
        (source / "out").symlink_to(tmp_path / "private")
        for place in ("/etc", str(tmp_path), f"{source}/../../private", f"{source}/out", f"{tmp_path}/readable2"):
            failed = await failure(settings, "pytest", source=place)
            assert (failed.kind, failed.retryable) == ("not_allowed", False)
        assert (await failure(settings, "pytest", source=f"{source}/none")).kind == "bad_source"
        assert (await failure(settings, "pytest", source="relative")).kind == "bad_parameters"

    async def test_a_source_that_is_too_large_or_no_source_is_refused(
        self, settings: ExecutorSettings, source: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        os.mkfifo(source / "pipe")
        assert (await failure(settings, "pytest", source=str(source))).kind == "bad_source"
        (source / "pipe").unlink()
        monkeypatch.setattr(local_tests, "SOURCE_FILES", 2)
        assert (await failure(settings, "pytest", source=str(source))).kind == "bad_source"
        assert names_in(settings.folder) == []

    async def test_without_a_sandbox_only_programs_run_that_the_owner_names(self, tmp_path: Path) -> None:
        bare = ExecutorSettings.model_validate({"sandbox": "off", "folder": tmp_path, "commands": ["make"]})
        assert (await failure(bare, "pytest")).kind == "not_allowed"
        assert (await failure(bare, "test_command", argv=["sh"], reports=["a"])).kind == "not_allowed"

    async def test_a_link_in_the_source_shows_nothing(
        self, settings: ExecutorSettings, source: Path, tmp_path: Path
    ) -> None:
        (tmp_path / "secret.xml").write_text(GREEN)
        (source / "linked.xml").symlink_to(tmp_path / "secret.xml")
        failed = await failure(
            settings, "test_command", argv=["sh", "-c", "true"], source=str(source), reports=["linked.xml"]
        )
        assert (failed.kind, failed.retryable) == ("bad_source", False)
