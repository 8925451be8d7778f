"""Reports of a worker: RUNNING is said once, or as often as a lease asks; an end until the platform has heard it."""

import asyncio
import random
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from pydantic_core import from_json

from functions._adapters.http.client import HttpClient
from functions._adapters.http.cloudevents import write_binary
from functions._adapters.http.reply import Reply
from functions._core.errors import FlowcError, Rejected, Unavailable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.values import ReportStatus
from functions._core.records.worker import Answer
from functions._core.rules import PASSING
from functions._observability.logs import log
from functions._worker.tasks import Assignment

BACKOFF_SECONDS = 0.2
BACKOFF_LIMIT_SECONDS = 10.0
"""A platform that was away is noticed this soon after it is back."""

SUCCESS = range(200, 300)

REPEATED = PASSING | {HTTPStatus.NOT_FOUND}
"""Refusals after which a report is sent again: a platform that is restored from a backup may know the flow later."""


async def settle(tasks: Iterable[asyncio.Task[Any]], seconds: float | None = None) -> None:
    """Wait until all tasks are over, however they end, or for so long."""
    if waiting := set(tasks):
        await asyncio.wait(waiting, timeout=seconds)


def backoff() -> Iterator[float]:
    """Yield the seconds between tries: doubling up to the limit, each shortened by up to half by chance."""
    wait = BACKOFF_SECONDS
    while True:
        yield wait * random.uniform(0.5, 1.0)  # noqa: S311 - spreads calls, protects nothing
        wait = min(2 * wait, BACKOFF_LIMIT_SECONDS)


def read_object(reply: Reply) -> dict[str, Any]:
    """Return the JSON object of an answer; an answer that is none says nothing."""
    try:
        value = from_json(reply.body)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


class Reporter:
    """Sends `ticket.reported` events to the callback addresses of assignments, in the background."""

    def __init__(self, client: HttpClient, worker_id: str) -> None:
        self._client = client
        self.worker_id = worker_id
        self._owed: dict[tuple[str, int], Assignment] = {}
        self._sending: set[asyncio.Task[None]] = set()
        self._announcing: set[asyncio.Task[None]] = set()

    @property
    def owed(self) -> int:
        """How many ends of tasks the platform has not heard of yet."""
        return len(self._owed)

    @property
    def unheard(self) -> list[tuple[str, int]]:
        """The tickets, with their attempts, whose end the platform has not heard of yet."""
        return list(self._owed)

    def event(self, assignment: Assignment, status: ReportStatus, beat: object = 0, **what: object) -> CloudEvent:
        """Return the report; its id is the same whenever the same thing is said again, and another for each `beat`."""
        return CloudEvent(
            id=f"{assignment.ticket_id}/{assignment.attempt}/{status}" + (f"/{beat}" if beat else ""),
            source=f"/workers/{quote(self.worker_id, safe='')}",
            type=type_of("ticket.reported"),
            time=datetime.now(UTC),
            subject=assignment.ticket_id,
            data={
                "ticket_id": assignment.ticket_id,
                "attempt": assignment.attempt,
                "status": status,
                "worker_id": self.worker_id,
                **what,
            },
            extensions=assignment.extensions,
        )

    def announce(
        self, assignment: Assignment, on_cancel: Callable[[str, int], None], beat: object = 0, **what: object
    ) -> None:
        """Say, without repeating it, that the task is running; if the platform says that it should not: `on_cancel`."""
        report = self.event(assignment, ReportStatus.RUNNING, beat, **what)
        task = asyncio.create_task(self._announce(assignment, on_cancel, report))
        self._announcing.add(task)
        task.add_done_callback(self._announcing.discard)

    def deliver(self, assignment: Assignment, report: CloudEvent) -> None:
        """Send `report` until it is taken or refused; if it is on its way already, once more after that.

        The newest assignment is the one to answer: it may bring a new token.
        """
        key = assignment.ticket_id, assignment.attempt
        on_its_way = key in self._owed
        self._owed[key] = assignment
        if not on_its_way:
            task = asyncio.create_task(self._deliver(key, report))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)

    async def flush(self, seconds: float) -> None:
        """Wait so long for reports to be taken, then give up those that are left."""
        await settle(self._sending, seconds)
        left = [*self._sending, *self._announcing]
        for task in left:
            task.cancel()
        await settle(left)

    async def _announce(
        self, assignment: Assignment, on_cancel: Callable[[str, int], None], report: CloudEvent
    ) -> None:
        try:
            reply = await self._post(assignment, report)
        except FlowcError as error:
            log.info("report.skipped", **assignment.ids, reason=str(error))
            return
        if reply.ok and read_object(reply).get("cancel") is True:
            on_cancel(assignment.ticket_id, assignment.attempt)

    async def _deliver(self, key: tuple[str, int], report: CloudEvent) -> None:
        waits = backoff()
        while assignment := self._owed.get(key):
            status, about = await self._send(assignment, report), assignment.ids
            if status in SUCCESS:
                log.info("report.taken", status=status, **about)
            elif Answer(status).refused and status not in REPEATED:
                log.warning("report.refused", status=status, **about)
            else:
                wait = next(waits)
                log.warning("report.postponed", status=status, wait_s=round(wait, 3), **about)
                await asyncio.sleep(wait)
                continue
            if self._owed[key] is assignment:
                del self._owed[key]

    async def _send(self, assignment: Assignment, report: CloudEvent) -> int:
        """Return the status that the report was answered with, 0 without an answer."""
        try:
            return (await self._post(assignment, report)).status
        except Rejected as refusal:  # the callback address itself is no good
            return refusal.status
        except Unavailable:
            return 0

    async def _post(self, assignment: Assignment, report: CloudEvent) -> Reply:
        headers, body = write_binary(report)
        if assignment.token:
            headers["authorization"] = f"Bearer {assignment.token}"
        return await self._client.post(assignment.callback_url, headers, body)
