"""Flows, tickets and everything else that a step changes."""

from collections.abc import Collection, Mapping, Sequence

from functions._adapters.documents import document, found_or_unreadable
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import ItemChange, address, key_of
from functions._adapters.dynamodb.outbox import Outbox
from functions._adapters.dynamodb.plans import FROM_PAGE, PlannedTicket, fits_a_page
from functions._adapters.dynamodb.records import (
    audit_change,
    flow_change,
    hedge_change,
    history_element,
    is_record,
    new,
    position_of,
    readable,
    readable_all,
    record_of,
    ticket_change,
)
from functions._adapters.dynamodb.table import PATIENCE
from functions._adapters.dynamodb.values import Item, integer, listed, text, texts, to_integer, to_text
from functions._adapters.dynamodb.writing import Moved, Writer
from functions._adapters.pages import label_words
from functions._adapters.worker_claims import waits_for_a_worker
from functions._core.errors import Conflict, Unavailable
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import LIVE_TICKETS, Flow, Ticket
from functions._core.records.values import TicketStatus

DECISION = "dd"
"""Attribute of a flow's row that leads to its decision, which is written before it and never changes."""

REMEMBERED = 128
"""Flows whose way to the decision is remembered."""

FIRST_PAGE = 16
"""Tickets that are looked at first for live ones."""

LIVE = frozenset(status.value for status in LIVE_TICKETS)


