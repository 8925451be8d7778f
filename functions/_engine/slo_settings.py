"""Settings of SLOs and error budgets: the metrics server, the alerts, the interval, the cluster that freezes."""

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from pydantic import AnyHttpUrl, Field, SecretStr, field_validator

from functions._engine.learning_settings import LearningSettings

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where a pod has the files of its service account."""

LABEL = r"^([a-z0-9.-]{1,253}/)?[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$"


class SloSettings(LearningSettings):
    """Part of `Settings`, which has the rules of names and values."""

    prometheus_url: AnyHttpUrl | None = Field(
        None, description="Prometheus, base URL, that SLOs ask whose indicator is a query; without it they have no data"
    )
    prometheus_timeout_seconds: float = Field(
        10, gt=0, le=120, description="How long a query may take, with all of its repetitions"
    )
    alert_webhook_secret: SecretStr | None = Field(
        None,
        description="Secret of the Alertmanager that sends alerts here; while it is replaced two, with a space between",
    )
    alert_webhook_secret_secret: str | None = Field(
        None, description="Where FLOWC_ALERT_WEBHOOK_SECRET is kept, as that of FLOWC_WORKER_KEY"
    )
    budget_interval_seconds: float = Field(
        300, ge=1, le=86_400, description="How often the error budgets of all SLOs are calculated"
    )

    freeze_cluster_url: AnyHttpUrl | None = Field(
        None,
        description="API server of a Kubernetes cluster, such as https://kubernetes.default.svc, whose namespaces and "
        "workloads are annotated while they are frozen",
    )
    freeze_token_file: Path = Field(
        SERVICE_ACCOUNT / "token",
        description="Token of the service account that may annotate; it is read anew each time",
    )
    freeze_ca_file: Path = Field(
        SERVICE_ACCOUNT / "ca.crt", description="Certificates of the authority of that API server"
    )
    freeze_service_label: str = Field(
        "app.kubernetes.io/name",
        max_length=317,
        pattern=LABEL,
        description="Label by which a deployment or a stateful set says what service it is of",
    )
    freeze_namespaces: str = Field(
        "neural-hive.io/sla-freezes=true",
        max_length=381,
        pattern=f"{LABEL[:-1]}=[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="Label, `name=value`, of the namespaces that policies for everything freeze",
    )

    @field_validator("prometheus_url", "freeze_cluster_url")
    @classmethod
    def _base(cls, value: AnyHttpUrl | None) -> AnyHttpUrl | None:
        if value is not None and (value.query is not None or value.fragment is not None):
            raise ValueError("a base URL has no query and no fragment: paths are put behind it")
        return value

    @property
    def budget_interval(self) -> timedelta:
        """The time between two calculations of all budgets."""
        return timedelta(seconds=self.budget_interval_seconds)

    @property
    def alert_webhook_secrets(self) -> Sequence[str]:
        """The secrets by which an Alertmanager proves itself; any of them will do."""
        return self.alert_webhook_secret.get_secret_value().split() if self.alert_webhook_secret is not None else ()
