"""Flow C as AWS would run it: `template.yaml` deployed in an emulator, with workers that report over HTTP.

It is test equipment. The schedule fires every few seconds instead of every minute, so that a test need not wait for it.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from functions._adapters.aws.client import ThreadedClient
from functions._adapters.dynamodb import DynamoStore
from functions._adapters.dynamodb.client import meaning
from functions._core.ports import KeyValues
from functions._engine.clock import SystemClock
from tests.aws.deployment import Conditions, Deployment, deployed
from tests.aws.stack import Cloud
from tests.benchmarks.load import Stub
from tests.support.http_world import ClientWorld
from tests.support.world import PATIENCE_S, until

TICK_S = 10.0
"""Seconds from one firing of the schedule to the next: what only a tick can bring is rare, and each looks at all."""
SPEED, HASTE = 60.0, 60.0
"""How many times sooner than it should what failed comes again: 3 s for 180, 1 s for up to 60."""

AT_ONCE = {"Api": 2, "Assign": 2, "Monitor": 2}
"""How many environments a function may have; the others have one."""

PARAMETERS = {"LogLevel": "warning", "Executors": "http"}
SETTINGS = {
    "FLOWC_WORKER_NETWORKS": "loopback",
    "FLOWC_RATE_LIMITS": "off",
    "WORKER_NETWORKS": "loopback",
    "FLOWC_EXECUTOR_LOOK_SECONDS": "1",
}
"""The workers of tests are where the template lets none be."""

WORKERS = 2
HEARTBEAT_S = 15
"""The workers are stubs that only report; who does not give signs of life is soon given nothing more."""


@dataclass
class AwsWorld(ClientWorld):
    """Flow C, deployed."""

    deployment: Deployment
    workers: Stub

    def key_values(self) -> KeyValues:
        """Return the small records of the deployment."""
        stack = self.deployment.stack
        client = ThreadedClient(lambda: stack.client("dynamodb"), meaning)
        store = DynamoStore(client, str(stack.made["Table"]["Ref"]), None, SystemClock())
        return store.stores.key_values(SystemClock())

    async def nothing_dead(self) -> None:
        """Check that nothing was given up, or is on its way there, and that nothing was forbidden."""
        assert await self.letters() == []
        for queue in ("DeadLetterQueue", "LastQueue"):
            # A letter is shown a moment before its message is deleted.
            await until(partial(self._empty, queue), f"an empty {queue}")
        assert self.deployment.rights.denied == []

    async def _empty(self, queue: str) -> bool | None:
        await asyncio.sleep(0.1)
        return await self.deployment.depth(queue) == 0 or None


@asynccontextmanager
async def world(
    folder: Path,
    cloud: Cloud,
    *,
    parameters: Mapping[str, str] | None = None,
    workers: Stub | None = None,
    **conditions: Any,
) -> AsyncIterator[AwsWorld]:
    """Run the world for as long as the context is open; `conditions` are those of `Conditions`, if not the usual."""
    workers = workers or Stub()
    under = Conditions(
        **{"speed": SPEED, "haste": HASTE, "tick_s": TICK_S, "at_once": AT_ONCE, "settings": SETTINGS, **conditions}
    )
    told = {**PARAMETERS, **(parameters or {})}
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(workers.serving())
        deployment = await stack.enter_async_context(deployed(folder, cloud, under, parameters=told))
        key = deployment.stack.made["ApiKey"]["text"]
        client = httpx.AsyncClient(
            base_url=deployment.api.url, headers={"x-api-key": key}, trust_env=False, timeout=PATIENCE_S
        )
        running = AwsWorld(await stack.enter_async_context(client), deployment, workers)
        await running.staff(workers.url, count=WORKERS, slots=200)
        beating = asyncio.create_task(_beat(running))
        stack.callback(beating.cancel)
        stack.callback(lambda: print(deployment.account()))  # noqa: T201 pytest shows it with a failure
        yield running


async def _beat(running: AwsWorld) -> None:
    while True:
        await asyncio.sleep(HEARTBEAT_S)
        for number in range(WORKERS):
            await running.call("POST", f"/api/v1/workers/w{number}/heartbeat", {})
