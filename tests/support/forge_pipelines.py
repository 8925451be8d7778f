"""Pipelines of the code forge without a forge: plans as the platform makes them, and what the stages would say."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

from functions._core.events.pipelines import ForgeValidation
from functions._core.executors.execute import KeptFile
from functions._core.forge.pipeline import PipelineRequest, pipeline_decision
from functions._core.forge.stages import (
    CodeArtifact,
    ComposedCode,
    ForgeArtifactType,
    GateOutcome,
    GateVerdict,
    MergeRequest,
    PackagedArtifact,
    PackagedCode,
    SbomRecord,
    SelectedTemplate,
    TestedCode,
    ValidatedCode,
)
from functions._core.forge.templates import SHIPPED

STAGES = ("select_template", "compose_code", "validate_code", "run_tests", "package", "gate", "merge_request")
CAPABILITIES = tuple(f"forge:forge_{name}" for name in STAGES)
HASH = "ab" * 32
MOMENT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)

Behaviour = Callable[[Mapping[str, Any]], Mapping[str, Any] | None]


def kept(name: str) -> KeptFile:
    return KeptFile(name=name, size=7, sha256=HASH, uri=f"s3://forge/{name}")


def pipeline(key: str, at_once: int = 10, **more: Any) -> dict[str, Any]:
    """Return the decision of a pipeline."""
    asked = {"artifact_id": "acme/shop", "language": "python", "artifact_type": "service", **more}
    return pipeline_decision(PipelineRequest.model_validate(asked), SHIPPED, key, at_once)


def output(stage: str, verdict: str = "APPROVED", review: str | None = None, score: float = 0.93) -> dict[str, Any]:
    """Return what a stage says; the gate has a `verdict`, and where people have to decide who reviews."""
    files = tuple(
        CodeArtifact(
            artifact_id=f"acme/shop:{kind.lower()}",
            artifact_type=ForgeArtifactType(kind),
            content_uri=f"s3://forge/{kind.lower()}",
            content_hash=HASH,
            files=3,
        )
        for kind in ("CODE", "IAC", "TEST", "DOCUMENTATION")
    )
    wheel = PackagedArtifact(
        artifact_id="acme/shop:wheel",
        artifact_type=ForgeArtifactType.CODE,
        name="shop-0.1.0-py3-none-any.whl",
        location="s3://forge/shop-0.1.0-py3-none-any.whl",
        checksum=f"sha256:{HASH}",
        size=7,
        signature="c2lnbmF0dXJl",
    )
    scanned = ForgeValidation(
        validation_type="SAST",
        tool_name="bandit",
        tool_version="1.8",
        status="WARNING",
        score=0.9,
        issues={"critical": 0, "high": 0, "medium": 1, "low": 2, "info": 0},
        report_uri="s3://forge/bandit.sarif",
        started_at=MOMENT,
        completed_at=MOMENT,
    )
    said = {
        "select_template": SelectedTemplate(template_id="python-service", score=1, content=kept("t.tar.gz")),
        "compose_code": ComposedCode(
            content=kept("project.tar.gz"),
            artifacts=files,
            confidence_score=1,
            template_id="python-service",
            artifact_type="service",
            language="python",
            files=12,
        ),
        "validate_code": ValidatedCode(validation_results=(scanned,), quality=0.9),
        "run_tests": TestedCode(passed=10, failed=0, skipped=1, coverage=0.85, score=1),
        "package": PackagedCode(
            artifacts=(wheel,),
            sbom=SbomRecord(components=4, cyclonedx=kept("sbom.cdx.json"), spdx=kept("sbom.spdx.json")),
            provenance=kept("provenance.json"),
            pushed=("registry.example/shop@sha256:" + HASH,),
        ),
        "gate": GateVerdict.model_validate(
            {"outcome": GateOutcome(verdict), "score": score, "reason": f"the score is {score}", "review": review}
        ),
        "merge_request": MergeRequest(url="https://git.example/acme/shop/-/merge_requests/7", branch="flowc-1"),
    }
    return said[stage].model_dump(mode="json")


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
