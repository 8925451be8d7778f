"""Times and durations at their limits: everything that is legal to ask for can be planned, decided on and explained."""

from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from functions._adapters.sql.sqlite.rows import from_ms
from functions._core.decision.vocabulary import MAX_SPAN_MS
from functions._core.events.telemetry import summary_of, telemetry_of
from functions._core.explain.flow import explain_flow, explain_ticket
from functions._core.machine.ending import may_retry
from functions._core.machine.redrive import to_redo
from functions._core.planning.compensation import compensations
from functions._core.planning.graph import Work, schedule
from functions._core.planning.slack import (
    at_risk_from,
    closed_at,
    deadline_at,
    fits,
    slack_ms,
    slack_state,
    time_given,
    wakeup_of,
    worsened,
)
from functions._core.planning.tickets import generate_tickets
from functions._core.records.attempts import attempt_limit
from functions._core.records.models import Flow, Phase, Ticket
from functions._core.records.policies import RetryPolicy, Sla, Undo
from functions._core.records.record import encode
from functions._core.records.values import (
    EARLIEST,
    LATEST,
    LONGEST,
    FlowStatus,
    Outcome,
    TicketStatus,
    Waiting,
    add_time,
    format_time,
    parse_time,
    time_span,
)
from functions._core.rules import Rules
from functions.api.views import flow_detail, flow_view, ticket_view
from tests.support.builders import T0, make_flow, make_ticket, seconds
from tests.support.decisions import NOW, a_decision, a_flow, a_task

FIRST, LAST = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)
ENDS = (FIRST, EARLIEST, datetime(1970, 1, 1, tzinfo=UTC), T0, LATEST)
MOMENTS = st.sampled_from([*ENDS, LAST]) | st.datetimes(timezones=st.just(UTC))
SPANS_MS = st.sampled_from([1, 60_000, MAX_SPAN_MS, 10**18]) | st.integers(1, MAX_SPAN_MS)
SPANS = st.sampled_from([timedelta.min, timedelta.max, timedelta(), timedelta(days=1)]) | st.timedeltas()
WAITS = st.none() | SPANS_MS
STAYS = st.sampled_from(
    [
        (FlowStatus.EXECUTING,),
        (FlowStatus.PAUSED,),
        (FlowStatus.AWAITING_APPROVAL,),
        (FlowStatus.COMPENSATING,),
        (FlowStatus.PAUSED, FlowStatus.PUBLISHING),
        (FlowStatus.PAUSED, FlowStatus.PUBLISHING, FlowStatus.CANCELLED),
    ]
)


@st.composite
def flows(draw: st.DrawFn) -> Flow:
    """Flows in any phase, with deadlines and limits anywhere in the calendar."""
    stays = draw(STAYS)
    outcome = Outcome.CANCELLED if stays[-1] not in {FlowStatus.PAUSED, FlowStatus.EXECUTING} else None
    ended = T0 + seconds(len(stays)) if stays[-1] is FlowStatus.CANCELLED else None
    return make_flow(
        status=stays[-1],
        outcome=outcome,
        ended_at=ended,
        sla_deadline=draw(MOMENTS),
        sla_limit=draw(st.none() | MOMENTS),
        phases=tuple(
            Phase(status=status, entered_at=T0 + seconds(at))
            for at, status in enumerate((FlowStatus.EXECUTING, *stays))
        ),
    )


@st.composite
def tickets(draw: st.DrawFn, flow: Flow) -> Ticket:
    """Tickets with limits of any length and shares of the SLA anywhere in the calendar."""
    held = draw(st.booleans())
    return make_ticket(
        flow,
        status=TicketStatus.RUNNING if held else TicketStatus.PENDING,
        waiting=None if held else draw(st.sampled_from(list(Waiting))),
        worker_id="worker-1" if held else None,
        assigned_at=T0 if held else None,
        acknowledged_at=draw(MOMENTS) if held else None,
        sla=Sla(deadline=draw(MOMENTS), timeout_ms=draw(SPANS_MS), max_retries=5),
        latest_start=draw(MOMENTS),
        late=draw(st.booleans()),
        estimated_duration_ms=draw(SPANS_MS),
        tail_ms=draw(SPANS_MS),
        schedule_to_start_ms=draw(WAITS),
        heartbeat_timeout_ms=draw(WAITS),
        retry=RetryPolicy(initial_ms=draw(SPANS_MS), max_ms=draw(SPANS_MS), coefficient=10.0),
        undo=Undo(),
        ready_at=draw(st.none() | MOMENTS),
        until=draw(st.none() | MOMENTS),
    )


@given(MOMENTS, SPANS)
def test_a_sum_of_time_and_duration_stays_in_the_calendar(moment: datetime, span: timedelta) -> None:
    moved = add_time(moment, span)
    assert EARLIEST <= moved <= LATEST
    if timedelta(days=-1) < span < timedelta(days=1) and EARLIEST + timedelta(days=1) < moment:
        assert moved == min(LATEST, moment + min(span, LATEST - min(moment, LATEST)))
    assert parse_time(format_time(moved))


@given(st.floats(allow_nan=False) | st.integers(-(10**30), 10**30))
@example(8.639999991360002e16)
def test_any_number_of_milliseconds_is_a_duration(number: float) -> None:
    assert -LONGEST <= time_span(number) <= LONGEST
    assert (time_span(number) < timedelta()) <= (number < 0)


