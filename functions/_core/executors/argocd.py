"""Parameters and outputs of the executor `argocd`."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import Field

from functions._core.executors.deploy import DeployOutputs, DeployParameters
from functions._core.executors.parameters import ExecutorParameters

NAME = r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$"
IMAGE = r"^[A-Za-z0-9][A-Za-z0-9._/:@=-]{0,499}$"

Name = Annotated[str, Field(pattern=NAME)]


class ArgocdParameters(DeployParameters):
    """An application of Argo CD, and what of its source is changed before it is synced.

    `revision` of a deployment is a branch, a tag, a commit or the version of a chart, and stays as it is without one.
    That of a rollback is an id of the application's history, or a commit there.
    """

    TARGET: ClassVar[frozenset[str]] = frozenset(
        {"application", "app_namespace", "project", "prune", "health_timeout_seconds"}
    )

    application: Name
    """The application; the worker's owner says which ones."""
    app_namespace: Name | None = None
    """The namespace of the application itself, where that is not Argo CD's own."""
    namespace: Name | None = None
    """The namespace that it deploys to, as freezes name it; if it is said, it has to be that of the application."""
    project: Name | None = None
    """The project that it has to be in."""
    images: Annotated[tuple[Annotated[str, Field(pattern=IMAGE)], ...], Field(max_length=50)] = ()
    """Images of Kustomize that take the place of those with the same name: `r.test/shop:7`, `shop=r.test/shop:7`."""
    values: Mapping[str, Any] = {}
    """Values of Helm, over those that the application has."""
    prune: bool = False
    """Whether objects that are not in the source any more are removed."""


class ArgocdOutputs(DeployOutputs):
    """The outputs of a deployment by Argo CD; `revision` is the commit or the version of the chart that runs now."""

    history_id: str
    """The deployment in the application's history."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"argocd": ArgocdParameters}
"""The model of the parameters."""
