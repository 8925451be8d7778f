"""Parameters and outputs of the executor `kubernetes`: manifests that are applied to a cluster."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from functions._core.executors.cluster import Namespace
from functions._core.executors.deploy import DeployOutputs, DeployParameters
from functions._core.executors.manifests import PLANNED, manifest_faults, size_of
from functions._core.executors.parameters import ExecutorParameters

MOST_OBJECTS = 50
MOST_TEXT = 512 * 1024
"""Characters of all manifests together, as JSON."""


class KubernetesParameters(DeployParameters):
    """Objects of one namespace, as they are wanted."""

    TARGET: ClassVar[frozenset[str]] = frozenset({"namespace", "manifests"})

    namespace: Namespace
    """Where they are; the worker's owner says which ones may be named."""
    manifests: Annotated[tuple[Mapping[str, Any], ...], Field(min_length=1, max_length=MOST_OBJECTS)]
    """The objects, of the kinds that the worker's owner allows. They are applied in this order."""
    force: bool = False
    """Whether fields that somebody else has set are taken over; without it they are a conflict."""

    @model_validator(mode="after")
    def _allowed(self) -> Self:
        if size_of(self.manifests) > MOST_TEXT:
            raise ValueError(f"has manifests of more than {MOST_TEXT} characters")
        for number, manifest in enumerate(self.manifests):
            for fault in manifest_faults(manifest, self.namespace, PLANNED):
                raise ValueError(f"has manifest {number}: {fault}")
        return self


class KubernetesOutputs(DeployOutputs):
    """The outputs of a deployment that is healthy."""

    namespace: str
    """Where it is."""
    objects: tuple[str, ...] = ()
    """What was applied, as `Deployment/web`."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"kubernetes": KubernetesParameters}
"""The model of the parameters."""
