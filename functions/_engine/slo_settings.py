"""Settings of SLOs and error budgets: the metrics server, the alert manager, and how often budgets are calculated."""

from collections.abc import Sequence
from datetime import timedelta

from pydantic import AnyHttpUrl, BaseModel, Field, SecretStr, field_validator


class SloSettings(BaseModel):
    """Part of `Settings`, which has the rules of names and values."""

    prometheus_url: AnyHttpUrl | None = Field(
        None, description="Prometheus, base URL, that SLOs ask whose indicator is a query; without it they have no data"
    )
    prometheus_timeout_seconds: float = Field(
        10, gt=0, le=120, description="How long a query may take, with all of its repetitions"
    )
    alertmanager_url: AnyHttpUrl | None = Field(None, description="Alertmanager, base URL, for alerts and silences")
    alert_webhook_secret: SecretStr | None = Field(
        None,
        description="Secret of the Alertmanager that sends alerts here; while it is replaced two, with a space between",
    )
    budget_interval_seconds: float = Field(
        300, ge=1, le=86_400, description="How often the error budgets of all SLOs are calculated"
    )

    @field_validator("prometheus_url", "alertmanager_url")
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
