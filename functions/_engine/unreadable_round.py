"""Records that cannot be read: their dead letters, and the incidents of tickets."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from functions._core.errors import FlowcError, Unreadable
from functions._core.ports import EventQueue, Ports
from functions._core.records.dead_letters import unreadable_letter
from functions._core.records.set_aside import RecordKind, UnreadableRecord
from functions._engine.dispatch import Dispatcher
from functions._observability.logs import log

InTurn = Callable[[str, Callable[[], Awaitable[Any]]], Awaitable[Any]]
"""Runs a job for a flow, after all that was begun for it before."""


class UnreadableRound:
    """What a round does with records that were set aside."""

    def __init__(self, ports: Ports, queue: EventQueue, dispatcher: Dispatcher, in_turn: InTurn) -> None:
        self._ports = ports
        self._queue = queue
        self._dispatcher = dispatcher
        self._in_turn = in_turn
        self._raised: set[str] = set()

    async def give_up(self) -> None:
        """Make dead letters of queued events and buffered telemetry that cannot be read, with their raw text."""
        for record in self._ports.set_aside.records(RecordKind.QUEUED_EVENT, RecordKind.TELEMETRY):
            letter = unreadable_letter(record, self._ports.clock.now())
            if record.kind is RecordKind.QUEUED_EVENT:
                await self._queue.dead_letter(record.record_id, letter)
            else:
                await self._ports.dead_letters.put(letter)
                await self._ports.telemetry_buffer.forget([int(record.record_id)])

    async def raise_incidents(self) -> None:
        """Raise an incident, once, for each ticket that cannot be read: its flow waits for a person."""
        left_out = self._ports.set_aside.records(RecordKind.TICKET)
        self._raised &= {ticket.record_id for ticket in left_out}
        by_flow: dict[str, list[UnreadableRecord]] = {}
        for ticket in left_out:
            if ticket.flow_id is not None and ticket.record_id not in self._raised:
                by_flow.setdefault(ticket.flow_id, []).append(ticket)
        for flow_id, tickets in by_flow.items():
            try:
                await self._in_turn(flow_id, partial(self._dispatcher.left_out, flow_id, tickets))
            except Unreadable:
                log.warning("incident.failed", flow_id=flow_id, error="its flow cannot be read, either")
            except FlowcError as error:
                log.warning("incident.failed", flow_id=flow_id, error=str(error))
                continue  # the next round tries again
            self._raised |= {ticket.record_id for ticket in tickets}
