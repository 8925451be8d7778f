"""The data of the events about healing: that an incident is to be healed, what is asked of others, how it ended."""

from collections.abc import Mapping
from typing import ClassVar

from functions._core.records.audits import IncidentType, Severity
from functions._core.records.values import Model, TaskType, Timestamp, Word

HEALING_DUE, HEALING_ASKED = "healing.due", "healing.action_requested"
INCIDENT_RAISED, RESOLVED, ESCALATED = "incident.raised", "incident.resolved", "incident.escalated"
"""The types of the events, without prefix and version."""

PLAYBOOKS, OPEN_RUNS = "playbooks", "healing-open"
"""The spaces of `KeyValues` with the playbooks by name, and with the keys of the runs that are under way. They are
here, as a process imports no more of healing while there are no playbooks."""


class HealingAct(Word):
    """What a step of a playbook does; lower case on every wire."""

    RETRY_TICKET = "retry_ticket"
    """The ticket that failed is tried once more; its flow goes on with it."""
    REASSIGN_TICKET = "reassign_ticket"
    """The ticket is taken from its worker and given to another one."""
    RESTART_WORKER = "restart_worker"
    """Whoever is named by `FLOWC_HEALING_URL` is asked to restart the worker."""
    OPEN_BREAKER = "open_breaker"
    """The worker gets nothing for a while, as after failures in a row."""
    CLOSE_BREAKER = "close_breaker"
    """The worker gets tickets again, whatever it has failed before."""
    REPLAY_DEAD_LETTERS = "replay_dead_letters"
    """Dead letters of the flow are handled again."""
    SCALE = "scale"
    """Whoever is named by `FLOWC_HEALING_URL` is asked for another number of replicas."""
    ROLL_BACK = "roll_back"
    """The flow is cancelled and what it has done is undone, where it says how."""
    PAUSE_FLOW = "pause_flow"
    """Nothing more of the flow is assigned until a person lets it go on."""
    ESCALATE = "escalate"
    """A person is told, and nothing more is done."""


class HealingDue(Model):
    """Data of `healing.due`: a playbook may heal an incident.

    It is committed with the incident, so that no crash comes in between.
    """

    event_type: ClassVar[str] = HEALING_DUE

    incident_id: str
    """Id of the incident."""
    flow_id: str
    """Id of the flow that has the trouble."""
    incident_type: IncidentType
    """The kind of trouble."""
    severity: Severity
    """How much it matters."""
    ticket_id: str | None = None
    """Id of the ticket that it is about; null: it is about the flow as a whole."""
    error: str | None = None
    """Code of the reason for which the ticket failed."""
    task_type: TaskType | None = None
    """What kind of work the ticket is."""
    capabilities: tuple[str, ...] = ()
    """What the ticket requires of a worker."""
    worker_id: str | None = None
    """The worker that had the ticket last."""
    labels: Mapping[str, str] = {}
    """Labels of the flow."""
    detail: str = ""
    """The first sentence of the incident."""
    raised_at: Timestamp
    """When it was raised."""


class HealingActionRequested(Model):
    """Data of `healing.action_requested`: a playbook wants a worker restarted, or scaled. The id is the request's."""

    event_type: ClassVar[str] = HEALING_ASKED

    action: HealingAct
    """`restart_worker` or `scale`."""
    worker_id: str | None = None
    """The worker; null where the incident names none."""
    target: str | None = None
    """What is to be scaled, as the playbook names it."""
    replicas: int | None = None
    """How many there are to be."""
    playbook: str
    """Name of the playbook."""
    incident_id: str
    """Id of the incident."""
    flow_id: str
    """Id of the flow that has the trouble."""
    ticket_id: str | None = None
    """Id of the ticket that it is about."""


class HealingActionTold(Model):
    """An action of a playbook, and what became of it."""

    action: HealingAct
    """The action."""
    at: Timestamp
    """When it was begun."""
    done: bool
    """Whether it was carried out."""
    text: str
    """What was done, or why not, as part of a sentence."""


class IncidentEnded(Model):
    """Data of `incident.resolved` and `incident.escalated`: how the healing of an incident has ended."""

    incident_id: str
    """Id of the incident."""
    flow_id: str
    """Id of the flow that has the trouble."""
    ticket_id: str | None = None
    """Id of the ticket that it is about; null: it is about the flow as a whole."""
    incident_type: IncidentType
    """The kind of trouble."""
    severity: Severity
    """How much it matters."""
    playbook: str
    """Name of the playbook."""
    actions: tuple[HealingActionTold, ...]
    """What was done, in this order."""
    why: str
    """Why it counts as resolved, or why a person has to look, in a sentence."""
    raised_at: Timestamp
    """When the incident was raised."""
    ended_at: Timestamp
    """When its healing ended."""
