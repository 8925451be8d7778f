"""Playbooks: which incidents they are for, their steps, and their limits. Pure.

Of the playbooks that fit an incident the first by `order`, then by name, heals it; no other one is looked at. Its steps
are done one after the other: the next one only when the one before could not be done, or has not helped.
"""

from collections.abc import Iterable, Mapping
from typing import Annotated

from pydantic import BeforeValidator, ConfigDict, Field, StrictBool, model_validator

from functions._core.events.healing import HealingAct, HealingDue
from functions._core.records.audits import IncidentType, Severity
from functions._core.records.values import Model, TaskType, Timestamp, WholeNumber, a_number

MAX_PLAYBOOKS = 100
"""Playbooks of a platform: each incident is compared with all of them."""

MAX_STEPS = 10
"""Steps of a playbook."""

PER_INCIDENT, PER_HOUR = 3, 10
"""Actions for one incident, and in any hour for all incidents together, at most; a playbook may have lower limits."""

LETTERS = 10
"""Dead letters that one step replays at most."""

PRINTABLE = r"^[^\x00-\x1f\x7f-\x9f]*$"

Text255 = Annotated[str, Field(min_length=1, max_length=255, pattern=PRINTABLE)]

OWNED: Mapping[str, HealingAct] = {
    "not_idempotent": HealingAct.RETRY_TICKET,
    "at_most": HealingAct.REPLAY_DEAD_LETTERS,
    "target": HealingAct.SCALE,
    "replicas": HealingAct.SCALE,
}
"""The action that each field of a step belongs to."""


class IncidentMatch(Model):
    """Which incidents a playbook is for: those that fit all of it. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    incident_types: tuple[IncidentType, ...] = Field(default=(), max_length=len(IncidentType))
    """Only incidents of these types; empty: of any."""
    severities: tuple[Severity, ...] = Field(default=(), max_length=len(Severity))
    """Only incidents of these severities; empty: of any."""
    errors: tuple[Text255, ...] = Field(default=(), max_length=50)
    """Only where the ticket failed with one of these codes; empty: with any, or none."""
    task_types: tuple[TaskType, ...] = Field(default=(), max_length=len(TaskType))
    """Only where the ticket is of one of these types of tasks; empty: of any, or there is none."""
    capabilities: tuple[Text255, ...] = Field(default=(), max_length=50)
    """Only where the ticket requires all of these."""
    workers: tuple[Text255, ...] = Field(default=(), max_length=50)
    """Only where one of these workers had the ticket last; empty: any, or none."""
    labels: Annotated[Mapping[Text255, Text255], Field(max_length=16)] = {}
    """Only flows with all of these labels."""

    def fits(self, due: HealingDue) -> bool:
        """Whether an incident is one of those."""
        return (
            self.may_fit(due.incident_type, due.severity, due.labels)
            and (not self.errors or due.error in self.errors)
            and (not self.task_types or due.task_type in self.task_types)
            and {*self.capabilities} <= {*due.capabilities}
            and (not self.workers or due.worker_id in self.workers)
        )

    def may_fit(self, incident_type: str, severity: str, labels: Mapping[str, str]) -> bool:
        """Whether an incident may be one of those, as far as is known without its ticket."""
        return (
            (not self.incident_types or incident_type in self.incident_types)
            and (not self.severities or severity in self.severities)
            and self.labels.items() <= labels.items()
        )


class PlaybookStep(Model):
    """One step of a playbook. A field that is not known, or belongs to another action, is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    action: HealingAct
    """What is done."""
    not_idempotent: StrictBool | None = None
    """Whether `retry_ticket` also tries a task again that must not be repeated; absent: no."""
    at_most: Annotated[int, Field(ge=1, le=LETTERS), BeforeValidator(a_number)] | None = None
    """How many dead letters `replay_dead_letters` replays at most; absent: 10."""
    target: Text255 | None = None
    """What `scale` scales, such as the name of a deployment."""
    replicas: Annotated[int, Field(ge=0, le=1000), BeforeValidator(a_number)] | None = None
    """How many there are to be after `scale`."""

    @model_validator(mode="after")
    def _fits(self) -> "PlaybookStep":
        for name, owner in OWNED.items():
            if getattr(self, name) is not None and self.action is not owner:
                raise ValueError(f"{name} is for {owner}, not for {self.action}")
        if self.action is HealingAct.SCALE and (self.target is None or self.replicas is None):
            raise ValueError("scale says what its target is, and how many replicas there are to be")
        return self


class HealingLimits(Model):
    """How much a playbook may do. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_incident: WholeNumber = Field(default=PER_INCIDENT, ge=1, le=PER_INCIDENT)
    """Actions for one incident, and for those that its actions have caused, at most."""
    per_hour: WholeNumber = Field(default=PER_HOUR, ge=1, le=PER_HOUR)
    """Actions of this playbook in any hour at most."""


class PlaybookForm(Model):
    """What a client sends to make or replace a playbook. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    description: Annotated[str, Field(max_length=2000, pattern=PRINTABLE)] = ""
    """What it is for."""
    order: WholeNumber = Field(default=100, ge=0, le=1000)
    """Playbooks are looked at by this number, the lowest first; the first that fits heals."""
    match: IncidentMatch = IncidentMatch()
    """The incidents that it is for; absent: all."""
    steps: Annotated[tuple[PlaybookStep, ...], Field(min_length=1, max_length=MAX_STEPS)]
    """What is done, in this order, until it has helped."""
    limits: HealingLimits = HealingLimits()
    """How much it may do."""
    verify_after_seconds: WholeNumber = Field(default=300, ge=1, le=3600)
    """After so many seconds an action is looked at: whether it has helped."""
    dry_run: StrictBool = False
    """Whether it only records that it would have healed."""
    enabled: StrictBool = True
    """Whether it is looked at."""

    @model_validator(mode="after")
    def _ends(self) -> "PlaybookForm":
        acts = [step.action for step in self.steps]
        if HealingAct.ESCALATE in acts[:-1]:
            raise ValueError("escalate is the last step: nothing more is done after it")
        return self


class Playbook(PlaybookForm):
    """A playbook as it is stored."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    name: str
    """Its name."""
    created_at: Timestamp
    """When it was made."""
    updated_at: Timestamp
    """When somebody changed it last."""


def chosen(playbooks: Iterable[Playbook], due: HealingDue) -> Playbook | None:
    """Return the playbook that heals an incident; None when none does."""
    fitting = (one for one in playbooks if one.enabled and one.match.fits(due))
    return min(fitting, key=lambda one: (one.order, one.name), default=None)
