"""Settings of healing: who restarts and scales what runs beside the platform."""

from pydantic import AnyHttpUrl, Field

from functions._engine.slo_settings import SloSettings


class HealingSettings(SloSettings):
    """Those of SLOs, and the one of healing. Part of `Settings`, which has the rules of names and values."""

    healing_url: AnyHttpUrl | None = Field(
        None,
        description="Gets a CloudEvent `healing.action_requested` when a playbook wants a worker restarted, or scaled; "
        "without it such steps are not configured",
    )
