"""Settings of the platform's own worker: which executors it has, and how much it takes."""

from datetime import timedelta

from pydantic import Field

from functions._core.records.values import SecurityLevel
from functions._engine.healing_settings import HealingSettings


class OwnWorkerSettings(HealingSettings):
    """Those of healing, and those of the platform's own worker. Part of `Settings`."""

    executors: str = Field(
        "",
        max_length=500,
        description="Executors by which the platform does tickets itself, without a worker, with commas between, such "
        "as `http,function`: those whose jobs live elsewhere. They have the variables of a worker's, `WORKER_…`",
    )
    executor_slots: int = Field(100, ge=1, le=1_000, description="Tickets that it does so at once")
    executor_clearance: SecurityLevel = Field(
        SecurityLevel.INTERNAL, description="The highest security level of the tickets that it does so"
    )
    executor_look_seconds: float = Field(10, ge=0.05, le=3600, description="How often it looks at each of these jobs")

    @property
    def job_look(self) -> timedelta:
        """The time between two looks at a job."""
        return timedelta(seconds=self.executor_look_seconds)
