"""The list of flows by filters. A store serves a status and labels; the other filters are applied to its pages."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from functions._core.errors import Rejected
from functions._core.explain.wording import SAID
from functions._core.planning.slack import sla_state
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Priority, SlackState, add_time, flow_id_of
from functions.api.services import ApiServices

LOOKED_AT = 1_000
"""Flows that are looked at for one request."""

PAGE = 200
"""Flows that are read at a time."""

REASONS = 20
"""Reasons of a flow in which a text is looked for."""

CLOCKS = timedelta(minutes=1)
"""How far the clocks of processes may be apart: flows are stored nearly in the order in which they were received."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowFilters:
    """The flows that are asked for: those that all filters fit; None and empty ones fit all.

    `plan` is a plan's id, or the name of a stored plan. `text` is part of an id, a label or a reason, in any letter
    case. `since` is the first moment of arrival, `until` the first one behind the last. `at_risk` are flows without an
    outcome that may miss their deadline, or have missed it.
    """

    status: frozenset[FlowStatus] = frozenset()
    labels: Sequence[str] = ()
    plan: str | None = None
    intent: str | None = None
    decision: str | None = None
    correlation: str | None = None
    priority: Priority | None = None
    text: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    at_risk: bool | None = None

    def __post_init__(self) -> None:
        """Raise `Rejected`, status 422, for a span of time that ends before it begins."""
        if self.since is not None and self.until is not None and self.since > self.until:
            raise Rejected("since: is after until", code="invalid_filter", status=422)

    @property
    def one_status(self) -> FlowStatus | None:
        """The status, where just one is asked for."""
        return next(iter(self.status)) if len(self.status) == 1 else None

    @property
    def served(self) -> bool:
        """Whether the store serves all of them."""
        looked_for = (self.plan, self.intent, self.correlation, self.priority, self.text, self.since, self.until)
        return all(one is None for one in (*looked_for, self.at_risk)) and len(self.status) <= 1

    def fit(self, flow: Flow, now: datetime) -> bool:
        """Whether they fit a flow, its labels aside."""
        named = ((self.intent, flow.intent_id), (self.correlation, flow.correlation_id), (self.priority, flow.priority))
        return (
            (not self.status or flow.status in self.status)
            and all(wanted in {None, value} for wanted, value in named)
            and (self.plan is None or self.plan in {flow.plan_id, (flow.plan_id or "").rpartition("@")[0]})
            and (self.since is None or flow.received_at >= self.since)
            and (self.until is None or flow.received_at < self.until)
            and (self.at_risk is None or self.at_risk == _at_risk(flow, now))
            and (self.text is None or _says(flow, self.text.casefold()))
        )

    def passed(self, flow: Flow) -> bool:
        """Whether flows behind this one are all older than the ones that are asked for."""
        return self.since is not None and flow.received_at < add_time(self.since, -CLOCKS)


async def flow_page(
    services: ApiServices, filters: FlowFilters, cursor: str | None, limit: int
) -> tuple[Sequence[Flow], str | None]:
    """Return flows that `filters` fit, the newest first, and the cursor of the next page, None where nothing follows.

    At most `LOOKED_AT` flows are looked at, so a page may hold fewer than `limit`, or none; its cursor goes on.
    """
    if filters.decision is not None:
        return await _of_decision(services, filters, filters.decision, cursor)
    views, now = services.ports.views, services.ports.clock.now()
    status, labels = filters.one_status, filters.labels
    if filters.served:
        return await views.flows(status=status, cursor=cursor, limit=limit, labels=labels)
    found: list[Flow] = []
    looked_at, size = 0, PAGE
    while looked_at < LOOKED_AT and len(found) < limit:
        number = min(size, LOOKED_AT - looked_at)
        rows, following = await views.flows(status=status, cursor=cursor, limit=number, labels=labels)
        fitting = [at for at, flow in enumerate(rows) if filters.fit(flow, now)]
        missing = limit - len(found)
        if len(fitting) > missing:  # read again up to the last one that is shown: cursors are of the ends of pages
            size = fitting[missing - 1] + 1
            continue
        found += [rows[at] for at in fitting]
        looked_at += len(rows)
        if following is None or filters.passed(rows[-1]):
            return found, None
        cursor = following
    return found, cursor


async def _of_decision(
    services: ApiServices, filters: FlowFilters, decision_id: str, cursor: str | None
) -> tuple[Sequence[Flow], str | None]:
    """Return the one flow of a decision, whose id follows from that of the decision."""
    if cursor is not None:
        raise Rejected("The cursor is not one that was given out.", code="invalid_cursor")
    flow = await services.ports.store.flow(flow_id_of(decision_id))
    if flow is None or not filters.fit(flow, services.ports.clock.now()):
        return (), None
    marked = {f"{name}:{value}" for name, value in flow.labels.items()}
    return ((flow,) if marked.issuperset(filters.labels) else ()), None


def _at_risk(flow: Flow, now: datetime) -> bool:
    return flow.outcome is None and sla_state(flow, now) is not SlackState.ON_TRACK


def _says(flow: Flow, text: str) -> bool:
    """Whether a flow's ids, labels or reasons hold a text, which is given case-folded."""
    ids = (flow.flow_id, flow.decision_id, flow.plan_id or "", flow.intent_id or "", flow.correlation_id)
    if any(text in one.casefold() for one in ids):
        return True
    if any(text in f"{name}:{value}".casefold() for name, value in flow.labels.items()):
        return True
    reasons = flow.reasons[:REASONS]
    return any(text in reason.code.casefold() or text in reason.message[:SAID].casefold() for reason in reasons)
