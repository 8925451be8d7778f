"""Tickets and decisions as Avro: nothing is lost on the way, the files have the schemas, and no body is a bomb."""

import json
import subprocess
import sys
import time
import tracemalloc
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import Any

import jsonschema
import pytest
from fastavro import schemaless_reader, schemaless_writer, writer
from fastavro.schema import load_schema
from hypothesis import given
from hypothesis import strategies as st

from functions._adapters.http.avro import HEAD, LIMIT, read_avro, reader_of, write_avro
from functions._core.decision.reading import read_decision
from functions._core.decision.single import NewTicket, decision_of
from functions._core.decision.vocabulary import WITHOUT_WORKER
from functions._core.errors import Rejected
from functions._core.events.avro import ticket_schema
from functions._core.events.execution_ticket import (
    OWN_STATUSES,
    ExecutionTicket,
    execution_ticket_of,
    from_avro_dict,
    to_avro_dict,
)
from functions._core.records.policies import Consistency, DeliveryMode, Durability, Qos, Sla
from functions._core.records.record import as_json
from functions._core.records.values import (
    Priority,
    RiskBand,
    SecurityLevel,
    TaskType,
    TicketStatus,
)
from infra.generate.events import FOLDER
from tests.support.builders import make_flow, make_ticket

TICKET = "execution_ticket"

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)
OBJECT = st.dictionaries(
    TEXT, JSON | st.sampled_from(["5", "null", '"x"', "[1", "{}", " 1", "NaN", "true"]), max_size=4
)
MOMENT = st.integers(0, 4_102_444_800_000).map(
    lambda ms: datetime.fromtimestamp(0, tz=UTC) + timedelta(milliseconds=ms)
)
LONG = st.integers(0, 2**62)

TICKETS = st.builds(
    ExecutionTicket,
    **dict.fromkeys(("ticket_id", "plan_id", "intent_id", "task_id", "description"), TEXT),
    **{
        name: st.none() | TEXT
        for name in ("decision_id", "correlation_id", "trace_id", "span_id", "workflow_id", "allocated_agent_id")
    },
    **{name: st.none() | TEXT for name in ("error_message", "compensation_ticket_id", "hash")},
    **dict.fromkeys(("parameters", "payload", "metadata"), OBJECT),
    **{name: st.none() | MOMENT for name in ("assigned_at", "started_at", "completed_at")},
    **{name: st.lists(TEXT, max_size=3).map(tuple) for name in ("dependencies", "required_capabilities")},
    **{name: st.none() | LONG for name in ("estimated_duration_ms", "actual_duration_ms")},
    **{name: st.integers(0, 2**31 - 1) for name in ("retry_count", "schema_version")},
    task_type=st.sampled_from([one for one in TaskType if one not in WITHOUT_WORKER]),
    status=st.sampled_from([one for one in TicketStatus if one not in OWN_STATUSES]),
    priority=st.sampled_from(Priority),
    priority_score=st.none() | st.floats(0, 1),
    risk_band=st.sampled_from(RiskBand),
    security_level=st.sampled_from(SecurityLevel),
    created_at=MOMENT,
    sla=st.builds(Sla, deadline=MOMENT, timeout_ms=LONG, max_retries=st.integers(0, 100)),
    qos=st.builds(
        Qos,
        delivery_mode=st.sampled_from(DeliveryMode),
        consistency=st.sampled_from(Consistency),
        durability=st.sampled_from(Durability),
    ),
)


def decoded(body: bytes) -> ExecutionTicket:
    values: Any = schemaless_reader(BytesIO(body[HEAD:]), reader_of(TICKET).parsed, None)
    return from_avro_dict(values)


@given(TICKETS)
def test_a_ticket_is_the_same_after_avro_and_after_json(ticket: ExecutionTicket) -> None:
    assert from_avro_dict(to_avro_dict(ticket)) == ticket
    body = write_avro(to_avro_dict(ticket), TICKET)
    assert decoded(body) == ticket
    said = {name: value for name, value in as_json(ticket).items() if value not in ("", None)}
    assert json.loads(json.dumps(read_avro(body, TICKET))) == json.loads(json.dumps(said))


