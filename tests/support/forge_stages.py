"""Outputs of the stages of the code forge, as their models have them, for tests of what comes after a stage."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from functions._core.events.pipelines import ForgeValidation
from functions._core.executors.execute import KeptFile
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
from functions._core.records.values import Model

MOMENT = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
KINDS = (ForgeArtifactType.CODE, ForgeArtifactType.IAC, ForgeArtifactType.TEST, ForgeArtifactType.DOCUMENTATION)


def kept(name: str) -> KeptFile:
    """Return a file of the worker's store, which nobody fetches."""
    return KeptFile(name=name, size=len(name), sha256=sha256(name.encode()).hexdigest(), uri=f"s3://forge/{name}")


SELECTED = SelectedTemplate(
    template_id="python-service",
    score=0.98,
    version="1.0.0",
    artifact_type="service",
    language="python",
    content=kept("template.tar.gz"),
)
COMPOSED = ComposedCode(
    content=kept("project.tar.gz"),
    artifacts=tuple(
        CodeArtifact(
            artifact_id=f"acme/shop:{kind.lower()}",
            artifact_type=kind,
            content_uri=f"s3://forge/{kind.lower()}",
            content_hash="a" * 64,
            files=3,
        )
        for kind in KINDS
    ),
    confidence_score=0.9,
    template_id="python-service",
    artifact_type="service",
    language="python",
    files=12,
)
SCANNED = ForgeValidation(
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
VALIDATED = ValidatedCode(validation_results=(SCANNED,), quality=0.9)
TESTED = TestedCode(passed=10, skipped=1, coverage=0.85, score=1.0)
WHEEL = PackagedArtifact(
    artifact_id="acme/shop:wheel",
    artifact_type=ForgeArtifactType.CODE,
    name="shop-0.1.0-py3-none-any.whl",
    location="s3://forge/shop-0.1.0-py3-none-any.whl",
    checksum=f"sha256:{'b' * 64}",
    size=4_096,
    signature="c2lnbmF0dXJl",
)
PACKAGED = PackagedCode(
    artifacts=(WHEEL,),
    sbom=SbomRecord(components=12, cyclonedx=kept("sbom.cdx.json"), spdx=kept("sbom.spdx.json")),
    provenance=kept("provenance.json"),
    signature="MEQCIB",
    key_id="forge-1",
    pushed=("registry.example/acme/shop@sha256:" + "c" * 64,),
)
GOOD = GateVerdict(outcome=GateOutcome.APPROVED, score=0.96, reason="0.96 is at least 0.9")
BY_PERSON = GateVerdict(outcome=GateOutcome.REVIEW, score=0.72, reason="0.72 is below 0.9", review="person")
BY_REQUEST = BY_PERSON.but(review="merge_request")
MERGED = MergeRequest(url="https://git.example/acme/shop/-/merge_requests/7", branch="forge/acme-shop", commit="d" * 40)

OUTPUTS: Mapping[str, Model] = {
    "select_template": SELECTED,
    "compose_code": COMPOSED,
    "validate_code": VALIDATED,
    "run_tests": TESTED,
    "package": PACKAGED,
    "approve/gate": GOOD,
    "approve/merge_request": MERGED,
}
"""What the stages say of a pipeline that is approved, by the tasks of its plan."""


def composed(**changes: Any) -> ComposedCode:
    """Return the output of compose_code."""
    about = {"artifacts": (), "template_id": "python-library", "confidence_score": 1.0}
    return ComposedCode.model_validate({**COMPOSED.model_dump(), **about, **changes})


def validated(quality: float = 1.0, **changes: Any) -> ValidatedCode:
    """Return the output of validate_code; `issues` are those of its one tool."""
    issues = changes.pop("issues", {})
    result = ForgeValidation(
        validation_type="SAST", tool_name="bandit", status="FAILED" if issues else "PASSED", issues=issues
    )
    return ValidatedCode(validation_results=(result,), quality=quality, **changes)


def counted(score: float = 1.0, **changes: Any) -> TestedCode:
    """Return the output of run_tests."""
    return TestedCode.model_validate({"passed": 10, "coverage": 0.9, "score": score, **changes})
