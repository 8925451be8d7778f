"""Pages for people."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence

from functions._adapters.documents import fill_async
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import key_of
from functions._adapters.dynamodb.flows import DynamoFlows
from functions._adapters.dynamodb.history import History
from functions._adapters.dynamodb.listing import PAGE, listed_items
from functions._adapters.dynamodb.plans import FROM_PAGE, PLAN, plan_of
from functions._adapters.dynamodb.records import audit_of, is_record, parsed, readable
from functions._adapters.dynamodb.records import position_of as place_of
from functions._adapters.dynamodb.table import AT_ONCE, chunks
from functions._adapters.dynamodb.values import Item, text, to_integer, to_text
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.pages import (
    MAX_POSITION,
    flow_status,
    label_words,
    page,
    position_of,
    ticket_filters,
    wanted_labels,
)
from functions._core.records.audits import AnyAudit, AuditKind
from functions._core.records.history import HistoryEntry
from functions._core.records.models import LIVE_TICKETS, Flow, Ticket
from functions._core.records.values import RiskBand, TicketStatus

OF_A_FLOW = MAX_POSITION + 1
"""Positions that one flow has room for, where its own comes before that of a ticket."""


class DynamoViews:
    """The `Views`. A filter that no index serves is applied to what a walk finds, `counts` walks the whole table."""

    def __init__(self, writer: Writer, flows: DynamoFlows, history: History) -> None:
        self._writer = writer
        self._table = writer.table
        self._flows = flows
        self._history = history

    async def flows(
        self, *, status: str | None, cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Flow], str | None]:
        """Return flows, the newest first."""
        wanted, marked, before = flow_status(status), wanted_labels(labels), position_of(cursor, start=MAX_POSITION)
        found: list[tuple[int, Flow]] = []
        while len(found) <= limit:
            items = await self._rows("FLOW", marked, limit + 1, before=before)
            flows = [(at, await readable(self._table, Flow, item)) for at, item in items if is_record(item)]
            found += [
                (at, flow)
                for at, flow in flows
                if flow and wanted in {None, flow.status.value} and set(marked).issubset(label_words(flow.labels))
            ]
            if len(items) <= limit:
                break
            before = items[-1][0]
        return page(found[: limit + 1], limit)

    async def _rows(
        self, kind: str, labels: Sequence[str], limit: int, *, after: int | None = None, before: int = MAX_POSITION
    ) -> list[tuple[int, Item]]:
        """Return rows of flows with their positions; with labels those that the index of the first one leads to."""
        if not labels:
            return await listed_items(self._writer, "FLOW", is_record, limit, after=after, before=before)
        name = keys.labelled(kind, labels[0])
        entries = await listed_items(self._writer, name, lambda _item: True, limit, after=after, before=before)
        rows = await self._writer.read_all([(item["pk"]["S"], keys.FLOW) for _, item in entries])
        return [(at, rows.get((item["pk"]["S"], keys.FLOW), item)) for at, item in entries]

    async def find_tickets(
        self, filters: Mapping[str, str], cursor: str | None, limit: int, labels: Collection[str] = ()
    ) -> tuple[Sequence[Ticket], str | None]:
        """Return tickets that all `filters` fit: those of the oldest flow first, in the order of its plan."""
        wanted, marked = ticket_filters(filters), wanted_labels(labels)
        flow_id = wanted.get("flow_id")
        most = MAX_POSITION if flow_id else MAX_POSITION * OF_A_FLOW
        after, found = position_of(cursor, start=0, most=most), list[tuple[int, Ticket]]()
        if flow_id is not None:
            pages = self._tickets_in([(0, keys.of_flow(flow_id))])
        elif not marked and wanted.get("status") in LIVE_TICKETS:
            pages = self._tickets_in(await self._under_way(after // OF_A_FLOW - 1))
        else:
            pages = self._all_tickets(after, marked)
        async for at, ticket in pages:
            fits = all(getattr(ticket, name) == value for name, value in wanted.items())
            if at > after and fits and set(marked).issubset(label_words(ticket.labels)):
                found.append((at, ticket))
                if len(found) > limit:
                    break
        return page(found, limit)

    async def _under_way(self, after: int) -> list[tuple[int, str]]:
        """Return positions and partitions of the flows that have not ended: no other has a live ticket."""
        bands = (f"LIVE#{band.value}" for band in RiskBand)
        found = await asyncio.gather(*(self._table.query(band, index="standing", keys=("sp", "ss")) for band in bands))
        flows = ((to_integer(entry, "p"), entry["pk"]["S"]) for entries in found for entry in entries)
        return sorted((at, partition) for at, partition in flows if at > after)

    async def _all_tickets(self, after: int, labels: Sequence[str]) -> AsyncIterator[tuple[int, Ticket]]:
        """Walk the flows from the one that a position is in."""
        first = after // OF_A_FLOW - 1
        while flows := await self._rows("TICKET", labels, PAGE, after=first):
            async for found in self._tickets_in([(at, item["pk"]["S"]) for at, item in flows]):
                yield found
            first = flows[-1][0]

    async def _tickets_in(self, partitions: Sequence[tuple[int, str]]) -> AsyncIterator[tuple[int, Ticket]]:
        """Yield the tickets of flows, and for each one position that tells where it is among those of all."""
        for some in chunks(partitions, AT_ONCE):
            pages = await asyncio.gather(*(self._flows.items_in(partition) for _, partition in some))
            for (at, _), items in zip(some, pages, strict=True):
                for item in sorted(items, key=place_of):
                    ticket = await readable(self._table, Ticket, item)
                    if ticket is not None:
                        yield at * OF_A_FLOW + place_of(item), ticket

    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        """Return transitions with `seq` above `after`, in order."""
        return await self._history.page(flow_id, after, limit)

    async def last_seq(self) -> int:
        """Return the number behind which the history of all flows has what comes from now on, and what just came."""
        return self._history.settled

    async def audits(
        self, flow_id: str | None, limit: int, *, kind: AuditKind | None = None, valid: bool | None = None
    ) -> Sequence[AnyAudit]:
        """Return audits that all filters fit, the newest first."""

        def fits(item: Item) -> bool:
            is_kind = kind is None or to_text(item, "k") == kind.value
            about_validity = to_text(item, "k") == AuditKind.VALIDATION.value
            return is_kind and (valid is None or (about_validity and item["ok"]["BOOL"] == valid))

        async def first(number: int) -> tuple[int, list[AnyAudit]]:
            if flow_id is None:
                items = [item for _, item in await listed_items(self._writer, "AUDIT", fits, number)]
            else:
                of_flow = await self._table.query(keys.of_flow(flow_id), "A#", "A#" + keys.LAST, newest=True)
                items = [item for item in of_flow if "k" in item and fits(item)][:number]
            audits = [await parsed(self._table, item, audit_of) for item in items]
            return len(items), [audit for audit in audits if audit is not None]

        return await fill_async(limit, first)

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many flows and tickets there are by status."""
        items = await self._table.scan(
            {
                "ProjectionExpression": "#pk, #sk, #st, #v, #pl, #pt",
                "FilterExpression": "attribute_exists(#v) AND begins_with(#pk, :f)",
                "ExpressionAttributeNames": {
                    "#pk": "pk",
                    "#sk": "sk",
                    "#st": "st",
                    "#v": "v",
                    "#pl": PLAN,
                    "#pt": FROM_PAGE,
                },
                "ExpressionAttributeValues": {":f": text("F#")},
            }
        )
        found, untouched = {"F": Counter[str](), "T": Counter[str]()}, 0
        for item in items:
            kind, status = key_of(item)[1][:1], to_text(item, "st")
            if status and kind in found:
                found[kind][status] += 1
            plan = plan_of(item)
            untouched += plan.tickets if plan else -1 if FROM_PAGE in item else 0
        if untouched:
            found["T"][TicketStatus.PENDING.value] += untouched
        return {"flows": found["F"], "tickets": found["T"]}
