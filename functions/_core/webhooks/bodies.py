"""Bodies of deliveries that are no CloudEvents: the message `pipeline-completed`, which the forge sends to a Flow C.

Another platform takes it at `POST /api/v1/webhooks/pipeline-completed`, and so does whoever speaks that form. Pure.
"""

from collections.abc import Mapping
from typing import Any

from functions._core.events.envelope import type_of
from functions._core.events.pipelines import RESULTS, PipelineState
from functions._core.webhooks.subscription import DeliveryBody

JSON = "application/json; charset=utf-8"

SAID: Mapping[str, str] = {
    PipelineState.CANCELLED: PipelineState.FAILED,
    PipelineState.TIMED_OUT: PipelineState.FAILED,
}
"""How the message says a state for which it has no word of its own; its `error` says which one it was."""


def body_of(event: Mapping[str, Any], form: DeliveryBody) -> tuple[Mapping[str, Any], str | None]:
    """Return the body of a delivery, and its media type where that is not the one of CloudEvents.

    What is no result of a pipeline, such as a test event, is sent as it is.
    """
    if form is not DeliveryBody.PIPELINE_COMPLETED or event["type"] != type_of(RESULTS):
        return event, None
    return pipeline_completed(event["id"], event["data"]), JSON


def pipeline_completed(event_id: str, result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the message for the data of a result."""
    status = result["status"]
    said = SAID.get(status, status)
    error = result["error_message"]
    if said != status:
        error = f"the pipeline is {status}{f': {error}' if error else ''}"
    return {
        "event_id": event_id,
        "pipeline_id": result["pipeline_id"],
        "ticket_id": result["ticket_id"],
        "plan_id": result["plan_id"],
        "artifact_id": result["artifact_id"],
        "status": said,
        "artifacts": [
            {
                "artifact_id": one["artifact_id"],
                "artifact_type": one["artifact_type"],
                "location": one["content_uri"],
                "checksum": f"sha256:{one['content_hash']}",
                "sbom_uri": one["sbom_uri"],
                "signature": one["signature"],
            }
            for one in result["artifacts"]
        ],
        "approval_required": result["approval_required"],
        "git_mr_url": result["git_mr_url"],
        "duration_ms": result["total_duration_ms"],
        "completed_at": result["completed_at"],
        "error": error,
        "correlation_id": result["correlation_id"],
    }
