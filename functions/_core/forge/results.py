"""What has become of a pipeline, as one event: made of the flow that it is, and of the outputs of its tickets. Pure.

Outputs come from workers, so what does not have the form of its stage counts as not there.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.pipelines import (
    RESULTS,
    CodeForgeArtifact,
    Decided,
    PipelineResult,
    PipelineState,
    StageResult,
    StageState,
)
from functions._core.events.routes import TRANSITIONS
from functions._core.forge.pipeline import GATE
from functions._core.forge.progress import (
    LONGEST_ERROR,
    ForgeStatus,
    PipelineView,
    StageStatus,
    by_task,
    cause_of,
    composed_code,
    output_of,
    packaged_code,
    pipeline_view,
)
from functions._core.forge.stages import (
    STAGES,
    GateOutcome,
    GateVerdict,
    TestedCode,
    ValidatedCode,
)
from functions._core.machine.step_builder import derived_id
from functions._core.records.json_text import json_size
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import milliseconds

MOST_BYTES = 128 * 1024
"""Bytes of a result: a broker, and the queue of a subscriber, take 256 KiB with all else that is in an event."""

STATES: Mapping[StageStatus, StageState] = {
    StageStatus.PENDING: "PENDING",
    StageStatus.COMPLETED: "COMPLETED",
    StageStatus.COMPENSATED: "COMPLETED",
    StageStatus.FAILED: "FAILED",
    StageStatus.CANCELLED: "SKIPPED",
}
"""How a stage stands in the words of the event; in all others it runs."""


def verdict_in(tasks: Mapping[str, Ticket]) -> GateVerdict | None:
    """Return what the approval gate has said; None before."""
    return output_of(GateVerdict, tasks.get(GATE))


def goes_to_review(ticket: Ticket) -> bool:
    """Whether this is the ticket of an approval gate that wants a review."""
    verdict = output_of(GateVerdict, ticket) if ticket.task_id == GATE else None
    return verdict is not None and verdict.outcome is GateOutcome.REVIEW


def result_of(flow: Flow, tickets: Iterable[Ticket], at: datetime, merge_request: str | None = None) -> PipelineResult:
    """Return how a pipeline stands: how it has ended, or else that it is reviewed; `merge_request` is where, if known.

    Of too many artifacts it names the first ones.
    """
    tasks = by_task(tickets)
    view, verdict = pipeline_view(flow, [*tasks.values()], merge_request), verdict_in(tasks)
    state = PipelineState(view.status.value) if flow.ended_at is not None else PipelineState.REQUIRES_APPROVAL
    common = _about(flow, view, tasks)
    validated = output_of(ValidatedCode, tasks.get("validate_code"))
    tested = output_of(TestedCode, tasks.get("run_tests"))
    result = PipelineResult(
        pipeline_id=flow.flow_id,
        **common,
        artifact_id=view.artifact_id,
        status=state,
        artifacts=tuple(_artifacts(tasks, validated, common, flow.ended_at or at)),
        pipeline_stages=tuple(_stages(view)),
        total_duration_ms=milliseconds((flow.ended_at or at) - flow.received_at),
        approval_required=view.approval_required,
        approval_reason=verdict.reason[:LONGEST_ERROR] if verdict is not None else None,
        approval=decided(view, verdict, tasks),
        score=verdict.score if verdict is not None else None,
        tests={name: getattr(tested, name) for name in ("passed", "failed", "skipped")} if tested else None,
        coverage=tested.coverage if tested else None,
        quality=validated.quality if validated else None,
        error_message=view.error,
        git_mr_url=view.git_mr_url,
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


def _about(flow: Flow, view: PipelineView, tasks: Mapping[str, Ticket]) -> dict[str, Any]:
    """Return the ids by which a pipeline, and each artifact of it, is traced back."""
    asked = tasks[STAGES[0]].metadata.get("pipeline") if STAGES[0] in tasks else None
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


def decided(view: PipelineView, verdict: GateVerdict | None, tasks: Mapping[str, Ticket]) -> Decided | None:
    """Return who has decided; a plan that was refused has come before nobody who could."""
    if view.status is ForgeStatus.REJECTED:
        return "rejected" if cause_of(tasks) is not None else None
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
    tasks: Mapping[str, Ticket], validated: ValidatedCode | None, common: Mapping[str, Any], at: datetime
) -> Iterator[CodeForgeArtifact]:
    composed, packaged = composed_code(tasks), packaged_code(tasks)
    if composed is None:
        return
    of_all = {
        **common,
        "language": composed.language or None,
        "template_id": composed.template_id,
        "confidence_score": composed.confidence_score,
        "generation_method": composed.generation_method.value,
        "validation_results": validated.validation_results if validated is not None else (),
    }
    for one in composed.artifacts:
        yield CodeForgeArtifact(
            artifact_id=one.artifact_id,
            artifact_type=one.artifact_type.value,
            content_uri=one.content_uri,
            content_hash=one.content_hash,
            metadata={"files": str(one.files)},
            created_at=tasks["compose_code"].completed_at or at,
            **of_all,
        )
    if packaged is None:
        return
    for each in packaged.artifacts:
        yield CodeForgeArtifact(
            artifact_id=each.artifact_id,
            artifact_type=each.artifact_type.value,
            content_uri=each.location,
            content_hash=each.checksum.removeprefix("sha256:"),
            sbom_uri=packaged.sbom.cyclonedx.uri,
            signature=each.signature,
            metadata={"name": each.name, "media_type": each.media_type, "size": str(each.size)},
            created_at=tasks["package"].completed_at or at,
            **of_all,
        )


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
