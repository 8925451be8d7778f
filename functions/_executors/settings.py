"""Settings of executors, which a worker reads from its environment: `WORKER_…`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from functions._adapters.http.addresses import Network, Networks

PREFIX = "WORKER_"

LISTS = frozenset(
    {
        "applications",
        "charts",
        "commands",
        "images",
        "kinds",
        "namespaces",
        "networks",
        "projects",
        "readable",
        "service_accounts",
    }
)
"""Settings that are lists, with commas between."""


class ExecutorSettings(BaseModel):
    """What the owner of a worker lets its executors do, whatever a plan asks for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    sandbox: Literal["on", "off"] = Field(
        "on",
        description="`off`: programs of `command` and `python` run as the worker does, with its network and its files; "
        "`on`: in a sandbox of bubblewrap, without which they are refused",
    )
    commands: tuple[str, ...] = Field(
        (),
        description="Programs that may run, by name or absolute path, and Python functions as `module:function`, with "
        "commas between; without any, all in the sandbox and none outside of it",
    )
    folder: Path = Field(Path(".flowc/work"), description="Where each job has a folder of its own for its files")
    readable: tuple[Path, ...] = Field(
        (), description="Folders that the sandbox shows, read-only, beside those of the system, with commas between"
    )
    projects: tuple[Path, ...] = Field(
        (),
        description="Folders below which `terraform` and `sam` find the projects that plans may name, with commas "
        "between. Who can write there has the credentials that the tool has. Without any, none",
    )
    program_network: bool = Field(
        default=False, description="Whether programs in the sandbox get the network when their plan asks for it"
    )
    images: tuple[str, ...] = Field(
        (),
        description="Images that `container`, `k8s_job` and `kubernetes` may run, with commas between, as patterns "
        "such as `ghcr.io/acme/*`: `*` stands for anything without `/`. Without any, none",
    )
    applications: tuple[str, ...] = Field(
        (),
        description="Applications of `argocd`, releases of `helm` and stacks of `sam` that may be deployed, with "
        "commas between, as patterns: `shop-*` is an application in Argo CD's own namespace, or a stack, "
        "`NAMESPACE/NAME` another application, or a release. Without any, none",
    )
    charts: tuple[str, ...] = Field(
        (),
        description="Charts that `helm` may deploy, with commas between, as patterns such as "
        "`oci://ghcr.io/acme/*` or `/srv/charts/*`. Without any, none",
    )
    networks: Networks = Field(
        frozenset[Network]({"public"}),
        description="Where `http` and `function` may call: loopback, private, public, with commas between",
    )
    namespaces: tuple[str, ...] = Field(
        (),
        description="Namespaces of the Kubernetes cluster in which `k8s_job`, `kubernetes` and `flux` do anything, "
        "with commas between, as patterns such as `team-*`. Without any, none",
    )
    kinds: tuple[str, ...] = Field(
        (
            "Deployment",
            "StatefulSet",
            "DaemonSet",
            "Service",
            "ConfigMap",
            "HorizontalPodAutoscaler",
            "PodDisruptionBudget",
            "Ingress",
        ),
        description="Kinds of objects that `kubernetes` applies, with commas between; those of other groups as "
        "`Certificate.cert-manager.io`",
    )
    service_accounts: tuple[str, ...] = Field(
        (), description="Service accounts that pods of `k8s_job` and `kubernetes` may have, with commas between"
    )
    environment: Mapping[str, str] = Field(default={}, repr=False, exclude=True)
    """All variables of the worker, for executors that have settings of their own."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Self:
        """Read the settings from variables; raises `ValueError` that names all that are wrong."""
        given = dict(os.environ if environment is None else environment)
        values: dict[str, object] = {"environment": given}
        for name in cls.model_fields.keys() - {"environment"}:
            text = given.get(f"{PREFIX}{name.upper()}", "").strip()
            if text:
                values[name] = tuple(filter(None, map(str.strip, text.split(",")))) if name in LISTS else text
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = (f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
            raise ValueError("; ".join(faults)) from None
