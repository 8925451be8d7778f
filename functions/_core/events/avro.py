"""The Avro schemas of what may arrive as Avro; the files `events/*.avsc` are made of these.

They are fixed here: a schema that a sender brings along is never used. No type in them takes zero bytes and none
contains itself, so what is read is never much larger, nor deeper, than the bytes that were sent.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

from functions._core.decision.vocabulary import WITHOUT_WORKER
from functions._core.events.execution_ticket import FOREIGN_STATUSES, OWN_STATUSES
from functions._core.records.policies import Consistency, DeliveryMode, Durability
from functions._core.records.values import (
    Priority,
    RiskBand,
    SecurityLevel,
    TaskType,
    TicketStatus,
)

Schema = Any
"""A schema as JSON values."""

MOMENT: Schema = {"type": "long", "logicalType": "timestamp-millis"}
"""Epoch milliseconds."""


@cache
def ticket_schema() -> Schema:
    """Return the schema of an execution ticket."""
    text, texts = "string", {"type": "array", "items": "string"}
    statuses = [*(status.value for status in TicketStatus if status not in OWN_STATUSES), *FOREIGN_STATUSES]
    types = [one for one in TaskType if one not in WITHOUT_WORKER]
    return {
        "type": "record",
        "name": "ExecutionTicket",
        "namespace": "io.neuralhive.ticket",
        "fields": [
            *_fields({"ticket_id": text, "plan_id": text, "intent_id": text}),
            *_nullable(dict.fromkeys(("decision_id", "correlation_id", "trace_id", "span_id", "workflow_id"), text)),
            *_fields({"task_id": text, "task_type": _enum("TaskType", types), "description": text}),
            _field("dependencies", texts, []),
            _field("status", _enum("TicketStatus", statuses), TicketStatus.PENDING.value),
            *_fields({"priority": _enum("Priority", Priority)}),
            *_nullable({"priority_score": "double"}),
            *_fields({"risk_band": _enum("RiskBand", RiskBand), "sla": _sla(), "qos": _qos()}),
            _field("parameters", {"type": "map", "values": "string"}, {}),
            _field("payload", {"type": "map", "values": "string"}, {}),
            _field("required_capabilities", texts, []),
            _field("security_level", _enum("SecurityLevel", SecurityLevel), SecurityLevel.INTERNAL.value),
            *_nullable({"allocated_agent_id": text}),
            *_fields({"created_at": MOMENT}),
            *_nullable(dict.fromkeys(("assigned_at", "started_at", "completed_at"), MOMENT)),
            *_nullable({"estimated_duration_ms": "long", "actual_duration_ms": "long"}),
            _field("retry_count", "int", 0),
            *_nullable({"error_message": text, "compensation_ticket_id": text}),
            _field("metadata", {"type": "map", "values": "string"}, {}),
            _field("schema_version", "int", 1),
            *_nullable({"hash": text}),
        ],
    }


@cache
def decision_schema() -> Schema:
    """Return the schema of a consolidated decision: that of the consensus engine, field by field."""
    text, number = "string", "double"
    vote = {"specialist_type": text, "opinion_id": text, "confidence_score": number, "risk_score": number}
    metrics = {"divergence_score": number, "convergence_time_ms": "long", "unanimous": "boolean"}
    weights = dict.fromkeys(("pheromone_strength", "bayesian_confidence", "voting_confidence"), number)
    verdicts = ("approve", "reject", "review_required", "conditional")
    methods = ("bayesian", "voting", "unanimous", "fallback")
    return {
        "type": "record",
        "name": "ConsolidatedDecision",
        "namespace": "com.neuralhivemind.consensus",
        "fields": [
            *_fields({"decision_id": text, "plan_id": text, "intent_id": text}),
            *_nullable(dict.fromkeys(("correlation_id", "trace_id", "span_id"), text)),
            *_fields(
                {
                    "final_decision": _enum("DecisionType", verdicts),
                    "consensus_method": _enum("ConsensusMethod", methods),
                    "aggregated_confidence": number,
                    "aggregated_risk": number,
                    "specialist_votes": {
                        "type": "array",
                        "items": _record(
                            "SpecialistVote",
                            {**vote, "recommendation": text, "weight": number, "processing_time_ms": "long"},
                        ),
                    },
                    "consensus_metrics": _record(
                        "ConsensusMetrics", {**metrics, "fallback_used": "boolean", **weights}
                    ),
                    "explainability_token": text,
                    "reasoning_summary": text,
                    "compliance_checks": {"type": "map", "values": "boolean"},
                    "guardrails_triggered": {"type": "array", "items": "string"},
                }
            ),
            *_nullable({"cognitive_plan": text}),
            *_fields({"requires_human_review": "boolean", "created_at": MOMENT}),
            *_nullable({"valid_until": MOMENT}),
            *_fields({"metadata": {"type": "map", "values": "string"}, "hash": text}),
            _field("schema_version", "int", 1),
        ],
    }


def bare(schema: Schema) -> Schema:
    """Return a schema without what says how values are shown: moments are read as the numbers that they are."""
    if isinstance(schema, dict):
        return {name: bare(value) for name, value in schema.items() if name not in {"logicalType", "doc"}}
    return [bare(part) for part in schema] if isinstance(schema, list) else schema


def _sla() -> Schema:
    return _record("SLA", {"deadline": MOMENT, "timeout_ms": "long", "max_retries": "int"})


def _qos() -> Schema:
    words = {"delivery_mode": DeliveryMode, "consistency": Consistency, "durability": Durability}
    return _record("QoS", {name: _enum(word.__name__, word) for name, word in words.items()})


def _record(name: str, fields: Mapping[str, Schema]) -> Schema:
    return {"type": "record", "name": name, "fields": _fields(fields)}


def _enum(name: str, symbols: Iterable[str]) -> Schema:
    return {"type": "enum", "name": name, "symbols": [str(symbol) for symbol in symbols]}


def _field(name: str, kind: Schema, default: object) -> Schema:
    return {"name": name, "type": kind, "default": default}


def _fields(kinds: Mapping[str, Schema]) -> list[Schema]:
    return [{"name": name, "type": kind} for name, kind in kinds.items()]


def _nullable(kinds: Mapping[str, Schema]) -> list[Schema]:
    return [_field(name, ["null", kind], None) for name, kind in kinds.items()]
