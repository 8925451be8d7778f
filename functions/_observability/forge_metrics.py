"""What the result of a pipeline of the code forge counts for. Pure: from the data of the event to measurements."""

from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from functions._core.events.pipelines import PipelineState
from functions._observability.catalogue import ISSUE_SEVERITIES, STAGE_ENDS
from functions._observability.step_metrics import Count

PACKAGED = "media_type"
"""The metadata that only packaged artifacts have."""


def counts_of_result(result: Mapping[str, Any]) -> Iterator[Count]:
    """Yield the measurements of a result; a review counts when it begins, and not again when its merge request is."""
    if result["status"] == PipelineState.REQUIRES_APPROVAL:
        if result["git_mr_url"] is None:
            yield "count", "forge_reviews_total", 1, ()
        return
    yield "count", "forge_pipelines_total", 1, (result["status"].lower(),)
    yield "time", "forge_pipeline_duration_seconds", result["total_duration_ms"] / 1000, ()
    if result["approval"] is not None:
        yield "count", "forge_approvals_total", 1, (result["approval"],)
    yield from _stages(result)
    yield from _artifacts(result)
    for name, value in (result["tests"] or {}).items():
        yield "count", "forge_tests_total", value, (name,)
    measured = ("quality", "forge_validation_score"), ("score", "forge_approval_score"), ("coverage", "forge_coverage")
    for field, metric in measured:
        if result[field] is not None:
            yield "time", metric, result[field], ()


def _stages(result: Mapping[str, Any]) -> Iterator[Count]:
    created, begun = datetime.fromisoformat(result["created_at"]), list[datetime]()
    for stage in result["pipeline_stages"]:
        name, status = stage["stage_name"], stage["status"].lower()
        if stage["started_at"] is not None:
            begun.append(datetime.fromisoformat(stage["started_at"]))
        if status in STAGE_ENDS:
            yield "count", "forge_stage_total", 1, (name, status)
        if status in STAGE_ENDS and stage["completed_at"] is not None and stage["started_at"] is not None:
            yield "time", "forge_stage_duration_seconds", stage["duration_ms"] / 1000, (name,)
    if begun:
        yield "time", "forge_queue_wait_seconds", max(0.0, (min(begun) - created).total_seconds()), ()


def _artifacts(result: Mapping[str, Any]) -> Iterator[Count]:
    made = result["artifacts"]
    if result["status"] == PipelineState.COMPLETED:
        for kind, number in Counter(one["artifact_type"] for one in made).items():
            yield "count", "forge_artifacts_total", number, (kind,)
    signed = Counter(one["signature"] is not None for one in made if PACKAGED in one["metadata"])
    for is_signed, number in signed.items():
        yield "count", "forge_signatures_total", number, ("signed" if is_signed else "unsigned",)
    tools = made[0]["validation_results"] if made else ()  # the same of each
    found = Counter[str]()
    for one in tools:
        found.update({name: number for name, number in one["issues"].items() if name in ISSUE_SEVERITIES})
    for severity, number in found.items():
        yield "count", "forge_issues_total", number, (severity,)
