"""Takes committed assignments to the workers, a bounded number at a time, and hands their answers back.

Nothing is lost when it dies: a ticket that was not acknowledged keeps its wake-up, which delivers the same attempt
again. The token is made here, when the POST is made, and kept nowhere.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Protocol
from weakref import WeakValueDictionary

from functions._core.decision.references import Resolution
from functions._core.errors import FlowcError, Undeliverable, Unreadable
from functions._core.events.assignment import TOKEN_GRACE, assignment_event, cancellation_event
from functions._core.events.envelope import CloudEvent
from functions._core.placement.ranking import not_cleared
from functions._core.planning.tickets import check_hash
from functions._core.ports import Answer, Ports
from functions._core.records.change_set import Delivery
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus, add_time, ticket_id_of
from functions._core.records.worker import Worker
from functions._core.rules import REFERENCES_BYTES
from functions._observability.logs import ids_of_delivery, log

GONE = Answer(410, "not registered any more")
SUSPENDED = Answer(0, "its circuit breaker lets nothing through", reached=False, suspended=True)

WORKERS_THAT_HANG = 8
"""So many workers have to hang before they can take up all deliveries."""

OUTPUTS_AT_ONCE = 8
"""Upstream tickets in memory at once while their outputs are filled in: of each only what is referred to is kept."""

Letter = tuple[str, int, bool]
"""Ticket, attempt, and whether it is the notice that the attempt is cancelled."""


class Breaker(Protocol):
    """The circuit breakers of the workers."""

    async def admits(self, worker: Worker, delivery: Delivery) -> bool:
        """Whether the delivery may be made now; it takes the place of the one trial behind a half-open breaker."""

    async def answered(self, worker: Worker, delivery: Delivery, answer: Answer) -> None:
        """Count, durably, what the answer to an assignment says of the worker."""


class AssignmentSender:
    """Delivers to workers in the background."""

    def __init__(
        self,
        ports: Ports,
        breaker: Breaker,
        base_url: str,
        limit: int,
        *,
        answered: Callable[[Delivery, Answer], None],
        unresolved: Callable[[Delivery, Undeliverable], None],
        references_bytes: int = REFERENCES_BYTES,
    ) -> None:
        """Call `answered` with each worker's answer, `unresolved` when a ticket can never be delivered.

        `references_bytes` is how much the references of a ticket may stand for.
        `limit` bounds the deliveries under way at once, and a share of it those to one worker: one that hangs must
        not keep the others from their work.
        """
        self._ports = ports
        self._breaker = breaker
        self._base_url = base_url.rstrip("/")
        self._slots = asyncio.Semaphore(limit)
        self._share = max(1, limit // WORKERS_THAT_HANG)
        self._by_worker: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._under_way: set[Letter] = set()
        self._answered = answered
        self._unresolved = unresolved
        self._references_bytes = references_bytes
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether a delivery is under way."""
        return bool(self._tasks)

    def send(self, deliveries: Iterable[Delivery]) -> None:
        """Begin to deliver, unless the very same is under way already."""
        for delivery in deliveries:
            letter = delivery.ticket.ticket_id, delivery.attempt, delivery.cancelled
            if letter not in self._under_way:
                self._under_way.add(letter)
                task = asyncio.create_task(self._deliver(delivery, letter))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is under way; it will be delivered again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _deliver(self, delivery: Delivery, letter: Letter) -> None:
        turn = self._by_worker.setdefault(delivery.worker_id, asyncio.Semaphore(self._share))
        try:
            async with turn, self._slots:
                ticket = await self._wanted(delivery)
                answer = await self._post(delivery, ticket) if ticket is not None else None
        except Undeliverable as why:
            self._unresolved(delivery, why)
        except Exception as error:  # noqa: BLE001 a delivery that breaks is one that was not made; its wake-up repeats it
            log.warning("delivery.broken", **ids_of_delivery(delivery), error=repr(error))
        else:
            if answer is not None and not delivery.cancelled:
                self._answered(delivery, answer)
        finally:
            self._under_way.discard(letter)

    async def _wanted(self, delivery: Delivery) -> Ticket | None:
        """Return the ticket as it is stored, or None when the assignment does not hold any more.

        It may have waited for its turn while the ticket went on. Raises `TicketCorrupted` when the stored ticket is not
        the one that C2 made.
        """
        if delivery.cancelled:
            return delivery.ticket
        known = delivery.ticket
        ticket = (await self._ports.store.tickets([known.ticket_id], known.flow_id)).get(known.ticket_id)
        if ticket is None or ticket.attempt != delivery.attempt or ticket.status is not TicketStatus.ASSIGNED:
            return None
        check_hash(ticket)
        return ticket

    async def _post(self, delivery: Delivery, ticket: Ticket) -> Answer:
        try:
            worker = await self._ports.registry.worker(delivery.worker_id)
        except Unreadable:
            return GONE
        if worker is None:
            return GONE
        if not await self._breaker.admits(worker, delivery):
            return replace(SUSPENDED, registration=worker.registration)
        if delivery.cancelled:
            event = cancellation_event(ticket, delivery.attempt, self._ports.clock.now())
            return await self._ports.gateway.deliver(worker, event)
        uncleared = not_cleared(worker, ticket.security_level)
        if uncleared is not None:
            refusal = Answer(HTTPStatus.FORBIDDEN, f"not asked: it {uncleared}", reached=False)
            return replace(refusal, registration=worker.registration)
        answer = await self._ports.gateway.deliver(worker, await self._assignment(delivery, ticket))
        # Before the next delivery to the worker begins: the one after the last failure that is borne is not made.
        try:
            await self._breaker.answered(worker, delivery, answer)
        except FlowcError as error:
            log.warning("delivery.not_counted", **ids_of_delivery(delivery), error=str(error))
        return replace(answer, registration=worker.registration)

    async def _assignment(self, delivery: Delivery, ticket: Ticket) -> CloudEvent:
        """Return the assignment with a token that is valid from now on."""
        now = self._ports.clock.now()
        parameters = await self._parameters(ticket)
        token = self._ports.tokens.mint(
            ticket_id=ticket.ticket_id,
            attempt=delivery.attempt,
            worker_id=delivery.worker_id,
            expires_at=add_time(add_time(now, ticket.timeout), TOKEN_GRACE),
        )
        url = f"{self._base_url}/api/v1/flows/{ticket.flow_id}/reports"
        return assignment_event(ticket, delivery.attempt, parameters, url, token, now)

    async def _parameters(self, ticket: Ticket) -> Mapping[str, Any]:
        """Return the ticket's parameters with every reference replaced by the upstream output."""
        resolution = Resolution(ticket.parameters, self._references_bytes)
        task_ids = {ticket_id_of(ticket.flow_id, task_id): task_id for task_id in resolution.task_ids}
        ids = list(task_ids)
        for start in range(0, len(ids), OUTPUTS_AT_ONCE):
            upstream = await self._ports.store.tickets(ids[start : start + OUTPUTS_AT_ONCE], ticket.flow_id)
            for ticket_id, other in upstream.items():
                resolution.add(task_ids[ticket_id], other.output)
        return resolution.parameters()
