"""What is asked of workflows, and what is answered: a workflow is a flow under the name that older clients know."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, RootModel
from pydantic.config import JsonDict

from functions._core.decision.vocabulary import Id, Seconds
from functions._core.records.values import FlowStatus, Model, Outcome, Timestamp, WholeNumber
from functions.api.views import FlowDetail, TicketView

MAX_CORRELATION_ID = 200
"""Characters: with its prefix it still makes a decision id."""

MAX_NAME = 100

PLAN_ID: JsonDict = {"required": ["plan_id"], "properties": {"plan_id": {"type": "string", "minLength": 1}}}
"""What is asked of a plan before it becomes a flow; all else is for the flow's first step to check."""


def _named(value: object) -> object:
    """Read arguments as some engines send them: a list whose first item, if any, holds them by name."""
    if isinstance(value, list):
        value = value[0] if value else {}
    return {} if value is None else value


Arguments = Annotated[Mapping[str, Any], BeforeValidator(_named)]


class WholeDecision(RootModel[dict[str, Any]]):
    """A decision as it is sent. What it holds is for the flow's first step to check."""


class WorkflowStart(Model):
    """A plan to be carried out. Sent again it is the same workflow: by its correlation id, else by its content."""

    cognitive_plan: Mapping[str, Any] = Field(json_schema_extra=PLAN_ID)
    correlation_id: Id | None = Field(default=None, max_length=MAX_CORRELATION_ID)
    priority: WholeNumber = Field(default=5, ge=1, le=10)
    sla_deadline_seconds: Seconds | None = Field(default=None, description="The platform's if absent: 14400 s")


class Arguable(Model):
    """Arguments by name; a list with one object in it is taken as well."""

    args: Arguments = Field(default_factory=dict)


class WorkflowQuery(Arguable):
    """A question about a workflow: `get_status` or `get_tickets`."""

    query_name: str = Field(max_length=MAX_NAME)


class SignalBody(Arguable):
    """A signal whose name the path tells. The same `signal_id` again changes nothing."""

    signal_id: str | None = Field(default=None, min_length=1, max_length=255)


class WorkflowSignal(SignalBody):
    """A signal: `ticket_completed` or `cancel_workflow`."""

    signal_name: str = Field(max_length=MAX_NAME)


class SignalArguments(Model):
    """What signals understand: who cancels and why; the ticket that has ended."""

    requested_by: str = Field(default="a signal", max_length=255)
    reason: str = Field(default="no reason given", max_length=1000)
    ticket_id: str | None = Field(default=None, max_length=255)


class WorkflowStarted(Model):
    """The workflow that a plan has become."""

    workflow_id: str
    status: FlowStatus
    correlation_id: str


class WorkflowView(FlowDetail):
    """A workflow: the flow of the same id."""

    workflow_id: str


class FlowUnderWay(Model):
    """A flow that has not ended yet, and where to ask for it later."""

    flow_id: str
    status: FlowStatus
    links: Mapping[str, str]


class WorkflowStatus(Model):
    """The answer to `get_status`."""

    workflow_id: str
    status: FlowStatus
    outcome: Outcome | None
    tickets_generated: int
    tickets_completed: int
    tickets_failed: int
    tickets_by_status: Mapping[str, int]
    sla_deadline: Timestamp
    sla_remaining_ms: int


class WorkflowTickets(Model):
    """The answer to `get_tickets`: all of them in the order of the plan."""

    tickets: tuple[TicketView, ...]


class SignalTaken(Model):
    """What became of a signal: `duplicate` when it was taken before."""

    workflow_id: str
    signal_name: str
    signal_id: str | None
    result: Literal["accepted", "duplicate"]
    status: FlowStatus