def test_the_form_has_no_words_for_tickets_without_a_worker_and_shows_the_nearest() -> None:
    symbols = {
        f["name"]: f["type"]["symbols"] for f in ticket_schema()["fields"] if f["name"] in {"status", "task_type"}
    }
    assert not {"WAITING", "SKIPPED"} & set(symbols["status"])
    assert not {"APPROVE", "WAIT", "SUBFLOW"} & set(symbols["task_type"])
    waits = make_ticket(make_flow(1), status=TicketStatus.WAITING, task_type=TaskType.WAIT)
    shown = execution_ticket_of(waits)
    assert (shown.status, shown.task_type) == (TicketStatus.PENDING, TaskType.EXECUTE)
    assert decoded(write_avro(to_avro_dict(shown), TICKET)) == shown
    assert execution_ticket_of(waits.but(status=TicketStatus.SKIPPED)).status is TicketStatus.CANCELLED


def test_the_schema_has_exactly_the_fields_of_a_ticket() -> None:
    names = [field["name"] for field in ticket_schema()["fields"]]
    assert names == list(ExecutionTicket.__struct_fields__)
    assert len(names) == 35
    schema = json.loads((FOLDER / "execution_ticket.v1.schema.json").read_text(encoding="utf-8"))
    assert list(schema["properties"]) == names
    ticket = execution_ticket_of(make_ticket(make_flow(1), parameters={"a": [1]}, template_id="t"))
    jsonschema.Draft202012Validator(schema).validate(json.loads(json.dumps(as_json(ticket))))
    assert ticket.payload == {"template_id": "t", "parameters": {"a": [1]}, "ticket_id": ticket.ticket_id}


@pytest.mark.parametrize("kind", ["execution_ticket", "decision.consolidated"])
def test_a_writer_that_takes_the_file_is_understood(kind: str) -> None:
    """The files also say how moments are shown; the bytes are the same."""
    schema = load_schema(str(FOLDER / f"{kind}.v1.avsc"))
    body = BytesIO()
    values = to_avro_dict(execution_ticket_of(make_ticket(make_flow(1)))) if kind == TICKET else DECISION
    schemaless_writer(body, schema, values)
    assert read_avro(b"\xc3\x01" + reader_of(kind).fingerprint + body.getvalue(), kind)


PLAN = {"plan_id": "p", "tasks": [{"task_id": "a", "task_type": "BUILD", "description": "build it"}]}
DECISION: dict[str, Any] = {
    "decision_id": "d-1",
    "plan_id": "p",
    "intent_id": "i",
    "final_decision": "approve",
    "consensus_method": "bayesian",
    "aggregated_confidence": 0.9,
    "aggregated_risk": 0.1,
    "specialist_votes": [],
    "consensus_metrics": {
        "divergence_score": 0.1,
        "convergence_time_ms": 5,
        "unanimous": True,
        "fallback_used": False,
        "pheromone_strength": 0.5,
        "bayesian_confidence": 0.5,
        "voting_confidence": 0.5,
    },
    "explainability_token": "t",
    "reasoning_summary": "r",
    "compliance_checks": {"gdpr": True},
    "guardrails_triggered": [],
    "cognitive_plan": json.dumps(PLAN),
    "requires_human_review": False,
    "created_at": 1_900_000_000_000,
    "metadata": {},
    "hash": "h",
    "schema_version": 1,
}


def test_a_decision_in_avro_is_the_decision() -> None:
    read = read_avro(write_avro(DECISION, "decision.consolidated"), "decision.consolidated")
    decision = read_decision(json.dumps(read).encode())
    assert (decision.decision_id, [task.task_id for task in decision.cognitive_plan.tasks]) == ("d-1", ["a"])


def test_avro_and_json_make_the_same_new_ticket() -> None:
    ticket = execution_ticket_of(make_ticket(make_flow(1), parameters={"n": 5}, metadata={"team": "a"})).but(
        ticket_id="t-1"
    )
    of_avro = NewTicket.model_validate(read_avro(write_avro(to_avro_dict(ticket), TICKET), TICKET))
    of_json = NewTicket.model_validate(json.loads(json.dumps(as_json(ticket))))
    assert decision_of(of_avro, None) == decision_of(of_json, None)


def test_foreign_ends_are_failures() -> None:
    values = to_avro_dict(execution_ticket_of(make_ticket(make_flow(1))))
    for status in ("TIMED_OUT", "DEAD_LETTER"):
        assert decoded(write_avro({**values, "status": status}, TICKET)).status is TicketStatus.FAILED


