"""Parameters and outputs of the executor `sam`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from functions._core.executors.deploy import DeployOutputs, DeployParameters
from functions._core.executors.execute import RelativePath
from functions._core.executors.parameters import ExecutorParameters

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9]{1,255}$")]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9_./:@+-]{1,2048}$")]
"""A value that stays one value, however the tool reads its arguments."""


class SamParameters(DeployParameters):
    """A template of the worker's owner, and the stack that is made of it."""

    project: RelativePath
    """The folder of the template, below those of the worker's owner; `samconfig.toml` in it says the rest."""
    template: RelativePath = "template.yaml"
    """The template, or the one that `sam build` has made: `.aws-sam/build/template.yaml`."""
    stack: Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9-]{0,127}$")]
    """The stack; the worker's owner says which ones."""
    mode: Literal["apply", "plan"] = "apply"
    """plan: a change set is made and shown; nothing is changed."""
    overrides: Annotated[Mapping[Name, Word], Field(max_length=200)] = {}
    """Values of the parameters of the template: letters, digits and _ . / : @ + - alone."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.rolls_back:
            raise ValueError("cannot roll back: deploy the template that was there before")
        return self


class SamOutputs(DeployOutputs):
    """The outputs of a stack; `revision` is the hash of the files of the project."""

    change_set: str = ""
    """The change set that was made, by its ARN, of mode plan."""
    values: Mapping[str, Any] = {}
    """The outputs of the stack."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"sam": SamParameters}
"""The model of the parameters."""