def test_a_row_of_a_database_whose_number_no_moment_has_is_an_end_of_the_calendar() -> None:
    assert (from_ms(10**18), from_ms(-(10**18))) == (LATEST, EARLIEST)


@pytest.mark.parametrize("hours", [-14, 14])
@pytest.mark.parametrize("moment", [FIRST, LAST], ids=["first", "last"])
def test_a_moment_that_lies_outside_the_calendar_in_utc_can_be_written(moment: datetime, hours: int) -> None:
    written = format_time(moment.replace(tzinfo=timezone(timedelta(hours=hours))))
    assert isinstance(parse_time(written), datetime)


@given(st.data(), MOMENTS)
def test_a_flow_can_be_looked_at_whatever_its_deadline_is(data: st.DataObject, now: datetime) -> None:
    flow = data.draw(flows())
    rules = Rules()
    assert FIRST <= deadline_at(flow, now) <= LATEST
    assert EARLIEST <= at_risk_from(flow, rules) <= LATEST
    time_given(flow)
    assert encode(flow_view(flow, now))
    assert encode(flow_detail(flow, (), {}, now))
    assert explain_flow(flow, (), now, rules).sentences
    assert summary_of(flow, (), now)
    assert telemetry_of(flow, (), now)


@given(st.data(), MOMENTS)
def test_a_ticket_can_be_looked_at_whatever_its_limits_are(data: st.DataObject, now: datetime) -> None:
    flow = data.draw(flows())
    ticket = data.draw(tickets(flow))
    rules = Rules()
    assert EARLIEST <= ticket.urgency <= LATEST
    fits(ticket, flow, now, rules)
    may_retry(ticket, flow, now, rules)
    worsened(ticket, now)
    slack_ms(ticket, now)
    slack_state(ticket, now)
    wakeup_of(ticket, flow)
    attempt_limit(ticket, now, now)
    assert encode(ticket_view(ticket, now))
    assert explain_ticket(ticket, flow, now, rules).sentences
    assert explain_flow(flow, [ticket], now, rules).sentences
    redone = to_redo([ticket.but(status=TicketStatus.FAILED)], now, deadline_at(flow, now))
    assert [one.ticket_id for one in redone] == [ticket.ticket_id]
    made, _ = compensations(flow, [ticket.but(status=TicketStatus.COMPLETED)], now, rules.compensation)
    assert len(made) == 1


@given(st.lists(SPANS_MS, min_size=1, max_size=20), MOMENTS, MOMENTS)
def test_a_plan_can_be_scheduled_between_any_two_moments(
    estimates: list[int], start: datetime, deadline: datetime
) -> None:
    tasks = [Work(f"t{n}", (f"t{n - 1}",) if n else (), estimate) for n, estimate in enumerate(estimates)]
    timings = list(schedule(tasks, start, deadline).timings.values())
    for timing, after in pairwise(timings):
        assert timing.latest_finish <= after.latest_start
    assert all(FIRST <= timing.latest_start <= timing.latest_finish <= LATEST for timing in timings)


@pytest.mark.parametrize("deadline", [None, "1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
def test_a_chain_of_a_thousand_tasks_of_ten_years_becomes_tickets(deadline: str | None) -> None:
    chain = [a_task("t0", estimated_duration_ms=MAX_SPAN_MS)]
    chain += [a_task(f"t{n}", f"t{n - 1}", estimated_duration_ms=MAX_SPAN_MS) for n in range(1, 1000)]
    decision = a_decision(*chain, sla_deadline=deadline)
    flow = a_flow(decision)
    made = generate_tickets(flow, decision, NOW, Rules())
    assert made[0].tail_ms == 999 * MAX_SPAN_MS
    assert all(wakeup_of(ticket, flow) and ticket.urgency for ticket in made)
    assert explain_flow(flow, made, NOW, Rules()).sentences


def _stays(*stays: tuple[FlowStatus, float]) -> tuple[Phase, ...]:
    return tuple(Phase(status=status, entered_at=T0 + seconds(at)) for status, at in stays)


@pytest.mark.parametrize("status", [FlowStatus.PAUSED, FlowStatus.AWAITING_APPROVAL])
def test_what_a_flow_has_left_stays_the_same_when_it_is_ended_while_people_are_waited_for(status: FlowStatus) -> None:
    waiting = make_flow(
        status=status,
        sla_deadline=T0 + seconds(100),
        phases=_stays((FlowStatus.EXECUTING, 0), (status, 10)),
    )
    left = flow_view(waiting, T0 + seconds(500)).sla_remaining_ms
    assert left == 90_000
    closing = waiting.but(
        status=FlowStatus.PUBLISHING,
        outcome=Outcome.CANCELLED,
        phases=(*waiting.phases, *_stays((FlowStatus.PUBLISHING, 500))),
    )
    ended = closing.but(
        status=FlowStatus.CANCELLED,
        ended_at=T0 + seconds(530),
        phases=(*closing.phases, *_stays((FlowStatus.CANCELLED, 530))),
    )
    assert closed_at(waiting) is None
    for flow, now in ((closing, 500), (closing, 529), (ended, 531), (ended, 10**6)):
        view = flow_view(flow, T0 + seconds(now))
        assert (view.sla_remaining_ms, view.sla_violated) == (left, False)
        assert closed_at(flow) == T0 + seconds(500)
    assert not any("after its deadline" in text for text in explain_flow(ended, (), T0, Rules()).details)
    frame = telemetry_of(closing, (), T0 + seconds(501))[-1]
    assert frame.data["sla_remaining_ms"] == left
