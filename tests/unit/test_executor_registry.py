"""Executors by name: those of Flow C, those of other packages, their settings, and `flowc doctor executor`."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from functions._cli.app import app
from functions._core.executors.table import EXECUTORS, capability_of, model_of
from functions._executors.port import capabilities_of
from functions._executors.registry import OWN, UnknownExecutor, executor_named, executors_named, known_executors
from functions._executors.settings import ExecutorSettings
from tests.conftest import ROOT
from tests.support.documents import blocks

GUIDE = ROOT / "docs" / "guides" / "executors.md"
TUTORIAL = next(block.text for block in blocks(GUIDE.read_text(encoding="utf-8")) if block.file == "rows.py")


@pytest.fixture
def brought(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Give the folder of a package that is installed and brings the executor of the guide, and one in our name."""
    (tmp_path / "rows.py").write_text(TUTORIAL)
    (tmp_path / "impostor.py").write_text("from rows import RowsExecutor\nclass Http(RowsExecutor): name = 'http'\n")
    about = tmp_path / "rows-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: rows\nVersion: 0.1\n")
    (about / "entry_points.txt").write_text("[flowc.executors]\nrows = rows:RowsExecutor\nhttp = impostor:Http\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    for name in ("rows", "impostor"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("name", OWN)
def test_an_executor_is_what_the_table_says_of_it(name: str) -> None:
    executor = executor_named(name, ExecutorSettings())
    assert (executor.name, executor.family) == (name, EXECUTORS[name].family)
    assert executor.task_types == EXECUTORS[name].task_types
    assert executor.Parameters is model_of(name)
    assert capability_of(name) in capabilities_of(executor)


def test_every_executor_of_the_table_is_there() -> None:
    assert OWN.keys() == EXECUTORS.keys()


def test_another_package_brings_one_by_an_entry_point_and_none_in_a_name_of_ours(brought: Path) -> None:
    assert brought.exists()
    assert known_executors() == sorted([*OWN, "rows"])
    rows, http = executors_named("rows, http,rows", ExecutorSettings())
    assert type(rows).__module__ == "rows"
    assert type(http).__module__ == "functions._executors.http"
    with pytest.raises(UnknownExecutor, match="which is an executor of Flow C"):
        executor_named("impostor:Http", ExecutorSettings())


def test_the_tutorial_has_forty_lines() -> None:
    assert len([line for line in TUTORIAL.splitlines() if line.strip()]) <= 40


@pytest.mark.parametrize("name", ["nothing", "json:dumps", "json:JSONDecoder", "no_such_module:X", "enum:Enum"])
def test_what_is_no_executor_is_refused(name: str) -> None:
    with pytest.raises(UnknownExecutor):
        executor_named(name, ExecutorSettings())


def test_settings_are_read_from_variables_and_all_that_are_wrong_are_named() -> None:
    settings = ExecutorSettings.from_environment(
        {"WORKER_SANDBOX": "off", "WORKER_COMMANDS": "git, make", "WORKER_NETWORKS": "loopback,private", "OTHER": "1"}
    )
    assert (settings.sandbox, settings.commands) == ("off", ("git", "make"))
    assert settings.networks == {"loopback", "private"}
    assert ExecutorSettings.from_environment({}).networks == {"public"}
    with pytest.raises(ValueError, match=r"WORKER_SANDBOX: .*WORKER_NETWORKS: |WORKER_NETWORKS: .*WORKER_SANDBOX: "):
        ExecutorSettings.from_environment({"WORKER_SANDBOX": "perhaps", "WORKER_NETWORKS": "moon"})
    assert "hunter2" not in repr(ExecutorSettings.from_environment({"TOKEN": "hunter2"}))


def doctor(*arguments: str, **environment: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["doctor", *arguments], env=environment)
    return result.exit_code, result.output


def test_the_doctor_says_whether_an_executor_could_be_used() -> None:
    status, said = doctor("executor", "http", "--json")
    assert (status, json.loads(said)["ready"]) == (0, True)
    status, said = doctor("executor", "command", WORKER_SANDBOX="off", WORKER_COMMANDS="")
    assert status == 1
    assert said.startswith("command: not ready\n")
    assert "missing  programs: allowed: none" in said


def test_the_doctor_looks_at_every_executor_of_a_family_or_at_all_of_them(tmp_path: Path) -> None:
    """Six commands, each with its exit status: all, and each family."""
    off = {"WORKER_SANDBOX": "off", "WORKER_COMMANDS": "true", "WORKER_FOLDER": str(tmp_path)}
    families = {entry.family for entry in EXECUTORS.values()}
    for name in sorted({"all", *families}):
        status, said = doctor("executor", name, "--json", **off)
        told = json.loads(said)
        wanted = {one for one, entry in EXECUTORS.items() if name in {"all", entry.family}}
        assert {one["executor"] for one in told["executors"]} >= wanted
        assert all(one["checks"] for one in told["executors"]), "each looks at something"
        assert status == (0 if told["ready"] else 1)
        assert told["ready"] == all(one["ready"] for one in told["executors"])
    status, said = doctor("executor", "command,http", **off)
    assert (status, "command: ready" in said, "http: ready" in said) == (0, True, True)
    status, said = doctor("executor", "command", WORKER_LOGS=str(tmp_path / "kept"), **off)
    assert (status, f"ok       logs: {tmp_path}/kept" in said) == (0, True)


def test_there_are_more_tests_of_executors_than_the_origin_has() -> None:
    def tests(*patterns: str) -> int:
        paths = [path for pattern in patterns for path in sorted((ROOT / "tests").glob(pattern))]
        return sum(len(re.findall(r"^ *(?:async )?def test_", path.read_text(), re.MULTILINE)) for path in paths)

    assert tests("integration/test_*executor*.py", "integration/test_job*.py") >= 18
    assert tests("unit/test_*executor_*.py") >= 25


def test_every_executor_is_in_the_guides() -> None:
    guides = "".join(path.read_text() for path in sorted(GUIDE.parent.glob("executors*.md")))
    assert [name for name in OWN if f"`{name}`" not in guides] == []
    linked = (ROOT / "docs" / "README.md").read_text()
    assert [path.name for path in GUIDE.parent.glob("executors*.md") if f"guides/{path.name}" not in linked] == []


def test_the_doctor_names_executors_and_refuses_what_is_none(brought: Path) -> None:
    assert brought.exists()
    assert doctor("executor", "rows")[0] == 0
    for arguments, words in (
        (("executor",), ", ".join(sorted([*OWN, "rows"]))),
        (("executor", "x"), "there is no executor"),
        (("sla", "http"), "only an executor has a name"),
    ):
        status, said = doctor(*arguments)
        assert status == 2
        assert words in " ".join(said.replace("│", " ").split())
