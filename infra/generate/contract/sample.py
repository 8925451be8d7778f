"""The sample decision: a new version of a service is built, tested, scanned and deployed. All examples tell of it."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.values import flow_id_of

START = datetime(2026, 3, 1, 12, tzinfo=UTC)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
IMAGE = "registry.example.com/checkout@sha256:5f2a"

DECISION: Mapping[str, Any] = {
    "decision_id": "checkout-1.8-approved",
    "plan_id": "checkout-1.8",
    "intent_id": "release-checkout-1.8",
    "correlation_id": "release-checkout-1.8",
    "final_decision": "approve",
    "valid_until": "2026-03-02T12:00:00Z",
    "priority": "HIGH",
    "risk_band": "medium",
    "sla_deadline_seconds": 900,
    "cognitive_plan": {
        "plan_id": "checkout-1.8",
        "version": "1.0.0",
        "tasks": [
            {
                "task_id": "build",
                "task_type": "BUILD",
                "description": "Build the image of the checkout service",
                "required_capabilities": ["build"],
                "estimated_duration_ms": 60_000,
                "parameters": {"repository": "checkout", "tag": "v1.8"},
                "compensation": {"parameters": {"image": {"$output": "build", "path": "/image"}}},
            },
            {
                "task_id": "test",
                "task_type": "TEST",
                "description": "Run the integration tests",
                "dependencies": ["build"],
                "required_capabilities": ["test"],
                "estimated_duration_ms": 30_000,
                "parameters": {"image": {"$output": "build", "path": "/image"}},
                "compensation": True,
            },
            {
                "task_id": "scan",
                "task_type": "VALIDATE",
                "description": "Scan the image for known weaknesses",
                "dependencies": ["build"],
                "required_capabilities": ["test"],
                "estimated_duration_ms": 20_000,
                "parameters": {"image": {"$output": "build", "path": "/image"}},
            },
            {
                "task_id": "deploy",
                "task_type": "DEPLOY",
                "description": "Deploy the image to production",
                "dependencies": ["test", "scan"],
                "required_capabilities": ["deploy"],
                "estimated_duration_ms": 45_000,
                "idempotent": False,
                "parameters": {
                    "environment": "production",
                    "image": {"$output": "build", "path": "/image"},
                },
                "compensation": {
                    "parameters": {"action": "rollback_deployment", "environment": "production"},
                    "required_capabilities": ["deploy"],
                    "timeout_ms": 300_000,
                },
            },
        ],
    },
}


def decision_event(time: datetime, **changes: Any) -> CloudEvent:  # noqa: ANN401 fields of any type
    """Return the event with which a user sends the decision, with some of its fields changed."""
    return CloudEvent(
        id="checkout-1.8-approved/1",
        source="/consensus",
        type=type_of("decision.consolidated"),
        time=time,
        subject=flow_id_of(DECISION["decision_id"]),
        data={**DECISION, **changes},
        extensions={"traceparent": TRACE},
    )
