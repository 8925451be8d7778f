"""The commands of people about flows and tickets: the data of the events that carry them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from functions._core.decision.vocabulary import PriorityWord
from functions._core.errors import Rejected
from functions._core.records.values import Model, Word, a_number


class Command(Model):
    """What every order says: about which flow, who gives it, and why; with `dry_run` nothing is to be changed."""

    verb: ClassVar[str]
    """Name of the action, for audits and answers."""

    flow_id: str
    """Id of the flow: a UUIDv5 of the decision id, so that anybody can compute it."""
    requested_by: str = Field(default="a user", max_length=255)
    """Who gives the order, for the history; it is not checked."""
    reason: str = Field(default="no reason given", max_length=1000)
    """Why, for the history and for those whom it concerns."""
    dry_run: bool = False
    """Whether to tell only what the order would change."""

    @property
    def target(self) -> str:
        """Id of the flow or ticket that the command is about."""
        return self.flow_id


class CancelRequest(Command):
    """Data of `flow.cancel_requested`: the flow is to stop."""

    verb = "cancel_flow"


class ApprovalGrant(Command):
    """Data of `flow.approval_granted`: the flow may begin."""

    verb = "approve_flow"


class ApprovalDenial(Command):
    """Data of `flow.approval_denied`: the flow must not begin."""

    verb = "deny_flow"


class PauseRequest(Command):
    """Data of `flow.pause_requested`: nothing more is to be assigned; what runs goes on."""

    verb = "pause_flow"


class ResumeRequest(Command):
    """Data of `flow.resume_requested`: a paused flow is to go on."""

    verb = "resume_flow"


class RedriveRequest(Command):
    """Data of `flow.redrive_requested`: a flow that did not succeed is to go on where it failed.

    `sla_seconds` is the time it has from now on; without it as much as it had at first.
    """

    verb = "redrive_flow"
    sla_seconds: Annotated[float, Field(gt=0, le=365 * 86_400), BeforeValidator(a_number)] | None = None
    """How long the flow has from now on, in seconds; without it as long as it had before."""


class AdjustRequest(Command):
    """Data of `flow.adjust_requested`: the open tickets of a flow get another priority, more retries, more time.

    What is absent stays as it is.
    """

    verb = "adjust_flow"
    priority: PriorityWord | None = None
    """How much the open tickets matter from now on."""
    max_retries: Annotated[int, Field(ge=0, le=100), BeforeValidator(a_number)] | None = None
    """How often each open ticket is tried again at most, those before included."""
    sla_seconds: Annotated[float, Field(gt=0, le=365 * 86_400), BeforeValidator(a_number)] | None = None
    """How long the flow has from now on, in seconds."""


class ReplanRequest(Command):
    """Data of `flow.replan_requested`: a flow that is under way goes on by another plan.

    Tickets whose tasks are the same stay as they are; those of tasks that are gone are cancelled.
    """

    verb = "replan_flow"
    cognitive_plan: Mapping[str, Any]
    """The new plan, in the form of that in a decision."""
    force: bool = False
    """Whether work that workers have begun may be taken from them where its task is another one, or gone."""


class TicketCommand(Command):
    """An order about one ticket."""

    ticket_id: str
    """Id of the ticket: a UUIDv5 of flow id and task id."""

    @property
    def target(self) -> str:
        """The id of the ticket."""
        return self.ticket_id


class RetryRequest(TicketCommand):
    """Data of `ticket.retry_requested`: a waiting ticket is to be tried now, and one that FAILED once more."""

    verb = "retry_ticket"
    force: bool = False
    """Whether a ticket that FAILED is tried again although its retries are used up or its task is not idempotent."""


class ClaimRequest(TicketCommand):
    """Data of `ticket.claim_requested`: a worker takes a ticket that no worker holds, and begins it."""

    verb = "claim_ticket"
    worker_id: str = Field(min_length=1, max_length=255)
    """Id of the worker that takes the ticket, registered or not."""
    version: int | None = None
    """The version of the ticket that the worker has seen; with another one the claim is refused. None: any."""


class TicketCancelRequest(TicketCommand):
    """Data of `ticket.cancel_requested`: the ticket is to stop, and all that depends on it."""

    verb = "cancel_ticket"
    version: int | None = None
    """The version of the ticket that the sender has seen; with another one the command is refused. None: any."""


class ReassignRequest(TicketCommand):
    """Data of `ticket.reassign_requested`: the ticket is to be taken from its worker and given to another one."""

    verb = "reassign_ticket"


class HedgeRequest(TicketCommand):
    """Data of `ticket.hedge_requested`: a second attempt is to begin on another worker while the first one runs."""

    verb = "hedge_ticket"


class SkipRequest(TicketCommand):
    """Data of `ticket.skip_requested`: the ticket counts as done, with `output`, without being done."""

    verb = "skip_ticket"
    output: Any = None
    """What counts as the task's output, any JSON value; tasks that come later can refer to it."""