class DynamoFlows:
    """The `FlowStore` and the consistent half of the `TicketCounts`."""

    def __init__(self, writer: Writer, outbox: Outbox) -> None:
        self._writer = writer
        self._table = writer.table
        self._outbox = outbox
        self._requirements: set[str] = set()
        self._decisions: dict[str, Item] = {}

    async def flow(self, flow_id: str) -> Flow | None:
        """Return the flow's row, or None."""
        item = await self._row(flow_id)
        return await record_of(self._table, Flow, item) if item and is_record(item) else None

    async def _row(self, flow_id: str) -> Item | None:
        """Return the item of a flow's row, and remember the way to its decision."""
        item = await self._writer.read(keys.flow_key(flow_id))
        self._decisions.pop(flow_id, None)
        if item and f"{DECISION}p" in item:
            self._decisions[flow_id] = {name: item[name] for name in ("pk", f"{DECISION}p")}
            if len(self._decisions) > REMEMBERED:
                del self._decisions[next(iter(self._decisions))]
        return item

    async def tickets(self, ticket_ids: Collection[str], flow_id: str | None = None) -> Mapping[str, Ticket]:
        """Return those of the named tickets that exist, by id; of an unknown flow, pointers lead to them."""
        flows = dict.fromkeys(ticket_ids, flow_id) if flow_id else await self._flows_of(ticket_ids)
        known = {ticket_id: keys.ticket_key(flow, ticket_id) for ticket_id, flow in flows.items() if flow}
        items = await self._writer.read_all(list(known.values()))
        stored = {ticket_id: items[key] for ticket_id, key in known.items() if is_record(items.get(key))}
        found = {ticket_id: await readable(self._table, Ticket, item) for ticket_id, item in stored.items()}
        tickets = {ticket_id: ticket for ticket_id, ticket in found.items() if ticket is not None}
        return found_or_unreadable(self._table.set_aside, tickets, ticket_ids, stored)

    async def _flows_of(self, ticket_ids: Collection[str]) -> Mapping[str, str | None]:
        pointers = await self._table.get_all([keys.pointer_key(ticket_id) for ticket_id in ticket_ids])
        return {one: to_text(pointers.get(keys.pointer_key(one), {}), "fl") for one in ticket_ids}

    async def decision(self, flow_id: str) -> bytes:
        """Return the stored decision as JSON text."""
        item = self._decisions.get(flow_id) or await self._row(flow_id)
        found = await self._table.document(item, DECISION) if item else None
        if found is None:
            raise Unavailable(f"The decision of flow {flow_id} is not visible yet.")
        return found

    async def tickets_of(self, flow_id: str, *, live_only: bool = False) -> Sequence[Ticket]:
        """Return the tickets of a flow in the order of the plan."""
        items = await self.items_of(flow_id)
        items = [item for item in items if not live_only or _is_live(item)]
        items.sort(key=position_of)
        return await readable_all(self._table, Ticket, items)

    async def by_status(self, flow_id: str) -> Mapping[str, int]:
        """Return how many tickets of the flow's plan are in each status, zeros included."""
        found = [to_text(item, "st") for item in await self.items_of(flow_id) if "co" not in item]
        return {status.value: found.count(status.value) for status in TicketStatus}

    async def live(self, flow_id: str, at_most: int) -> int:
        """Return how many tickets of the flow are live, counting no further than `at_most`.

        Keys are in no order that the tickets end in, so where many are live the first pages show enough of them.
        """
        found, touched, first, limit = 0, 0, "T#", FIRST_PAGE
        while found < at_most:
            items = await self._query(keys.of_flow(flow_id), first, limit)
            found += sum(map(_is_live, items))
            touched += sum(FROM_PAGE in item for item in items)
            if len(items) < limit:
                plan = await self._writer.plans.of(keys.of_flow(flow_id))
                found += plan.tickets - touched if plan else 0
                break
            first, limit = key_of(items[-1])[1] + "\0", 4 * limit
        return min(found, at_most)

    async def items_of(self, flow_id: str) -> list[Item]:
        """Return the items of a flow's tickets."""
        return await self.items_in(keys.of_flow(flow_id))

    async def items_in(self, partition: str) -> list[Item]:
        """Return the items of the tickets of the flow in a partition, those of its pages included."""
        own = {key_of(item): item for item in await self._query(partition, "T#") if is_record(item)}
        return list({**await self._writer.plans.all_of(partition), **own}.values())

    async def _query(self, partition: str, first: str, limit: int | None = None) -> list[Item]:
        """Return items up to the last ticket; a step that is done but not brought up is brought up first."""
        last = "T#" + keys.LAST
        items = await self._table.query(partition, first, last, limit=limit)
        again = [key_of(item) for item in items if "dr" in item and await self._writer.drafts.finished(item)]
        if again:
            items = await self._table.query(partition, first, last, limit=limit)
        for item in items:
            self._writer.stamps.seen(to_integer(item, "c"))
        return items

    async def commit(self, step: ChangeSet) -> None:
        """Apply `step`, or raise `Conflict` and change nothing."""
        if not step.changes and step.decision is None:
            return
        await self._prepare(step)
        for _ in range(PATIENCE):
            changes = await self._changes(step)
            try:
                await self._writer.write(list(changes.values()))
            except Moved:
                continue  # somebody else has changed the events on an item: look again
            break
        else:
            raise Unavailable("The queue is busy.")
        if step.handled is not None and step.handled not in {event.id for event in step.events}:
            await self._outbox.clean(step.handled)

    async def _prepare(self, step: ChangeSet) -> None:
        """Write what never changes and is found by nobody before the step is done."""
        new = [ticket for ticket in step.tickets if not step.base_of(ticket.ticket_id, ticket.version)]
        pointers = [
            {**address(keys.pointer_key(ticket.ticket_id)), "fl": text(ticket.flow_id)}
            for ticket in {ticket.ticket_id: ticket for ticket in new}.values()
        ]
        needs = {
            keys.requirement_key(ticket.requirement): ticket.requirement
            for ticket in step.tickets
            if waits_for_a_worker(ticket)
        }
        unknown = [name for name in needs if name not in self._requirements]
        rows = [
            {**address((keys.REQUIREMENTS, name)), "cs": listed([text(one) for one in sorted(set(needs[name]))])}
            for name in unknown
        ]
        rows += await self._labels(step)
        if pointers or rows:
            await self._table.put_all([*pointers, *rows])
        self._requirements.update(unknown)

    async def _labels(self, step: ChangeSet) -> list[dict[str, Item]]:
        """Return the items by which the flow, and its tickets, are found by labels that they have since now.

        One item for all tickets of the flow that have a label: who looks for them reads them, and sees what holds.
        """
        found = {("FLOW", label) for label in label_words(step.labelled_flow.labels if step.labelled_flow else {})}
        found |= {("TICKET", label) for ticket in step.labelled_tickets for label in label_words(ticket.labels)}
        if not found:
            return []
        row = await self._writer.read(keys.flow_key(step.flow_id))
        at = position_of(row) if row and is_record(row) else self._writer.stamps.take(1, step.flow_id)
        return [
            {
                **address(keys.label_key(step.flow_id, kind, label)),
                **texts(keys.listing_entry(keys.labelled(kind, label), step.flow_id, at)),
            }
            for kind, label in sorted(found)
        ]

    async def _changes(self, step: ChangeSet) -> dict[keys.Key, ItemChange]:
        """Return what the step changes, item by item."""
        parts = (step.tickets, step.history, step.audit, step.events, step.telemetry)
        count = max(1, *map(len, parts))
        first = self._writer.stamps.take(count, step.flow_id)
        changes: dict[keys.Key, ItemChange] = {}
        carriers: dict[str, keys.Key] = {}
        planned = await self._planned(step, first)
        for offset, ticket in enumerate(step.tickets):
            if ticket.ticket_id in planned:
                continue
            base = step.base_of(ticket.ticket_id, ticket.version)
            change = await ticket_change(self._writer, ticket, base, first + offset)
            changes[change.key] = change
            carriers[ticket.ticket_id] = change.key
            carriers.setdefault("", change.key)
            if ticket.hedge is not None:
                second = hedge_change(ticket)
                changes[second.key] = second
        if step.flow:
            base = step.base_of(step.flow_id, step.flow.version)
            change = await flow_change(self._writer, step.flow, base, first, list(planned.values()))
            changes[change.key] = change
            carriers[""] = change.key
        self._tell(step.flow_id, step.history, carriers, changes, first)
        if step.decision is not None:
            key = keys.flow_key(step.flow_id)
            change = changes.get(key, ItemChange(key))
            leads = await self._table.parted(key[0], step.decision, DECISION)
            changes[key] = change.but(keeps={**change.keeps, **leads})
        for offset, audit in enumerate(step.audit):
            change = await audit_change(self._table, audit, first + offset)
            changes[change.key] = change
        for offset, event in enumerate(step.telemetry):
            key = keys.TELEMETRY, keys.number(first + offset)
            packed = await self._table.packed(key[0], document(event))
            changes[key] = ItemChange(key, 0, sets={**packed, **new(first + offset)})
        last = integer(first + count - 1)  # what is decided on these records comes after all of this
        stamped = {key: change for key, change in changes.items() if "c" in change.sets}
        changes |= {key: change.but(sets={**change.sets, "c": last}) for key, change in stamped.items()}
        if step.handled is not None:
            changes = await self._outbox.without(step.handled, changes)
        return await self._outbox.carry(changes, step.events, carriers, first)

    async def _planned(self, step: ChangeSet, first: int) -> Mapping[str, PlannedTicket]:
        """Return the new tickets that go onto pages: of a flow that has no tickets yet, and whose row leads to them.

        All other new tickets are ones that the flow does not have, or it is a `Conflict`.
        """
        new = {
            ticket.ticket_id: PlannedTicket(ticket, first + offset)
            for offset, ticket in enumerate(step.tickets)
            if not step.base_of(ticket.ticket_id, ticket.version)
        }
        fitting = {ticket_id: one for ticket_id, one in new.items() if fits_a_page(one.ticket)}
        flow = step.flow
        if flow is None or flow.ended_at or (fitting and await self._has_tickets(step, flow)):
            fitting = {}
        others = [keys.ticket_key(step.flow_id, ticket_id) for ticket_id in new.keys() - fitting.keys()]
        if others and await self._writer.plans.find(others):
            raise Conflict
        return fitting

    async def _has_tickets(self, step: ChangeSet, flow: Flow) -> bool:
        partition, base = keys.of_flow(flow.flow_id), step.base_of(flow.flow_id, flow.version)
        plan = await self._writer.plans.of(partition, base)
        return plan is not None or bool(await self._query(partition, "T#", 1))

    def _tell(
        self,
        flow_id: str,
        history: Sequence[HistoryEntry],
        carriers: Mapping[str, keys.Key],
        changes: dict[keys.Key, ItemChange],
        first: int,
    ) -> None:
        """Put each line of history onto the item of what it is about."""
        told: dict[keys.Key, list[HistoryEntry]] = {}
        loose = keys.of_flow(flow_id), f"H#{keys.number(first)}"
        for offset, entry in enumerate(history):
            key = carriers.get(entry.ticket_id or "") or carriers.get("", loose)
            told.setdefault(key, []).append(entry.but(seq=first + offset))
        for key, entries in told.items():
            element = history_element(entries, key)
            if key == loose:
                listing = keys.listing_entry("HISTORY", flow_id, first)
                changes[key] = ItemChange(key, 0, sets={"h": listed([element]), **texts(listing), **new(first)})
                continue
            change = changes[key]
            length = len(element["B"])
            changes[key] = change.but(appends={**change.appends, "h": [element]}, adds={**change.adds, "hn": length})


def _is_live(item: Item) -> bool:
    return to_text(item, "st") in LIVE
