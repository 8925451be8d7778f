"""What is kept for those who look back: what C1 found in decisions, and what people did."""

from typing import Literal

from functions._core.models import Reason
from functions._core.values import Record, Timestamp, Word


class AuditKind(Word):
    """What an audit is about: a decision that was checked, or an action of a person; lower case on every wire."""

    VALIDATION = "validation"
    ACTION = "action"


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


AnyAudit = AuditRecord | ActionRecord
