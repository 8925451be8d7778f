"""Takes committed assignments to the workers, a bounded number at a time, and hands their answers back.

A worker that takes batches is sent all assignments that wait for it when its turn comes; none waits for others.

Nothing is lost when it dies: a ticket that was not acknowledged keeps its wake-up, which delivers the same attempt
again. Nothing is POSTed to a worker that asks for its tickets: see `task_leases`.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from weakref import WeakValueDictionary

from functions._core.errors import FlowcError, Undeliverable, Unreadable
from functions._core.events.assignment import BATCH_BYTES, BATCH_SIZE, cancellation_event
from functions._core.events.envelope import CloudEvent
from functions._core.planning.tickets import TicketCorrupted, check_hash
from functions._core.ports import Ports
from functions._core.records.attempts import of_attempt
from functions._core.records.change_set import Delivery
from functions._core.records.json_text import json_size
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus
from functions._core.records.worker import Answer, AssignmentMode, Worker
from functions._core.rules import REFERENCES_BYTES
from functions._engine.assignment_messages import AssignmentMessages, Breaker
from functions._observability.logs import ids_of_delivery, log

GONE = Answer(410, "not registered any more")
ASKS = Answer(0, "it asks for its tickets, and has not done so yet", reached=False)
"""Of a worker that was to be sent its tickets when it was chosen, and has registered again since."""

WORKERS_THAT_HANG = 8
"""So many workers have to hang before they can take up all deliveries."""

Letter = tuple[str, int, bool]
"""Ticket, attempt, and whether it is the notice that the attempt is cancelled."""

Wanted = tuple[Delivery, Ticket]
"""A delivery that still holds, with the ticket as it is stored."""

Message = tuple[Delivery, CloudEvent]
"""A delivery and the event that is sent for it."""


@dataclass(slots=True)
class Turn:
    """What is done for a worker while one of its turns lasts; the ends are handed on when it is over."""

    taken: list[Delivery] = field(default_factory=list)
    ends: list[tuple[Delivery, Answer | Undeliverable]] = field(default_factory=list)

    def answered(self, delivery: Delivery, answer: Answer, worker: Worker | None = None) -> None:
        """Note the answer to an assignment; nobody waits for that to a cancellation."""
        if not delivery.cancelled:
            self.ends.append((delivery, replace(answer, registration=worker.registration) if worker else answer))


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
        self.messages = AssignmentMessages(ports, breaker, base_url, references_bytes)
        self._slots = asyncio.Semaphore(limit)
        self._share = max(1, limit // WORKERS_THAT_HANG)
        self._by_worker: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._waiting: dict[str, dict[Letter, Delivery]] = {}
        self._under_way: set[Letter] = set()
        self._answered = answered
        self._unresolved = unresolved
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def busy(self) -> bool:
        """Whether a delivery is under way."""
        return bool(self._tasks)

    def send(self, deliveries: Iterable[Delivery]) -> None:
        """Begin to deliver, unless the very same is under way already."""
        for delivery in deliveries:
            letter = _letter(delivery)
            if letter not in self._under_way:
                self._under_way.add(letter)
                self._waiting.setdefault(delivery.worker_id, {})[letter] = delivery
                task = asyncio.create_task(self._take_turn(delivery))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is under way; it will be delivered again."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _take_turn(self, delivery: Delivery) -> None:
        """Deliver when it is the worker's turn, unless a batch has taken the delivery along by then."""
        turns = self._by_worker.get(delivery.worker_id)
        if turns is None:
            turns = self._by_worker[delivery.worker_id] = asyncio.Semaphore(self._share)
        turn = Turn()
        try:
            async with turns, self._slots:
                if _letter(delivery) in self._waiting.get(delivery.worker_id, {}):
                    self._take(turn, delivery)
                    await self._deliver(turn, delivery)
        except Exception as error:  # noqa: BLE001 deliveries that break were not made; their wake-ups repeat them
            for broken in turn.taken:
                log.warning("delivery.broken", **ids_of_delivery(broken), error=repr(error))
        finally:
            self._under_way.difference_update(map(_letter, turn.taken))
        for ended, end in turn.ends:
            if isinstance(end, Answer):
                self._answered(ended, end)
            else:
                self._unresolved(ended, end)

    def _take(self, turn: Turn, delivery: Delivery) -> None:
        """Let a delivery wait no longer."""
        waiting = self._waiting[delivery.worker_id]
        del waiting[_letter(delivery)]
        if not waiting:
            del self._waiting[delivery.worker_id]
        turn.taken.append(delivery)

    async def _deliver(self, turn: Turn, delivery: Delivery) -> None:
        """Deliver, and take along what else waits now where the worker takes batches."""
        wanted = await self._wanted(turn, delivery)
        if not wanted:
            return
        worker = await self._worker(delivery.worker_id)
        if worker is None:
            turn.answered(delivery, GONE)
            return
        if worker.accepts_batches and not delivery.cancelled:
            waiting = self._waiting.get(delivery.worker_id, {}).values()
            for other in list(islice((other for other in waiting if not other.cancelled), BATCH_SIZE - 1)):
                self._take(turn, other)
            for other in turn.taken[1:]:
                wanted += await self._wanted(turn, other)
        await self._send(turn, worker, wanted)

    async def _worker(self, worker_id: str) -> Worker | None:
        try:
            return await self._ports.registry.worker(worker_id)
        except Unreadable:
            return None

    async def _send(self, turn: Turn, worker: Worker, wanted: Sequence[Wanted]) -> None:
        """Send what the worker is to be asked, and note the answers where it is not to be asked.

        A batch goes out before it has too many bytes, so that no more than that is in memory.
        """
        batch: list[Message] = []
        size = 0
        for delivery, ticket in wanted:
            try:
                message = await self._message(worker, delivery, ticket)
            except Undeliverable as why:
                turn.ends.append((delivery, why))
                continue
            if isinstance(message, Answer):
                turn.answered(delivery, message, worker)
                continue
            added = json_size(message.data) if len(wanted) > 1 else 0
            if batch and size + added > BATCH_BYTES:
                await self._post(turn, worker, batch)
                batch, size = [], 0
            batch.append((delivery, message))
            size += added
        if batch:
            await self._post(turn, worker, batch)

    async def _post(self, turn: Turn, worker: Worker, batch: Sequence[Message]) -> None:
        """POST a batch, which may be of one, and note the answer, which is that to each assignment in it."""
        answer = await self._ports.gateway.deliver(worker, *(event for _, event in batch))
        if answer.refused and len(batch) > 1:
            # One of them may be the cause; the others are not to leave the worker for it.
            for delivery, _ in batch:
                await self._send(turn, worker, await self._wanted(turn, delivery))
            return
        first, _ = batch[0]
        if first.cancelled:
            return
        # Before the next delivery to the worker begins: the one after the last failure that is borne is not made.
        try:
            await self._breaker.answered(worker, first, answer)
        except FlowcError as error:
            log.warning("delivery.not_counted", **ids_of_delivery(first), error=str(error))
        for delivery, _ in batch:
            turn.answered(delivery, answer, worker)

    async def _message(self, worker: Worker, delivery: Delivery, ticket: Ticket) -> CloudEvent | Answer:
        """Return what the worker is sent, or the answer where it is not to be asked."""
        if worker.delivery is AssignmentMode.PULL:
            return ASKS
        refusal = await self.messages.refusal(worker, delivery, ticket)
        if refusal is not None:
            return refusal
        if delivery.cancelled:
            return cancellation_event(ticket, delivery.attempt, self._ports.clock.now())
        return await self.messages.assignment(delivery, ticket)

    async def _wanted(self, turn: Turn, delivery: Delivery) -> list[Wanted]:
        """Return the delivery with the ticket as it is stored, or nothing when the assignment does not hold any more.

        It may have waited for its turn while the ticket went on. A stored ticket that is not the one that C2 made is
        never delivered.
        """
        if delivery.cancelled:
            return [(delivery, delivery.ticket)]
        known = delivery.ticket
        stored = (await self._ports.store.tickets([known.ticket_id], known.flow_id)).get(known.ticket_id)
        ticket = stored and of_attempt(stored, delivery.attempt)
        if ticket is None or ticket.attempt != delivery.attempt or ticket.status is not TicketStatus.ASSIGNED:
            return []
        try:
            check_hash(ticket)
        except TicketCorrupted as why:
            turn.ends.append((delivery, why))
            return []
        return [(delivery, ticket)]


def _letter(delivery: Delivery) -> Letter:
    return delivery.ticket.ticket_id, delivery.attempt, delivery.cancelled