def long(number: int) -> bytes:
    """Return a number as Avro writes it."""
    zigzag, text = (number << 1) ^ (number >> 63), b""
    while zigzag > 0x7F:
        text += bytes([zigzag & 0x7F | 0x80])
        zigzag >>= 7
    return text + bytes([zigzag])


IDS = 3 * (long(1) + b"x")
TO_DEPENDENCIES = IDS + 5 * long(0) + long(1) + b"t" + long(0) + long(0)
BOMBS = {
    "an array of 2**60 texts": TO_DEPENDENCIES + long(2**60),
    "a block of -2**60 texts": TO_DEPENDENCIES + long(-(2**60)) + long(2**60),
    "a text of 2**60 bytes": long(2**60) + b"x",
    "a text of -5 bytes": long(-5) + b"x",
    "a text of -2**62 bytes": long(-(2**62)),
    "a number without end": b"\xff" * 1000,
    "a branch that is not there": IDS + long(7),
    "a branch before the first": IDS + long(-3),
    "a word that is not there": IDS + 5 * long(0) + long(1) + b"t" + long(99),
    "a word before the first": IDS + 5 * long(0) + long(1) + b"t" + long(-1),
    "no UTF-8": long(2) + b"\xff\xfe" + b"x" * 100,
    "nothing": b"",
    "zeros": bytes(1000),
    "empty blocks without end": TO_DEPENDENCIES + b"\x02\x00" * 500_000,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_no_body_takes_much_time_or_memory(bomb: str) -> None:
    body = b"\xc3\x01" + reader_of(TICKET).fingerprint + BOMBS[bomb]
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(Rejected) as refused:
            read_avro(body, TICKET)
        assert refused.value.code in {"malformed_avro", "too_large"}
        assert tracemalloc.get_traced_memory()[1] < 64 * 1024 * 1024
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 2


def test_a_large_list_costs_tens_of_times_its_bytes_at_most() -> None:
    """A text of two characters takes three bytes, and sixty of memory."""
    values = to_avro_dict(execution_ticket_of(make_ticket(make_flow(1))))
    texts = [f"{number % 97:02d}" for number in range(LIMIT // 3 - 1000)]
    body = write_avro({**values, "dependencies": texts}, TICKET)
    tracemalloc.start()
    try:
        read_avro(body, TICKET)
        assert tracemalloc.get_traced_memory()[1] < 64 * len(body)
    finally:
        tracemalloc.stop()


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(body: bytes) -> None:
    for kind in ("execution_ticket", "decision.consolidated"):
        for text in (body, b"\xc3\x01" + reader_of(kind).fingerprint + body):
            with pytest.raises(Rejected):
                read_avro(text, kind)


def test_a_schema_of_the_sender_is_not_used() -> None:
    container = BytesIO()
    nulls = {"type": "record", "name": "Bomb", "fields": [{"name": "a", "type": {"type": "array", "items": "null"}}]}
    writer(container, nulls, [{"a": [None] * 100_000}], codec="deflate")
    assert len(container.getvalue()) < 1024
    with pytest.raises(Rejected, match="a container file") as refused:
        read_avro(container.getvalue(), TICKET)
    assert refused.value.code == "unknown_avro_schema"
    foreign = write_avro(DECISION, "decision.consolidated")
    with pytest.raises(Rejected, match=r"execution_ticket\.v1\.avsc"):
        read_avro(foreign, TICKET)


def test_what_follows_the_object_is_refused() -> None:
    body = write_avro(to_avro_dict(execution_ticket_of(make_ticket(make_flow(1)))), TICKET)
    with pytest.raises(Rejected, match="behind the object"):
        read_avro(body + b"\0", TICKET)


def test_a_moment_outside_the_calendar_is_refused() -> None:
    values = to_avro_dict(execution_ticket_of(make_ticket(make_flow(1))))
    for millis in (2**62, -(2**62)):
        with pytest.raises(Rejected, match="no moment"):
            read_avro(write_avro({**values, "created_at": millis}, TICKET), TICKET)


def test_the_library_is_imported_for_avro_alone() -> None:
    code = (
        "import sys, functions._hosts.api_app, functions._adapters.http.cloudevents; print('fastavro' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=FOLDER.parent)
    assert run.stdout.strip() == "False"
