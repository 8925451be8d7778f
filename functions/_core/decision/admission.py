"""The door: a decision event becomes the row of its flow, before anything in it but the id is believed.

A decision without a usable `decision_id` cannot become a flow and is refused. Everything else that is wrong
with it is C1's to say, in one list, on the flow.
"""

import re
from collections.abc import Mapping
from datetime import datetime
from hashlib import sha256
from typing import Any

from functions._core.decision.reading import content_hash
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.machine.step_builder import derived_id
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow, Phase, Reason
from functions._core.records.values import FlowStatus, add_time, flow_id_of, stored_decision
from functions._core.rules import LARGE_DECISION, Rules

MAX_ID = 255
"""Characters of an id from outside, the width of the contract; ids become keys, header values and log fields."""

TRACEPARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
"""A W3C trace context of version 00; ids of zeros only are none."""


def admit(event: CloudEvent, text: bytes, now: datetime, rules: Rules) -> tuple[Flow, ChangeSet]:
    """Return the flow of a decision and the step that creates it; `text` is the decision as JSON.

    Raises `Rejected` as `decision_id_of` does.
    """
    decision_id = decision_id_of(event.data)
    hashed = content_hash(event.data, large=len(text) > LARGE_DECISION)
    flow = _new_flow(event, decision_id, hashed, now, rules)
    return flow, ChangeSet(
        flow_id=flow.flow_id,
        flow=flow,
        decision=text,
        history=(
            HistoryEntry(
                flow_id=flow.flow_id,
                at=now,
                type="decision.consolidated",
                cause=event.id,
                to_status=flow.status,
                detail={"source": event.source[:200]},
            ),
        ),
        events=(_to_validate(flow, event, now),),
    )


def decision_id_of(data: object) -> str:
    """Return the id of a decision; raise `Rejected` when the data is no object or has no usable id."""
    if not isinstance(data, Mapping):
        msg = "the event's data must be a JSON object: the consolidated decision"
        raise Rejected(msg, code="invalid_decision")
    decision_id = data.get("decision_id")
    if not isinstance(decision_id, str) or not decision_id.strip() or len(decision_id) > MAX_ID:
        msg = f"decision_id is missing: a text of 1 to {MAX_ID} characters is needed to identify the flow"
        raise Rejected(msg, code="invalid_decision")
    return decision_id


def _new_flow(event: CloudEvent, decision_id: str, hashed: str, now: datetime, rules: Rules) -> Flow:
    data, flow_id = event.data, flow_id_of(decision_id)
    return Flow(
        flow_id=flow_id,
        decision_id=decision_id,
        plan_id=_text(data.get("plan_id")),
        intent_id=_text(data.get("intent_id")),
        correlation_id=_text(data.get("correlation_id")) or event.extensions.get("correlationid") or flow_id,
        traceparent=_traceparent(event, data, flow_id),
        content_hash=hashed,
        received_at=now,
        # The default until C1 has read the decision's own deadline; it bounds the validation itself.
        sla_deadline=add_time(now, rules.default_sla),
        phases=(Phase(status=FlowStatus.VALIDATING, entered_at=now),),
        next_wakeup_at=now + rules.reemit_after(0),
    )


def _to_validate(flow: Flow, event: CloudEvent, now: datetime) -> CloudEvent:
    """Return the chain event; the decision itself stays in the store, `dataref` says where."""
    return CloudEvent(
        id=derived_id(flow.flow_id, "decision.consolidated", "0:"),
        source="/flowc/api",
        type=type_of("decision.consolidated"),
        time=now,
        subject=flow.flow_id,
        data={"flow_id": flow.flow_id, "decision_id": flow.decision_id, "plan_id": flow.plan_id},
        extensions={
            "partitionkey": flow.flow_id,
            "correlationid": flow.correlation_id,
            "causationid": event.id,
            "traceparent": flow.traceparent,
            **stored_decision(flow.flow_id),
        },
    )


def _traceparent(event: CloudEvent, data: Mapping[str, Any], flow_id: str) -> str:
    """Return the trace to continue: the event's, else the decision's, else one derived from the flow's id."""
    given = event.extensions.get("traceparent", "")
    if TRACEPARENT.fullmatch(given):
        return given
    of_decision = f"00-{data.get('trace_id')}-{data.get('span_id')}-01"
    if TRACEPARENT.fullmatch(of_decision):
        return of_decision
    derived = sha256(flow_id.encode()).hexdigest()
    return f"00-{derived[:32]}-{derived[32:48]}-01"


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and 0 < len(value) <= MAX_ID else None


def conflict_with(known: Flow) -> Reason:
    """Return why a decision is refused whose id is that of a known flow, with other content."""
    since = known.received_at.isoformat()
    message = f"decision {known.decision_id} is known with other content since {since}; the first one stays"
    return Reason(code="decision_conflict", message=message, where="decision_id")
