"""Passports: whatever is changed in one is found and named."""

import json
import random
from base64 import b64decode, b64encode
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from functions._core.passport.envelope import PassportFault, checked, envelope, signed_bytes
from functions._core.passport.seal import canonical, intact, sealed
from functions._core.passport.statement import line_part, statement_of, ticket_part
from functions._core.records.audits import ActionRecord
from functions._core.records.history import HistoryEntry
from functions._core.records.values import FlowStatus, Outcome
from tests.support.builders import T0, make_flow, make_ticket

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)


def verify(data: bytes, signature: bytes) -> bool:
    try:
        KEY.public_key().verify(signature, data)
    except InvalidSignature:
        return False
    return True


def made(tickets: int = 4) -> dict[str, Any]:
    """Return the statement of a flow with so many tickets."""
    flow = make_flow(status=FlowStatus.COMPLETED, outcome=Outcome.COMPLETED, ended_at=T0 + timedelta(minutes=1))
    lines = [
        HistoryEntry(flow_id="f", at=T0, type="ticket.completed", cause="report", seq=n, detail={"output": "ünï" * n})
        for n in range(1, 3 * tickets)
    ]
    action = ActionRecord(
        audit_id="a", flow_id=flow.flow_id, action="approve_flow", target="f", who="ada", why="as ordered", at=T0
    )
    return statement_of(
        flow,
        [
            ticket_part(make_ticket(flow, n, task_id=f"t-{n}", output={"n": n, "rows": [1.5, None, True]}))
            for n in range(tickets)
        ],
        [*map(line_part, lines)],
        [action],
        price={"amounts": {"EUR": 0.25}, "workers": []},
        issued={"at": "now", "by": "http://here", "software": "flowc 1", "keyid": "key-1"},
    )


PARTS = (
    "payload",
    "statement",
    "predicate",
    "subject",
    "flow",
    "sla",
    "price",
    "approvals",
    "tickets",
    "history",
    "issued",
)
FILE = envelope(made(), "key-1", KEY.sign)


def test_a_passport_as_it_was_signed_is_intact() -> None:
    passport = checked(FILE, verify)
    assert passport.keyid == "key-1"
    assert [ticket["task_id"] for ticket in passport.predicate["tickets"]] == ["t-0", "t-1", "t-2", "t-3"]
    assert passport.statement["subject"][0]["digest"]["sha256"] == passport.predicate["history"][-1]["seal"]


@pytest.mark.parametrize("seed", range(4))
def test_one_changed_byte_is_found_wherever_it_is(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(150):
        at, flip = rng.randrange(len(FILE)), 1 << rng.randrange(8)
        changed = bytearray(FILE)
        changed[at] ^= flip
        with pytest.raises(PassportFault) as fault:
            checked(bytes(changed), verify)
        assert all(len(text) > 10 for text in fault.value.faults), fault.value.faults


@pytest.mark.parametrize("seed", range(3))
def test_one_changed_byte_of_what_is_signed_is_named_with_its_part(seed: int) -> None:
    payload = b64decode(json.loads(FILE)["payload"])
    rng = random.Random(seed)
    for _ in range(150):
        changed = bytearray(payload)
        changed[rng.randrange(len(payload))] ^= 1 << rng.randrange(7)
        with pytest.raises(PassportFault) as fault:
            checked(_repacked(bytes(changed)), verify)
        assert fault.value.faults[0].startswith(PARTS), fault.value.faults


def _repacked(payload: bytes, **more: Any) -> bytes:
    outer = json.loads(FILE) | {"payload": b64encode(payload).decode()} | more
    return json.dumps(outer, separators=(",", ":")).encode() + b"\n"


def drop_line(statement: dict[str, Any]) -> None:
    del statement["predicate"]["history"][3]


def swap_lines(statement: dict[str, Any]) -> None:
    lines = statement["predicate"]["history"]
    lines[1], lines[2] = lines[2], lines[1]


def drop_ticket(statement: dict[str, Any]) -> None:
    statement["predicate"]["tickets"].pop()


def other_worker(statement: dict[str, Any]) -> None:
    statement["predicate"]["tickets"][1]["worker_id"] = "mallory"


def sealed_again(statement: dict[str, Any]) -> None:
    ticket = {**statement["predicate"]["tickets"][1], "worker_id": "mallory"}
    statement["predicate"]["tickets"][1] = sealed({name: part for name, part in ticket.items() if name != "seal"})


def late(statement: dict[str, Any]) -> None:
    statement["predicate"]["sla"]["kept"] = False


def other_flow(statement: dict[str, Any]) -> None:
    statement["subject"][0]["name"] = "flow:another"


def one_more(statement: dict[str, Any]) -> None:
    statement["predicate"]["bonus"] = {}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (drop_line, "history[3]"),
        (swap_lines, "history[1]"),
        (drop_ticket, "issued: it counts 4 tickets, and there are 3"),
        (other_worker, "tickets[1]: it is not what was sealed (t-1)"),
        (sealed_again, "signature"),
        (late, "sla"),
        (other_flow, "subject"),
        (one_more, "predicate"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_what_somebody_changes_is_named(change: Callable[[dict[str, Any]], None], named: str) -> None:
    statement = made()
    change(statement)
    with pytest.raises(PassportFault) as fault:
        checked(_repacked(canonical(statement)), verify)
    assert fault.value.faults[0].startswith(named)


def test_a_signature_of_another_key_or_for_another_type_counts_for_nothing() -> None:
    other = Ed25519PrivateKey.generate()
    for file in (
        envelope(made(), "key-1", other.sign),
        envelope(made(), "key-1", lambda data: KEY.sign(data.replace(b"in-toto", b"an-toto"))),
        envelope(made(), "key-1", lambda _: b""),
    ):
        with pytest.raises(PassportFault, match="signature"):
            checked(file, verify)


@pytest.mark.parametrize(
    "file",
    [
        b"",
        b"\xff" * 100,
        b"[" * 100_000,
        b"{}",
        b'"text"',
        FILE[:-10],
        FILE + b" ",
        FILE.replace(b"payloadType", b"payload", 1),
        _repacked(b"not JSON"),
        _repacked(b"[]"),
        _repacked(b'{"_type":1}'),
        _repacked(b'{"predicate":{},"predicateType":"x","subject":[],"_type":"y"}'),
        _repacked(canonical(made()), signatures=[]),
        _repacked(canonical(made()), signatures=json.loads(FILE)["signatures"] * 2),
        _repacked(canonical(made()), payloadType=None),
        json.dumps(json.loads(FILE), indent=1).encode(),
    ],
    ids=lambda file: repr(file[:12]),
)
def test_what_is_no_passport_is_refused_in_a_sentence(file: bytes) -> None:
    with pytest.raises(PassportFault) as fault:
        checked(file, verify)
    assert all(len(text) < 400 for text in fault.value.faults)


def test_what_is_signed_is_as_dsse_says() -> None:
    assert signed_bytes(b"hello world", "http://example.com/HelloWorld") == (
        b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    )


def test_a_seal_covers_all_names_and_values() -> None:
    part = sealed({"a": 1, "b": None})
    assert intact(part)
    for other in ({**part, "a": 2}, {**part, "c": None}, {"a": 1, "seal": part["seal"]}, {"a": 1}, [part], None):
        assert not intact(other)
    assert not intact(part, "before")
