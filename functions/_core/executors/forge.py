"""Parameters of the executors that are the stages of the code forge; their outputs are in `_core.forge.stages`.

A plan of a pipeline hands the output of each stage to those after it. Where things come from and go to, what may be
used and with which keys is the business of the worker's owner; no parameter names an address but for templates.
"""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field, model_validator

from functions._core.executors.build import MOST_INPUT, NAME, InputName
from functions._core.executors.execute import MOST_NAMES
from functions._core.executors.parameters import ExecutorParameters
from functions._core.executors.scan import MOST_TOOLS, ScanPolicy
from functions._core.forge.stages import (
    ComposedCode,
    PackagedCode,
    Score,
    SelectedTemplate,
    TemplateCard,
    TestedCode,
    ValidatedCode,
)
from functions._core.records.json_text import json_size

MOST_TEMPLATES = 100
"""Templates of a registry: all are handed to the stage that chooses."""

LONGEST_INSTRUCTIONS = 8_000
"""Characters of what a language model is to change."""

ArtifactId = Annotated[str, Field(pattern=NAME)]
ShortWord = Annotated[str, Field(max_length=100)]
Version = Annotated[str, Field(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}$")]


class SelectTemplateParameters(ExecutorParameters):
    """What is to be made, and the templates that there are."""

    artifact_id: ArtifactId
    """What is made."""
    template_id: ShortWord | None = None
    """The template; without it the one that fits best."""
    artifact_type: ShortWord | None = None
    """The kind of thing that is asked for: service, function, library or module."""
    language: ShortWord | None = None
    """The language that is asked for."""
    capabilities: Annotated[tuple[ShortWord, ...], Field(max_length=MOST_NAMES)] = ()
    """What the result has to do."""
    templates: Annotated[tuple[TemplateCard, ...], Field(max_length=MOST_TEMPLATES)]
    """The templates to choose from."""


class ComposeCodeParameters(ExecutorParameters):
    """A template, and the answers to what it asks."""

    artifact_id: ArtifactId
    """What is made."""
    template: SelectedTemplate
    """The output of select_template."""
    inputs: Annotated[Mapping[InputName, Any], Field(max_length=MOST_NAMES)] = {}
    """Answers by the names of the questions, any JSON, 64 KiB at most."""
    version: Version | None = None
    """The version of what is made: the answer to a question `version` that has no other."""
    instructions: Annotated[str, Field(max_length=LONGEST_INSTRUCTIONS)] = ""
    """What a language model is to change in the code; without it, or without a model, nothing."""

    @model_validator(mode="after")
    def _bounded(self) -> "ComposeCodeParameters":
        if json_size(self.inputs) > MOST_INPUT:
            raise ValueError(f"has inputs of more than {MOST_INPUT} bytes")
        return self


class ValidateCodeParameters(ExecutorParameters):
    """A project that tools and policies look at."""

    code: ComposedCode
    """The output of compose_code."""
    policies: Annotated[tuple[ScanPolicy, ...], Field(max_length=MOST_TOOLS)] = ()
    """Policies of the plan, beside those of the worker's owner."""


class RunTestsParameters(ExecutorParameters):
    """A project whose tests are run."""

    code: ComposedCode
    """The output of compose_code."""
    min_coverage: Score = 0.8
    """The share of lines that tests should run."""


class PackageParameters(ExecutorParameters):
    """A project that is built, listed, signed and pushed; as a compensation: what is taken away again."""

    artifact_id: ArtifactId
    """What is made."""
    code: ComposedCode | None = None
    """The output of compose_code."""
    template: SelectedTemplate | None = None
    """The output of select_template, for the provenance."""
    validation: ValidatedCode | None = None
    """The output of validate_code."""
    tests: TestedCode | None = None
    """The output of run_tests."""
    version: Version = "0.1.0"
    """The version of what is made."""
    pushed: Annotated[tuple[str, ...], Field(max_length=MOST_NAMES)] = ()
    """Of a compensation: what was pushed, as the output says it."""


class GateParameters(ExecutorParameters):
    """What the approval gate looks at."""

    code: ComposedCode
    """The output of compose_code."""
    validation: ValidatedCode
    """The output of validate_code."""
    tests: TestedCode
    """The output of run_tests."""


class MergeRequestParameters(ExecutorParameters):
    """A project that is put before people on a code host."""

    artifact_id: ArtifactId
    """What is made."""
    code: ComposedCode
    """The output of compose_code."""
    score: Score
    """That of the gate."""
    reason: Annotated[str, Field(max_length=2_000)] = ""
    """Why people have to decide."""
    validation: ValidatedCode | None = None
    """The output of validate_code, whose findings the text of the merge request counts."""
    tests: TestedCode | None = None
    """The output of run_tests, likewise."""
    package: PackagedCode | None = None
    """The output of package, which the text of the merge request lists."""


MODELS: Mapping[str, type[ExecutorParameters]] = {
    "forge_select_template": SelectTemplateParameters,
    "forge_compose_code": ComposeCodeParameters,
    "forge_validate_code": ValidateCodeParameters,
    "forge_run_tests": RunTestsParameters,
    "forge_package": PackageParameters,
    "forge_gate": GateParameters,
    "forge_merge_request": MergeRequestParameters,
}
"""The models of the parameters by the names of the executors."""
