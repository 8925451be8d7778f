"""A worker's own HTTP interface: hand it a task, ask how the task fares.

The platform does this for every ticket. A program does it itself for tickets that it has claimed for a worker, in
tests of a worker, or where it is the platform of its own workers.
"""

import uuid
from datetime import UTC, datetime
from typing import Any

from flowc.client.calls import Call, Steps
from flowc.client.models import TaskAssignment, TaskStatus, TaskTaken
from flowc.client.service import AsyncServiceClient, Operation, ServiceClient, SyncServiceClient, http_address, in_path

ASSIGNED = "io.neuralhive.ticket.assigned.v1"


class WorkerAgentOperations(ServiceClient):
    """What both clients of a worker can do."""

    def __init__(
        self,
        base_url: str,
        *,
        signing_secret: str,
        **settings: Any,  # noqa: ANN401 - those of `ServiceClient`
    ) -> None:
        """Take the worker's endpoint and the secret of its registration: it believes nobody else.

        The platform's key is never sent to a worker.
        """
        super().__init__(http_address(base_url), **{**settings, "api_key": ""})
        self._secret = signing_secret

    @Operation
    def assign_task(self, task: TaskAssignment) -> Steps[TaskTaken]:
        """Give the worker a task: its `callback_url` has to be the platform's, with a token for the report.

        Raises `TooMany` when all its slots are taken. The same attempt again is answered `known` and not run again.
        """
        event_id = str(uuid.uuid4())
        attributes = {
            "ce-specversion": "1.0",
            "ce-id": event_id,
            "ce-source": "/clients",
            "ce-type": ASSIGNED,
            "ce-subject": task.ticket_id,
        }
        body = task.model_dump_json(exclude_none=True).encode()
        signed = self._signed(f"ticket-assigned_{event_id}", body)
        headers = {"content-type": "application/json", **attributes, **signed}
        reply = yield from self._exchange(Call(method="POST", url="/", headers=headers, body=body))
        return reply.as_a(TaskTaken)

    @Operation
    def get_task_status(self, ticket_id: str) -> Steps[TaskStatus]:
        """Return how a task fares, by the id of its ticket; raises `NotFound` for one that the worker does not know."""
        headers = self._signed(f"task-status_{ticket_id}_{uuid.uuid4()}", b"")
        path = f"/api/v1/tasks/{in_path(ticket_id)}"
        return (yield from self._exchange(Call(method="GET", url=path, headers=headers))).as_a(TaskStatus)

    def _signed(self, message_id: str, body: bytes) -> dict[str, str]:
        from functions._core.events.signatures import signature_headers

        return signature_headers(self._secret, message_id, datetime.now(UTC), body)


class WorkerAgentClient(WorkerAgentOperations, AsyncServiceClient):
    """A worker, by coroutines."""


class SyncWorkerAgentClient(WorkerAgentOperations, SyncServiceClient):
    """A worker, by plain calls."""
