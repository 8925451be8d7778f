"""The cookbook: each plan is checked, drawn and done by a platform and a worker as processes, to the end it shows."""

import asyncio
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from tests.conftest import ROOT
from tests.support.command_line import flowc
from tests.support.documents import blocks
from tests.support.processes import platform_process, processes, worker_process
from tests.support.world import until

Run = Callable[..., Result]

FOLDER = ROOT / "examples" / "cookbook"
PLANS = sorted(path.stem for path in FOLDER.glob("*.yaml"))
SECTIONS = (ROOT / "docs" / "guides" / "cookbook.md").read_text(encoding="utf-8").split("\n## ")[1:]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """Return `flowc` bound to a platform with the cookbook's worker."""
    folder = tmp_path_factory.mktemp("cookbook")
    with processes() as started:
        platform = platform_process(folder)
        worker = worker_process(folder, platform.url, "cook", "--call", "examples.cookbook.worker:work")
        started += [platform, worker]
        platform.start()
        worker.start()
        asyncio.run(platform.ready())
        yield lambda *arguments: flowc(*arguments, FLOWC_URL=platform.url)


def said(run: Run, *arguments: str) -> str:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    return done.stdout


def eventually(run: Run, *arguments: str) -> str:
    """Repeat a command until it is successful, and return what it prints."""

    async def printed() -> str | None:
        done = await asyncio.to_thread(run, *arguments)
        return done.stdout if done.exit_code == 0 else None

    return asyncio.run(until(printed, " ".join(arguments)))


def submitted(run: Run, file: str) -> str:
    return said(run, "submit", file).strip()


def approved(run: Run, file: str) -> str:
    flow_id = submitted(run, file)
    eventually(run, "approve", f"{flow_id}/ask", "--by", "ada", "--data", '{"amount": 700}')
    return flow_id


def signalled(run: Run, file: str) -> str:
    flow_id = submitted(run, file)
    for order, amount in ((16, 900), (17, 50), (17, 250)):
        data = json.dumps({"order": order, "amount": amount})
        said(run, "signal", "com.example.order.paid", "--data", data)
    return flow_id


def scheduled(run: Run, file: str) -> str:
    said(run, "schedule", "put", "etl", file, "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--sla", "2h")
    return said(run, "schedule", "run", "etl").split()[-1]


BY_PEOPLE = {"approval": approved, "event": signalled, "nightly_etl": scheduled}
"""How a flow is begun whose plan needs more than its submission."""


def section(name: str) -> tuple[str, Any]:
    """Return the plan that the page shows under a recipe, and the result, None if it shows none."""
    title = f"# examples/cookbook/{name}.yaml\n"
    (page,) = (text for text in SECTIONS if title in text)
    shown = {block.language: block.text for block in blocks(page)}
    return shown["yaml"].removeprefix(title), json.loads(shown["json"]) if "json" in shown else None


def test_there_are_ten_and_each_has_its_section() -> None:
    assert len(PLANS) == len(SECTIONS) == 10


@pytest.mark.parametrize("name", PLANS)
def test_a_recipe_comes_to_what_the_page_shows(run: Run, name: str) -> None:
    file = str(FOLDER / f"{name}.yaml")
    plan, result = section(name)
    assert Path(file).read_text(encoding="utf-8") == plan
    assert "valid" in said(run, "validate", file)
    drawn = said(run, "plan", "draw", file)
    assert [task for task in re.findall(r"^  - task_id: (\S+)", plan, re.MULTILINE) if task not in drawn] == []
    flow_id = BY_PEOPLE.get(name, submitted)(run, file)
    if result is not None:
        assert json.loads(eventually(run, "result", flow_id)) == result
        return
    assert run("show", flow_id, "--watch").exit_code == 1
    flow = json.loads(said(run, "show", flow_id, "--json"))
    tickets = {one["task_id"]: one for one in flow["tickets"]}
    assert flow["status"] == "FAILED"
    assert {name: one["status"] for name, one in tickets.items()} == {
        "book-flight": "COMPENSATED",
        "book-hotel": "COMPENSATED",
        "charge-card": "FAILED",
        "compensate:book-flight": "COMPLETED",
        "compensate:book-hotel": "COMPLETED",
    }
