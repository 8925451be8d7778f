"""How far a pipeline is: a view of its flow and its tickets, of which nothing is stored."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from functions._core.executors.build import ForgedArtifact
from functions._core.forge.pipeline import GATE, MERGE_REQUEST, PERSON, artifact_of, build_ticket_of
from functions._core.forge.stages import STAGES, ComposedCode, PackagedArtifact, PackagedCode
from functions._core.machine.compensation import NOT_COMPENSATED
from functions._core.machine.deciding import DENIED, waits_for_person
from functions._core.planning.slack import closed_at
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import (
    FlowStatus,
    Model,
    Outcome,
    TicketStatus,
    Timestamp,
    Waiting,
    Word,
    milliseconds,
)

M = TypeVar("M", bound=Model)

REJECTING = frozenset({"rejected", DENIED})
"""Codes of failures that are a verdict on what was made."""

TIME_LIMITS = frozenset({"timed_out", "timeout", "build_timeout", "schedule_to_start", "approval_expired", "no_worker"})
"""Codes of failures for want of time: `timed_out` is the platform's own word, `timeout` that of a worker."""

NOT_THE_CAUSE = frozenset({"child_failed", NOT_COMPENSATED})
"""Codes of a ticket that failed with one below it, and of one whose work could not be taken away again."""

LONGEST_ERROR = 2_000
"""Characters of an error; the ticket has all of it."""

LONGEST_ADDRESS = 2_048
"""Characters of the address of a merge request."""


class ForgeStatus(Word):
    """Where a pipeline is."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    REQUIRES_APPROVAL = "REQUIRES_APPROVAL"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"


class StageStatus(Word):
    """Where a stage is; COMPENSATED: what it had pushed was taken away again."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    REQUIRES_APPROVAL = "REQUIRES_APPROVAL"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    COMPENSATED = "COMPENSATED"


class PipelineStage(Model):
    """One of the six stages."""

    name: str
    """Its name: select_template, compose_code, validate_code, run_tests, package or approve."""
    status: StageStatus
    """Where it is."""
    started_at: Timestamp | None = None
    """When its present attempt began; None before."""
    completed_at: Timestamp | None = None
    """When it ended; None before."""
    duration_ms: int | None = None
    """Milliseconds from the one to the other."""
    attempts: int = 0
    """How often a worker was given it."""
    output_ref: str | None = None
    """The path of the ticket whose `output` is what it has made; None while there is nothing."""
    error: str | None = None
    """Why it failed, or what the attempt before failed of."""


class PipelineReview(Model):
    """The decision that a person is asked for."""

    ticket_id: str
    """The ticket that waits for it."""
    message: str
    """The question."""
    until: Timestamp | None = None
    """When the time to decide is over."""
    approval_ref: str
    """The path of the question; POST to `approve` or `deny` of the ticket decides."""


class PipelineView(Model):
    """A pipeline."""

    pipeline_id: str
    """Its id, which is that of its flow."""
    artifact_id: str
    """What it makes."""
    ticket_id: str | None = None
    """The BUILD ticket for which it was begun."""
    correlation_id: str
    """What ties it to other work."""
    status: ForgeStatus
    """Where it is."""
    stage: str | None = None
    """The stage that it is at, or did not get past; None once it is completed."""
    stages: tuple[PipelineStage, ...]
    """All stages in their order."""
    error: str | None = None
    """Why it did not complete."""
    artifacts: tuple[ForgedArtifact, ...] = ()
    """What it has made; 100 at most."""
    sbom: Mapping[str, Any] | None = None
    """The list of components: format, version, number of components."""
    signature: str | None = None
    """The signature of the provenance, base64."""
    score: float | None = None
    """The score of the approval gate; None before."""
    approval_required: bool = False
    """Whether people have to decide, or had to."""
    review: PipelineReview | None = None
    """The decision that is waited for."""
    git_mr_url: str | None = None
    """The merge request that is waited for, or was."""
    url: str | None = None
    """Where a person sees it."""
    created_at: Timestamp
    """When it was asked for."""
    completed_at: Timestamp | None = None
    """When its outcome was known; None before."""
    total_duration_ms: int | None = None
    """Milliseconds from the one to the other."""


def by_task(tickets: Iterable[Ticket]) -> Mapping[str, Ticket]:
    """Return the tickets of a pipeline by their tasks, without those that undo."""
    return {ticket.task_id: ticket for ticket in tickets if ticket.compensates is None}


