"""What changed: the causes of slow flows, each planted in one flow after a quiet history, and figures that add up."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._core.insights.cause_texts import TEXTS, DelayCause
from functions._core.insights.causes import CauseKind, Fleet
from functions._core.insights.flow_time import SpellKind, spells_of
from functions._core.insights.usual_times import BaseKind
from functions._core.insights.what_changed import FlowVerdict, PlatformChange, WhatChanged, what_changed
from functions._core.learning.history import FlowRow, TicketRow
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, Outcome, TaskType, TicketStatus, Waiting
from tests.support.builders import T0, make_flow, make_ticket, seconds
from tests.support.runs_of_plans import Task, base_of, run_of

NOW = T0 + timedelta(days=100)
FLEET = Fleet({"worker-1": "2025-01-01T00:00:00.000Z/1", "worker-2": "2025-01-01T00:00:00.000Z/1"})

Base = Sequence[tuple[FlowRow, Sequence[TicketRow]]]


def quiet(*tasks: Task, runs: int = 12) -> Base:
    """Return earlier runs of the plan, with a little noise that is the same every time."""
    noisy = [[one._replace(work=one.work + (number % 4) - 1.5) for one in tasks] for number in range(runs)]
    return base_of([run_of(number, *noisy[number]) for number in range(runs)])


def found(flow_and_tickets: tuple[Flow, Sequence[Ticket]], base: Base, **more: Any) -> WhatChanged:
    """Return what changed; all figures have to add up."""
    flow, tickets = flow_and_tickets
    told = what_changed(flow, tickets, base, NOW, **{"fleet": FLEET, **more})
    adds_up(told)
    return told


def adds_up(told: WhatChanged) -> None:
    assert told.explained_ms == sum(cause.explained_ms for cause in told.causes)
    assert 0 <= told.explained_ms <= told.delay_ms
    assert len(told.causes) <= 3
    assert all(0 <= cause.sure <= 1 and cause.explained_ms >= 0 for cause in told.causes)
    if len(told.steps) < 200:
        assert sum(step.ms for step in told.steps) == told.took_ms


def first(told: WhatChanged) -> DelayCause:
    assert told.causes, told.text
    return told.causes[0]


TASKS = (Task("extract"), Task("load", work=120))


def test_work_that_takes_longer_than_before_is_named_with_its_figures() -> None:
    told = found(run_of(20, TASKS[0], TASKS[1]._replace(work=420)), quiet(*TASKS))
    cause = first(told)
    assert (told.verdict, cause.kind, cause.subject) == (FlowVerdict.SLOW, CauseKind.WORK, "TRANSFORM")
    assert cause.explained_ms == pytest.approx(300_000, abs=3_000)
    evidence = cause.evidence[0]
    assert evidence.before == pytest.approx(120_000, abs=2_000)
    assert (evidence.now, evidence.samples) == (420_000, 12)
    assert cause.sure == pytest.approx(12 / 15, abs=0.01)
    assert told.compared_with.kind is BaseKind.SAME_PLAN
    assert "task load (TRANSFORM) took 7 min at worker worker-1" in cause.text
    assert "That explains" in told.text[2]


def test_a_worker_that_is_slower_than_the_others_is_named() -> None:
    runs = [run_of(n, Task("load", work=60, worker_id="worker-1")) for n in range(8)]
    runs += [run_of(n + 8, Task("load", work=200, worker_id="worker-2")) for n in range(4)]
    told = found(run_of(20, Task("load", work=200, worker_id="worker-2")), base_of(runs))
    assert (first(told).kind, first(told).subject) == (CauseKind.WORKER, "worker-2")
    assert first(told).explained_ms == pytest.approx(140_000, abs=1_000)


def test_a_worker_that_never_did_it_is_suspected_but_less_surely() -> None:
    told = found(run_of(20, Task("load", work=300, worker_id="worker-9")), quiet(Task("load")))
    assert (first(told).kind, first(told).subject) == (CauseKind.WORKER, "worker-9")
    assert first(told).sure < 0.5


def test_workers_whose_names_are_always_new_are_not_suspected_for_that() -> None:
    base = base_of([run_of(number, Task("load", worker_id=f"pod-{number}")) for number in range(12)])
    told = found(run_of(20, Task("load", work=300, worker_id="pod-20")), base)
    assert first(told).kind is CauseKind.WORK


def test_a_worker_that_registered_anew_is_told_from_one_that_did_not() -> None:
    at = T0 + timedelta(days=19)
    fleet = Fleet({"worker-1": f"{at:%Y-%m-%dT%H:%M:%S}.000Z/7"})
    told = found(run_of(20, Task("load", work=300)), quiet(Task("load")), fleet=fleet)
    assert (first(told).kind, first(told).subject) == (CauseKind.REGISTERED, "worker-1")
    told = found(run_of(20, Task("load", work=300)), quiet(Task("load")))
    assert first(told).kind is CauseKind.WORK


def test_larger_inputs_explain_as_much_as_earlier_work_grew_with_its_size() -> None:
    def sized(number: int, size: int, work: float) -> tuple[Flow, tuple[Ticket, ...]]:
        return run_of(number, Task("load", work=work, parameters={"rows": "x" * size}))

    base = base_of([sized(n, 1_000 + 500 * (n % 4), 10 + 5 * (n % 4)) for n in range(12)])
    told = found(sized(20, 10_000, 100), base)
    cause = first(told)
    assert cause.kind is CauseKind.INPUTS
    assert cause.explained_ms == pytest.approx(82_000, abs=3_000)
    assert (cause.evidence[0].unit, cause.evidence[0].now) == ("bytes", 10_011)
    told = found(sized(20, 10_000, 400), base)
    assert [one.kind for one in told.causes] == [CauseKind.WORK, CauseKind.INPUTS]


def test_waiting_for_workers_is_load_or_workers_that_are_gone() -> None:
    slow = run_of(20, Task("load", wait=600))
    told = found(slow, quiet(Task("load")))
    assert (first(told).kind, first(told).subject) == (CauseKind.WAITING, "python")
    assert first(told).explained_ms == pytest.approx(599_000, abs=3_000)
    told = found(slow, quiet(Task("load")), fleet=Fleet({}))
    assert first(told).kind is CauseKind.GONE
    assert (first(told).evidence[0].before, first(told).evidence[0].now) == (1, 0)


def test_attempts_that_came_to_nothing_explain_their_time() -> None:
    told = found(run_of(20, Task("load", lost=240)), quiet(Task("load")))
    assert (first(told).kind, first(told).subject) == (CauseKind.RETRIES, "load")
    assert first(told).explained_ms == pytest.approx(240_000, abs=3_000)
    assert "was tried again 1 time" in first(told).text


def test_tasks_that_the_plan_did_not_have_are_named() -> None:
    told = found(run_of(20, *TASKS, Task("verify", work=500), plan="nightly@2"), quiet(*TASKS))
    cause = first(told)
    assert cause.kind is CauseKind.PLAN
    assert cause.explained_ms == pytest.approx(501_000, abs=5_000)
    assert [(one.name, one.before, one.now) for one in cause.evidence[1:]] == [("tasks", 2, 3)]
    assert "verify" in cause.text


def test_people_are_waited_for_in_pauses_and_in_approvals_and_freezes_hold_back() -> None:
    begun = T0 + timedelta(days=20)
    phases = [
        {"status": FlowStatus.VALIDATING, "entered_at": begun},
        {"status": FlowStatus.EXECUTING, "entered_at": begun + seconds(1)},
        {"status": FlowStatus.PAUSED, "entered_at": begun + seconds(61)},
        {"status": FlowStatus.EXECUTING, "entered_at": begun + seconds(961)},
    ]
    paused = run_of(20, TASKS[0], TASKS[1]._replace(wait=902), phases=phases)
    told = found(paused, quiet(*TASKS))
    assert first(told).kind is CauseKind.PEOPLE
    assert first(told).explained_ms == pytest.approx(899_000, abs=4_000)
    asked = Task("agree", work=0, wait=700, task_type=TaskType.APPROVE, worker_id=None, capabilities=())
    told = found(run_of(20, TASKS[0], asked, TASKS[1]), quiet(*TASKS))
    assert (first(told).kind, first(told).subject) == (CauseKind.PEOPLE, "agree")
    frozen = run_of(20, TASKS[0], TASKS[1]._replace(lost=800, changes={"attempt": 1, "retry_count": 0}))
    told = found(frozen, quiet(*TASKS), held={frozen[1][1].ticket_id})
    assert (first(told).kind, first(told).subject) == (CauseKind.HELD, "load")


def test_a_deadline_that_such_flows_never_meet_is_the_cause_and_not_the_work() -> None:
    late = run_of(20, *TASKS, sla_deadline=T0 + timedelta(days=20) + seconds(100))
    told = found(late, quiet(*TASKS))
    assert told.verdict is FlowVerdict.LATE
    assert (first(told).kind, told.late_ms) == (CauseKind.NEVER_FIT, told.delay_ms)
    assert "It was never going to fit." in first(told).text


def test_an_hour_at_which_it_is_always_slower_is_told() -> None:
    def at(hour: int, number: int, work: float) -> tuple[Flow, tuple[Ticket, ...]]:
        start = (T0 + timedelta(days=number)).replace(hour=hour)
        return run_of(number, Task("load", work=work), start=start)

    base = base_of([at(9, n, 60) for n in range(10)] + [at(3, n + 10, 180) for n in range(6)])
    told = found(at(3, 30, 180), base)
    assert (first(told).kind, first(told).subject) == (CauseKind.HOUR, "03:00 UTC")


def test_a_plan_without_history_is_compared_with_the_same_kinds_of_work_and_says_so() -> None:
    base = base_of([run_of(n, Task("other", work=60), plan="another") for n in range(6)])
    told = found(run_of(20, Task("load", work=300)), base)
    assert (told.compared_with.kind, first(told).kind) == (BaseKind.SAME_TYPES, CauseKind.WORK)
    assert "Its plan has no history" in told.text[1]


def test_too_little_history_is_said_and_the_estimates_speak() -> None:
    told = found(run_of(20, Task("load", work=300, estimate=60)), [])
    assert (told.compared_with.kind, told.compared_with.enough) == (BaseKind.ESTIMATES, False)
    assert "There is too little history" in told.text[1]
    assert first(told).kind is CauseKind.ESTIMATES
    assert first(told).explained_ms == pytest.approx(240_000, abs=3_000)


def test_a_flow_that_failed_names_the_task_its_reason_and_how_often_that_was_so() -> None:
    runs = [run_of(n, Task("load", fails=n in {3, 7})) for n in range(12)]
    told = found(run_of(20, Task("load", fails=True)), base_of(runs))
    cause = first(told)
    assert (told.verdict, cause.kind, cause.subject) == (FlowVerdict.FAILED, CauseKind.FAILURE, "load")
    assert "no space left (task_error); 2 of 12 such tickets before failed" in cause.text
    assert cause.evidence[0].before == pytest.approx(2 / 12, abs=0.001)


def test_a_flow_that_went_as_ever_has_no_causes() -> None:
    told = found(run_of(20, *TASKS), quiet(*TASKS))
    assert (told.verdict, told.causes) == (FlowVerdict.USUAL, ())
    assert told.text[-1] == "Nothing is unusual about its time."


def test_a_flow_under_way_is_compared_up_to_now() -> None:
    done, tickets = run_of(20, *TASKS)
    begun = done.received_at
    live = tickets[1].but(
        status=TicketStatus.PENDING,
        waiting=Waiting.WORKER,
        assigned_at=None,
        worker_id=None,
        attempt=0,
        completed_at=None,
        actual_duration_ms=None,
    )
    flow = done.but(status=FlowStatus.EXECUTING, outcome=None, ended_at=None)
    told = what_changed(flow, (tickets[0], live), quiet(*TASKS), begun + seconds(1000), fleet=FLEET)
    adds_up(told)
    assert first(told).kind is CauseKind.WAITING
    assert "has been under way for" in told.text[0]


def test_changes_of_the_platform_since_the_flows_before_are_told_and_older_ones_are_not() -> None:
    def change(day: float, target: str) -> PlatformChange:
        return PlatformChange(at=T0 + timedelta(days=day), action="put_guard_policy", target=target, who="ann")

    changes = [change(5, "old"), change(15, "new"), change(50, "later")]
    told = found(run_of(20, Task("load", work=400)), quiet(Task("load")), changes=changes)
    assert [one.target for one in told.changes] == ["new"]
    assert "put_guard_policy new by ann" in told.text[-1]


def test_what_was_waited_for_goes_through_lists_and_sub_flows() -> None:
    flow = make_flow(1, received_at=T0, phases=({"status": FlowStatus.VALIDATING, "entered_at": T0},))
    done = {"status": TicketStatus.COMPLETED, "attempt": 1, "worker_id": "w", "created_at": T0}

    def ticket(number: int, ready: float, until: float, **more: Any) -> Ticket:
        times = {
            "ready_at": T0 + seconds(ready),
            "assigned_at": T0 + seconds(ready),
            "completed_at": T0 + seconds(until),
        }
        return make_ticket(flow, number, ticket_id=f"t{number}", task_id=f"task-{number}", **(done | times | more))

    tickets = [
        ticket(1, 0, 10),
        ticket(2, 10, 50, dependencies=("t1",), assigned_at=None, worker_id=None, attempt=0),
        ticket(3, 10, 30, parent="t2", index=0),
        ticket(4, 10, 50, parent="t2", index=1),
        ticket(5, 50, 60, dependencies=("t2",)),
    ]
    ended = flow.but(status=FlowStatus.COMPLETED, outcome=Outcome.COMPLETED, ended_at=T0 + seconds(60))
    spells = spells_of(ended, tickets, NOW)
    assert [(one.ticket.ticket_id if one.ticket else None, one.ms) for one in spells] == [
        ("t1", 10_000),
        ("t4", 40_000),
        ("t5", 10_000),
    ]
    assert {one.kind for one in spells} == {SpellKind.WORKING}


def test_hostile_names_are_one_short_line_each() -> None:
    evil = "\x1b[31m<b onclick=x>\n" + "A" * 5_000
    told = found(run_of(20, Task(evil, work=900, worker_id="w\x1b[0m" + "B" * 5_000)), quiet(Task("load"), runs=3))
    assert all(len(line) < 2_000 and line.isprintable() for line in told.text)


def test_every_kind_of_cause_has_a_sentence() -> None:
    assert set(CauseKind) - set(TEXTS) == {CauseKind.FAILURE, CauseKind.NEVER_FIT}


SECONDS = st.floats(0, 5_000).map(lambda number: round(number, 3))
STATUSES = st.sampled_from([TicketStatus.COMPLETED, TicketStatus.FAILED, TicketStatus.CANCELLED, TicketStatus.PENDING])


@st.composite
def any_flow(draw: st.DrawFn, number: int) -> tuple[Flow, tuple[Ticket, ...]]:
    """Draw a flow whose tickets have any times and any dependencies, those that no platform would make, too."""
    size = draw(st.integers(0, 6))
    begun = T0 + timedelta(days=number, seconds=draw(SECONDS))
    ids = [f"t{at}" for at in range(size)]
    shell = make_flow(number, received_at=begun)

    def moment() -> Any:
        return draw(st.none() | SECONDS.map(lambda number: begun + seconds(number)))

    tickets = tuple(
        make_ticket(
            shell,
            at + 1,
            ticket_id=ids[at],
            task_id=f"task-{draw(st.integers(0, 3))}",
            dependencies=tuple(draw(st.lists(st.sampled_from(ids), max_size=3, unique=True))),
            parent=draw(st.none() | st.sampled_from(ids)),
            status=draw(STATUSES),
            task_type=draw(st.sampled_from(TaskType)),
            created_at=begun + seconds(draw(SECONDS)),
            ready_at=moment(),
            assigned_at=moment(),
            completed_at=moment(),
            attempt=draw(st.integers(0, 3)),
            retry_count=draw(st.integers(0, 2)),
            worker_id=draw(st.sampled_from([None, "worker-1", "worker-9"])),
            actual_duration_ms=draw(st.none() | st.integers(0, 10**7)),
            estimated_duration_ms=draw(st.integers(1, 10**7)),
            parameters={"x": "y" * draw(st.sampled_from([0, 10, 1_000]))},
        )
        for at in range(size)
    )
    paused = begun + seconds(draw(SECONDS))
    status = draw(
        st.sampled_from([FlowStatus.COMPLETED, FlowStatus.FAILED, FlowStatus.TIMED_OUT, FlowStatus.EXECUTING])
    )
    phases = [
        {"status": FlowStatus.VALIDATING, "entered_at": begun},
        {"status": FlowStatus.PAUSED, "entered_at": paused},
        {"status": FlowStatus.EXECUTING, "entered_at": paused + seconds(draw(SECONDS))},
    ]
    ended = status is not FlowStatus.EXECUTING
    return make_flow(
        number,
        received_at=begun,
        plan_id="plan",
        status=status,
        outcome=Outcome(status.value) if ended else None,
        ended_at=begun + seconds(draw(SECONDS)) if ended else None,
        sla_deadline=begun + seconds(draw(SECONDS)),
        phases=phases if draw(st.booleans()) else phases[:1],
        tickets_generated=size,
    ), tickets


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_what_causes_explain_never_exceeds_the_delay_and_the_pieces_are_the_whole_time(data: st.DataObject) -> None:
    flow, tickets = data.draw(any_flow(50))
    earlier = [data.draw(any_flow(number)) for number in range(data.draw(st.integers(0, 7)))]
    base = base_of([one for one in earlier if one[0].ended_at is not None])
    now = flow.received_at + seconds(data.draw(SECONDS))
    spells = spells_of(flow, tickets, now)
    for one, following in pairwise(spells):
        assert one.until == following.since
    assert all(one.ms >= 0 and one.since < one.until for one in spells)
    told = what_changed(flow, tickets, base, now, held={"t1"}, fleet=data.draw(st.sampled_from([None, FLEET])))
    adds_up(told)
    assert told.took_ms == sum(one.ms for one in spells)


def test_ten_thousand_tickets_beside_six_thousand_earlier_ones_take_a_few_seconds_at_most() -> None:
    """Each ticket is slow, on a worker of its own, at an hour of its own: whatever costs the most."""
    run = run_of(20, *(Task(f"t{number}", work=0.2, wait=0.1, worker_id=f"w{number}") for number in range(10_000)))
    earlier = [Task(f"e{number}", work=0.001 * (number % 7 + 1), wait=0.001) for number in range(1_000)]
    base = base_of([run_of(number, *earlier, plan="another") for number in range(6)])
    begun = perf_counter()
    told = found(run, base)
    assert perf_counter() - begun < 15  # it takes one on an idle machine
    assert len(told.steps) == 200
    assert told.causes
