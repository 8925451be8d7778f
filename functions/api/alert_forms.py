"""What an Alertmanager sends to a webhook, version 4 of its message, and the answer."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from functions._core.records.record import encode
from functions._core.records.values import Model

MAX_ALERTS = 500
"""Alerts of a message; an Alertmanager groups them, and sends a group at a time."""

SLO_LABEL, SERVICE_LABEL = "slo", "service"
"""The labels that name an SLO, by id or by name, and the service that tells SLOs of one name apart."""


class ReceivedAlert(Model):
    """An alert that fires or no longer does. Other fields are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    status: Literal["firing", "resolved"]
    """Whether it fires."""
    labels: Annotated[Mapping[str, str], Field(max_length=200)]
    """Its labels; `slo` names an SLO."""
    startsAt: Annotated[str, Field(max_length=64)] = ""  # noqa: N815 the Alertmanager's name
    """When it began."""
    fingerprint: Annotated[str, Field(max_length=200)] = ""
    """What tells it from others; absent: its labels do."""

    @property
    def slo(self) -> str:
        """The id or name of an SLO; empty where it names none."""
        return self.labels.get(SLO_LABEL, "")

    @property
    def key(self) -> str:
        """What is the same when it is sent again."""
        told_apart = self.fingerprint or sorted(self.labels.items())
        return sha256(encode([told_apart, self.startsAt, self.status])).hexdigest()


class AlertMessage(Model):
    """A group of alerts. Other fields are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal["4"] = "4"
    """Version of the message."""
    status: Literal["firing", "resolved"] = "firing"
    """Whether any of them fires."""
    receiver: Annotated[str, Field(max_length=1000)] = ""
    """The receiver that the Alertmanager knows the platform as."""
    alerts: Annotated[tuple[ReceivedAlert, ...], Field(max_length=MAX_ALERTS)]
    """The alerts."""


class AlertFault(Model):
    """An SLO that could not be evaluated, and why: its last budget stays."""

    slo: str
    """Id of the SLO."""
    code: str
    """The word to program against."""
    message: str
    """The same, for people."""


class AlertAnswer(Model):
    """What became of the alerts of a message."""

    received: int
    """Alerts of the message."""
    processed: int
    """Alerts whose SLO was calculated again, and its policies looked at, or that a playbook may heal."""
    ignored: int
    """Alerts that name no SLO and no flow, what is not known or is off, or that were processed before."""
    errors: tuple[AlertFault, ...] = ()
    """SLOs that could not be evaluated; their alerts are processed when they come again."""
