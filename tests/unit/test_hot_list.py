"""The hot list: its order is that of critical start times, and what has ended is never in it."""

from datetime import timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from functions._core.explain.hot_list import critical_start, hot_list
from functions._core.planning.slack import slack_ms
from functions._core.records.models import LIVE_TICKETS, Flow, Ticket
from functions._core.records.policies import Sla
from functions._core.records.values import FlowStatus, SlackState, TicketStatus, Waiting
from tests.support.builders import T0, make_flow, make_ticket, seconds

FLOW = make_flow(1, status=FlowStatus.EXECUTING)


def ticket(number: int, status: TicketStatus, start: float, share: float, flow: Flow = FLOW, **more: Any) -> Ticket:
    """Build a ticket that has to start, and to be done, so many seconds after T0."""
    times = {
        "latest_start": T0 + seconds(start),
        "sla": Sla(deadline=T0 + seconds(start + share), timeout_ms=60_000, max_retries=1),
    }
    return make_ticket(flow, number, **{"status": status, "waiting": None, **times, **more})


@st.composite
def many(draw: st.DrawFn) -> list[Ticket]:
    number = draw(st.integers(0, 30))
    times = st.integers(-3_000, 3_000)
    found = []
    for one in range(1, number + 1):
        more: dict[str, Any] = {"compensates": FLOW.flow_id} if draw(st.integers(0, 9)) == 0 else {}
        status = draw(st.sampled_from(TicketStatus))
        found.append(ticket(one, status, draw(times), draw(st.integers(0, 600)), FLOW, **more))
    return found


@given(many(), st.integers(1, 40), st.none() | st.integers(0, 3_000))
def test_the_order_is_that_of_critical_start_times_and_nothing_that_ended_is_in_it(
    tickets: list[Ticket], limit: int, within: int | None
) -> None:
    span = None if within is None else seconds(within)
    found = hot_list(tickets, {}, T0, limit, within=span)
    starts = [one.critical_start for one in found]
    assert starts == sorted(starts)
    by_id = {one.ticket_id: one for one in tickets}
    assert all(by_id[one.ticket_id].status in LIVE_TICKETS for one in found)
    assert all(one.slack_ms == slack_ms(by_id[one.ticket_id], T0) for one in found)
    # Nothing more urgent is left out.
    alive = [one for one in tickets if one.live and one.compensates is None]
    fitting = sorted(critical_start(one, None, T0) for one in alive)
    fitting = [at for at in fitting if span is None or at <= T0 + span]
    assert starts == fitting[:limit]


def test_it_says_how_late_a_ticket_is_and_what_it_waits_for() -> None:
    behind = ticket(
        1,
        TicketStatus.PENDING,
        -10,
        600,
        waiting=Waiting.DEPENDENCIES,
        dependencies=("a", "b"),
        open_dependencies=1,
        critical=True,
        late=True,
    )
    at_work = ticket(2, TicketStatus.RUNNING, -700, 600, worker_id="w1", acknowledged_at=T0, attempt=1)
    first, second = hot_list([behind, at_work], {}, T0, 10)
    assert (first.ticket_id, first.slack_state, first.slack_ms) == (at_work.ticket_id, SlackState.BREACHED, -100_000)
    assert (first.waits_for, first.worker_id) == ("worker w1 to report its end", "w1")
    assert (second.slack_state, second.critical, second.late) == (SlackState.AT_RISK, True, True)
    assert second.waits_for == "1 of its 2 dependencies"


def test_the_time_of_a_paused_flow_does_not_run() -> None:
    paused = make_flow(
        2,
        status=FlowStatus.PAUSED,
        phases=(
            {"status": FlowStatus.EXECUTING, "entered_at": T0 - timedelta(hours=2)},
            {"status": FlowStatus.PAUSED, "entered_at": T0 - timedelta(hours=1)},
        ),
    )
    waits = ticket(1, TicketStatus.PENDING, -60, 600, paused)
    runs = ticket(2, TicketStatus.PENDING, 120, 600)
    found = hot_list([waits, runs], {paused.flow_id: paused}, T0, 10)
    assert [one.ticket_id for one in found] == [runs.ticket_id, waits.ticket_id]
    assert (found[1].sla_paused, found[1].slack_ms) == (True, 3_540_000)


def test_labels_choose() -> None:
    one = ticket(1, TicketStatus.PENDING, 10, 10, labels={"team": "red", "env": "live"})
    two = ticket(2, TicketStatus.PENDING, 20, 10, labels={"team": "red"})
    assert [found.ticket_id for found in hot_list([one, two], {}, T0, 9, labels=["team:red", "env:live"])] == [
        one.ticket_id
    ]
