"""Parameters and outputs of the executor `container`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from functions._core.executors.execute import MOST_ARGUMENTS, MOST_NAMES, Argument, variables
from functions._core.executors.parameters import ExecutorParameters, ParameterPart
from functions._core.records.values import Model

IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._/:@-]{0,254}$"
Arguments = Annotated[tuple[Argument, ...], Field(max_length=MOST_ARGUMENTS)]


class ContainerLimits(ParameterPart):
    """What a container may use, all of its processes together."""

    cpus: float = Field(default=1, ge=0.01, le=256)
    """Processors, also parts of one."""
    memory_mb: int = Field(default=512, ge=16, le=1_048_576)
    """Memory, swap included, in mebibytes."""
    processes: int = Field(default=128, ge=1, le=32_768)
    """Processes and threads at once."""


class ContainerParameters(ExecutorParameters):
    """An image, and what is run in it."""

    image: Annotated[str, Field(pattern=IMAGE)]
    """The image, as `docker pull` names it; the worker's owner says which ones may run."""
    argv: Arguments | None = None
    """The program and its arguments, or those of the image's entry point; without it those of the image."""
    entrypoint: Arguments | None = None
    """Instead of the entry point of the image."""
    env: Annotated[Mapping[str, Argument], Field(max_length=MOST_NAMES), AfterValidator(variables)] = {}
    """Variables, beside those of the image and those about the task (FLOWC_TASK_ID …)."""
    user: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,9}(:[0-9]{1,10})?$")] = "65534:65534"
    """The user by number, never root; and perhaps the group."""
    network: bool = False
    """Whether it needs the network; the worker's owner decides whether it gets it."""
    limits: ContainerLimits = Field(default_factory=ContainerLimits)
    """What it may use."""
    pull: Literal["missing", "never"] = "missing"
    """Whether an image that is not there is fetched."""
    read: Literal["text", "json"] = "text"
    """json: standard output is one JSON value, which becomes the output `value`."""


class ContainerOutputs(Model):
    """The outputs of a container that has succeeded."""

    exit_code: int
    """How it ended."""
    image: str
    """The image that was run, by its hash."""
    stdout: str = ""
    """The last 64 KiB of standard output."""
    stderr: str = ""
    """The last 64 KiB of standard error."""
    value: Any = None
    """The JSON value that it printed."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"container": ContainerParameters}
"""The model of the parameters."""
