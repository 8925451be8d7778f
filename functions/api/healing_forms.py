"""What clients ask of healing, and the answers."""

from typing import Annotated

from pydantic import ConfigDict, Field

from functions._core.healing.playbooks import PRINTABLE, Playbook
from functions._core.healing.runs import HealingRun
from functions._core.records.values import Model

Text100 = Annotated[str, Field(min_length=1, max_length=100, pattern=PRINTABLE)]


class PlaybookList(Model):
    """All playbooks, by name."""

    items: tuple[Playbook, ...] = Field(description="Playbooks")


class HealingRunList(Model):
    """What playbooks have done, the newest incident first."""

    items: tuple[HealingRun, ...] = Field(description="Runs")
    cursor: str | None = Field(None, description="Asks for the next page; null: nothing follows")


class RehearsalForm(Model):
    """Which incident a rehearsal is about. A field that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flow_id: Text100
    """Id of the flow."""
    incident_id: Text100 | None = None
    """Id of the incident; absent: the newest of the flow."""
    playbook: Text100 | None = None
    """Name of the playbook; absent: the one that would heal it."""
