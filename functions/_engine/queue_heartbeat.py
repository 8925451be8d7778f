"""Keeps the share of one process in a queue that several work off together."""

import asyncio

from functions._core.ports import EventQueue
from functions._engine.outbox import EventOutbox
from functions._observability.logs import log

HEARTBEAT_SECONDS = 2.0
"""Seconds after which a process says again that it is alive; a fifth of what makes it count as dead."""


async def queue_heartbeat(queue: EventQueue, outbox: EventOutbox) -> None:
    """Until cancelled: say that this process is alive, and handle what processes that are not have left."""
    while True:
        await asyncio.sleep(HEARTBEAT_SECONDS)
        try:
            if taken := await queue.take_over():
                log.warning("queue.taken_over", events=taken)
                await outbox.recover()
        except Exception:  # noqa: BLE001 a store that does not answer is asked again
            log.exception("queue.not_kept")
