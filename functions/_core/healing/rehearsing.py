"""A rehearsal: what a playbook would do about an incident now. Nothing is changed by it."""

from functions._core.errors import Rejected
from functions._core.events.healing import HealingAct
from functions._core.healing import stored
from functions._core.healing.healing import Hands
from functions._core.healing.playbooks import Playbook, chosen
from functions._core.healing.runs import begun, due_of, ticket_of
from functions._core.ports import Ports
from functions._core.records.audits import AuditKind, IncidentRecord
from functions._core.records.record import Record, as_json

INCIDENTS = 100
"""Incidents of a flow among which one is looked for, the newest first."""


class RehearsedStep(Record):
    """A step of a playbook, and what it would do now."""

    action: HealingAct
    """What is done."""
    possible: bool
    """Whether it could be done now."""
    text: str
    """What it would do, or why it could not be done."""


class Rehearsal(Record):
    """What would be done about an incident now; nothing was done."""

    incident_id: str
    """Id of the incident."""
    playbook: str | None = None
    """The playbook; null where none is for such an incident."""
    fits: bool = False
    """Whether the playbook is for such an incident, and switched on."""
    steps: tuple[RehearsedStep, ...] = ()
    """Its steps, in their order; each is done only where the one before could not be, or has not helped."""


async def rehearse(
    ports: Ports, hands: Hands, flow_id: str, incident_id: str | None = None, playbook: str | None = None
) -> Rehearsal:
    """Return what a playbook (None: the one that is for it) would do about an incident (None: the newest of its flow).

    Raises `Rejected`, status 404, where one of them is not there.
    """
    record = await _incident(ports, flow_id, incident_id)
    flow, told = await ports.store.flow(flow_id), as_json(record)
    if flow is None:
        raise Rejected(f"there is no flow {flow_id}", code="unknown_flow", status=404)
    ticket_id = ticket_of(told)
    ticket = (await ports.store.tickets([ticket_id], flow_id)).get(ticket_id) if ticket_id else None
    due = due_of(told, record.created_at, flow, ticket, ticket.worker_id if ticket is not None else None)
    found = await _playbook(ports, playbook) if playbook else chosen(await stored.PLAYBOOKS.all(ports.key_values), due)
    if found is None:
        return Rehearsal(incident_id=record.incident_id)
    run, steps = begun(due, found.but(dry_run=False), ports.clock.now()), list[RehearsedStep]()
    for step in found.steps:
        try:
            possible, text = await hands.rehearse(run, step)
        except Rejected as refusal:
            possible, text = False, str(refusal)
        steps.append(RehearsedStep(action=step.action, possible=possible, text=text))
    fits = found.enabled and found.match.fits(due)
    return Rehearsal(incident_id=record.incident_id, playbook=found.name, fits=fits, steps=tuple(steps))


async def _incident(ports: Ports, flow_id: str, incident_id: str | None) -> IncidentRecord:
    audits = await ports.views.audits(flow_id, INCIDENTS, kind=AuditKind.INCIDENT)
    for one in audits:
        if isinstance(one, IncidentRecord) and incident_id in {None, one.incident_id}:
            return one
    which = f"no incident {incident_id}" if incident_id else "no incident"
    raise Rejected(f"flow {flow_id} has had {which}", code="unknown_incident", status=404)


async def _playbook(ports: Ports, name: str) -> Playbook:
    found, _ = await stored.PLAYBOOKS.one(ports.key_values, name)
    if found is None:
        raise Rejected(f"there is no playbook {name}", code="unknown_playbook", status=404)
    return found
