"""The record of what a playbook does about an incident, and what follows from it. Pure."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.healing import (
    ESCALATED,
    HEALING_DUE,
    INCIDENT_RAISED,
    RESOLVED,
    HealingAct,
    HealingActionRequested,
    HealingActionTold,
    HealingDue,
    IncidentEnded,
)
from functions._core.events.routes import TRANSITIONS
from functions._core.healing.playbooks import PER_INCIDENT, Playbook
from functions._core.machine.step_builder import derived_id
from functions._core.records.audits import IncidentType, Severity
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Ticket
from functions._core.records.record import Record
from functions._core.records.values import LATEST, TaskType, Timestamp, Word, format_time

HEALED_BY = "healing:"
"""How the names begin under which playbooks give commands: that in histories and audits."""

CAUSED_KEPT = 20
"""Incidents that an action has caused, as a run names them: the newest."""

ABOUT_TICKETS = frozenset(IncidentType) - {IncidentType.SLA_VIOLATION}
"""Types of incidents that are about one ticket, where they name any."""


class HealingState(Word):
    """How far the healing of an incident has come."""

    ACTIVE = "ACTIVE"
    """Something is done, or it is watched whether that has helped."""
    RESOLVED = "RESOLVED"
    """The trouble is over."""
    ESCALATED = "ESCALATED"
    """A person has to look."""
    REHEARSED = "REHEARSED"
    """Nothing was done: the playbook is on trial."""


class ActionState(Word):
    """What became of an action."""

    BEGUN = "BEGUN"
    """It is being done; a process that died meanwhile has perhaps done it."""
    DONE = "DONE"
    """It was done."""
    NOT_DONE = "NOT_DONE"
    """It could not be done."""


class HealingAction(Record):
    """One action for an incident. It is stored before it is done, and done again under the same id after a crash."""

    number: int
    """Its number within the run, from 1."""
    action: HealingAct
    """What is done."""
    at: Timestamp
    """When it was begun."""
    state: ActionState = ActionState.BEGUN
    """What became of it."""
    text: str = ""
    """What was done, or why not, as part of a sentence."""
    letters: tuple[str, ...] = ()
    """Ids of the dead letters that are replayed."""


class HealedIncident(Record):
    """The incident that a run is about."""

    incident_id: str
    """Its id."""
    flow_id: str
    """Id of the flow that has the trouble."""
    incident_type: IncidentType
    """The kind of trouble."""
    severity: Severity
    """How much it matters."""
    raised_at: Timestamp
    """When it was raised."""
    ticket_id: str | None = None
    """Id of the ticket that it is about; None: it is about the flow as a whole."""
    error: str | None = None
    """Code of the reason for which the ticket failed."""
    task_type: TaskType | None = None
    """What kind of work the ticket is."""
    worker_id: str | None = None
    """The worker that had the ticket last."""
    detail: str = ""
    """The first sentence of the incident."""


class HealingRun(Record):
    """What a playbook has done about an incident, and about those that its actions have caused."""

    incident: HealedIncident
    """The incident."""
    playbook: str
    """Name of the playbook."""
    state: HealingState = HealingState.ACTIVE
    """How far it has come."""
    begun_at: Timestamp
    """When it began."""
    look_at: Timestamp
    """When it is looked at again, while it is ACTIVE."""
    actions: tuple[HealingAction, ...] = ()
    """What was done, in this order."""
    caused: tuple[str, ...] = ()
    """Ids of later incidents that an action of this run has caused: they count to this one."""
    why: str = ""
    """Why it has ended so, in a sentence."""
    ended_at: Timestamp | None = None
    """When it ended; None while it is ACTIVE."""

    @property
    def key(self) -> str:
        """The run among all: those of a flow are together."""
        return run_key(self.incident.flow_id, self.incident.incident_id)

    @property
    def last(self) -> HealingAction | None:
        """The last action."""
        return self.actions[-1] if self.actions else None

    def with_last(self, action: HealingAction) -> tuple[HealingAction, ...]:
        """Return the actions, the last one being as it is now."""
        return (*self.actions[:-1], action)


def run_key(flow_id: str, incident_id: str) -> str:
    """Return the key of the run of an incident."""
    return f"{flow_id}/{incident_id}"


def log_key(run: HealingRun) -> str:
    """Return the key of a run in the list of all, the newest first."""
    since = (LATEST - run.incident.raised_at) // timedelta(milliseconds=1)
    return f"{since:017d}/{run.key}"


def acts_as(playbook: str) -> str:
    """Return the name under which a playbook gives commands."""
    return f"{HEALED_BY}{playbook}"


def reason_of(run: HealingRun) -> str:
    """Return why a playbook acts, as commands say it."""
    about = run.incident
    detail = f": {about.detail}" if about.detail else ""
    return f"incident {about.incident_type} {about.incident_id}{detail}"[:1000]


def order_id_of(run: HealingRun, action: HealingAction) -> str:
    """Return the id of the command of an action: by it the command counts once."""
    return f"healing/{run.incident.incident_id}/{action.number}"


def due_events(step: ChangeSet, flow: Flow, source: str) -> list[CloudEvent]:
    """Return the events that ask for the healing of the incidents that a step raises; the same always has one id."""
    return [_due_event(entry, step, flow, source) for entry in step.history if entry.type == INCIDENT_RAISED]


def _due_event(entry: HistoryEntry, step: ChangeSet, flow: Flow, source: str) -> CloudEvent:
    ticket_id = ticket_of(entry.detail)
    ticket = next((one for one in step.tickets if one.ticket_id == ticket_id), None)
    lines = [one for one in step.history if one.ticket_id is not None and one.ticket_id == ticket_id]
    worker_id = next((one.worker_id for one in lines if one.worker_id is not None), None)
    data = due_of(entry.detail, entry.at, flow, ticket, worker_id)
    return event_of(data, HEALING_DUE, data.incident_id, source, entry.at, flow)


def ticket_of(told: Mapping[str, Any]) -> str | None:
    """Return the id of the ticket that an incident, as it is told, is about; None for the flow as a whole."""
    affected = told["affected_tickets"]
    return affected[0] if affected and told["incident_type"] in ABOUT_TICKETS else None


def due_of(
    told: Mapping[str, Any], at: datetime, flow: Flow, ticket: Ticket | None, worker_id: str | None
) -> HealingDue:
    """Return an incident, as it is told, as playbooks look at it; `ticket` as it was when it was raised."""
    return HealingDue(
        incident_id=told["incident_id"],
        flow_id=flow.flow_id,
        incident_type=IncidentType(told["incident_type"]),
        severity=Severity(told["severity"]),
        ticket_id=ticket_of(told),
        error=ticket.reason.code if ticket is not None and ticket.reason is not None else None,
        task_type=ticket.task_type if ticket is not None else None,
        capabilities=ticket.required_capabilities if ticket is not None else (),
        worker_id=worker_id,
        labels=flow.labels,
        detail=told["details"][0][:500] if told["details"] else "",
        raised_at=at,
    )


def event_of(
    data: HealingDue | HealingActionRequested | IncidentEnded,
    event_type: str,
    key: str,
    source: str,
    at: datetime,
    flow: Flow | None,
) -> CloudEvent:
    """Return an event about an incident of a flow; the same `key` has the same id."""
    traced = {} if flow is None else {"correlationid": flow.correlation_id, "traceparent": flow.traceparent}
    return CloudEvent(
        id=derived_id(data.flow_id, event_type, key),
        source=source,
        type=type_of(event_type),
        time=at,
        subject=data.flow_id,
        data=data.model_dump(mode="json", exclude_none=True),
        extensions={"partitionkey": data.flow_id, **traced},
    )


def ended_event(run: HealingRun, flow: Flow | None) -> CloudEvent:
    """Return the event that tells subscribers how the healing of an incident has ended."""
    about, at = run.incident, run.ended_at or run.begun_at
    data = IncidentEnded(
        incident_id=about.incident_id,
        flow_id=about.flow_id,
        ticket_id=about.ticket_id,
        incident_type=about.incident_type,
        severity=about.severity,
        playbook=run.playbook,
        actions=tuple(
            HealingActionTold(action=one.action, at=one.at, done=one.state is ActionState.DONE, text=one.text)
            for one in run.actions
        ),
        why=run.why,
        raised_at=about.raised_at,
        ended_at=at,
    )
    event_type = RESOLVED if run.state is HealingState.RESOLVED else ESCALATED
    return event_of(data, event_type, f"{about.incident_id}/{format_time(at)}", TRANSITIONS, at, flow)


def begun(due: HealingDue, playbook: Playbook, now: datetime) -> HealingRun:
    """Return the run of a playbook that is to heal an incident."""
    incident = HealedIncident(
        incident_id=due.incident_id,
        flow_id=due.flow_id,
        incident_type=due.incident_type,
        severity=due.severity,
        raised_at=due.raised_at,
        ticket_id=due.ticket_id,
        error=due.error,
        task_type=due.task_type,
        worker_id=due.worker_id,
        detail=due.detail,
    )
    run = HealingRun(incident=incident, playbook=playbook.name, begun_at=now, look_at=now)
    if not playbook.dry_run:
        return run
    steps = ", then ".join(step.action for step in playbook.steps)
    return run.but(state=HealingState.REHEARSED, why=f"the playbook is on trial; it would do: {steps}", ended_at=now)


def stop_of(run: HealingRun, playbook: Playbook | None) -> str | None:
    """Return why nothing more is done for a run, None when its next step is."""
    done = len(run.actions)
    if playbook is None or not playbook.enabled:
        return "the playbook is gone, or switched off"
    if done >= len(playbook.steps):
        return "no step of the playbook is left" if done else "the playbook has no step"
    limit = min(playbook.limits.per_incident, PER_INCIDENT)
    if done >= limit and playbook.steps[done].action is not HealingAct.ESCALATE:
        return f"{limit} actions are as many as there may be for an incident"
    return None


def same_trouble(run: HealingRun, due: HealingDue) -> bool:
    """Whether an incident is about the same ticket as a run, or either is about the flow as a whole."""
    return run.incident.flow_id == due.flow_id and (
        run.incident.ticket_id == due.ticket_id or None in {run.incident.ticket_id, due.ticket_id}
    )
