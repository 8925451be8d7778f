"""Every setting of the platform, read once from a mapping such as the environment."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from functions._core.rules import Rules

PREFIX = "FLOWC_"


class SettingsError(Exception):
    """Some settings are wrong; the message names each of them."""


class Settings(BaseModel):
    """The settings; a field `x` is read from `FLOWC_X`. The README's table is made of these descriptions."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    port: int = Field(8080, ge=0, le=65535, description="Port on 127.0.0.1 for ingress, API and metrics; 0 picks one")
    data: Path = Field(Path(".flowc"), description="Folder that holds the database, the worker key and telemetry")
    public_url: AnyHttpUrl | None = Field(None, description="Base URL that workers reach the platform at")
    telemetry_url: AnyHttpUrl | None = Field(None, description="Telemetry sink; without it a file in the data folder")
    subscriber_url: AnyHttpUrl | None = Field(None, description="Gets every transition as a CloudEvent")
    worker_key: SecretStr | None = Field(
        None, min_length=32, description="Key of the workers' tokens; without it a file in the data folder"
    )
    sla_seconds: float = Field(14_400, gt=0, description="Deadline of a decision that brings none")
    heartbeat_seconds: float = Field(30, gt=0, le=3600, description="How often workers report that they are alive")
    no_worker_seconds: float = Field(600, gt=0, description="How long a ticket waits for a capable worker to register")
    max_body_bytes: int = Field(16 * 1024 * 1024, ge=1024, description="Largest request body")
    in_flight: int = Field(64, ge=1, le=1024, description="Events handled at the same time")
    deliveries: int = Field(256, ge=1, le=10_000, description="Assignments being POSTed at the same time")
    queue_memory: int = Field(20_000, ge=100, description="Queued events held in memory; the rest waits on disk")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe log line shown")

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, str], **given: Any) -> "Settings":
        """Read `FLOWC_*` of `mapping`, `given` values first; raise `SettingsError` naming everything that is wrong."""
        found: dict[str, Any] = {
            name: mapping[PREFIX + name.upper()]
            for name in cls.model_fields
            if mapping.get(PREFIX + name.upper(), "").strip()
        }
        found.update({name: value for name, value in given.items() if value is not None})
        problems = [f"{name}: not a setting of Flow C" for name in sorted(_unknown(mapping, cls))]
        try:
            settings = cls.model_validate(found)
        except ValidationError as error:
            problems += [f"{PREFIX}{str(e['loc'][0]).upper()}: {e['msg']}" for e in error.errors(include_input=False)]
        if problems:
            raise SettingsError("wrong settings:\n  " + "\n  ".join(problems))
        return settings

    @property
    def rules(self) -> Rules:
        """The time limits that follow from the settings."""
        return Rules(
            default_sla=timedelta(seconds=self.sla_seconds),
            heartbeat=timedelta(seconds=self.heartbeat_seconds),
            no_worker=timedelta(seconds=self.no_worker_seconds),
        )


CLIENT_SETTINGS = frozenset({"FLOWC_URL", "FLOWC_API_KEY"})
"""Read by the command line and by workers, not by the platform."""


def _unknown(mapping: Mapping[str, str], cls: type[Settings]) -> set[str]:
    known = {PREFIX + name.upper() for name in cls.model_fields} | CLIENT_SETTINGS
    reserved = (PREFIX + "TEST_", PREFIX + "TICKET_", PREFIX + "TASK_")
    return {name for name in mapping if name.startswith(PREFIX) and name not in known and not name.startswith(reserved)}
