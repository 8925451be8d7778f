"""Pages for people."""

from collections import Counter
from collections.abc import Mapping, Sequence

from functions._adapters.documents import AUDIT
from functions._adapters.dynamodb import keys
from functions._adapters.dynamodb.changes import key_of
from functions._adapters.dynamodb.flows import DynamoFlows
from functions._adapters.dynamodb.history import History
from functions._adapters.dynamodb.listing import listed_items
from functions._adapters.dynamodb.records import is_record, record_of
from functions._adapters.dynamodb.records import position_of as place_of
from functions._adapters.dynamodb.values import Item, text, to_text
from functions._adapters.dynamodb.writing import Writer
from functions._adapters.pages import MAX_POSITION, flow_status, page, position_of, ticket_filters
from functions._core.audits import AnyAudit, AuditKind
from functions._core.models import Flow, HistoryEntry, Ticket


class DynamoViews:
    """The `Views`. A filter that no index serves is applied to what a walk finds, `counts` walks the whole table."""

    def __init__(self, writer: Writer, flows: DynamoFlows, history: History) -> None:
        self._writer = writer
        self._table = writer.table
        self._flows = flows
        self._history = history

    async def flows(self, *, status: str | None, cursor: str | None, limit: int) -> tuple[Sequence[Flow], str | None]:
        """Return flows, the newest first."""
        wanted, before = flow_status(status), position_of(cursor, start=MAX_POSITION)
        found: list[tuple[int, Flow]] = []
        while len(found) <= limit:
            items = await listed_items(self._writer, "FLOW", is_record, limit + 1, before=before)
            flows = [(at, await record_of(self._table, Flow, item)) for at, item in items]
            found += [(at, flow) for at, flow in flows if wanted is None or flow.status == wanted]
            if len(items) <= limit:
                break
            before = items[-1][0]
        return page(found[: limit + 1], limit)

    async def find_tickets(
        self, filters: Mapping[str, str], cursor: str | None, limit: int
    ) -> tuple[Sequence[Ticket], str | None]:
        """Return tickets that all `filters` fit, oldest first."""
        wanted, after = ticket_filters(filters), position_of(cursor, start=0)
        found: list[tuple[int, Ticket]] = []
        while len(found) <= limit:
            items = await self._ticket_items(wanted.get("flow_id"), after, limit + 1)
            tickets = [(at, await record_of(self._table, Ticket, item)) for at, item in items]
            found += [
                (at, ticket)
                for at, ticket in tickets
                if all(getattr(ticket, name) == value for name, value in wanted.items())
            ]
            if len(items) <= limit:
                break
            after = items[-1][0]
        return page(found[: limit + 1], limit)

    async def _ticket_items(self, flow_id: str | None, after: int, limit: int) -> list[tuple[int, Item]]:
        if flow_id is None:
            return await listed_items(self._writer, "TICKET", is_record, limit, after=after)
        items = [(place_of(item), item) for item in await self._flows.items_of(flow_id)]
        return sorted(((at, item) for at, item in items if at > after), key=lambda entry: entry[0])[:limit]

    async def history(self, flow_id: str | None, after: int, limit: int) -> Sequence[HistoryEntry]:
        """Return transitions with `seq` above `after`, in order."""
        return await self._history.page(flow_id, after, limit)

    async def audits(
        self, flow_id: str | None, limit: int, *, kind: AuditKind | None = None, valid: bool | None = None
    ) -> Sequence[AnyAudit]:
        """Return audits that all filters fit, the newest first."""

        def fits(item: Item) -> bool:
            is_kind = kind is None or to_text(item, "k") == kind.value
            about_validity = to_text(item, "k") == AuditKind.VALIDATION.value
            return is_kind and (valid is None or (about_validity and item["ok"]["BOOL"] == valid))

        if flow_id is None:
            items = [item for _, item in await listed_items(self._writer, "AUDIT", fits, limit)]
        else:
            of_flow = await self._table.query(keys.of_flow(flow_id), "A#", "A#" + keys.LAST, newest=True)
            items = [item for item in of_flow if "k" in item and fits(item)][:limit]
        docs = [await self._table.document(item) for item in items]
        return [AUDIT.validate_json(doc) for doc in docs if doc is not None]

    async def counts(self) -> Mapping[str, Mapping[str, int]]:
        """Return how many flows and tickets there are by status."""
        items = await self._table.scan(
            {
                "ProjectionExpression": "#pk, #sk, #st, #v",
                "FilterExpression": "attribute_exists(#v) AND begins_with(#pk, :f)",
                "ExpressionAttributeNames": {"#pk": "pk", "#sk": "sk", "#st": "st", "#v": "v"},
                "ExpressionAttributeValues": {":f": text("F#")},
            }
        )
        found = {"F": Counter[str](), "T": Counter[str]()}
        for item in items:
            kind, status = key_of(item)[1][:1], to_text(item, "st")
            if status and kind in found:
                found[kind][status] += 1
        return {"flows": found["F"], "tickets": found["T"]}