def pipeline_view(flow: Flow, tickets: Sequence[Ticket], merge_request_url: str | None = None) -> PipelineView:
    """Return a pipeline; `merge_request_url` is where a merge request is that is open yet."""
    tasks = by_task(tickets)
    status, ended = _status(flow, tasks), closed_at(flow)
    stages = tuple(_stage(name, tasks) for name in STAGES)
    packaged, gate = packaged_code(tasks), _output(tasks, GATE)
    return PipelineView(
        pipeline_id=flow.flow_id,
        artifact_id=artifact_of(flow),
        ticket_id=build_ticket_of(flow),
        correlation_id=flow.correlation_id,
        status=status,
        stage=None if status is ForgeStatus.COMPLETED else _at(stages),
        stages=stages,
        error=_error(flow, tasks, status),
        artifacts=() if packaged is None else tuple(_forged(one) for one in packaged.artifacts),
        sbom=None if packaged is None else packaged.sbom.model_dump(include={"format", "version", "components"}),
        signature=None if packaged is None else packaged.signature,
        score=_share(gate.get("score")),
        approval_required=gate.get("outcome") == "REVIEW",
        review=_review(tasks),
        git_mr_url=_web(_output(tasks, MERGE_REQUEST).get("url")) or _web(merge_request_url),
        created_at=flow.received_at,
        completed_at=ended,
        total_duration_ms=milliseconds(ended - flow.received_at) if ended else None,
    )


def open_merge_request(tickets: Sequence[Ticket]) -> Ticket | None:
    """Return the ticket whose merge request is open now; None for none."""
    ticket = by_task(tickets).get(MERGE_REQUEST)
    return ticket if ticket is not None and ticket.status is TicketStatus.RUNNING else None


def packaged_code(tasks: Mapping[str, Ticket]) -> PackagedCode | None:
    """Return what was packaged; None before, once it was taken away again, and where nobody can read it."""
    return output_of(PackagedCode, tasks.get("package"))


def composed_code(tasks: Mapping[str, Ticket]) -> ComposedCode | None:
    """Return the project; None before, and where nobody can read it."""
    return output_of(ComposedCode, tasks.get("compose_code"))


def cause_of(tasks: Mapping[str, Ticket]) -> Ticket | None:
    """Return the ticket that failed first; None where none has failed."""
    failed = [one for one in tasks.values() if one.status is TicketStatus.FAILED and one.reason is not None]
    causes = [one for one in failed if one.reason is not None and one.reason.code not in NOT_THE_CAUSE]
    return min(causes or failed, key=lambda one: (one.completed_at or one.created_at, one.task_id), default=None)


def output_of(model: type[M], ticket: Ticket | None) -> M | None:
    """Return the output of a ticket that has completed; None where it has not, was undone, or says something else."""
    if ticket is None or ticket.status is not TicketStatus.COMPLETED:
        return None
    try:
        return model.model_validate(ticket.output)
    except ValidationError:
        return None


def _status(flow: Flow, tasks: Mapping[str, Ticket]) -> ForgeStatus:
    if flow.outcome is Outcome.FAILED:
        cause = cause_of(tasks)
        code = cause.reason.code if cause is not None and cause.reason is not None else ""
        by_code = {
            **dict.fromkeys(REJECTING, ForgeStatus.REJECTED),
            **dict.fromkeys(TIME_LIMITS, ForgeStatus.TIMED_OUT),
        }
        return by_code.get(code, ForgeStatus.FAILED)
    if flow.outcome is not None:
        return ForgeStatus(flow.outcome.value)
    if flow.status is FlowStatus.AWAITING_APPROVAL or _reviewed(tasks):
        return ForgeStatus.REQUIRES_APPROVAL
    begun = any(ticket.status is not TicketStatus.PENDING for ticket in tasks.values())
    return ForgeStatus.RUNNING if begun else ForgeStatus.PENDING


def _reviewed(tasks: Mapping[str, Ticket]) -> bool:
    """Whether people are asked now; a merge request is theirs from the word of the gate on, whoever follows it."""
    person, merge_request = tasks.get(PERSON), tasks.get(MERGE_REQUEST)
    asked = _output(tasks, GATE).get("review") == "merge_request"
    return (asked and merge_request is not None and merge_request.live) or (
        person is not None and waits_for_person(person)
    )


