"""Pipelines of the code forge without a forge: plans as the platform makes them, and what the stages would say."""

from collections.abc import Callable, Mapping
from typing import Any

from functions._core.forge.pipeline import PipelineRequest, pipeline_decision
from functions._core.forge.stages import (
    GateOutcome,
)
from functions._core.forge.templates import SHIPPED
from tests.support.forge_stages import GOOD, OUTPUTS

STAGES = ("select_template", "compose_code", "validate_code", "run_tests", "package", "gate", "merge_request")
CAPABILITIES = tuple(f"forge:forge_{name}" for name in STAGES)
TASKS = {"gate": "approve/gate", "merge_request": "approve/merge_request"}
"""The tasks of the stages that are within another one."""

Behaviour = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def pipeline(key: str, at_once: int = 10, **more: Any) -> dict[str, Any]:
    """Return the decision of a pipeline."""
    asked = {"artifact_id": "acme/shop", "language": "python", "artifact_type": "service", **more}
    return pipeline_decision(PipelineRequest.model_validate(asked), SHIPPED, key, at_once)


def output(stage: str, verdict: str = "APPROVED", review: str | None = None, score: float = 0.93) -> dict[str, Any]:
    """Return what a stage says; the gate has a `verdict`, and where people have to decide who reviews."""
    said = OUTPUTS[TASKS.get(stage, stage)]
    if stage == "gate":
        said = GOOD.but(outcome=GateOutcome(verdict), score=score, reason=f"the score is {score}", review=review)
    return said.model_dump(mode="json")


def stage_of(assignment: Mapping[str, Any]) -> str:
    return str(assignment["parameters"]["provider"]).removeprefix("forge_")


def does(verdict: str = "APPROVED", review: str | None = None, failing: Mapping[str, Any] | None = None) -> Behaviour:
    """Return a worker that does every stage, but for those that are `failing`: what it says of each."""

    def behave(assignment: Mapping[str, Any]) -> Mapping[str, Any] | None:
        stage = stage_of(assignment)
        if failing is not None and stage in failing:
            said: Mapping[str, Any] | None = failing[stage]
            return said
        score = 0.93 if verdict == "APPROVED" else 0.7
        return {"status": "COMPLETED", "output": output(stage, verdict, review, score)}

    return behave


def failed(code: str, message: str) -> dict[str, Any]:
    """Return a report of a failure that is not tried again."""
    return {"status": "FAILED", "error": {"type": code, "message": message, "retryable": False}}
