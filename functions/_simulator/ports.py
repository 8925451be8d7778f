"""The ports of a simulated process: each call goes to the port behind, and may meet a fault on its way."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from functools import partial
from inspect import iscoroutinefunction
from random import Random
from typing import Any, cast

from functions._core.errors import Conflict, Unavailable
from functions._core.ports import EventQueue, Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.worker import Worker
from functions._simulator.faults import Faults
from functions._simulator.ledger import Ledger
from functions._simulator.process import Process

UNTOUCHED = {"counts", "depth", "size"}
"""Questions that metrics ask when they have time to: real time, so that chance must know nothing of them."""

SELDOM_USED = {"admission-policies", "guard-policies"}
"""Spaces of small records that most worlds have nothing in."""

WRITES = {
    "claim_due",
    "claim_waiting",
    "commit",
    "dead_letter",
    "drop",
    "enqueue",
    "forget",
    "postpone",
    "put",
    "remove",
}
CRASHES = 4
LATE = 60.0
THROTTLED = 5.0
OLD = timedelta(seconds=1)


class Trouble:
    """Takes a process's calls to the world outside; each is a point where faults strike and others come first."""

    def __init__(self, process: Process, faults: Faults, chance: Random) -> None:
        self.process = process
        self._faults = faults
        self._chance = chance

    async def through(self, operation: str, call: "partial[Awaitable[Any]]", *, may_fail: bool) -> Any:
        """Make one call."""
        faults = self._faults
        await self._on_its_way()
        if may_fail and faults.strikes("unavailable"):
            raise Unavailable("refused by the simulator")
        if operation == "commit" and _may_have_moved(call.args[0]) and faults.strikes("conflict"):
            raise Conflict
        if operation == "claim_due" and faults.strikes("late-scheduler"):
            await asyncio.sleep(LATE)
            await self.process.breathe()
        result = await call()
        await self._on_its_way()
        if may_fail and operation in WRITES and faults.strikes("reply-lost"):
            raise Unavailable("done, but the simulator lost the reply")
        return result

    async def _on_its_way(self) -> None:
        await self.process.breathe()
        if self._faults.strikes("crash", CRASHES):
            self.process.kill()
        if self._faults.strikes("throttle"):
            await asyncio.sleep(self._chance.random() * THROTTLED)
        elif self._chance.random() < 0.5:
            await asyncio.sleep(0)
        else:
            await asyncio.sleep(self._chance.random() * 0.004)
        await self.process.breathe()


def _may_have_moved(step: ChangeSet) -> bool:
    """Whether the step changes a record that was there before: only then can it come too late."""
    records = (*step.tickets, *((step.flow,) if step.flow else ()))
    return any(record.version > 1 for record in records)


class Disturbed:
    """Any port, through `Trouble`."""

    def __init__(self, behind: object, trouble: Trouble, *, may_fail: bool = True) -> None:
        self._behind = behind
        self._trouble = trouble
        self._may_fail = may_fail

    def __getattr__(self, operation: str) -> Any:
        method = getattr(self._behind, operation)
        if operation in UNTOUCHED or not iscoroutinefunction(method):
            return method

        async def disturbed(*args: Any, **named: Any) -> Any:
            if operation == "page" and args[0] in SELDOM_USED and not await method(*args, **named):
                return ()  # without a chance drawn, so that worlds without such entries stay as they were
            return await self._trouble.through(operation, partial(method, *args, **named), may_fail=self._may_fail)

        setattr(self, operation, disturbed)
        return disturbed


class OldLists:
    """A `WorkerRegistry` whose list of workers may be a second old, as the port allows."""

    def __init__(self, behind: Any, faults: Faults, seconds: Callable[[], float], ledger: Ledger) -> None:
        self._behind = behind
        self._ledger = ledger
        self._faults = faults
        self._seconds = seconds
        self._known: tuple[float, Sequence[Worker]] = (-OLD.total_seconds(), ())

    async def workers(self) -> Sequence[Worker]:
        """See `WorkerRegistry.workers`."""
        fresh = self._seconds() - self._known[0] < OLD.total_seconds()
        if fresh and self._faults.strikes("stale-read"):
            return self._known[1]
        found = await self._behind.workers()
        if not fresh:
            self._known = self._seconds(), found
        return cast("Sequence[Worker]", found)

    async def worker(self, worker_id: str) -> Worker | None:
        """See `WorkerRegistry.worker`."""
        return cast("Worker | None", await self._behind.worker(worker_id))

    async def put(self, worker: Worker) -> None:
        """See `WorkerRegistry.put`."""
        await self._behind.put(worker)
        self._ledger.registered(worker)

    async def remove(self, worker_id: str, version: int) -> bool:
        """See `WorkerRegistry.remove`."""
        return bool(await self._behind.remove(worker_id, version))


NEVER_RAISES = {"gateway"}
NO_CALLS = {"clock", "tokens", "guards", "predictions"}


def disturbed(ports: Ports, queue: EventQueue, trouble: Trouble) -> tuple[Ports, EventQueue]:
    """Return the ports and the queue as a process in trouble has them."""
    names = [name for name in Ports.__dataclass_fields__ if name not in NO_CALLS]
    troubled = {name: Disturbed(getattr(ports, name), trouble, may_fail=name not in NEVER_RAISES) for name in names}
    kept = {name: getattr(ports, name) for name in NO_CALLS}
    return Ports(**cast("Any", troubled | kept)), cast("EventQueue", Disturbed(queue, trouble))
