"""Tickets to which nothing has happened since their plan was cut: they share pages, found through the flow's row.

A page is written before the flow's row that leads to it, and never changes, so a plan of any size takes one conditional
write. A ticket gets an item of its own with its first change, or when its wake-up comes; from then on the item counts.
The flow's entry in the index of wake-ups stands for all tickets of its pages, too: it is never later than one of them.

A ticket of a page is shown as the item that it would have: all that read items need not know of pages.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar

from functions._adapters.documents import document
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import address, key_of
from functions._adapters.dynamodb.keys import Key
from functions._adapters.dynamodb.table import PLAIN, Table
from functions._adapters.dynamodb.values import (
    Item,
    binary,
    deflate,
    digest,
    inflate,
    integer,
    text,
    to_integer,
    to_text,
)
from functions._adapters.worker_claims import waits_for_a_worker
from functions._core.records.models import Ticket
from functions._core.records.set_aside import RecordKind
from functions._core.records.values import TicketStatus

K = TypeVar("K")
V = TypeVar("V")

PLAN = "pl"
"""Attribute of a flow's row that leads to its pages."""

FROM_PAGE = "pt"
"""Attribute of the item of a ticket that is on a page, too."""

LONG_AGO = "0001-01-01T00:00:00.000000Z"

PER_PAGE = 50
"""Tickets of a page: whoever needs one of them reads the page."""

LONGEST = 4_000
"""Bytes of a ticket that goes onto a page: one item holds the fullest page of such tickets."""

REMEMBERED = 128
"""Pages, and as many flows."""

Page = Mapping[str, Item]
"""Items of tickets by their sort keys."""


class PlannedTicket(NamedTuple):
    """A ticket for a page, and its position among all records."""

    ticket: Ticket
    position: int


class Plan(NamedTuple):
    """The pages that the row of a flow leads to; how many, and how many tickets they hold."""

    name: str
    pages: int
    tickets: int

    def page_of(self, sort_key: str) -> str:
        """Return the sort key of the page that a ticket is on."""
        return f"P#{self.name}#{keys.shard(sort_key, self.pages):04d}"

    def all_pages(self) -> list[str]:
        """Return the sort keys of all pages."""
        return [f"P#{self.name}#{number:04d}" for number in range(self.pages)]


def fits_a_page(ticket: Ticket) -> bool:
    """Whether a new ticket can do without an item of its own: no index has to find it."""
    waits = ticket.status is TicketStatus.PENDING and not waits_for_a_worker(ticket)
    return waits and ticket.version == 1 and not ticket.compensates and len(document(ticket).encode()) <= LONGEST


def plan_of(row: Item) -> Plan | None:
    """Return the plan that a flow's row leads to, None where its tickets have items of their own."""
    found = to_text(row, PLAN)
    if found is None:
        return None
    name, pages, count = found.split("#")
    return Plan(name, int(pages), int(count))


