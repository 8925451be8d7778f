"""The whole platform for the length of one flow: on a free port, over a folder that vanishes, with four workers."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from functions._cli.client import PlatformClient
from functions._cli.console import CommandFailed
from functions._core.decision.model import unwrap_plan
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.placement.workers import MAX_CAPABILITIES
from functions._core.records.values import SecurityLevel
from functions._engine.settings import Settings
from functions._hosts.one_machine.process import running
from functions._observability import logs
from functions._worker import SimulatedExecutor, WorkerConfig, WorkerProcess

WORKERS = ("worker-1", "worker-2", "worker-3", "worker-4")
SLOTS = 10


async def demonstrate(event: CloudEvent, speed: float, show: Callable[[PlatformClient], Awaitable[int]]) -> int:
    """Start the platform and workers that can do all that `event` asks for, call `show` with a client, clean up.

    Workers wait as long as each task is estimated to take, divided by `speed`.
    """
    logs.configure("error")
    capabilities = capabilities_of(event)
    with TemporaryDirectory(prefix="flowc-demo-") as folder:
        settings = Settings(port=0, data=Path(folder), log_level="error")
        async with (
            running(settings) as platform,
            _workers(platform.url, capabilities, speed),
            PlatformClient(platform.url) as client,
        ):
            return await show(client)


@asynccontextmanager
async def _workers(platform_url: str, capabilities: tuple[str, ...], speed: float) -> AsyncIterator[None]:
    """Run the workers, all known to the platform, for as long as the context is open."""
    workers = [
        WorkerProcess(
            WorkerConfig(
                worker_id=worker_id,
                platform_url=platform_url,
                capabilities=capabilities,
                clearance=SecurityLevel.RESTRICTED,
                slots=SLOTS,
                executor=SimulatedExecutor(speed),
                grace_seconds=0,
            )
        )
        for worker_id in WORKERS
    ]
    try:
        for worker in workers:
            await worker.start()
        await asyncio.gather(*(worker.registered.wait() for worker in workers))
        yield
    finally:
        await asyncio.gather(*(worker.stop() for worker in workers))


def capabilities_of(event: CloudEvent) -> tuple[str, ...]:
    """Return all capabilities that the plan in `event` asks for; a plan that cannot be read asks for none.

    Raises `CommandFailed` when there are more than a worker can offer.
    """
    try:
        plan, _ = unwrap_plan(event.data.get("cognitive_plan") if isinstance(event.data, Mapping) else None)
    except Rejected:
        return ()
    tasks: Any = plan.get("tasks") if isinstance(plan, Mapping) else None
    asked = {
        word
        for task in (tasks if isinstance(tasks, list) else ())
        if isinstance(task, Mapping) and isinstance(words := task.get("required_capabilities"), list)
        for word in words
        if isinstance(word, str)
    }
    if len(asked) > MAX_CAPABILITIES:
        raise CommandFailed(f"the plan asks for {len(asked)} capabilities, a worker offers {MAX_CAPABILITIES} at most")
    return tuple(sorted(asked))
