"""Keys of items and of index entries. Sort keys are text whose order is the order that is asked for.

They are short, for they are paid for with each write, and those of indexes need not be unique.
"""

import json
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from zlib import crc32

from functions._core.records.models import Flow, Ticket

Key = tuple[str, str]

SHARDS = 4
"""Into how many parts an index is cut that all records write to. It may be raised at any time, never lowered."""

HELD_SHARDS = 2
"""The same for held tickets, which write to their index half as often. It is neither raised nor lowered.

What a worker holds is looked for in one part only: that in which this number has put it.
"""

LONGEST = 200
"""Bytes of an id that are kept as they are; a sort key takes 1,024 in all."""

ALONE = "-"
WORKERS, REQUIREMENTS, TELEMETRY, PROCESSES = "WORKERS", "REQUIREMENTS", "TELEMETRY", "PROCESSES"
FLOW = "F"
LAST = "\U0010ffff"
"""Sorts behind everything."""

NEVER = "9999-12-31T23:59:59.999999Z"
LATEST = NEVER[:-2]
"""Sorts just before `NEVER`."""

OFFSET = 2**40
"""Added to turns, so that their text has one length."""


def short(value: str) -> str:
    """Return an id, or what is as good for telling it apart where it is too long for a key."""
    data = value.encode("utf-8", "surrogatepass")
    return value if len(data) <= LONGEST else f"{value[:32]}…{sha256(data).hexdigest()}"


def number(value: int) -> str:
    """Return a position as text that sorts."""
    return f"{value:019d}"


def moment(at: datetime) -> str:
    """Return a time as text that sorts, to the microsecond."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(len(NEVER), "0")


def read_moment(text: str) -> datetime:
    """Return the time that `moment` wrote."""
    return datetime.fromisoformat(text)


def shard(value: str, shards: int = SHARDS) -> int:
    """Return the part of an index that a record is in."""
    return crc32(value.encode("utf-8", "surrogatepass")) % shards


def of_flow(flow_id: str) -> str:
    """Return the partition of a flow."""
    return f"F#{short(flow_id)}"


def flow_key(flow_id: str) -> Key:
    """Return the key of a flow's row."""
    return of_flow(flow_id), FLOW


def ticket_key(flow_id: str, ticket_id: str) -> Key:
    """Return the key of a ticket."""
    return of_flow(flow_id), f"T#{short(ticket_id)}"


def pointer_key(ticket_id: str) -> Key:
    """Return the key of the item that tells which flow a ticket is of."""
    return f"T#{short(ticket_id)}", ALONE


def letter_key(letter_id: str) -> Key:
    """Return the key of a dead letter."""
    return f"LETTER#{short(letter_id)}", ALONE


def webhooks_of(subscription_id: str) -> str:
    """Return the partition of a subscription's deliveries."""
    return f"HOOK#{short(subscription_id)}"


def webhook_key(subscription_id: str, delivery_id: str) -> Key:
    """Return the key of a delivery."""
    return webhooks_of(subscription_id), short(delivery_id)


def space(name: str) -> str:
    """Return the partition of the small records of a space."""
    return f"KV#{name}"


def event_key(event_id: str) -> Key:
    """Return the key of the item of an event that is carried by no other."""
    return f"E#{short(event_id)}", ALONE


def requirement_key(requirement: Collection[str]) -> str:
    """Return the same text for the same requirement."""
    return short(json.dumps(sorted(set(requirement)), ensure_ascii=False))


def due_entry(kind: str, record_id: str, at: datetime) -> Mapping[str, str]:
    """Return the keys in `due`."""
    return {"wp": f"W#{shard(record_id)}", "ws": f"{moment(at)}#{kind}"}


def label_key(flow_id: str, kind: str, label: str) -> Key:
    """Return the key of the item by which flows (`FLOW`), or their tickets (`TICKET`), are found by a label."""
    return of_flow(flow_id), f"L#{kind}#{label}"


def labelled(kind: str, label: str) -> str:
    """Return what `listing` knows a label by."""
    return f"LABEL#{kind}#{label}"


def listing_entry(kind: str, record_id: str, position: int) -> Mapping[str, str]:
    """Return the keys in `listing`."""
    return {"gp": f"{kind}#{shard(record_id)}", "gs": number(position)}


def waiting_entry(ticket: Ticket) -> Mapping[str, str]:
    """Return the keys in `standing` of a ticket that waits for a worker or a slot."""
    turn = f"{(ticket.turn or 0) + OFFSET:013d}"
    place = f"{turn}#{moment(ticket.urgency)}#{ticket.precedence:07d}"
    return {"sp": f"WAIT#{requirement_key(ticket.requirement)}", "ss": place}


def held_entry(ticket: Ticket, since: datetime) -> Mapping[str, str]:
    """Return the keys in `standing` of a ticket that a worker holds."""
    name = short(ticket.worker_id or "")
    return {"sp": held_by(name), "ss": f"{name}#{moment(since)}"}


def hedge_key(flow_id: str, ticket_id: str) -> Key:
    """Return the key of the item by which the other attempt that runs at a ticket is found."""
    return of_flow(flow_id), f"S#{short(ticket_id)}"


def hedged_ticket(key: Key) -> Key:
    """Return the key of the ticket of an entry in `standing`, which may be that of its other attempt."""
    return key[0], key[1].replace("S#", "T#", 1) if key[1].startswith("S#") else key[1]


def held_by(name: str) -> str:
    """Return the partition of `standing` that the tickets are in which a worker holds."""
    return f"HELD#{shard(name, HELD_SHARDS)}"


def flow_entry(flow: Flow, *, under_way: bool) -> Mapping[str, str]:
    """Return the keys in `standing` of a flow: under way, by its deadline, or ended.

    A deadline that does not count any more because there is an outcome stays: most flows end right after that.
    """
    if not under_way or flow.ended_at:
        return {"sp": "ENDED", "ss": moment(flow.ended_at) if flow.ended_at else "-"}
    return {"sp": f"LIVE#{flow.risk_band.value}", "ss": moment(flow.deadline) if flow.deadline else NEVER}
