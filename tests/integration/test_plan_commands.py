"""Stored plans by the command line, against a platform as a process; the guide's commands, as they are written."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.testing import Result

from tests.support.command_line import flowc
from tests.support.processes import platform_process, processes, worker_process

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Return `flowc` bound to a platform with one worker."""
    folder = tmp_path_factory.mktemp("platform")
    with processes() as started:
        platform = platform_process(folder)
        worker = worker_process(folder, platform.url, "w1", "--shell", 'echo "[1]"')
        started += [platform, worker]
        platform.start()
        worker.start()
        asyncio.run(platform.ready())
        yield lambda *arguments, **more: flowc(*arguments, FLOWC_URL=platform.url, **more)


PLAN = "tasks:\n- {task_id: a, task_type: EXECUTE, description: do a}\n"


def test_a_plan_is_pushed_listed_and_submitted_by_name(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN, encoding="utf-8")
    for version in ("1.2.0", "1.10.0"):
        assert run("plan", "push", str(file), f"nightly@{version}").stdout == f"nightly@{version}\n"
    file.write_text(PLAN + "labels: {team: data}\n", encoding="utf-8")
    refused = run("plan", "push", str(file), "nightly@1.2.0")
    assert (refused.exit_code, "plan_exists" in refused.stderr) == (1, True)
    assert run("plan", "list").stdout.split()[-5:] == ["1.10.0", "2", *run("plan", "list").stdout.split()[-3:]]
    assert [line.split()[0] for line in run("plan", "list", "nightly").stdout.splitlines()[1:]] == ["1.10.0", "1.2.0"]
    assert json.loads(run("plan", "show", "nightly@1.2.0").stdout)["tasks"][0]["task_id"] == "a"
    done = run("submit", "--plan", "nightly", "--set", "priority=HIGH", "--set", "sla_deadline_seconds=600", "--watch")
    assert done.exit_code == 0, done.output
    flow_id = done.stdout.split()[0]
    flow = json.loads(run("show", flow_id, "--json").stdout)
    assert (flow["plan_id"], flow["priority"]) == ("nightly@1.10.0", "HIGH")
    assert "COMPLETED" in run("plan", "draw", flow_id).stdout
    assert run("submit", "--plan", "nightly").stdout.strip() != flow_id
    assert run("plan", "delete", "nightly@1.10.0").stdout == "deleted nightly@1.10.0\n"
    gone = run("submit", "--plan", "nightly@1.10.0")
    assert (gone.exit_code, "unknown_plan" in gone.stderr) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("submit",),
        ("submit", "file", "--plan", "a"),
        ("submit", "--plan", "a b"),
        ("submit", "--plan", "a", "--set", "x"),
        ("plan", "push", "-", "a"),
        ("plan", "push", "-", "a@latest"),
        ("plan", "show", "../a@1.0.0"),
    ],
)
def test_what_is_written_wrongly_is_exit_status_2(run: Run, arguments: tuple[str, ...]) -> None:
    assert run(*arguments, stdin=PLAN).exit_code == 2


def test_a_plan_alone_is_submitted_each_time_as_another_decision(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN, encoding="utf-8")
    one, two = (run("submit", str(file)).stdout.strip() for _ in range(2))
    assert one
    assert one != two
