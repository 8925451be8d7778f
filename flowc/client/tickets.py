"""Tickets over HTTP: create one without a plan, claim it, report on it, try it again."""

import uuid
from collections.abc import Mapping
from typing import Any

from flowc.client.calls import Steps
from flowc.client.models import ExecutionTicket, TaskAssignment, TicketPage, TicketToken
from flowc.client.service import AsyncServiceClient, Operation, ServiceClient, SyncServiceClient, in_path

TICKETS = "/api/v1/tickets"
ENDS = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


class TicketOperations(ServiceClient):
    """What both clients of tickets can do."""

    @Operation
    def create_ticket(
        self,
        ticket: Mapping[str, Any] | None = None,
        /,
        *,
        idempotency_key: str | None = None,
        **fields: Any,  # noqa: ANN401 - JSON values
    ) -> Steps[ExecutionTicket]:
        """Create a ticket of its fields, given as a mapping or by keyword; `plan_id` and `task_type` are needed.

        Without an idempotency key a new one is made, so each call creates a ticket, however often it is sent.
        """
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        body = {**(ticket or {}), **fields}
        reply = yield from self._call("POST", TICKETS, body, headers=headers, repeatable=True)
        return reply.as_a(ExecutionTicket)

    @Operation
    def get_ticket(self, ticket_id: str) -> Steps[ExecutionTicket]:
        """Return a ticket; raises `NotFound`."""
        return (yield from self._call("GET", _path(ticket_id))).as_a(ExecutionTicket)

    @Operation
    def list_tickets(
        self,
        /,
        *,
        limit: int | None = None,
        cursor: str | None = None,
        **filters: str | int | None,
    ) -> Steps[TicketPage]:
        """Return one page of tickets, the oldest first; filters such as `status`, `plan_id` or `worker_id`."""
        asked = {**filters, "limit": limit, "cursor": cursor}
        return (yield from self._call("GET", TICKETS, parameters=asked)).as_a(TicketPage)

    @Operation
    def update_status(  # noqa: PLR0913 - the fields of a change
        self,
        ticket_id: str,
        status: str,
        metadata: Mapping[str, Any] | None = None,
        *,
        worker_id: str | None = None,
        attempt: int | None = None,
        progress: float | None = None,
        output: object = None,
        error: Mapping[str, Any] | None = None,
        token: str | None = None,
    ) -> Steps[ExecutionTicket]:
        """Change a ticket: claim it (`running` for a worker), end an attempt (`completed`, `failed`), `cancelled`.

        A ticket that is `assigned` already may be called so; to assign is the platform's. Raises `Conflicting` where
        the change is not possible. `token` proves the attempt in the place of the client's key.
        """
        said = {
            "status": status.upper(),
            "metadata": dict(metadata) if metadata else None,
            "worker_id": worker_id,
            "attempt": attempt,
            "progress": progress,
            "output": output,
            "error": dict(error) if error else None,
        }
        body = {name: value for name, value in said.items() if value is not None}
        headers = {"authorization": f"Bearer {token}"} if token else None
        again = attempt is not None and status.upper() in ENDS  # the end of an attempt is known when it comes again
        reply = yield from self._call("PATCH", f"{_path(ticket_id)}/status", body, headers=headers, repeatable=again)
        return reply.as_a(ExecutionTicket)

    @Operation
    def retry_ticket(
        self, ticket_id: str, *, force: bool = False, idempotency_key: str | None = None
    ) -> Steps[ExecutionTicket]:
        """Try a failed ticket again; `force` where no retry is left. Return it as it is then."""
        headers = {"idempotency-key": idempotency_key or str(uuid.uuid4())}
        yield from self._call("POST", f"{_path(ticket_id)}/retry", {"force": force}, headers=headers, repeatable=True)
        return (yield from self._call("GET", _path(ticket_id))).as_a(ExecutionTicket)

    @Operation
    def get_assignment(self, ticket_id: str) -> Steps[TaskAssignment]:
        """Return the attempt that a worker holds now, as the worker gets it, with a token for its report."""
        assignment = (yield from self._call("GET", f"{_path(ticket_id)}/assignment")).as_a(TaskAssignment)
        token = (yield from self._call("GET", f"{_path(ticket_id)}/token")).as_a(TicketToken)
        return assignment.model_copy(update={"token": token.access_token})

    @Operation
    def get_token(self, ticket_id: str) -> Steps[TicketToken]:
        """Return a token for the attempt that a worker holds now; raises `Conflicting` when none does."""
        return (yield from self._call("GET", f"{_path(ticket_id)}/token")).as_a(TicketToken)


def _path(ticket_id: str) -> str:
    return f"{TICKETS}/{in_path(ticket_id)}"


class ExecutionTicketClient(TicketOperations, AsyncServiceClient):
    """Tickets, by coroutines."""


class SyncExecutionTicketClient(TicketOperations, SyncServiceClient):
    """Tickets, by plain calls."""
