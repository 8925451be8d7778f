"""`kill -9` between a commit and its delivery to a webhook: nothing is lost, and repetitions have the same id."""

import asyncio
from pathlib import Path

import pytest

from tests.support.http_workers import HttpWorkers
from tests.support.loopback import Answer, Request, until
from tests.support.processes import running_platform
from tests.support.webhook_receiver import WebhookReceiver
from tests.support.world import decision, task

PATH = "/api/v1/subscriptions"


@pytest.mark.timeout(120)
async def test_nothing_is_lost_and_what_comes_twice_has_one_id(tmp_path: Path) -> None:
    reached, blocked = asyncio.Event(), True

    async def blocks(_request: Request) -> Answer:
        reached.set()
        if blocked:
            await receiver.hang(_request)
        return Answer(204, b"")

    async with WebhookReceiver() as receiver, HttpWorkers() as workers, running_platform(tmp_path) as platform:
        await platform.register("w1", endpoint=f"{workers.url}/w1")
        receiver.behave["a"] = blocks
        await platform.send(PATH, {"sink": receiver.sink("a")})
        flow_id = await platform.submit(decision(task("a"), task("b", "a")))
        assert (await platform.ended(flow_id))["status"] == "COMPLETED"
        async with asyncio.timeout(30):
            await reached.wait()  # the first delivery is under way and unanswered, all others wait behind it
        platform.kill()
        blocked = False
        platform.start()
        await platform.ready()
        told = {entry["type"] for entry in await platform.history(flow_id)} & {
            "tickets.generated",
            "ticket.assigned",
            "ticket.completed",
            "flow.completed",
        }
        expected = sum(entry["type"] in told for entry in await platform.history(flow_id))

        def came() -> set[str]:
            return {
                event["id"]
                for event in receiver.bodies("a")
                if event["type"].removeprefix("io.neuralhive.").removesuffix(".v1") in told
            }

        await until(lambda: len(came()) == expected, "every transition at the webhook")
    ids = {(body["id"], webhook_id) for body, webhook_id in zip(receiver.bodies("a"), receiver.ids("a"), strict=True)}
    assert len(ids) == len({event_id for event_id, _ in ids}), "an event has one webhook-id"
    assert len(receiver.received["a"]) > len(ids), "what was under way comes again"
