"""Reads the past that a policy is tried on, within bounds, and tries it beside the event loop."""

from bisect import bisect_right
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

from functions._core.errors import Rejected, Unreadable
from functions._core.ports import Ports
from functions._core.records.models import Flow
from functions._core.records.values import Outcome, add_time
from functions._core.slo import stored
from functions._core.slo.admission import SERVICE, AdmissionPolicy, FlowFacts
from functions._core.slo.blocking import named
from functions._core.slo.buckets import EPOCH, TICK
from functions._core.slo.counting import page_before
from functions._core.slo.course import CoursePoint, Grouping
from functions._core.slo.definition import Slo
from functions._core.slo.freezing import FreezeEvent, FreezePolicy
from functions._core.slo.gate import may_be_blocked
from functions._core.slo.listing import course_of, newest_freezes
from functions._core.slo.past import Counts, Past, PastFlow, replayable, window_of
from functions._core.slo.selecting import Selectors
from functions._core.slo.what_if import Blocked, WhatIf, blocked_by, freezes_under, under_admission, under_freezes

MAX_FLOWS = 20_000
"""Flows that are read, the newest."""

MAX_COUNTS = 200_000
"""Of all flows together, how often they may count for an SLO."""

MAX_SLOS = 200
"""SLOs that a policy may look at to be tried."""

MAX_HOURS = 20_000
"""Hours of all courses together that are read."""

MAX_TICKETS, MAX_FLOWS_OF_TICKETS = 20_000, 2_000
"""Tickets that are read, and flows of which they are read, the newest."""

MAX_FREEZES = 1000
"""Freezes that are read, the newest."""

DAY = timedelta(days=1)


async def what_if_admission(ports: Ports, policy: AdmissionPolicy, days: int) -> WhatIf:
    """Return what an admission policy would have done in the last days; raise `Rejected` for what is too much."""
    slos = await _looked_at(ports, policy)
    past = await _past(ports, slos, days, {SERVICE, *policy.flows.labels})
    freezes: Sequence[FreezeEvent] = ()
    if policy.freeze_policies:
        ids, begin = frozenset(policy.freeze_policies), add_time(past.until, -2 * stored.KEPT)
        freezes, _ = await newest_freezes(
            ports, begin, past.until, MAX_FREEZES, fits=lambda freeze: freeze.policy_id in ids
        )
    found: WhatIf = await ports.beside(partial(under_admission, policy, replace(past, freezes=freezes)))
    return found


async def what_if_freeze(ports: Ports, policy: FreezePolicy, days: int) -> WhatIf:
    """Return what a freeze policy would have done in the last days; raise `Rejected` for what is too much."""
    slos = [one for one in await stored.slos(ports.key_values) if one.enabled and policy.concerns(one)]
    past = await _past(ports, slos, days, ())
    freezes: Sequence[FreezeEvent] = await ports.beside(partial(freezes_under, policy, past))
    found, complete = await _blocked(ports, past, freezes)
    past = replace(past, complete=past.complete and complete)
    told: WhatIf = await ports.beside(partial(under_freezes, policy, past, freezes, found))
    return told


async def _looked_at(ports: Ports, policy: AdmissionPolicy) -> Sequence[Slo]:
    """Return the SLOs that a policy looks at for any flow; with freeze policies, those that these look at."""
    slos = [one for one in await stored.slos(ports.key_values) if one.enabled]
    if policy.freeze_policies:
        freezing = [one for one in await stored.policies(ports.key_values) if one.policy_id in policy.freeze_policies]
        return [one for one in slos if any(freeze.concerns(one) for freeze in freezing)]
    if policy.slo_selector.given:
        return [one for one in slos if policy.slo_selector.selects(one)]
    return [one for one in slos if policy.flows.service in {None, one.service_name}]