class FreezeException(TicketCommand):
    """Data of `ticket.freeze_exception_granted`: the ticket is to pass every freeze that holds it back, or will."""

    verb = "except_ticket_from_freezes"


class QuarantineRuling(Word):
    """What a person decides about a ticket in quarantine; lower case on every wire."""

    RELEASE = "release"
    """It goes on, and is not put there again."""
    REJECT = "reject"
    """It fails, and is not tried again."""


class QuarantineDecision(TicketCommand):
    """Data of `ticket.quarantine_decided`: a person has looked at a ticket that a guard holds back."""

    verb = "decide_quarantine"
    ruling: QuarantineRuling
    """`release` lets it go on, `reject` lets it fail."""


class TicketApproval(TicketCommand):
    """Data of `ticket.approval_granted`: a person agrees to the thing that an APPROVE ticket asks."""

    verb = "approve_ticket"
    data: Any = None
    """The data of the ticket's form, any JSON value; None where it has no form."""


class TicketDenial(TicketCommand):
    """Data of `ticket.approval_denied`: a person does not agree to the thing that an APPROVE ticket asks."""

    verb = "deny_ticket"
    data: Any = None
    """The data of the ticket's form, as far as the person gives any."""


AnyCommand = (
    CancelRequest
    | ApprovalGrant
    | ApprovalDenial
    | PauseRequest
    | ResumeRequest
    | RedriveRequest
    | AdjustRequest
    | ReplanRequest
    | RetryRequest
    | ReassignRequest
    | HedgeRequest
    | SkipRequest
    | ClaimRequest
    | TicketCancelRequest
    | FreezeException
    | QuarantineDecision
    | TicketApproval
    | TicketDenial
)
"""Any command: the data of an event that carries one."""

ORDERS: Mapping[str, type[AnyCommand]] = {
    "flow.cancel_requested": CancelRequest,
    "flow.approval_granted": ApprovalGrant,
    "flow.approval_denied": ApprovalDenial,
    "flow.pause_requested": PauseRequest,
    "flow.resume_requested": ResumeRequest,
    "flow.redrive_requested": RedriveRequest,
    "flow.adjust_requested": AdjustRequest,
    "flow.replan_requested": ReplanRequest,
    "ticket.retry_requested": RetryRequest,
    "ticket.reassign_requested": ReassignRequest,
    "ticket.skip_requested": SkipRequest,
    "ticket.hedge_requested": HedgeRequest,
    "ticket.claim_requested": ClaimRequest,
    "ticket.cancel_requested": TicketCancelRequest,
    "ticket.freeze_exception_granted": FreezeException,
    "ticket.quarantine_decided": QuarantineDecision,
    "ticket.approval_granted": TicketApproval,
    "ticket.approval_denied": TicketDenial,
}
"""The commands by the types of the events that carry them."""


def event_type_of(order: AnyCommand) -> str:
    """Return the type of the event that carries a command, without prefix and version."""
    return next(event_type for event_type, model in ORDERS.items() if isinstance(order, model))


def said(order: Command) -> str:
    """Return the person who gave a command and the reason, as part of a sentence."""
    return f"{order.requested_by}: {order.reason}"


def given_by(order: Command) -> dict[str, str]:
    """Return the person who gave a command and the reason, for the history."""
    return {"requested_by": order.requested_by, "reason": order.reason}


def refusal(message: str) -> Rejected:
    """Return the refusal of a command that is not possible now."""
    return Rejected(message, code="not_possible_now", status=409)
