"""Parameters and outputs of the executor `terraform`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from functions._core.executors.deploy import DeployOutputs, DeployParameters
from functions._core.executors.execute import RelativePath
from functions._core.executors.parameters import ExecutorParameters
from functions._core.records.values import Model

VariableName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,254}$")]


class TerraformParameters(DeployParameters):
    """A configuration of the worker's owner, and the values of its variables."""

    project: RelativePath
    """Its folder, below those of the worker's owner."""
    mode: Literal["apply", "plan"] = "apply"
    """plan: a plan is made and kept, for a later task that applies it; nothing is changed."""
    plan: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """The output `plan` of a task of mode plan: that very plan is applied, or nothing. Without it a new one."""
    variables: Annotated[Mapping[VariableName, Any], Field(max_length=200)] = {}
    """Values of its variables, any JSON."""
    workspace: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,89}$")] | None = None
    """The workspace, which has to be there; without it the default one."""
    destroy: bool = False
    """Whether resources may be destroyed, or replaced, which destroys them, too."""

    @model_validator(mode="after")
    def _forward(self) -> Self:
        if self.rolls_back:
            raise ValueError("cannot roll back: apply the configuration that was there before")
        if self.plan is not None and (self.mode == "plan" or self.variables):
            raise ValueError("has a plan, which is applied as it is: with no variables, and no mode plan")
        return self


class ResourceChange(Model):
    """What becomes of one resource."""

    address: str
    """The resource, as in `module.shop.aws_s3_bucket.pictures`."""
    action: Literal["create", "change", "replace", "destroy", "other"]
    """What is done to it."""


class TerraformOutputs(DeployOutputs):
    """The outputs of a plan, or of what was applied; `revision` is the hash of the files of the configuration."""

    plan: str = ""
    """The hash of the plan, for the task that applies it."""
    create: int = 0
    """Resources that are created."""
    change: int = 0
    """Resources that are changed."""
    replace: int = 0
    """Resources that are destroyed and created again."""
    destroy: int = 0
    """Resources that are destroyed."""
    changes: tuple[ResourceChange, ...] = ()
    """The first 100 of them."""
    values: Mapping[str, Any] = {}
    """The outputs of the configuration, without the sensitive ones."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"terraform": TerraformParameters}
"""The model of the parameters."""
