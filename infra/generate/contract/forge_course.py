"""The result of a pipeline of the code forge, which was approved by its score, with the ids of the sample's flow."""

from datetime import timedelta

from functions._core.events.pipelines import (
    CodeForgeArtifact,
    ForgeValidation,
    PipelineResult,
    PipelineState,
    StageResult,
)
from functions._core.forge.results import result_event
from infra.generate.contract.beginnings import begun
from infra.generate.contract.scenario import Scenario

HASH = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
STORE = "s3://forge-of-acme"

STAGES = (
    ("select_template", 2),
    ("compose_code", 4),
    ("validate_code", 41),
    ("run_tests", 18),
    ("package", 23),
    ("approve", 1),
)
"""The stages and how long each takes here, in seconds."""


async def forged() -> Scenario:
    """The flow is a pipeline, which ends after a minute and a half."""
    course = await begun()
    ticket = next(one for one in await course.ports.store.tickets_of(course.flow_id) if one.task_id == "build")
    flow = await course.ports.store.flow(course.flow_id)
    if flow is None:
        raise LookupError("the flow is not there")
    began = at = course.time
    stages = list[StageResult]()
    for name, seconds in STAGES:
        end = at + timedelta(seconds=seconds)
        took = {"started_at": at, "completed_at": end, "duration_ms": seconds * 1000, "attempts": 1}
        stages.append(StageResult.model_validate({"stage_name": name, "status": "COMPLETED", **took}))
        at = end
    common = {
        "ticket_id": ticket.ticket_id,
        "plan_id": ticket.plan_id,
        "intent_id": ticket.intent_id,
        "decision_id": flow.decision_id,
        "correlation_id": flow.correlation_id,
        "trace_id": flow.trace_id,
        "span_id": flow.span_id,
    }
    wheel = CodeForgeArtifact.model_validate(
        {
            "artifact_id": "acme/shop:wheel",
            **common,
            "artifact_type": "CODE",
            "language": "python",
            "template_id": "python-service",
            "confidence_score": 0.95,
            "generation_method": "TEMPLATE",
            "content_uri": f"{STORE}/{ticket.ticket_id}/1/artifacts/shop-0.1.0-py3-none-any.whl",
            "content_hash": HASH,
            "sbom_uri": f"{STORE}/{ticket.ticket_id}/1/artifacts/sbom.cdx.json",
            "signature": "MEUCIQDfakedSignatureOfTheWheel==",
            "validation_results": [_scan(began)],
            "metadata": {"name": "shop-0.1.0-py3-none-any.whl", "media_type": "application/zip", "size": "18231"},
            "created_at": stages[4].completed_at,
        }
    )
    result = PipelineResult.model_validate(
        {
            "pipeline_id": flow.flow_id,
            **common,
            "artifact_id": "acme/shop",
            "status": PipelineState.COMPLETED,
            "artifacts": [wheel],
            "pipeline_stages": stages,
            "total_duration_ms": 89_000,
            "approval_required": False,
            "approval_reason": "the score is 0.94, and 0.9 approves",
            "approval": "auto",
            "score": 0.94,
            "tests": {"passed": 24, "failed": 0, "skipped": 1},
            "coverage": 0.91,
            "quality": 0.93,
            "created_at": began,
            "completed_at": at,
        }
    )
    await course.later(90)
    course.sent.append(result_event(result, flow, "COMPLETED:0", course.time))
    return course


def _scan(began: object) -> ForgeValidation:
    found = {"critical": 0, "high": 0, "medium": 0, "low": 2, "info": 1}
    about = {"validation_type": "SAST", "tool_name": "semgrep", "tool_version": "1.98.0", "status": "PASSED"}
    times = {"started_at": began, "completed_at": began}
    uri = f"{STORE}/semgrep.sarif"
    return ForgeValidation.model_validate({**about, "score": 0.93, "issues": found, "report_uri": uri, **times})
