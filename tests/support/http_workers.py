"""Workers that a platform reaches over HTTP, all in one server: they report to the address of each assignment."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import httpx

from functions._adapters.http.cloudevents import write_structured
from tests.support.loopback import Answer, Loopback, Request
from tests.support.world import PATIENCE_S, report_event

Assignment = Mapping[str, Any]
REPORT_TRIES = 200
PAUSE_S = 0.05
"""Seconds before a report is sent again: less than the answer's Retry-After asks for, so that tests are short."""


def completes(_assignment: Assignment) -> Sequence[Mapping[str, Any]]:
    """Behave like a worker that can do everything."""
    return [{"status": "COMPLETED"}]


class HttpWorkers(Loopback):
    """`behave` gives the reports that follow an assignment; a report is repeated until the platform takes it."""

    def __init__(self, behave: Callable[[Assignment], Sequence[Mapping[str, Any]]] = completes) -> None:
        super().__init__()
        self.behave = behave
        self.assigned: list[Request] = []
        self.done: list[str] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._client = httpx.AsyncClient(trust_env=False, timeout=PATIENCE_S)

    async def stop(self) -> None:
        """Stop, with whatever is being done."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await super().stop()
        await self._client.aclose()

    async def take(self, request: Request) -> Answer:
        """Accept an assignment, and begin to work on it."""
        if request.headers["ce-type"].endswith("ticket.assigned.v1"):
            self.assigned.append(request)
            working = asyncio.create_task(self._work(request.json))
            self._tasks.add(working)
            working.add_done_callback(self._tasks.discard)
        return Answer()

    async def _accept(self, request: Request) -> Answer:
        return await self.take(request)

    async def _work(self, assignment: Assignment) -> None:
        for said in self.behave(assignment):
            await self._report(assignment, said)
        self.done.append(assignment["task_id"])

    async def _report(self, assignment: Assignment, said: Mapping[str, Any]) -> None:
        headers, body = write_structured(report_event(assignment, **said))
        headers = {**headers, "authorization": f"Bearer {assignment['token']}"}
        for _ in range(REPORT_TRIES):
            answer = await self._client.post(assignment["callback_url"], content=body, headers=headers)
            if answer.status_code < 500:
                return
            await asyncio.sleep(PAUSE_S)
        raise AssertionError(f"a report was not taken: {answer.text}")
