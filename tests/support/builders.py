"""Sample records for tests: valid, small, and the same every time; a test names only what it is about."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.audits import ActionRecord, AuditRecord
from functions._core.records.change_set import ChangeSet
from functions._core.records.dead_letters import DeadLetter
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Reason, Ticket
from functions._core.records.policies import Consistency, DeliveryMode, Durability, Qos, Sla
from functions._core.records.record import Record, fields_of, from_json
from functions._core.records.values import (
    FlowStatus,
    Priority,
    RiskBand,
    TaskType,
    flow_id_of,
    parse_time,
    ticket_id_of,
)
from functions._core.records.worker import Worker

T0 = datetime(2025, 3, 1, 12, tzinfo=UTC)
"""When everything happens, unless a test says otherwise."""

R = TypeVar("R", bound=Record)


def seconds(number: float) -> timedelta:
    """Return a duration."""
    return timedelta(seconds=number)


def _build(model: type[R], defaults: Mapping[str, object], changes: Mapping[str, object]) -> R:
    unknown = changes.keys() - set(model.__struct_fields__)
    assert not unknown, f"{model.__name__} has no {', '.join(sorted(unknown))}"
    # Times from outside are brought into the calendar where they are read.
    read = {name: parse_time(value) if isinstance(value, datetime) else value for name, value in changes.items()}
    return from_json(model, {**defaults, **read})


def later(record: R, **changes: object) -> R:
    """Return the next version of a flow, ticket or worker."""
    values = fields_of(record)
    return _build(type(record), values | {"version": values["version"] + 1}, changes)


def make_flow(number: int = 1, **changes: object) -> Flow:
    """Build the flow of decision `decision-<number>`, new and due in 30 seconds."""
    decision_id = f"decision-{number}"
    defaults = {
        "flow_id": flow_id_of(decision_id),
        "decision_id": decision_id,
        "plan_id": f"plan-{number}",
        "intent_id": f"intent-{number}",
        "correlation_id": f"correlation-{number}",
        "traceparent": f"00-{number:032x}-{number:016x}-01",
        "content_hash": f"{number:064x}",
        "received_at": T0,
        "sla_deadline": T0 + timedelta(hours=4),
        "phases": ({"status": changes.get("status", FlowStatus.VALIDATING), "entered_at": T0},),
        "next_wakeup_at": T0 + seconds(30),
    }
    return _build(Flow, defaults, changes)


def make_ticket(flow: Flow, number: int = 1, **changes: object) -> Ticket:
    """Build ticket `task-<number>` of `flow`, PENDING and due in 30 seconds."""
    task_id = f"task-{number}"
    defaults = {
        "ticket_id": ticket_id_of(flow.flow_id, task_id),
        "flow_id": flow.flow_id,
        "plan_id": flow.plan_id,
        "intent_id": flow.intent_id,
        "decision_id": flow.decision_id,
        "correlation_id": flow.correlation_id,
        "trace_id": flow.trace_id,
        "span_id": flow.span_id,
        "task_id": task_id,
        "task_type": TaskType.BUILD,
        "description": f"Do task {number}.",
        "priority": Priority.NORMAL,
        "priority_score": 0.5,
        "risk_band": RiskBand.MEDIUM,
        "sla": Sla(deadline=T0 + timedelta(hours=4), timeout_ms=180_000, max_retries=2),
        "qos": Qos(
            delivery_mode=DeliveryMode.AT_LEAST_ONCE,
            consistency=Consistency.EVENTUAL,
            durability=Durability.PERSISTENT,
        ),
        "created_at": T0,
        "estimated_duration_ms": 60_000,
        "hash": f"{number:064x}",
        "latest_start": T0 + timedelta(hours=1),
        "next_wakeup_at": T0 + seconds(30),
    }
    return _build(Ticket, defaults, changes)


def make_plan(flow: Flow, size: int, **changes: object) -> tuple[Ticket, ...]:
    """Build tickets `task-1` … `task-<size>` of `flow`."""
    return tuple(make_ticket(flow, number, **changes) for number in range(1, size + 1))


def make_worker(number: int = 1, **changes: object) -> Worker:
    """Build worker `worker-<number>`, healthy, able to build and test, to be looked at in a minute."""
    defaults = {
        "worker_id": f"worker-{number}",
        "endpoint": f"http://127.0.0.1:{9000 + number}/tickets",
        "capabilities": ("build", "test"),
        "slots": 4,
        "registered_at": T0,
        "last_seen": T0,
        "next_wakeup_at": T0 + seconds(60),
    }
    return _build(Worker, defaults, changes)


def make_event(number: int = 1, event_type: str = "ticket.completed", **changes: object) -> CloudEvent:
    """Build event `event-<number>`, with a little data and a partition key."""
    values: dict[str, Any] = {
        "id": f"event-{number}",
        "source": "/flowc/monitor",
        "type": type_of(event_type),
        "time": T0,
        "subject": f"subject-{number}",
        "data": {"number": number},
        "extensions": {"partitionkey": f"flow-{number}"},
    }
    values.update(changes)
    return CloudEvent(**values)


def make_history(flow: Flow, number: int = 1, **changes: object) -> HistoryEntry:
    """Build one transition of `flow`, caused by `event-<number>`."""
    defaults = {"flow_id": flow.flow_id, "at": T0, "type": "flow.advanced", "cause": f"event-{number}"}
    return _build(HistoryEntry, defaults, changes)


def make_audit(flow: Flow, number: int = 1, **changes: object) -> AuditRecord:
    """Build the record of a validation that found nothing wrong."""
    defaults = {
        "audit_id": f"audit-{number}",
        "flow_id": flow.flow_id,
        "decision_id": flow.decision_id,
        "plan_id": flow.plan_id,
        "valid": True,
        "errors": (),
        "warnings": (),
        "checked_at": T0,
        "schema_version": 1,
        "content_hash": flow.content_hash,
    }
    return _build(AuditRecord, defaults, changes)


def make_action(number: int = 1, **changes: object) -> ActionRecord:
    """Build the record of a person's action on no flow."""
    defaults = {
        "audit_id": f"audit-{number}",
        "flow_id": "",
        "action": "drop_dead_letter",
        "target": f"letter-{number}",
        "who": "ada",
        "why": "it is of no use",
        "at": T0,
    }
    return _build(ActionRecord, defaults, changes)


def make_letter(number: int = 1, **changes: object) -> DeadLetter:
    """Build dead letter `letter-<number>`."""
    defaults = {
        "letter_id": f"letter-{number}",
        "function": "monitor",
        "reason": Reason(code="rejected", message="The event can never be handled."),
        "attempts": 3,
        "first_seen": T0,
        "last_seen": T0 + seconds(90),
        "flow_id": None,
        "event": {"specversion": "1.0", "id": f"event-{number}", "type": type_of("ticket.completed")},
    }
    return _build(DeadLetter, defaults, changes)


def make_step(flow: Flow, *tickets: Ticket, **rest: object) -> ChangeSet:
    """Build the step that writes `flow`, `tickets` and what else is named."""
    values: dict[str, Any] = {"flow_id": flow.flow_id, "flow": flow, "tickets": tickets}
    values.update(rest)
    return ChangeSet(**values)
