"""What subscribers and pipelines send in a body, beside the subscription itself."""

from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field

from functions._core.records.values import FIRST_FAULT, JsonObject, Model, WholeNumber, Word, a_number
from functions._core.webhooks.subscription import OVERLAP

MAX_ARTIFACTS = 1000


class Rotation(Model):
    """How long the secret before signs, too. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    overlap_seconds: WholeNumber = Field(default=int(OVERLAP.total_seconds()), ge=0, le=7 * 86_400)
    """Seconds for which deliveries carry the signatures of both secrets."""


class PipelineStatus(Word):
    """How a pipeline stands."""

    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    REJECTED = "REJECTED"
    REQUIRES_APPROVAL = "REQUIRES_APPROVAL"


class PipelineCompleted(Model):
    """A pipeline has ended. Fields that are not known are kept with the ticket's output."""

    model_config = ConfigDict(frozen=True, extra="allow")

    pipeline_id: str = Field(min_length=1, max_length=255)
    """Id of the pipeline."""
    ticket_id: str = Field(min_length=1, max_length=255)
    """Id of the ticket that it was for."""
    status: PipelineStatus
    """How it ended."""
    attempt: Annotated[int, Field(ge=1), BeforeValidator(a_number)] | None = None
    """The attempt at the ticket that it was for; null: the present one."""
    artifact_id: str | None = Field(default=None, max_length=255)
    """Id of the artifact that it made."""
    artifacts: Annotated[tuple[JsonObject, ...], FIRST_FAULT] = Field(default=(), max_length=MAX_ARTIFACTS)
    """The artifacts that it made, each with its place and its checksum."""
    duration_ms: Annotated[int, Field(ge=0), BeforeValidator(a_number)] | None = None
    """How long it took, in milliseconds."""
    error: str | None = Field(default=None, max_length=10_000)
    """Why it failed."""
