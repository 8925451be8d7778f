"""`flowc slo`, `flowc budget` and `flowc freeze` against the platform of one machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from functions._cli.app import app
from tests.support.one_machine import OneMachine, one_machine
from tests.support.slos import freeze_of, put_freeze
from tests.support.world import decision, task


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path) as running:
        yield running


async def flowc(platform: OneMachine, *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, [*words, "--url", platform.url], env={"COLUMNS": "300"})


async def done(platform: OneMachine, *words: str) -> str:
    result = await flowc(platform, *words)
    assert result.exit_code == 0, result.output
    return result.output


async def ended(platform: OneMachine, number: int) -> None:
    """Let flows end without success: nobody does their tasks in time."""
    flows = [await platform.submit(decision(task("a"), sla_deadline_seconds=1)) for _ in range(number)]
    for flow_id in flows:
        await platform.reached(flow_id, "TIMED_OUT")


MADE = ("slo", "create", "checkout", "--service", "shop", "--target", "99.9", "--measure", "flow_success")


async def test_from_an_slo_to_a_freeze_and_its_end(platform: OneMachine) -> None:
    assert "no SLOs" in await done(platform, "slo", "list")
    assert "nothing is frozen" in await done(platform, "freeze", "list")
    slo_id = (await done(platform, *MADE, "--label", "team:shop", "--window-days", "7")).strip()
    assert "flow_success of everything" in await done(platform, "slo", "list")
    policy_id = (await done(platform, "freeze", "policy", "create", "shop stands", "--target", "shop")).strip()
    assert "SERVICE shop" in await done(platform, "freeze", "policy", "list")
    assert json.loads(await done(platform, "freeze", "policy", "show", policy_id))["trigger_threshold_percent"] == 20
    assert "100 % of 0 was good in 7 days: met" in await done(platform, "slo", "test", "checkout")
    assert "not calculated yet" in await done(platform, "slo", "show", "shop/checkout")
    assert "shop is open" in await done(platform, "freeze", "status", "shop")

    await ended(platform, 2)
    assert "0 % of 2 was good in 7 days: not met" in await done(platform, "slo", "test", slo_id)
    assert "EXHAUSTED" in await done(platform, "budget", "recalculate", "checkout", "--reason", "now")
    for words in (("budget",), ("budget", "checkout"), ("slo", "show", slo_id), ("slo", "history", "checkout")):
        assert "EXHAUSTED" in await done(platform, *words), words
    assert "measured" in await done(platform, "budget", "show", "checkout", "--fresh", "--json")
    assert "EXHAUSTED  1\n" in await done(platform, "budget", "summary")
    assert "no budgets" in await done(platform, "budget", "--status", "HEALTHY")

    frozen = await flowc(platform, "freeze", "status", "shop", "--json")
    assert frozen.exit_code == 3
    (event,) = json.loads(frozen.output)["events"]
    assert (await flowc(platform, "freeze", "status", "shop", "--action", "BLOCK_SCALE")).exit_code == 0
    assert event["event_id"] in await done(platform, "freeze", "list")
    assert "resolved" in await done(
        platform, "freeze", "resolve", event["event_id"], "--reason", "fixed", "--by", "ada"
    )
    assert "shop is open" in await done(platform, "freeze", "status", "shop")
    assert "ada" in await done(platform, "freeze", "history", "--service", "shop")
    assert (await flowc(platform, "freeze", "resolve", event["event_id"], "--reason", "again")).exit_code == 1
    audits = await done(platform, "audits", "--json")
    assert [one["who"] for one in json.loads(audits)["items"] if one.get("why") == "fixed"] == ["ada"]

    assert policy_id in await done(platform, "freeze", "policy", "update", policy_id, "--trigger", "1", "--manual")
    assert "deleted" in await done(platform, "freeze", "policy", "delete", policy_id)
    assert "no policies" in await done(platform, "freeze", "policy", "list")


async def test_an_slo_is_changed_deleted_and_brought_back(platform: OneMachine) -> None:
    query = "sum(rate(good[{{window}}])) / sum(rate(all[{{window}}]))"
    await done(platform, "slo", "create", "latency of carts", "--service", "shop", "--target", "0.99", "--query", query)
    await done(platform, "slo", "update", "latency of carts", "--target", "99.5%", "--description", "as sold")
    shown = await done(platform, "slo", "show", "latency of carts")
    assert all(words in shown for words in ("99.5 % over 30 days, LATENCY", query, "as sold"))
    within = ("--measure", "queue_wait", "--within", "30s", "--only", "task_type=DEPLOY", "--only", "label.team=shop")
    await done(platform, "slo", "update", "latency of carts", *within)
    found = json.loads(await done(platform, "slo", "show", "latency of carts", "--json"))
    assert found["sli_query"]["history"]["within_ms"] == 30_000
    assert found["sli_query"]["history"]["labels"] == {"team": "shop"}
    assert "deleted" in await done(platform, "slo", "delete", "latency of carts")
    assert "no SLOs" in await done(platform, "slo", "list")
    assert "latency of carts" in await done(platform, "slo", "list", "--deleted")
    await done(platform, "slo", "update", "latency of carts", "--enable")
    assert "latency of carts" in await done(platform, "slo", "list")


async def test_what_is_wrong_is_told_and_is_wrong_use(platform: OneMachine) -> None:
    make = ("slo", "create", "x", "--service", "s", "--target")
    for words, status, says in (
        ((*make, "much", "--query", "up"), 2, "no number"),
        ((*make, "101", "--query", "up"), 2, "less than 1"),
        ((*make, "99"), 2, "exactly one of --query and --measure"),
        ((*make, "99", "--query", "up("), 2, "not closed"),
        ((*make, "99", "--measure", "queue_wait", "--within", "soon"), 2, "no span of time"),
        ((*make, "99", "--measure", "flow_success", "--only", "plan"), 2, "NAME=VALUE"),
        ((*make, "99", "--query", "up", "--label", "team"), 2, "name:value"),
        (("slo", "update", "x"), 2, "nothing is to be changed"),
        (("slo", "show", "x"), 1, "there is no SLO"),
        (("budget", "x"), 1, "there is no SLO"),
        (("freeze", "resolve", "x", "--reason", "y"), 1, "there is no freeze"),
        (("freeze", "resolve", "x"), 2, "--reason"),
        (("freeze", "policy", "create", "x", "--trigger", "101"), 2, "--trigger"),
    ):
        result = await flowc(platform, *words)
        assert (result.exit_code, says in " ".join(result.output.split())) == (status, True), (words, result.output)


async def test_foreign_text_moves_no_cursor(platform: OneMachine) -> None:
    platform.running.engine.budgets.alone = False  # a round would end a freeze that has no policy
    while platform.running.engine.budgets.busy:  # one has begun
        await asyncio.sleep(0.01)
    event = freeze_of("shop", platform.running.ports.clock.now() - timedelta(hours=1))
    await put_freeze(platform.running.ports.key_values, event.but(trigger_reason="\x1b[2J<b>spent</b>"))
    for words in (("freeze", "list"), ("freeze", "history")):
        printed = await done(platform, *words)
        assert ("\x1b" not in printed, "spent" in printed) == (True, True)
    status = await flowc(platform, "freeze", "status", "shop")
    assert (status.exit_code, "\x1b" not in status.output) == (3, True)


async def test_names_that_several_have_are_told_with_their_ids(platform: OneMachine) -> None:
    ids = [(await done(platform, *MADE[:3], "--service", service, *MADE[5:])).strip() for service in ("shop", "bank")]
    result = await flowc(platform, "slo", "show", "checkout")
    assert (result.exit_code, all(slo_id in result.output for slo_id in ids)) == (1, True)
    assert "of bank" in await done(platform, "slo", "show", "bank/checkout")
