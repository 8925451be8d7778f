"""What has become of a pipeline, as one event: made of the flow that it is, and of the outputs of its tickets. Pure.

Outputs come from workers, so what does not have the form of its stage counts as not there.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, TypeVar

from pydantic import BaseModel, ValidationError

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.pipelines import (
    RESULTS,
    CodeForgeArtifact,
    Decided,
    ForgeValidation,
    PipelineResult,
    PipelineState,
    StageResult,
    StageState,
)
from functions._core.events.routes import TRANSITIONS
from functions._core.forge.progress import (
    ForgeStatus,
    PipelineView,
    StageStatus,
    by_task,
    cause_of,
    pipeline_view,
)
from functions._core.forge.stages import (
    STAGES,
    ComposedCode,
    GateOutcome,
    GateVerdict,
    MergeRequest,
    PackagedCode,
    SelectedTemplate,
    TestedCode,
    ValidatedCode,
)
from functions._core.machine.step_builder import derived_id
from functions._core.records.json_text import json_size
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import TicketStatus, milliseconds

M = TypeVar("M", bound=BaseModel)

MOST_BYTES = 128 * 1024
"""Bytes of a result: a broker, and the queue of a subscriber, take 256 KiB with all else that is in an event."""

LONGEST = 2_000
"""Characters of a reason."""

STATES: Mapping[StageStatus, StageState] = {
    StageStatus.PENDING: "PENDING",
    StageStatus.COMPLETED: "COMPLETED",
    StageStatus.COMPENSATED: "COMPLETED",
    StageStatus.FAILED: "FAILED",
    StageStatus.CANCELLED: "SKIPPED",
}
"""How a stage stands in the words of the event; in all others it runs."""


class _Made(NamedTuple):
    """The outputs of the stages, as far as they are there."""

    selected: SelectedTemplate | None
    composed: ComposedCode | None
    validated: ValidatedCode | None
    tested: TestedCode | None
    packaged: PackagedCode | None
    verdict: GateVerdict | None
    merged: MergeRequest | None


def provider_of(ticket: Ticket) -> str:
    """Return the executor that does a ticket of a pipeline; empty for none."""
    name = ticket.parameters.get("provider")
    return name if isinstance(name, str) else ""


def verdict_in(ticket: Ticket) -> GateVerdict | None:
    """Return what the approval gate has said, if this is its ticket and it has completed."""
    return _read(GateVerdict, ticket) if provider_of(ticket) == "forge_gate" else None


def goes_to_review(ticket: Ticket) -> bool:
    """Whether this is the ticket of an approval gate that wants a review."""
    verdict = verdict_in(ticket)
    return verdict is not None and verdict.outcome is GateOutcome.REVIEW


def result_of(flow: Flow, tickets: Iterable[Ticket], at: datetime, merge_request: str | None = None) -> PipelineResult:
    """Return how a pipeline stands: how it has ended, or else that it is reviewed; `merge_request` is where, if known.

    Of too many artifacts it names the first ones.
    """
    own = [one for one in tickets if one.compensates is None]
    made, view = _made(own), pipeline_view(flow, own, merge_request)
    state = PipelineState(view.status.value) if flow.ended_at is not None else PipelineState.REQUIRES_APPROVAL
    common = _about(flow, view, own)
    tested, verdict = made.tested, made.verdict
    result = PipelineResult(
        pipeline_id=flow.flow_id,
        **common,
        artifact_id=view.artifact_id,
        status=state,
        artifacts=tuple(_artifacts(made, common, flow.ended_at or at, own)),
        pipeline_stages=tuple(_stages(view)),
        total_duration_ms=milliseconds((flow.ended_at or at) - flow.received_at),
        approval_required=view.approval_required,
        approval_reason=verdict.reason[:LONGEST] if verdict is not None else None,
        approval=decided(view, verdict, own),
        score=verdict.score if verdict is not None else None,
        tests={name: getattr(tested, name) for name in ("passed", "failed", "skipped")} if tested else None,
        coverage=tested.coverage if tested else None,
        quality=made.validated.quality if made.validated else None,
        error_message=view.error,
        git_mr_url=view.git_mr_url[:LONGEST] if view.git_mr_url else None,
        created_at=flow.received_at,
        completed_at=flow.ended_at,
    )
    return _bounded(result)


def result_event(result: PipelineResult, flow: Flow, key: str, at: datetime) -> CloudEvent:
    """Return a result as an event for subscribers; the same `key` of the same flow is the same event."""
    return CloudEvent(
        id=derived_id(flow.flow_id, RESULTS, key),
        source=TRANSITIONS,
        type=type_of(RESULTS),
        time=at,
        subject=flow.flow_id,
        data=result.model_dump(mode="json"),
        extensions={
            "partitionkey": flow.flow_id,
            "correlationid": flow.correlation_id,
            "traceparent": flow.traceparent,
        },
    )


def _made(tickets: Sequence[Ticket]) -> _Made:
    by_provider = {provider_of(one): one for one in tickets}

    def of(name: str, model: type[M]) -> M | None:
        ticket = by_provider.get(name)
        return None if ticket is None else _read(model, ticket)

    return _Made(
        of("forge_select_template", SelectedTemplate),
        of("forge_compose_code", ComposedCode),
        of("forge_validate_code", ValidatedCode),
        of("forge_run_tests", TestedCode),
        of("forge_package", PackagedCode),
        of("forge_gate", GateVerdict),
        of("forge_merge_request", MergeRequest),
    )


def _read(model: type[M], ticket: Ticket) -> M | None:
    """Return the output of a ticket that has completed; None where it has not, was undone, or says something else."""
    if ticket.status is not TicketStatus.COMPLETED or not isinstance(ticket.output, Mapping):
        return None
    try:
        return model.model_validate(ticket.output)
    except ValidationError:
        return None


def _about(flow: Flow, view: PipelineView, tickets: Sequence[Ticket]) -> dict[str, Any]:
    """Return the ids by which a pipeline, and each artifact of it, is traced back."""
    asked = next((one.metadata.get("pipeline") for one in tickets if one.task_id == STAGES[0]), None)
    plan_id = asked.get("plan_id") if isinstance(asked, Mapping) else None
    return {
        "ticket_id": view.ticket_id or "",
        "plan_id": str(plan_id or flow.plan_id or ""),
        "intent_id": flow.intent_id or "",
        "decision_id": flow.decision_id,
        "correlation_id": flow.correlation_id,
        "trace_id": flow.trace_id,
        "span_id": flow.span_id,
    }


def decided(view: PipelineView, verdict: GateVerdict | None, tickets: Sequence[Ticket]) -> Decided | None:
    """Return who has decided; a plan that was refused has come before nobody who could."""
    if view.status is ForgeStatus.REJECTED:
        return "rejected" if cause_of(by_task(tickets)) is not None else None
    if view.status is not ForgeStatus.COMPLETED or verdict is None:
        return None
    return "auto" if verdict.outcome is GateOutcome.APPROVED else "reviewed"


def _stages(view: PipelineView) -> Iterator[StageResult]:
    for stage in view.stages:
        yield StageResult(
            stage_name=stage.name,
            status=STATES.get(stage.status, "RUNNING"),
            started_at=stage.started_at,
            completed_at=stage.completed_at,
            duration_ms=max(0, stage.duration_ms or 0),
            attempts=stage.attempts,
            error_message=stage.error,
        )


def _artifacts(
    made: _Made, common: Mapping[str, Any], at: datetime, tickets: Sequence[Ticket]
) -> Iterator[CodeForgeArtifact]:
    composed, packaged = made.composed, made.packaged
    if composed is None:
        return
    ended = {provider_of(one): one.completed_at for one in tickets}
    of_all = {
        **common,
        "language": composed.language or None,
        "template_id": composed.template_id,
        "confidence_score": composed.confidence_score,
        "generation_method": composed.generation_method.value,
        "validation_results": tuple(_validations(made.validated)),
    }
    for one in composed.artifacts:
        yield CodeForgeArtifact(
            artifact_id=one.artifact_id,
            artifact_type=one.artifact_type.value,
            content_uri=one.content_uri,
            content_hash=one.content_hash,
            metadata={"files": str(one.files)},
            created_at=ended.get("forge_compose_code") or at,
            **of_all,
        )
    for each in packaged.artifacts if packaged is not None else ():
        yield CodeForgeArtifact(
            artifact_id=each.artifact_id,
            artifact_type=each.artifact_type.value,
            content_uri=each.location,
            content_hash=each.checksum.removeprefix("sha256:"),
            sbom_uri=packaged.sbom.cyclonedx.uri if packaged is not None else None,
            signature=each.signature,
            metadata={"name": each.name, "media_type": each.media_type, "size": str(each.size)},
            created_at=ended.get("forge_package") or at,
            **of_all,
        )


def _validations(validated: ValidatedCode | None) -> Iterator[ForgeValidation]:
    for one in validated.validation_results if validated is not None else ():
        yield ForgeValidation.model_validate(one.model_dump())


def _bounded(result: PipelineResult) -> PipelineResult:
    """Return a result of at most `MOST_BYTES`: first without the validations of artifacts, then with fewer of them."""
    if _size(result) <= MOST_BYTES:
        return result
    lean = tuple(one.but(validation_results=()) for one in result.artifacts)
    room = MOST_BYTES - _size(result.but(artifacts=(), metadata={"artifacts_left_out": "999"}))
    kept = list[CodeForgeArtifact]()
    for one in lean:
        room -= _size(one) + 1
        if room < 0:
            break
        kept.append(one)
    left = len(lean) - len(kept)
    return result.but(artifacts=tuple(kept), metadata={"artifacts_left_out": str(left)} if left else {})


def _size(value: BaseModel) -> int:
    return json_size(value.model_dump(mode="json"))
