"""Makes the message that brings an assignment to its worker, whichever way it goes: POSTed, or as the worker asks.

The token is made here, when the message is, and kept nowhere.
"""

from collections.abc import Sequence
from datetime import datetime
from http import HTTPStatus
from typing import Protocol

from functions._core.decision.secret_references import MOST_SECRETS, SecretReference, find_secrets, with_secret
from functions._core.errors import Undeliverable
from functions._core.events.assignment import TOKEN_GRACE, assignment_event
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.resolved_values import resolved_parameters
from functions._core.placement.ranking import not_cleared
from functions._core.ports import Ports
from functions._core.records.change_set import Delivery
from functions._core.records.models import Ticket
from functions._core.records.values import JsonObject, add_time
from functions._core.records.worker import Answer, Worker
from functions._core.rules import REFERENCES_BYTES
from functions._core.secrets import SecretUnavailable

SUSPENDED = Answer(0, "its circuit breaker lets nothing through", reached=False, suspended=True)


class Breaker(Protocol):
    """The circuit breakers of the workers."""

    async def admits(self, worker: Worker, delivery: Delivery) -> bool:
        """Whether the delivery may be made now; it takes the place of the one trial behind a half-open breaker."""

    async def answered(self, worker: Worker, delivery: Delivery, answer: Answer) -> None:
        """Count, durably, what the answer to an assignment says of the worker."""


class AssignmentMessages:
    """Makes messages for workers that may have them."""

    def __init__(self, ports: Ports, breaker: Breaker, base_url: str, references_bytes: int = REFERENCES_BYTES) -> None:
        """Let workers report to `base_url`; `references_bytes` is how much the references of a ticket may stand for."""
        self._ports = ports
        self._breaker = breaker
        self._base_url = base_url.rstrip("/")
        self._references_bytes = references_bytes

    async def refusal(self, worker: Worker, delivery: Delivery, ticket: Ticket) -> Answer | None:
        """Return the answer where the worker is not to be asked; None where it may have the ticket."""
        if not await self._breaker.admits(worker, delivery):
            return SUSPENDED
        uncleared = None if delivery.cancelled else not_cleared(worker, ticket.security_level)
        if uncleared is not None:
            return Answer(HTTPStatus.FORBIDDEN, f"not asked: it {uncleared}", reached=False)
        return None

    async def assignment(self, delivery: Delivery, ticket: Ticket) -> CloudEvent | Answer:
        """Return the assignment with a token that is valid from now on; raise `Undeliverable`.

        While a secret cannot be read it is the answer that puts the ticket off.
        """
        now = self._ports.clock.now()
        parameters = await resolved_parameters(ticket, self._ports.store, self._references_bytes)
        secrets = find_secrets(ticket.parameters)
        if secrets:
            try:
                parameters = await self._with_secrets(ticket, parameters, secrets)
            except SecretUnavailable as away:
                return Answer(0, str(away), reached=False, suspended=True)
        token = self._ports.tokens.mint(
            ticket_id=ticket.ticket_id,
            attempt=delivery.attempt,
            worker_id=delivery.worker_id,
            expires_at=add_time(add_time(now, ticket.timeout), TOKEN_GRACE),
        )
        url = f"{self._base_url}/api/v1/flows/{ticket.flow_id}/reports"
        pointers = [secret.pointer for secret in secrets]
        return assignment_event(ticket, delivery.attempt, parameters, url, token, now, pointers)

    async def _with_secrets(
        self, ticket: Ticket, parameters: JsonObject, secrets: Sequence[SecretReference]
    ) -> JsonObject:
        """Return the parameters with the values of secrets in the places where the plan refers to them."""
        if len(secrets) > MOST_SECRETS:
            text = f"parameters: {len(secrets)} references to secrets, at most {MOST_SECRETS} are allowed"
            raise Undeliverable(text, code="too_many_secrets")
        flow = await self._ports.store.flow(ticket.flow_id)
        tenant_id = flow.tenant_id if flow is not None else None
        size = 0
        for secret in secrets:
            if secret.fault:
                raise Undeliverable(f"parameters{secret.pointer}: {secret.fault}", code="invalid_reference")
            value = await self._ports.task_secrets.value(secret.name, tenant_id)
            size += len(value)
            if size > self._references_bytes:
                text = f"parameters: the secrets have more than the {self._references_bytes} bytes that are allowed"
                raise Undeliverable(text, code="references_too_large")
            parameters = with_secret(parameters, secret.path, value)
        return parameters


def failure_event(delivery: Delivery, why: Undeliverable, event_id: str, now: datetime) -> CloudEvent:
    """Return the report that ends an attempt which no worker can ever be given."""
    ticket = delivery.ticket
    data = {
        "ticket_id": ticket.ticket_id,
        "attempt": delivery.attempt,
        "status": "FAILED",
        "error": {"type": why.code, "message": str(why), "retryable": False},
    }
    return CloudEvent(
        id=event_id,
        source="/flowc/assign",
        type=type_of("ticket.reported"),
        time=now,
        subject=ticket.ticket_id,
        data=data,
        extensions={"partitionkey": ticket.flow_id, "correlationid": ticket.correlation_id},
    )
