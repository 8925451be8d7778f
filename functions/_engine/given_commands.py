"""Commands that the platform gives to itself, for a policy or a playbook: each under an id by which it counts once."""

from collections.abc import Awaitable, Callable
from typing import NamedTuple, Protocol

from functions._core.engine import CommandResult
from functions._core.errors import Rejected
from functions._core.events.commands import AnyCommand
from functions._core.events.envelope import CloudEvent
from functions._core.machine.commands import audit_id_of
from functions._core.placement.breaker import BreakerOrder
from functions._core.ports import Ports
from functions._core.records.audits import ActionRecord, AuditKind
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.worker import Worker

AUDITS = 50
"""Audits of a flow among which that of a command is looked for."""


class GiveCommand(Protocol):
    """See `Engine.order`."""

    def __call__(self, order: AnyCommand, *, order_id: str | None = None) -> Awaitable[CommandResult]:
        """Carry a command out; raise `Rejected` when it cannot be."""


class HealingDoors(NamedTuple):
    """What playbooks act by: events to send, commands, dead letters to replay, circuit breakers to open and close.

    `breaker` returns the worker, None for one that is not registered; for the others see `Engine`.
    """

    send: Callable[[tuple[CloudEvent, ...]], Awaitable[None]]
    order: GiveCommand
    replay: Callable[[str], Awaitable[DeadLetter]]
    breaker: Callable[[BreakerOrder], Awaitable[Worker | None]]


async def given(ports: Ports, order: GiveCommand, command: AnyCommand, order_id: str, done: str) -> tuple[bool, str]:
    """Give a command; return whether it has had its effect, now or when it was given before, and that in words."""
    try:
        result = await order(command, order_id=order_id)
    except Rejected as refusal:
        before = await audit_of(ports, command, order_id) is not None
        return before, done if before else str(refusal)
    if result.changes or await audit_of(ports, command, order_id) is not None:
        return True, done
    stands = result.flow.outcome or result.flow.status
    return False, f"nothing was changed, as flow {command.flow_id} is {stands} already"


async def audit_of(ports: Ports, command: AnyCommand, order_id: str) -> ActionRecord | None:
    """Return the audit of a command that has had its effect; None for one that has not."""
    wanted = audit_id_of(command.flow_id, command, order_id)
    audits = await ports.views.audits(command.flow_id, AUDITS, kind=AuditKind.ACTION)
    return next((one for one in audits if isinstance(one, ActionRecord) and one.audit_id == wanted), None)
