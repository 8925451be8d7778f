"""A ticket is the same when it is put together from its part and its state."""

import json
import zlib

import pytest
from msgspec import MsgspecError

from functions._adapters.documents import document
from functions._adapters.ticket_parts import CHANGING, CONSTANT, part_of, read_part, read_ticket, state_of, unpacked
from functions._core.planning.tickets import HASHED
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import TicketStatus, Waiting
from functions._core.records.worker import Candidate
from tests.support.builders import T0, later, make_flow, make_ticket, seconds

FLOW = make_flow()
NEW = make_ticket(FLOW, 1, parameters={"a": [1.5, None, "ключ"]}, required_capabilities=("b",), dependants=("x",))
CANDIDATE = Candidate(
    worker_id="w", score=0.5, health_score=1.0, pheromone_score=0.5, telemetry_score=0.5, active=0, slots=4
)
MOVED = (
    NEW,
    NEW.but(waiting=Waiting.WORKER, waiting_since=T0, turn=3, refused_by={"w": "r"}),
    NEW.but(status=TicketStatus.RUNNING, candidates=(CANDIDATE, CANDIDATE), worker_id="w", assigned_at=T0, attempt=2),
    NEW.but(status=TicketStatus.COMPLETED, output={"text": "x"}, next_wakeup_at=None, progress=100.0, version=9),
    NEW.but(sla=NEW.sla.but(deadline=T0 + seconds(9)), reason=Reason(code="a", message="b")),
)


@pytest.mark.parametrize("ticket", MOVED)
def test_part_and_state_make_the_ticket(ticket: Ticket) -> None:
    other = make_ticket(FLOW, 2)
    part = read_part(unpacked(part_of([other, NEW])))
    assert read_ticket(part[1], state_of(ticket)) == ticket
    assert document(read_ticket(part[0], state_of(other))) == document(other)


def test_a_state_is_small_and_says_where_the_ticket_is() -> None:
    state = json.loads(state_of(NEW))
    assert {"status", "version", "sla", "latest_start", "next_wakeup_at"} == state.keys()
    assert len(state_of(MOVED[2])) < len(document(MOVED[2])) / 3


def test_every_field_is_either_constant_or_changing() -> None:
    assert {*CONSTANT, *CHANGING} == {*Ticket.__struct_fields__}
    assert {*CHANGING} & HASHED == {"sla"}


@pytest.mark.parametrize("state", ["", "[1]", "{}", '{"a', '{"status":"PENDING","version":1,"sla":[1]}'])
def test_what_is_no_state_is_refused(state: str) -> None:
    with pytest.raises((MsgspecError, TypeError, ValueError)):
        read_ticket(read_part(unpacked(part_of([NEW])))[0], state)


@pytest.mark.parametrize("part", [b"", b"[{}]", zlib.compress(b"{}"), zlib.compress(b"[1]")])
def test_what_is_no_part_is_refused(part: bytes) -> None:
    with pytest.raises((MsgspecError, zlib.error)):
        read_part(unpacked(part))


def test_only_the_state_changes() -> None:
    assert part_of([later(NEW, attempt=1)]) == part_of([NEW])
