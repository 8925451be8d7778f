"""Settings of executors, which a worker reads from its environment: `WORKER_…`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from functions._adapters.http.addresses import Network, Networks

PREFIX = "WORKER_"


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
    repositories: tuple[str, ...] = Field(
        (),
        description="Repositories, projects, jobs and artifacts that executors may use, with commas between, such as "
        "`acme/*`: `*` stands for anything without `/`, `**` for anything. Without any, none",
    )
    tools: tuple[str, ...] = Field(
        (),
        description="Tools of MCP servers that `mcp` may call, with commas between, as patterns `SERVER/TOOL` such as "
        "`search/*`. Without any, none",
    )
    poll_seconds: float = Field(
        10.0,
        ge=0.05,
        le=60,
        description="Seconds between the first two looks at a run of a CI server; the pause grows to three times that",
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
    logs: str = Field(
        "",
        description="Where whole logs and artifacts of jobs are kept: a folder, or `s3://bucket/prefix`, which needs "
        "boto3. Without it the end of a log is on its ticket, and artifacts stay in the folder of their job",
    )
    log_mb: int = Field(64, ge=1, le=10_240, description="Mebibytes of the log of one job that are kept there")
    allow_simulation: bool = Field(
        default=False,
        description="Whether an executor whose tool or service is missing when the worker begins pretends to do its "
        "tickets: the output says `simulated`, and no SLO counts it. Not for production",
    )
    metrics_token: str = Field(
        "",
        repr=False,
        description="Bearer token that `GET /metrics` of the worker asks for; without it clients on this machine alone "
        "may read them",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of `GET /metrics` of a worker that asks for its tickets; none without it",
    )
    otlp_endpoint: str = Field("", description="Base URL of a collector of OpenTelemetry, for a span of each job")
    trace_file: Path | None = Field(None, description="File to which each span is written as a line of JSON")
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
                values[name] = tuple(filter(None, map(str.strip, text.split(",")))) if _is_list(name) else text
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            faults = (f"{PREFIX}{str(fault['loc'][0]).upper()}: {fault['msg']}" for fault in error.errors())
            raise ValueError("; ".join(faults)) from None


def _is_list(name: str) -> bool:
    """Whether a setting has commas between its values."""
    return get_origin(ExecutorSettings.model_fields[name].annotation) in {tuple, frozenset}
