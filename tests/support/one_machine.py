"""The platform of one machine in this process, with all that a user has: SQLite, HTTP on a port, real workers."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from functions._engine.settings import Settings
from functions._hosts.one_machine.process import RunningPlatform, running
from functions._worker import Executor, WorkerConfig, WorkerProcess
from tests.support.http_world import ClientWorld
from tests.support.world import PATIENCE_S


@dataclass
class OneMachine(ClientWorld):
    """A platform that takes requests, and what it is made of."""

    running: RunningPlatform

    def worker(self, worker_id: str, executor: Executor, *capabilities: str, **more: Any) -> WorkerProcess:
        """Return a worker, yet to be started; without capabilities it offers `python`."""
        config = {"slots": 4, "grace_seconds": 0, **more}
        return WorkerProcess(
            WorkerConfig(
                worker_id=worker_id,
                platform_url=self.url,
                capabilities=capabilities or ("python",),
                executor=executor,
                **config,
            )
        )


@asynccontextmanager
async def one_machine(
    folder: Path, environment: Mapping[str, str] | None = None, **settings: object
) -> AsyncIterator[OneMachine]:
    """Run the platform with its data in `folder`, for as long as the context is open."""
    chosen = Settings.from_mapping(environment or {}, **{"port": 0, "data": folder, "log_level": "error", **settings})
    async with (
        running(chosen) as platform,
        httpx.AsyncClient(base_url=platform.url, trust_env=False, timeout=PATIENCE_S) as client,
    ):
        yield OneMachine(client, platform)