async def _past(ports: Ports, slos: Sequence[Slo], days: int, labels: Collection[str]) -> Past:
    """Return the last days: flows with some of their labels, and what the budgets of SLOs follow from."""
    if len(slos) > MAX_SLOS:
        text = f"the policy looks at {len(slos)} SLOs, and can be tried on {MAX_SLOS}: name a service, or SLOs"
        raise Rejected(text, code="too_many", status=422)
    recorded = [one for one in slos if not replayable(one)]
    if len(recorded) * 24 * (days + 1) > MAX_HOURS:
        text = (
            f"the courses of {len(recorded)} budgets over {days} days are too much: ask for fewer days, or fewer SLOs"
        )
        raise Rejected(text, code="too_many", status=422)
    now = ports.clock.now()
    since = add_time(now, -timedelta(days=days))
    longest = max((window_of(one) for one in slos if replayable(one)), default=timedelta())
    flows, reached = await _flows(ports, slos, add_time(since, -longest), now, frozenset(labels))
    courses: dict[str, Sequence[CoursePoint]] = {}
    for one in recorded:
        begin = add_time(since, -DAY)
        courses[one.slo_id], _ = await course_of(ports, one.slo_id, begin, now, Grouping.HOURLY, MAX_HOURS)
    return Past(
        since=max(since, reached),
        until=now,
        counted_since=reached,
        complete=reached <= add_time(since, -longest),
        flows=flows,
        slos=slos,
        courses=courses,
    )


async def _flows(
    ports: Ports, slos: Sequence[Slo], since: datetime, until: datetime, labels: frozenset[str]
) -> tuple[Sequence[PastFlow], datetime]:
    """Return flows that ended in a span, the newest, and from when on these are all."""
    queries = {one.slo_id: one.sli_query.history for one in slos if replayable(one)}
    selectors = Selectors({key: query for key, query in queries.items() if query is not None})
    places = {one.slo_id: place for place, one in enumerate(slos)}
    found: list[PastFlow] = []
    begin, reached = (since - EPOCH) // TICK, (until - EPOCH) // TICK + 1
    looked_at = counts = 0
    while reached > begin and looked_at < MAX_FLOWS and counts < MAX_COUNTS:
        page, reached = await page_before(ports, begin, reached)
        part: Sequence[PastFlow] = await ports.beside(partial(_facts, page, selectors, places, labels))
        found += part
        looked_at += len(page)
        counts += sum(len(one.counts) for one in part)
    return found, EPOCH + reached * TICK


def _facts(
    page: Sequence[Flow], selectors: Selectors, places: dict[str, int], labels: frozenset[str]
) -> Sequence[PastFlow]:
    """Return what is needed of flows that C1 did not refuse."""
    found = []
    for flow in page:
        if flow.ended_at is None or flow.outcome is Outcome.REJECTED:
            continue
        told = {name: value for name, value in flow.labels.items() if name in labels}
        facts = FlowFacts(told, flow.risk_band, flow.priority)
        counts = _counts(flow, selectors, places)
        found.append(PastFlow(flow.flow_id, flow.received_at, flow.ended_at, flow.sla_deadline, facts, counts))
    return found


def _counts(flow: Flow, selectors: Selectors, places: dict[str, int]) -> Counts:
    return tuple((places[key], bad > 0) for key, (_, bad) in selectors.flow(selectors.wanting(flow), flow))


async def _blocked(ports: Ports, past: Past, freezes: Sequence[FreezeEvent]) -> tuple[Sequence[Blocked], bool]:
    """Return the tickets that freezes would have held back, and whether all were looked at."""
    found: list[Blocked] = []
    number = 0
    flows: Sequence[str] = await ports.beside(partial(_meanwhile, past, freezes))
    of_services = await ports.budget_gate.namespaces()
    for flow_id in flows[:MAX_FLOWS_OF_TICKETS]:
        if number >= MAX_TICKETS:
            return found, False
        try:
            tickets = await ports.store.tickets_of(flow_id)
        except Unreadable:
            continue
        number += len(tickets)
        tickets = [await named(one, ports.store) if may_be_blocked(one) else one for one in tickets]
        found += await ports.beside(partial(blocked_by, freezes, tickets, of_services))
    return found, len(flows) <= MAX_FLOWS_OF_TICKETS


def _meanwhile(past: Past, freezes: Sequence[FreezeEvent]) -> Sequence[str]:
    """Return the flows that were under way while a freeze would have lasted; of freezes one ends before the next."""
    begins = [one.triggered_at for one in freezes]
    found = []
    for flow in past.flows:
        last = bisect_right(begins, flow.ended) - 1
        if last >= 0 and flow.came <= (freezes[last].resolved_at or past.until):
            found.append(flow.flow_id)
    return found
