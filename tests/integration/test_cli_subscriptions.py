"""`flowc subscriptions` against the platform of one machine."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from functions._cli.app import app
from tests.support.loopback import until
from tests.support.one_machine import OneMachine, one_machine
from tests.support.webhook_receiver import WebhookReceiver, verified


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path) as running:
        yield running


async def flowc(platform: OneMachine, *words: str) -> Result:
    result = await asyncio.to_thread(
        CliRunner().invoke, app, ["subscriptions", *words, "--url", platform.url], env={"COLUMNS": "200"}
    )
    assert result.exit_code == 0, result.output
    return result


async def test_a_subscription_from_its_beginning_to_its_end(platform: OneMachine) -> None:
    async with WebhookReceiver() as receiver:
        assert "no subscriptions" in (await flowc(platform, "list")).output
        made = (await flowc(platform, "create", receiver.sink("a"), "-t", "flow.completed", "--subject", "f1")).output
        subscription_id, secret = (line.split()[1] for line in made.splitlines())
        listed = (await flowc(platform, "list")).output
        assert (subscription_id in listed, secret in listed) == (True, False)
        await flowc(platform, "test", subscription_id)
        await until(lambda: receiver.received["a"], "the test event")
        assert verified(secret, receiver.received["a"][0][1])["subject"] == subscription_id
        await until(lambda: not platform.running.engine.busy, "the delivery to be recorded")
        page = json.loads((await flowc(platform, "deliveries", subscription_id, "--json")).output)
        (delivery,) = page["items"]
        assert "204" in (await flowc(platform, "deliveries", subscription_id)).output
        await flowc(platform, "resend", subscription_id, delivery["delivery_id"])
        await until(lambda: len(receiver.received["a"]) == 2, "the same event again")
        rotated = json.loads((await flowc(platform, "rotate", subscription_id, "--overlap", "5", "--json")).output)
        assert rotated["secret"] != secret
        assert "deleted" in (await flowc(platform, "delete", subscription_id)).output
        assert "no subscriptions" in (await flowc(platform, "list")).output
