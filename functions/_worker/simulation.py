"""Executors that only pretend, where the worker's owner allows it and what they need is missing: to try plans out.

Whether it is missing is looked at once, as `flowc doctor executor` does it: a service that goes away later fails its
jobs, and one that was away in the beginning stays simulated until the worker begins again. A simulated job does nothing
and says so, in its output, in the log, in metrics; the platform counts its flow in no SLO.
"""

import asyncio
from typing import Any

from functions._core.records.values import JsonObject
from functions._executors.port import JobContext, JobExecutor
from functions._executors.settings import ExecutorSettings
from functions._observability.logs import log


class SimulatedExecutors:
    """Knows which executors of a worker are simulated."""

    def __init__(self, settings: ExecutorSettings) -> None:
        self._allowed = settings.allow_simulation
        self._missing: dict[str, str] = {}
        self._looking = asyncio.Lock()

    async def missing(self, executor: JobExecutor[Any]) -> str:
        """Return what an executor is simulated for; empty for one that does its jobs."""
        if not self._allowed:
            return ""
        async with self._looking:
            if executor.name not in self._missing:
                checks = await executor.check()
                faults = [f"{check.name} ({check.detail})" for check in checks if check.required and not check.ok]
                self._missing[executor.name] = ", ".join(faults)
                if faults:
                    log.warning("executor.simulated", executor=executor.name, missing=self._missing[executor.name])
        return self._missing[executor.name]


def pretended(executor: JobExecutor[Any], context: JobContext[Any], missing: str) -> JsonObject:
    """Return the output of a job for which nothing was done."""
    context.log(f"simulated, nothing was done: {executor.name} has no {missing}")
    job_id = f"simulated-{context.idempotency_key}"
    return {"simulated": True, "job": {"executor": executor.name, "id": job_id, "adopted": False, "simulated": True}}
