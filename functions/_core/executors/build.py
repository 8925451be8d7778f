"""Parameters and outputs of the executor `code_forge`, which has a code forge make artifacts."""

from collections.abc import Mapping
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from functions._core.executors.execute import MOST_NAMES
from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.json_text import json_size
from functions._core.records.values import Model

MOST_INPUT = 64 * 1024
"""Bytes of all inputs together, as JSON."""

NAME = r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$"

Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._+#-]{0,99}$")]
InputName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,99}$")]


class CodeForgeParameters(ExecutorParameters):
    """A pipeline of a code forge, which makes one artifact with what belongs to it."""

    artifact_id: Annotated[str, Field(pattern=NAME)]
    """What is made; the worker's owner says which artifacts may be named."""
    template_id: Annotated[str, Field(pattern=NAME)] | None = None
    """The template that it is made from; without it the forge chooses one."""
    language: Word | None = None
    """The language of the code, such as `python`."""
    branch: (
        Annotated[str, Field(pattern=r"^[^\s~^:?*\[\\\x00-\x1f\x7f-][^\s~^:?*\[\\\x00-\x1f\x7f]{0,254}$")] | None
    ) = None
    """The branch that it is made of."""
    commit_sha: Annotated[str, Field(pattern=r"^[0-9a-f]{7,64}$")] | None = None
    """The commit that it is made of."""
    inputs: Annotated[Mapping[InputName, Any], Field(max_length=MOST_NAMES)] = {}
    """What the template asks for, any JSON. Everybody who may read the pipeline can see it."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if json_size(self.inputs) > MOST_INPUT:
            raise ValueError(f"has inputs of more than {MOST_INPUT} bytes")
        return self


class ForgedArtifact(Model):
    """Something that a pipeline has made."""

    artifact_id: str = ""
    """Its id."""
    artifact_type: str = ""
    """Its kind, such as CONTAINER."""
    location: str = ""
    """Where it is."""
    checksum: str = ""
    """Hash of its content, as the forge says it."""


class CodeForgeOutputs(Model):
    """The outputs of a pipeline that has completed."""

    pipeline_id: str
    """The pipeline."""
    artifacts: tuple[ForgedArtifact, ...] = ()
    """What it has made; 100 at most."""
    sbom: Mapping[str, Any] | None = None
    """What the artifact is made of: format, version and components, or where the list is."""
    signature: str | None = None
    """The signature of the artifact."""
    url: str = ""
    """Where a person sees the pipeline, or its merge request."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"code_forge": CodeForgeParameters}
"""The model of the parameters."""
