"""Parameters and outputs of the executor `helm`."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator

from functions._core.executors.deploy import DeployOutputs, DeployParameters
from functions._core.executors.parameters import ExecutorParameters

NAME = r"^[a-z0-9]([a-z0-9-]{0,51}[a-z0-9])?$"
CHART = r"^[A-Za-z0-9/][A-Za-z0-9._/:@-]{0,499}$"


def _without_way_up(chart: str) -> str:
    if ".." in chart.split("/"):
        raise ValueError("must not lead upwards")
    return chart


class HelmParameters(DeployParameters):
    """A release, and the chart that it is made of.

    `revision` of a deployment is the version of the chart; that of a rollback is a number of the release's history.
    """

    TARGET: ClassVar[frozenset[str]] = frozenset({"release", "namespace", "health_timeout_seconds"})

    release: Annotated[str, Field(pattern=NAME)]
    """The release; the worker's owner says which ones."""
    namespace: Annotated[str, Field(pattern=NAME)] = "default"
    """Its namespace."""
    chart: Annotated[str, Field(pattern=CHART), AfterValidator(_without_way_up)] | None = None
    """The chart: `oci://registry/chart`, `repository/chart` or a folder; the worker's owner says which ones."""
    values: Mapping[str, Any] = {}
    """Values for the chart, any JSON; those of earlier revisions do not count."""
    create_namespace: bool = False
    """Whether the namespace is made where it is not there."""

    @model_validator(mode="after")
    def _has_a_chart(self) -> Self:
        if self.chart is None and not self.rolls_back:
            raise ValueError("has no chart")
        return self


class HelmOutputs(DeployOutputs):
    """The outputs of a release that was deployed; `revision` is its number in the history."""

    chart: str
    """The chart with its version, as in `shop-1.4.0`."""


MODELS: Mapping[str, type[ExecutorParameters]] = {"helm": HelmParameters}
"""The model of the parameters."""