STAGES_OF: Mapping[TicketStatus, StageStatus] = {
    TicketStatus.PENDING: StageStatus.PENDING,
    TicketStatus.ASSIGNED: StageStatus.RUNNING,
    TicketStatus.RUNNING: StageStatus.RUNNING,
    TicketStatus.WAITING: StageStatus.RUNNING,
    TicketStatus.COMPLETED: StageStatus.COMPLETED,
    TicketStatus.SKIPPED: StageStatus.COMPLETED,
    TicketStatus.FAILED: StageStatus.FAILED,
    TicketStatus.CANCELLED: StageStatus.CANCELLED,
    TicketStatus.COMPENSATING: StageStatus.COMPLETED,
    TicketStatus.COMPENSATED: StageStatus.COMPENSATED,
}


def _stage(name: str, tasks: Mapping[str, Ticket]) -> PipelineStage:
    ticket = tasks.get(name)
    if ticket is None:
        return PipelineStage(name=name, status=StageStatus.PENDING)
    stands = ticket.reason is not None and ticket.reason.code == NOT_COMPENSATED
    status = StageStatus.COMPLETED if stands else STAGES_OF[ticket.status]
    if name == STAGES[-1] and status is StageStatus.RUNNING and _reviewed(tasks):
        status = StageStatus.REQUIRES_APPROVAL
    begun, ended = _begun(ticket), ticket.completed_at
    kept = ticket.status in {TicketStatus.COMPLETED, TicketStatus.COMPENSATING, TicketStatus.COMPENSATED}
    cause = cause_of(tasks) if status is StageStatus.FAILED and name == STAGES[-1] else ticket
    reason = None if cause is None or kept else cause.reason
    return PipelineStage(
        name=name,
        status=status,
        started_at=begun,
        completed_at=ended,
        duration_ms=milliseconds(ended - begun) if begun is not None and ended is not None else None,
        attempts=ticket.attempt,
        output_ref=f"/api/v1/tickets/{ticket.ticket_id}" if kept and ticket.output is not None else None,
        error=None if reason is None else reason.message[:LONGEST_ERROR],
    )


def _begun(ticket: Ticket) -> datetime | None:
    """Return when a stage began: with its worker, or, where it needs none, when nothing was in its way any more."""
    if ticket.control is not None and ticket.control.works_alone:
        return None if ticket.waiting is Waiting.DEPENDENCIES else ticket.ready_at or ticket.waiting_since
    return ticket.started_at or ticket.acknowledged_at


def _at(stages: Sequence[PipelineStage]) -> str:
    """Return the stage that a pipeline is at: the one that failed, else the first that is not done."""
    failed = (stage.name for stage in stages if stage.status is StageStatus.FAILED)
    open_ones = (stage.name for stage in stages if stage.status not in {StageStatus.COMPLETED, StageStatus.COMPENSATED})
    return next(failed, next(open_ones, STAGES[-1]))


def _error(flow: Flow, tasks: Mapping[str, Ticket], status: ForgeStatus) -> str | None:
    if flow.outcome is None or status is ForgeStatus.COMPLETED:
        return None
    cause = cause_of(tasks)
    if cause is not None and cause.reason is not None:
        return f"{cause.task_id}: {cause.reason.message}"[:LONGEST_ERROR]
    return "; ".join(reason.message for reason in flow.reasons[:5])[:LONGEST_ERROR] or None


def _review(tasks: Mapping[str, Ticket]) -> PipelineReview | None:
    person = tasks.get(PERSON)
    if person is None or not waits_for_person(person):
        return None
    approval = person.control.approval if person.control is not None else None
    return PipelineReview(
        ticket_id=person.ticket_id,
        message=(approval.message if approval is not None else None) or person.description,
        until=person.until,
        approval_ref=f"/api/v1/tickets/{person.ticket_id}/approval",
    )


def _forged(one: PackagedArtifact) -> ForgedArtifact:
    return ForgedArtifact(
        artifact_id=one.artifact_id, artifact_type=one.artifact_type, location=one.location, checksum=one.checksum
    )


def _output(tasks: Mapping[str, Ticket], task_id: str) -> Mapping[str, Any]:
    ticket = tasks.get(task_id)
    return ticket.output if ticket is not None and isinstance(ticket.output, Mapping) else {}


def _share(value: object) -> float | None:
    """Return a number between 0 and 1; None for what is none: outputs are what workers say."""
    return float(value) if isinstance(value, int | float) and 0 <= value <= 1 else None


def _web(value: object) -> str | None:
    """Return an address that a browser opens; None for any other."""
    fits = isinstance(value, str) and len(value) <= LONGEST_ADDRESS and value.startswith(("https://", "http://"))
    return str(value) if fits else None
