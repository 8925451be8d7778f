"""The data of the event about pipelines of the code forge: how one has ended, or that people review its work."""

from collections.abc import Mapping
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from functions._core.records.values import Model, Timestamp, Word

RESULTS = "code-forge.results"
"""The type of the event, without prefix and version; the name of its topic, too."""

LABEL = "flowc-forge"
"""The label of a flow that is a pipeline. It is here, as every process looks at it and few need more of the forge."""

PIPELINE_KEY = "forge"
"""The concurrency key of all pipelines."""

Share = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[int, Field(ge=0)]
StageState = Literal["PENDING", "RUNNING", "COMPLETED", "FAILED", "SKIPPED"]
Decided = Literal["auto", "reviewed", "rejected"]


class PipelineState(Word):
    """How a pipeline stands, as its result says it."""

    REQUIRES_APPROVAL = "REQUIRES_APPROVAL"
    """People review what it has made; its end is told when it comes."""
    COMPLETED = "COMPLETED"
    """What it has made is approved."""
    FAILED = "FAILED"
    """A stage failed, or the platform refused the plan."""
    REJECTED = "REJECTED"
    """The approval gate, or a person, does not want what it has made."""
    CANCELLED = "CANCELLED"
    """Somebody has stopped it."""
    TIMED_OUT = "TIMED_OUT"
    """Its time is over."""


class ForgeValidation(Model):
    """What came of one tool that has looked at the code."""

    validation_type: Literal["SAST", "SECURITY", "LINT", "POLICY", "TEST"]
    """What it looks at."""
    tool_name: str
    """The tool."""
    tool_version: str = ""
    """Its version, where it says so."""
    status: Literal["PASSED", "FAILED", "WARNING", "SKIPPED"]
    """SKIPPED: the worker does not have it."""
    score: Share | None = None
    """1 for no finding; null where it was not run."""
    issues: Mapping[str, int] = {}
    """Findings by severity: critical, high, medium, low, info."""
    report_uri: str | None = None
    """Where its findings are."""
    started_at: Timestamp | None = None
    """When it began."""
    completed_at: Timestamp | None = None
    """When it ended."""


class CodeForgeArtifact(Model):
    """One thing that a pipeline has made, with all by which it is traced back to who wanted it."""

    artifact_id: str
    """Its id: the artifact of the pipeline, and what it is of that, such as `acme/shop:wheel`."""
    ticket_id: str
    """Id of the ticket that it was made for; empty where the pipeline was begun for none."""
    plan_id: str
    """Id of the plan of that ticket; of the pipeline's own where there is no ticket."""
    intent_id: str
    """Id of the intent that led to the plan."""
    decision_id: str
    """Id of the decision that began the pipeline."""
    correlation_id: str | None = None
    """The correlation id of whoever wanted it."""
    trace_id: str | None = None
    """The trace, 32 hexadecimal digits."""
    span_id: str | None = None
    """The span that began the pipeline, 16 hexadecimal digits."""
    artifact_type: Literal["CODE", "IAC", "TEST", "DOCUMENTATION", "CONTAINER", "CHART", "FUNCTION"]
    """What it is."""
    language: str | None = None
    """The language of the code, in lower case."""
    template_id: str | None = None
    """The template that it was made of."""
    confidence_score: Share
    """The template's score times the share of its questions that were answered."""
    generation_method: Literal["TEMPLATE", "LLM", "HYBRID"]
    """How the code came to be."""
    content_uri: str
    """Where it is: in the worker's store, or in a registry by its digest."""
    content_hash: str
    """SHA-256 of its content in hexadecimal digits; of an image that of its manifest."""
    sbom_uri: str | None = None
    """The list of its components, as CycloneDX; null for what is not packaged."""
    signature: str | None = None
    """Signature of its content, base64; null for what nobody has signed."""
    validation_results: tuple[ForgeValidation, ...] = ()
    """What came of each tool that has looked at the code; empty where the event would become too large by it."""
    metadata: Mapping[str, str] = {}
    """More about it: the name of its file or image, its media type, its size in bytes, or how many files it is."""
    created_at: Timestamp
    """When it was made."""
    schema_version: int = 1
    """Version of the form of this record."""


class StageResult(Model):
    """One stage of a pipeline."""

    stage_name: str
    """Its name: select_template, compose_code, validate_code, run_tests, package or approve."""
    status: StageState
    """How it stands."""
    started_at: Timestamp | None = None
    """When its last attempt began."""
    completed_at: Timestamp | None = None
    """When it ended."""
    duration_ms: Milliseconds = 0
    """How long it took, in milliseconds; 0 where it has not begun or not ended."""
    attempts: int = 0
    """How often it was begun."""
    error_message: str | None = None
    """Why it failed."""


class PipelineResult(Model):
    """Data of `code-forge.results`: how a pipeline of the code forge has ended, or that its review has begun.

    It is committed with what it tells of, so that no crash comes in between. A review by a merge request is told twice:
    when it begins, and with `git_mr_url` when the merge request is there.
    """

    event_type: ClassVar[str] = RESULTS

    pipeline_id: str
    """Id of the pipeline, which is that of its flow."""
    ticket_id: str
    """Id of the ticket that it was begun for; empty for none."""
    plan_id: str
    """Id of the plan of that ticket; of the pipeline's own where there is no ticket."""
    intent_id: str
    """Id of the intent that led to the plan."""
    decision_id: str
    """Id of the decision that began the pipeline."""
    correlation_id: str | None = None
    """The correlation id of whoever wanted it."""
    trace_id: str | None = None
    """The trace, 32 hexadecimal digits."""
    span_id: str | None = None
    """The span that began the pipeline, 16 hexadecimal digits."""
    artifact_id: str
    """The artifact that it makes."""
    status: PipelineState
    """How it stands."""
    artifacts: tuple[CodeForgeArtifact, ...] = ()
    """What it has made: the code by its kinds, then what was packaged."""
    pipeline_stages: tuple[StageResult, ...] = ()
    """Its stages, in their order."""
    total_duration_ms: Milliseconds
    """From its beginning to now, in milliseconds."""
    approval_required: bool
    """Whether people review what it has made, or have done so."""
    approval_reason: str | None = None
    """Why, as the approval gate says it."""
    approval: Decided | None = None
    """Who has decided: `auto` the score, `reviewed` people; `rejected` either of them. Null: not decided."""
    score: Share | None = None
    """The score of the approval gate; null before it."""
    tests: Mapping[str, int] | None = None
    """Tests that `passed`, `failed` and were `skipped`; null where none were run."""
    coverage: Share | None = None
    """The share of lines that the tests ran; null where nothing measured it."""
    quality: Share | None = None
    """What the tools make of the code; null where none has looked at it."""
    error_message: str | None = None
    """Why it did not complete."""
    git_mr_url: str | None = None
    """The merge request of the review."""
    created_at: Timestamp
    """When it was begun."""
    completed_at: Timestamp | None = None
    """When it ended; null: it goes on."""
    metadata: Mapping[str, str] = {}
    """More about it: `artifacts_left_out` is how many artifacts are not named, as the event would be too large."""
    schema_version: int = 1
    """Version of the form of this event."""
