"""Incidents: trouble that a flow's own rules could not fix, reported once, with typed causes.

The record has the fields of the contract `orchestration-incident`. The measures of the flow itself (retry, reassign,
send again) are in its history; an incident says that they were not enough, or that a person should look.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from functions._core.machine.step_builder import StepBuilder, derived_id
from functions._core.planning.tickets import CORRUPTED
from functions._core.records.audits import IncidentRecord, IncidentType, Severity
from functions._core.records.json_text import content_hash
from functions._core.records.record import from_json
from functions._core.records.values import format_time

AFFECTED_KEPT = 100
"""Ticket ids that an incident names: a bound on its event, which must stay below 64 KiB."""

DETAILS_KEPT = 20
"""Sentences of an incident: enough for a person; all of them are in the history."""

SEVERITIES: Mapping[IncidentType, Severity] = {
    IncidentType.SLA_VIOLATION: Severity.CRITICAL,
    IncidentType.WORKER_FAILURE: Severity.CRITICAL,
    IncidentType.TICKET_TIMEOUT: Severity.WARNING,
    IncidentType.INCONSISTENCY: Severity.WARNING,
}
"""The severity of each type of incident, unless the place that raises it says otherwise."""

PLAYBOOKS: Mapping[IncidentType, str] = {
    IncidentType.SLA_VIOLATION: "sla_violation_mitigation",
    IncidentType.WORKER_FAILURE: "worker_failure_recovery",
    IncidentType.TICKET_TIMEOUT: "ticket_timeout_recovery",
}
"""The playbook of each type of incident, by the name that the contract gives it."""

ESCALATED = frozenset({IncidentType.SLA_VIOLATION, IncidentType.WORKER_FAILURE})
"""Types of incidents that a person has to look at in any case."""

CAUSES: Mapping[str, IncidentType] = {
    "timed_out": IncidentType.TICKET_TIMEOUT,
    "heartbeat_lost": IncidentType.WORKER_FAILURE,
    "worker_lost": IncidentType.WORKER_FAILURE,
    "worker_unreachable": IncidentType.WORKER_FAILURE,
    "no_worker": IncidentType.WORKER_FAILURE,
    "no_capacity": IncidentType.WORKER_FAILURE,
    "schedule_to_start": IncidentType.WORKER_FAILURE,
    CORRUPTED: IncidentType.INCONSISTENCY,
}
"""The type of a failed ticket's incident, by the code of its reason; INCONSISTENCY for a failure of the task itself."""


def raise_incident(
    builder: StepBuilder,
    kind: IncidentType,
    details: Sequence[str],
    affected: Sequence[str],
    *,
    severity: Severity | None = None,
    incident_id: str | None = None,
) -> None:
    """Record an incident of this flow, and tell subscribers; an `incident_id` of its own is not that of one moment."""
    flow = builder.flow
    severity = severity or SEVERITIES[kind]
    text = {
        "incident_id": incident_id or _id(flow.flow_id, f"{flow.version}:{kind}:{','.join(affected[:1])}"),
        "workflow_id": flow.flow_id,
        "incident_type": kind.value,
        "severity": severity.value,
        "details": list(details[:DETAILS_KEPT]),
        "affected_tickets": list(affected[:AFFECTED_KEPT]),
        "correlation_id": flow.correlation_id,
        "trace_id": flow.trace_id,
        "recommended_playbook": PLAYBOOKS.get(kind),
        "auto_remediation_enabled": True,
        "escalation_required": kind in ESCALATED or severity is Severity.CRITICAL,
        "created_at": format_time(builder.now),
    }
    told = {**text, "hash": content_hash(text)}
    builder.audit(from_json(IncidentRecord, {**told, "flow_id": flow.flow_id}))
    builder.note("incident.raised", cause=kind.value, detail=told)


@dataclass(frozen=True, slots=True)
class LeftOut:
    """C5: stored tickets of the flow, `why` by id, cannot be read; no incident has said so before."""

    why: Mapping[str, str]

    def apply(self, builder: StepBuilder) -> None:
        """Tell that stored tickets cannot be read, an incident each: the flow continues without them."""
        builder.change_flow()  # of two processes that find one at the same time, one is in conflict and decides again
        for ticket_id, why in self.why.items():
            text = f"the stored ticket {ticket_id} cannot be read: {why}"
            incident_id = incident_of_unreadable(builder.flow.flow_id, ticket_id)
            kind, grave = IncidentType.INCONSISTENCY, Severity.CRITICAL
            raise_incident(builder, kind, [text], [ticket_id], severity=grave, incident_id=incident_id)


def incident_of_unreadable(flow_id: str, ticket_id: str) -> str:
    """Return the id of the one incident about a stored ticket that cannot be read."""
    return _id(flow_id, f"unreadable:{ticket_id}")


def _id(flow_id: str, key: str) -> str:
    return derived_id(flow_id, "incident.raised", key)
