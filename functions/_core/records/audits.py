"""What is kept for those who look back: what C1 found in decisions, what people did, what went wrong."""

from typing import Literal

from functions._core.records.models import Reason
from functions._core.records.values import Record, Timestamp, Word


class AuditKind(Word):
    """What an audit is about: a decision that was checked, an action of a person, an incident."""

    VALIDATION = "validation"
    ACTION = "action"
    INCIDENT = "incident"


class AuditRecord(Record):
    """What C1 found in one decision, kept for success and refusal alike."""

    kind: Literal[AuditKind.VALIDATION] = AuditKind.VALIDATION
    audit_id: str
    flow_id: str
    decision_id: str
    plan_id: str | None
    valid: bool
    errors: tuple[Reason, ...]
    warnings: tuple[Reason, ...]
    checked_at: Timestamp
    schema_version: int
    content_hash: str


class ActionRecord(Record):
    """What a person did to the platform: `who` did `action` to `target` (an id), and `why`.

    It is kept before the action is taken, or together with it. `flow_id` is empty where no flow is concerned.
    """

    kind: Literal[AuditKind.ACTION] = AuditKind.ACTION
    audit_id: str
    flow_id: str
    action: str
    target: str
    who: str
    why: str
    at: Timestamp


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

    kind: Literal[AuditKind.INCIDENT] = AuditKind.INCIDENT
    incident_id: str
    flow_id: str
    workflow_id: str
    incident_type: IncidentType
    severity: Severity
    details: tuple[str, ...]
    affected_tickets: tuple[str, ...]
    correlation_id: str
    trace_id: str
    recommended_playbook: str | None
    auto_remediation_enabled: bool
    escalation_required: bool
    created_at: Timestamp
    hash: str

    @property
    def audit_id(self) -> str:
        """The id among all audits."""
        return self.incident_id

    @property
    def at(self) -> Timestamp:
        """When it was raised."""
        return self.created_at


AnyAudit = AuditRecord | ActionRecord | IncidentRecord
