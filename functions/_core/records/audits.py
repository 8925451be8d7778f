"""Audits: the findings of C1 in decisions, the actions of people, and incidents."""

from collections.abc import Mapping
from typing import Annotated

from pydantic import WithJsonSchema

from functions._core.records.models import Reason
from functions._core.records.record import Record
from functions._core.records.values import NAMESPACE, Timestamp, Word, name_uuid


class AuditKind(Word):
    """What an audit is about: a decision that was checked, an action of a person, an incident."""

    VALIDATION = "validation"
    ACTION = "action"
    INCIDENT = "incident"


def only(kind: AuditKind) -> WithJsonSchema:
    """Return the schema of a field that is always the same."""
    return WithJsonSchema({"const": kind.value, "title": "Kind", "type": "string"})


class AuditRecord(Record):
    """What C1 found in one decision, kept for success and refusal alike."""

    kind: Annotated[AuditKind, only(AuditKind.VALIDATION)] = AuditKind.VALIDATION
    """The kind of audit: a validation."""
    audit_id: str
    """Id of the audit; one for each flow."""
    flow_id: str
    """Id of the flow."""
    decision_id: str
    """Id of the decision."""
    plan_id: str | None
    """Id of the plan; None when the decision names no usable one."""
    valid: bool
    """Whether the decision can be carried out."""
    errors: tuple[Reason, ...]
    """Every reason for which it cannot; empty when it can."""
    warnings: tuple[Reason, ...]
    """Findings that stop nothing."""
    checked_at: Timestamp
    """When it was checked."""
    schema_version: int
    """Version of the form of the plan."""
    content_hash: str
    """SHA-256 of the decision as canonical JSON."""
    levels: int | None = None
    """How many levels the plan has; None when it cannot be carried out."""
    critical_path_ms: int | None = None
    """Length of the critical path by estimates, in milliseconds; None when it cannot be carried out."""
    redundant_edges: tuple[str, ...] = ()
    """Dependencies that nothing waits for, as others imply them: `a → c` where c also waits for b, and b for a.

    The first 100.
    """
    duration_ms: float | None = None
    """How long the check took, in milliseconds; None of a check that was stored without it."""


class ActionRecord(Record):
    """What a person did to the platform: `who` did `action` to `target` (an id), and `why`.

    It is kept before the action is taken, or together with it. `flow_id` is empty where no flow is concerned.
    """

    kind: Annotated[AuditKind, only(AuditKind.ACTION)] = AuditKind.ACTION
    """The kind of audit: an action of a person."""
    audit_id: str
    """Id of the audit; a command that comes twice has one."""
    flow_id: str
    """Id of the flow; empty where no flow is concerned."""
    action: str
    """Name of the action: `cancel_flow`, `skip_ticket`."""
    target: str
    """Id of the flow, ticket, dead letter or worker that it is about."""
    who: str
    """The person, as the request named it; it is not checked."""
    why: str
    """The reason, in the words of that person."""
    at: Timestamp
    """When it was done."""


def action_id(target: str, key: str) -> str:
    """Return the id of an action on `target`; the same `key` is the same action."""
    return name_uuid(str(NAMESPACE), f"action/{target}/{key}")


class IncidentType(Word):
    """What kind of trouble a flow has had."""

    INCONSISTENCY = "INCONSISTENCY"
    SLA_VIOLATION = "SLA_VIOLATION"
    TICKET_TIMEOUT = "TICKET_TIMEOUT"
    WORKER_FAILURE = "WORKER_FAILURE"


class Severity(Word):
    """How much an incident matters."""

    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


class IncidentRecord(Record):
    """Trouble that a flow's own rules could not mend, in the fields of the contract `orchestration-incident`."""

    kind: Annotated[AuditKind, only(AuditKind.INCIDENT)] = AuditKind.INCIDENT
    """The kind of audit: an incident."""
    incident_id: str
    """Id of the incident; the same trouble has the same."""
    flow_id: str
    """Id of the flow."""
    workflow_id: str
    """Id of the flow, under the name that the contract has for it."""
    incident_type: IncidentType
    """The kind of trouble."""
    severity: Severity
    """How much it matters."""
    details: tuple[str, ...]
    """Sentences for people, at most 20."""
    affected_tickets: tuple[str, ...]
    """Ids of the tickets that it concerns, at most 100."""
    correlation_id: str
    """The flow's correlation id."""
    trace_id: str
    """The trace of the flow, 32 hexadecimal digits."""
    recommended_playbook: str | None
    """Name of the playbook to follow; None without one."""
    auto_remediation_enabled: bool
    """Whether tools may act on it without a person."""
    escalation_required: bool
    """Whether a person has to look at it."""
    created_at: Timestamp
    """When it was raised."""
    hash: str
    """SHA-256 of the other fields of the contract as canonical JSON."""

    @property
    def audit_id(self) -> str:
        """The id among all audits."""
        return self.incident_id

    @property
    def at(self) -> Timestamp:
        """When it was raised."""
        return self.created_at


AnyAudit = AuditRecord | ActionRecord | IncidentRecord
"""Any audit, told apart by `kind`."""

AUDITS: Mapping[AuditKind, type[AnyAudit]] = {
    AuditKind.VALIDATION: AuditRecord,
    AuditKind.ACTION: ActionRecord,
    AuditKind.INCIDENT: IncidentRecord,
}
"""The record of each kind of audit."""
