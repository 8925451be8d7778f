"""What a freeze stops: the tickets that deploy to a service while its error budget is spent. Pure.

A freeze with BLOCK_DEPLOY holds back tickets of type DEPLOY, and no others: what undoes work is of type COMPENSATE, and
a rollback is never blocked. The service of a ticket is the first text among its parameter `service`, its metadata
`service`, and its label `service`, which is that of the flow where the task has none; its namespace likewise, else it
is in the namespaces that the SLOs of its service name, as at the gate of pipelines. A ticket that names neither is held
back by GLOBAL freezes alone, one whose service is a reference that is not known, such as a secret, by every freeze: see
`blocking`, which looks up what the outputs of other tasks say.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from functions._core.decision.references import MARKS
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import TaskType, format_time
from functions._core.slo.admission import AdmissionState
from functions._core.slo.freezing import FreezeAction, FreezeEvent, FreezeScope

BLOCKED_BY_FREEZE = "blocked_by_freeze"
"""Code of the reason of a ticket that waits for the end of a freeze."""


NAMES = "service", "namespace"
"""The parameters, metadata and labels by which a ticket says where it deploys to."""

Namespaces = Mapping[str, frozenset[str]]
"""The namespaces of each service."""

NOWHERE = frozenset[str]()


class BudgetGate(Protocol):
    """What spent error budgets stop now, as this process knows it."""

    async def freezes(self) -> Sequence[FreezeEvent]:
        """Return the freezes that last, the oldest first; may be up to one second old."""

    async def namespaces(self) -> Namespaces:
        """Return the namespaces of services, by the labels of their SLOs; may be ten seconds old."""

    async def admission(self) -> AdmissionState | None:
        """Return the admission policies with all that they look at, None where there are none.

        What is known of policies may be ten seconds old, of budgets and freezes, too.
        """

    def forget(self) -> None:
        """Read again when asked for: something has changed here."""


class OpenGate:
    """A `BudgetGate` where nothing is ever stopped."""

    async def freezes(self) -> Sequence[FreezeEvent]:
        """Return none."""
        return ()

    async def namespaces(self) -> Namespaces:
        """Return none."""
        return {}

    async def admission(self) -> AdmissionState | None:
        """Return None."""
        return None

    def forget(self) -> None:
        """Know nothing, as before."""


def service_of(ticket: Ticket) -> str:
    """Return the service that a ticket deploys to, empty where it names none."""
    return _named(ticket, "service")


def namespace_of(ticket: Ticket) -> str | None:
    """Return the namespace that a ticket deploys to, None where it names none."""
    return _named(ticket, "namespace") or None


def is_reference(value: object) -> bool:
    """Whether a value stands for another one, such as the output of a task."""
    return isinstance(value, Mapping) and not MARKS.isdisjoint(value)


def may_be_blocked(ticket: Ticket) -> bool:
    """Whether a freeze could hold a ticket back."""
    return ticket.task_type is TaskType.DEPLOY and not ticket.freeze_exception


async def namespaces_for(tickets: Iterable[Ticket], freezes: Iterable[FreezeEvent], gate: BudgetGate) -> Namespaces:
    """Return the namespaces of services; none where no freeze, or no ticket, leaves them open."""
    of_namespaces = any(one.scope is FreezeScope.NAMESPACE for one in freezes)
    asked = of_namespaces and any(service_of(one) and namespace_of(one) is None for one in tickets)
    return await gate.namespaces() if asked else {}


def freeze_of(ticket: Ticket, freezes: Iterable[FreezeEvent], of_services: Namespaces) -> FreezeEvent | None:
    """Return the first of `freezes` that holds a ticket back, None when none does."""
    if not may_be_blocked(ticket):
        return None
    service, namespace, open_scopes = service_of(ticket), namespace_of(ticket), _open_scopes(ticket)
    namespaces = of_services.get(service, NOWHERE) if namespace is None else {namespace}

    def holds(freeze: FreezeEvent) -> bool:
        action = FreezeAction.BLOCK_DEPLOY
        may = freeze.active and action in freeze.actions and freeze.scope in open_scopes
        return may or freeze.blocks(action, service, namespaces)

    return next(filter(holds, freezes), None)


def reason_of(freeze: FreezeEvent) -> Reason:
    """Return why a ticket is held back, with the freeze and its policy."""
    since = format_time(freeze.triggered_at)
    message = (
        f"{frozen_thing(freeze)} is frozen since {since} by policy {freeze.policy_name} (freeze {freeze.event_id})"
    )
    return Reason(code=BLOCKED_BY_FREEZE, message=f"{message}: {freeze.trigger_reason}")


def frozen_thing(freeze: FreezeEvent) -> str:
    """Return what a freeze freezes, as the beginning of a sentence."""
    return "everything" if freeze.scope is FreezeScope.GLOBAL else f"{freeze.scope.lower()} {freeze.target}"


def _open_scopes(ticket: Ticket) -> frozenset[FreezeScope]:
    """Return the scopes of which a ticket may be in any target: nobody knows what its references stand for."""
    given = ticket.parameters
    service, namespace = (is_reference(given) or is_reference(given.get(name)) for name in NAMES)
    found = {FreezeScope.SERVICE} if service else set()
    if namespace or (service and namespace_of(ticket) is None):
        found.add(FreezeScope.NAMESPACE)
    return frozenset(found)


def _named(ticket: Ticket, name: str) -> str:
    places = (ticket.parameters, ticket.metadata, ticket.labels)
    return next((found for place in places if isinstance(found := place.get(name), str) and found), "")
