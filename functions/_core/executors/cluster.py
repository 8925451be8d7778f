"""Parameters and outputs of the executor `k8s_job`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from functions._core.executors.container import IMAGE, Arguments
from functions._core.executors.execute import MOST_NAMES, Argument, variables
from functions._core.executors.parameters import ExecutorParameters, ParameterPart
from functions._core.records.values import Model

LABEL = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"
"""A name as namespaces have one (RFC 1123)."""

SUBDOMAIN = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"
"""A name as most objects have one (RFC 1123)."""

Namespace = Annotated[str, Field(pattern=LABEL)]
ObjectName = Annotated[str, Field(pattern=SUBDOMAIN, max_length=253)]


class PodResources(ParameterPart):
    """What a pod may use, and what is kept free for it."""

    cpus: float = Field(default=1, ge=0.01, le=256)
    """Processors at most, also parts of one."""
    memory_mb: int = Field(default=512, ge=16, le=1_048_576)
    """Memory at most, in mebibytes."""
    requested_cpus: float = Field(default=0.1, ge=0.001, le=256)
    """Processors that are kept free for it."""
    requested_memory_mb: int = Field(default=128, ge=1, le=1_048_576)
    """Memory that is kept free for it, in mebibytes."""


class K8sJobParameters(ExecutorParameters):
    """An image that runs as a Job of a Kubernetes cluster."""

    namespace: Namespace
    """Where it runs; the worker's owner says which ones may be named."""
    image: Annotated[str, Field(pattern=IMAGE)]
    """The image; the worker's owner says which ones may run."""
    argv: Arguments | None = None
    """The program and its arguments, or those of the image's entry point; without it those of the image."""
    entrypoint: Arguments | None = None
    """Instead of the entry point of the image."""
    env: Annotated[Mapping[str, Argument], Field(max_length=MOST_NAMES), AfterValidator(variables)] = {}
    """Variables, beside those of the image and those about the task (FLOWC_TASK_ID …)."""
    user: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,8}(:[0-9]{1,9})?$")] = "65534:65534"
    """The user by number, never root; and perhaps the group."""
    service_account: ObjectName | None = None
    """The service account, without its token; the worker's owner says which ones may be named."""
    resources: PodResources = Field(default_factory=PodResources)
    """What it may use."""
    schedule_seconds: int = Field(default=120, ge=0, le=3_600)
    """How long it may wait for a node that has room."""
    keep_seconds: int = Field(default=3_600, ge=60, le=604_800)
    """How long the cluster keeps the Job after its end: as long it is found again by another attempt."""
    read: Literal["text", "json"] = "text"
    """json: all that it writes is one JSON value, which becomes the output `value`."""


class K8sJobOutputs(Model):
    """The outputs of a Job that has succeeded."""

    exit_code: int
    """How it ended."""
    image: str = ""
    """The image that was run, as the node names it, with its hash."""
    namespace: str
    """Where it ran."""
    pod: str
    """The pod that ran."""
    node: str = ""
    """The node on which it ran."""
    stdout: str = ""
    """The last 64 KiB of what it wrote; a pod keeps both of its streams as one."""
    value: Any = None
    """The JSON value that it wrote."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"k8s_job": K8sJobParameters}
"""The model of the parameters."""
