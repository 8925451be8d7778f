"""Parameters and outputs of the executors `kubernetes`, which applies manifests, and `flux`, which has Flux do it."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from functions._core.executors.cluster import Namespace, ObjectName
from functions._core.executors.deploy import DeployOutputs, DeployParameters
from functions._core.executors.manifests import PLANNED, manifest_faults, size_of
from functions._core.executors.parameters import ExecutorParameters, ParameterPart

MOST_OBJECTS = 50
MOST_TEXT = 512 * 1024
"""Characters of all manifests together, as JSON."""


class KubernetesParameters(DeployParameters):
    """Objects of one namespace, as they are wanted."""

    TARGET: ClassVar[frozenset[str]] = frozenset({"namespace", "manifests", "health_timeout_seconds"})

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


class FluxImage(ParameterPart):
    """An image of a Kustomization, and what is run in its place."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    """The image, as the manifests name it."""
    new_name: Annotated[str, Field(max_length=255)] | None = None
    """Another image."""
    new_tag: Annotated[str, Field(max_length=128)] | None = None
    """Another tag."""
    digest: Annotated[str, Field(max_length=255)] | None = None
    """The hash of the image, instead of a tag."""


class FluxParameters(DeployParameters):
    """A Kustomization or HelmRelease of Flux, and what it is to have.

    A revision is, for a GitRepository, a commit (40 or 64 hexadecimal digits) or a tag; for an OCIRepository a digest
    (`sha256:…`) or a tag; for a HelmRelease with a chart of its own the version of the chart. Without one Flux takes
    the newest of what it follows.
    """

    TARGET: ClassVar[frozenset[str]] = frozenset({"namespace", "kind", "application", "health_timeout_seconds"})

    namespace: Namespace
    """Where the object is; the worker's owner says which namespaces may be named, that of its source, too."""
    kind: Literal["Kustomization", "HelmRelease"] = "Kustomization"
    """What the application is."""
    application: ObjectName
    """The name of the object."""
    images: Annotated[tuple[FluxImage, ...], Field(max_length=MOST_OBJECTS)] | None = None
    """Images of a Kustomization, in place of all that it names now."""
    values: Mapping[str, Any] | None = None
    """Values of a HelmRelease that are changed; those that are null are removed."""

    @model_validator(mode="after")
    def _fitting(self) -> Self:
        if self.images is not None and self.kind != "Kustomization":
            raise ValueError("has images, which only a Kustomization has")
        if self.values is not None and self.kind != "HelmRelease":
            raise ValueError("has values, which only a HelmRelease has")
        if self.values is not None and size_of([self.values]) > MOST_TEXT:
            raise ValueError(f"has values of more than {MOST_TEXT} characters")
        return self


class FluxOutputs(DeployOutputs):
    """The outputs of a deployment that Flux has found healthy; a revision is in Flux's own words (`v1@sha1:…`)."""

    namespace: str
    """Where the object is."""
    application: str
    """The object, as `Kustomization/shop`."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"kubernetes": KubernetesParameters, "flux": FluxParameters}
"""The model of the parameters."""
