"""`flowc schedule` against the platform of one machine, and the commands of its guide."""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from functions._cli.app import app
from tests.conftest import ROOT
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import decision, task, until

GUIDE = ROOT / "docs/guides/schedules.md"


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path) as running:
        yield running


async def flowc(platform: OneMachine, *words: str) -> Result:
    return await asyncio.to_thread(
        CliRunner().invoke, app, ["schedule", *words, "--url", platform.url], env={"COLUMNS": "200"}
    )


async def done(platform: OneMachine, *words: str) -> str:
    result = await flowc(platform, *words)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "decision.json"
    path.write_text(json.dumps(decision(task("a"))))
    return str(path)


async def test_a_schedule_from_its_beginning_to_its_end(platform: OneMachine, file: str) -> None:
    assert "no schedules" in await done(platform, "list")
    made = await done(
        platform, "put", "nightly", file, "--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--sla", "2h"
    )
    assert made.startswith("nightly: the next run begins at ")
    assert "30 2 * * * Europe/Berlin" in await done(platform, "list")
    assert "schedule nightly is ACTIVE" in await done(platform, "show", "nightly")
    flow_id = (await done(platform, "run", "nightly")).split()[-1]
    assert flow_id in await done(platform, "runs", "nightly")
    assert (await done(platform, "pause", "nightly", "--note", "full")).strip() == "paused nightly"
    assert "it is paused: full" in await done(platform, "show", "nightly")
    assert "the next run begins at" in await done(platform, "resume", "nightly")
    assert json.loads(await done(platform, "show", "nightly", "--json"))["sla_seconds"] == 7200
    assert "deleted" in await done(platform, "delete", "nightly")
    refused = await flowc(platform, "show", "nightly")
    assert (refused.exit_code, "there is no schedule" in refused.output) == (1, True)


async def test_what_is_wrong_is_told_and_is_wrong_use(platform: OneMachine, file: str) -> None:
    for words, says in (
        (("put", "x", file, "--cron", "61 * * * *"), "the field minute"),
        (("put", "x", file, "--every", "soon"), "no span of time"),
        (("put", "x", file), "exactly one of"),
        (("put", "x", "no-such-file", "--every", "1h"), "cannot be read"),
        (("put", "x", file, "--every", "1h", "--except", "yesterday"), "no date"),
    ):
        result = await flowc(platform, *words)
        assert (result.exit_code, says in " ".join(result.output.split())) == (2, True), result.output


async def test_the_timer_wakes_at_the_moment_of_a_schedule(platform: OneMachine, file: str) -> None:
    """The rounds alone, every 5 s, would be late for most of them."""
    await done(platform, "put", "ticking", file, "--every", "1s", "--overlap", "queue")
    text = ""

    async def three() -> bool | None:
        nonlocal text
        text = (await platform.client.get("/metrics")).text
        return True if "flowc_schedules_lateness_seconds_count 1.0" in text else None

    await until(three, "a run")
    (total,) = re.findall(r"flowc_schedules_lateness_seconds_sum (\S+)", text)
    assert float(total) < 1


async def test_the_commands_of_the_guide_work(platform: OneMachine, file: str) -> None:
    commands = [
        shlex.split(line, comments=True)
        for block in re.findall(r"```sh\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.replace("\\\n", " ").splitlines()
        if line.startswith("flowc schedule ")
    ]
    assert len(commands) > 8
    for command in commands:
        await done(platform, *(file if word.endswith(".json") else word for word in command[2:]))