class Plans:
    """Writes and reads pages, and remembers the last ones."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._plans: dict[str, tuple[int, Plan | None]] = {}
        self._pages: dict[Key, Page] = {}

    async def put(self, partition: str, tickets: Sequence[PlannedTicket]) -> Mapping[str, Item]:
        """Put tickets onto pages; return the attributes of the flow's row that lead to them."""
        number = -(-len(tickets) // PER_PAGE)
        lines: list[list[PlannedTicket]] = [[] for _ in range(number)]
        for one in tickets:
            lines[keys.shard(_sort_key(one.ticket), number)].append(one)
        stored = [deflate(_page(some)) for some in lines]
        plan = Plan(digest(b"".join(stored)), number, len(tickets))
        await self._table.put_all(
            [
                {**address((partition, sort_key)), "d": binary(page)}
                for sort_key, page in zip(plan.all_pages(), stored, strict=True)
            ]
        )
        return {PLAN: text("#".join(map(str, plan)))}

    def saw(self, item: Item) -> None:
        """Remember the plan of a flow's row, or a page, that was read."""
        partition, sort_key = key_of(item)
        if sort_key == keys.FLOW:
            plan = plan_of(item)
            if plan is None or "eo" in item:  # pages of a flow that has ended may go
                self.forget(partition)
            _remember(self._plans, partition, (to_integer(item, "v"), plan))
        elif sort_key.startswith("P#"):
            self._open(item)

    def forget(self, partition: str) -> None:
        """Forget the plan of a flow that is not there, or whose tickets are being removed."""
        if self._plans.pop(partition, None):
            self._pages = {key: page for key, page in self._pages.items() if key[0] != partition}

    async def of(self, partition: str, version: int | None = None) -> Plan | None:
        """Return the plan of a flow, whose row is perhaps known to be at a `version`.

        One that was found stays: no other is ever made for the flow. None was found at a version of the row.
        """
        found_at, plan = self._plans.get(partition, (None, None))
        if plan is None and (found_at is None or found_at != version):
            row = await self._table.get((partition, keys.FLOW))
            plan = plan_of(row) if row else None
            if row:
                self.saw(row)
        return plan

    async def find(self, wanted: Collection[Key]) -> Mapping[Key, Item]:
        """Return those of the tickets that are on pages, whether or not they have items of their own, too."""
        found: dict[Key, Item] = {}
        for partition in dict.fromkeys(partition for partition, _ in wanted):
            if plan := await self.of(partition):
                sort_keys = [sort_key for one, sort_key in wanted if one == partition]
                pages = await self._read(partition, {plan.page_of(sort_key) for sort_key in sort_keys})
                for sort_key in sort_keys:
                    page = pages.get(plan.page_of(sort_key), {})
                    if page is None or sort_key in page:
                        found[partition, sort_key] = _broken((partition, sort_key)) if page is None else page[sort_key]
        return found

    async def all_of(self, partition: str) -> Mapping[Key, Item]:
        """Return the tickets on the pages of a flow, whether or not they have items of their own, too."""
        plan = await self.of(partition)
        pages = await self._read(partition, set(plan.all_pages())) if plan else {}
        return {key_of(item): item for page in pages.values() if page for item in page.values()}

    def among(self, items: Collection[Item], row: Item) -> Mapping[Key, Item]:
        """Return the tickets on those of the items that are pages of a flow's plan."""
        plan = plan_of(row)
        wanted = set(plan.all_pages()) if plan else set()
        pages = [self._open(item) for item in items if item["sk"]["S"] in wanted]
        return {key_of(item): item for page in pages if page for item in page.values()}

    async def untouched(self, partition: str, until: str) -> list[Item]:
        """Return tickets that have no item yet whose wake-ups come up to a time, in the order of the wake-ups."""
        found = sorted(
            (item for item in (await self.all_of(partition)).values() if "" < wakes(item) <= until),
            key=wakes,
        )
        own = await self._table.get_all([key_of(item) for item in found])
        return [item for item in found if not to_integer(own.get(key_of(item), {}), "v")]

    async def next_after(self, partition: str, at: str) -> str:
        """Return the time of the next wake-up after `at` of all tickets on pages, "" if there is none."""
        return min((wakes(item) for item in (await self.all_of(partition)).values() if wakes(item) > at), default="")

    async def _read(self, partition: str, sort_keys: set[str]) -> Mapping[str, Page | None]:
        """Return pages by sort key: None for one that cannot be read, nothing for one that is gone."""
        wanted = [(partition, sort_key) for sort_key in sorted(sort_keys)]
        pages: dict[str, Page | None] = {key[1]: self._pages[key] for key in wanted if key in self._pages}
        missing = [key for key in wanted if key[1] not in pages]
        items = await self._table.get_all(missing) if missing else {}
        return pages | {key[1]: self._open(item) for key, item in items.items()}

    def _open(self, item: Item) -> Page | None:
        key = key_of(item)
        if key not in self._pages:
            flow_id = key[0].removeprefix("F#")
            read = partial(_opened, item)
            page = self._table.set_aside.read(RecordKind.TICKET, f"{flow_id}/{key[1]}", read, flow_id=flow_id)
            if page is None:
                return None
            _remember(self._pages, key, page)
        return self._pages[key]


def wakes(item: Item) -> str:
    """Return the time of the wake-up of a ticket shown from its page, "" if it has none.

    One that cannot be read has long been due: whoever acts on it meets the same and tells it.
    """
    try:
        at = json.loads(bytes(item[PLAIN]["B"]))["next_wakeup_at"]
        return keys.moment(keys.read_moment(at)) if at else ""
    except (ValueError, KeyError, TypeError):
        return LONG_AGO


def as_stored(item: Item) -> Mapping[str, Item]:
    """Return the attributes that the item of a ticket has which is shown from its page."""
    left = {name: value for name, value in item.items() if name not in {"pk", "sk", PLAIN}}
    return {**left, "d": binary(deflate(bytes(item[PLAIN]["B"]))), FROM_PAGE: {"BOOL": True}}


def _sort_key(ticket: Ticket) -> str:
    return keys.ticket_key("", ticket.ticket_id)[1]


def _page(tickets: Sequence[PlannedTicket]) -> str:
    """Return a page: a line that says what is on it, and a line for each ticket."""
    first = tickets[0].position if tickets else 0
    contents = [first, *([_sort_key(one.ticket), one.position - first] for one in tickets)]
    return "\n".join([json.dumps(contents, separators=(",", ":")), *(document(one.ticket) for one in tickets)])


def _opened(item: Item) -> Page:
    contents, *docs = inflate(bytes(item["d"]["B"])).split(b"\n")
    first, *places = json.loads(contents)
    return {
        sort_key: {
            **address((item["pk"]["S"], sort_key)),
            "v": integer(1),
            "c": integer(first + place),
            "p": integer(first + place),
            "st": text(TicketStatus.PENDING.value),
            PLAIN: binary(doc),
        }
        for (sort_key, place), doc in zip(places, docs, strict=True)
    }


def _broken(key: Key) -> Item:
    """Return the item of a ticket whose page cannot be read: neither can it."""
    return {
        **address(key),
        "v": integer(1),
        "p": integer(0),
        "st": text(TicketStatus.PENDING.value),
        PLAIN: binary(b""),
    }


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    memory.pop(key, None)
    memory[key] = value
    if len(memory) > REMEMBERED:
        del memory[next(iter(memory))]
