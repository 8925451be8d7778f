"""What is asked of pipelines of the code forge, and what is answered."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from functions._core.decision.vocabulary import Id
from functions._core.executors.execute import KeptFile
from functions._core.forge.progress import PipelineView
from functions._core.forge.stages import CodeArtifact, PackagedArtifact, SbomRecord, TransparencyEntry
from functions._core.records.values import Model, WholeNumber


class PipelineForm(Model):
    """What a client sends to begin a pipeline. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    artifact_id: str = Field(max_length=200)
    """What is made, such as `acme/shop`."""
    ticket_id: Id | None = None
    """The BUILD ticket that it is made for."""
    attempt: Annotated[WholeNumber, Field(ge=0, le=1_000_000)] = 1
    """Which attempt at that ticket: another attempt is another pipeline."""
    parameters: Mapping[str, Any] = {}
    """`template_id`, `artifact_type`, `language`, `capabilities`, `version`, `instructions`, `min_coverage`,
    `review_seconds`, `plan_id`, `flow_id`, `correlation_id`; all others, and those in `inputs`, are what the template
    asks for."""


class PipelinePage(Model):
    """Pipelines, the newest first; `cursor` asks for the next page, null means that there is none."""

    items: tuple[PipelineView, ...]
    """Pipelines."""
    cursor: str | None = None
    """What asks for the next page."""


class PipelineArtifacts(Model):
    """All that a pipeline has made: before it is packaged, and after what was pushed was taken away, the code alone."""

    pipeline_id: str
    """The pipeline."""
    items: tuple[PackagedArtifact, ...] = ()
    """What can be delivered."""
    code: tuple[CodeArtifact, ...] = ()
    """The files of the project by kind."""
    sbom: SbomRecord | None = None
    """What it is made of."""
    provenance: KeptFile | None = None
    """How it was made, signed."""
    key_id: str = ""
    """The key of the signatures."""
    public_key: str = ""
    """It, as PEM."""
    log: TransparencyEntry | None = None
    """The entry of the transparency log."""
