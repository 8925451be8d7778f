"""Alerts as incidents: an alert maps to one where its label `flow_id` names a flow."""

from collections.abc import Mapping

from functions._core.events.healing import HealingDue
from functions._core.ports import Ports
from functions._core.records.audits import IncidentType, Severity
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import name_uuid

FLOW, TICKET, WORKER, KIND, SLO = "flow_id", "ticket_id", "worker_id", "incident_type", "slo"
NAME, SEVERITY = "alertname", "severity"
"""The labels that say what an alert is about, and how bad it is."""

LONGEST_ID = 100
"""Characters of an id: longer ones are none of ours."""


async def due_of_alert(ports: Ports, key: str, labels: Mapping[str, str]) -> tuple[HealingDue | None, Flow | None]:
    """Return an alert as playbooks look at an incident, and its flow; None for one that names no flow that is there.

    `key` is the same when the alert comes again. The alert's name is what playbooks know as the error.
    """
    flow_id = labels.get(FLOW, "")
    flow = await ports.store.flow(flow_id) if 0 < len(flow_id) <= LONGEST_ID and flow_id.isprintable() else None
    if flow is None:
        return None, None
    ticket = await _ticket(ports, flow, labels.get(TICKET, ""))
    name = "".join(filter(str.isprintable, labels.get(NAME, "")))[:200]
    worker_id = labels.get(WORKER) or (ticket.worker_id if ticket is not None else None)
    due = HealingDue(
        incident_id=name_uuid(flow.flow_id, f"alert/{key}"),
        flow_id=flow.flow_id,
        incident_type=_kind(labels),
        severity=Severity.CRITICAL if labels.get(SEVERITY, "").casefold() == "critical" else Severity.WARNING,
        ticket_id=ticket.ticket_id if ticket is not None else None,
        error=name or None,
        task_type=ticket.task_type if ticket is not None else None,
        capabilities=ticket.required_capabilities if ticket is not None else (),
        worker_id=worker_id[:255] if worker_id else None,
        labels=flow.labels,
        detail=f"alert {name} fires",
        raised_at=ports.clock.now(),
    )
    return due, flow


async def _ticket(ports: Ports, flow: Flow, ticket_id: str) -> Ticket | None:
    if not 0 < len(ticket_id) <= LONGEST_ID or not ticket_id.isprintable():
        return None
    found = (await ports.store.tickets([ticket_id], flow.flow_id)).get(ticket_id)
    return found if found is not None and found.flow_id == flow.flow_id else None


def _kind(labels: Mapping[str, str]) -> IncidentType:
    """Return the type that an alert names, else one after what it is about."""
    named = next((kind for kind in IncidentType if kind.value == labels.get(KIND, "").upper()), None)
    if named is not None:
        return named
    if labels.get(SLO):
        return IncidentType.SLA_VIOLATION
    return IncidentType.WORKER_FAILURE if labels.get(WORKER) else IncidentType.INCONSISTENCY
