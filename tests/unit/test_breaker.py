"""The circuit breaker of a worker: opened by failures in a row, closed by successes, seen by the ranking."""

from types import SimpleNamespace
from typing import cast

from functions._adapters.memory.store import MemoryStore
from functions._adapters.stores import Stores
from functions._core.events.data import TicketsReady
from functions._core.guards.gate import NoGuards
from functions._core.machine.assignment import Discovered
from functions._core.machine.context import Context
from functions._core.placement.breaker import (
    ACKNOWLEDGED,
    BreakerOrder,
    WorkerVerdict,
    admits,
    judged,
    ordered,
    suspended,
    trial_of,
    tried,
    verdict_of,
    verdicts_of,
)
from functions._core.placement.pheromones import NoPheromones
from functions._core.placement.ranking import rank_for
from functions._core.placement.workers import Heartbeat, heard
from functions._core.ports import Ports
from functions._core.records.values import FlowStatus, Waiting
from functions._core.records.worker import Answer, Worker
from functions._core.rules import Rules
from functions._core.slo.gate import OpenGate
from functions.discover.function import discover
from functions.track_workers.function import release
from tests.support.builders import T0, make_flow, make_history, make_plan, make_step, make_ticket, make_worker, seconds

RULES = Rules()
GOOD = WorkerVerdict(worker_id="worker-1", succeeded=True)
BAD = WorkerVerdict(worker_id="worker-1", succeeded=False, why="timed_out")


LATER = T0 + seconds(100)
"""When the pause of a circuit breaker that opened at first is over."""


def ports_of(stores: Stores) -> Ports:
    """Return what the functions ask for, at a time when breakers are half-open."""
    known = {name: getattr(stores, name) for name in ("registry", "ticket_counts", "wakeups")}
    clock = SimpleNamespace(now=lambda: LATER)
    absent = {"pheromones": NoPheromones(), "budget_gate": OpenGate(), "guards": NoGuards()}
    return cast("Ports", SimpleNamespace(clock=clock, **absent, **known))


def after(*verdicts: WorkerVerdict, worker: Worker | None = None, start: int = 0) -> Worker:
    """Return the worker after verdicts, one a second from second `start` on."""
    worker = worker or make_worker()
    for second, verdict in enumerate(verdicts, start):
        worker = judged(worker, verdict, T0 + seconds(second), RULES) or worker
    return worker


def refusals(worker: Worker, at: float) -> list[str]:
    """Return why the ranking leaves the worker out."""
    seen = worker.but(last_seen=T0 + seconds(at))
    ranking = rank_for((), [seen], {}, T0 + seconds(at), RULES)
    return [refusal.reason for refusal in ranking.refusals]


def test_five_failures_in_a_row_open_it_for_a_while_and_the_ranking_says_so() -> None:
    worker = after(*[BAD] * 5)
    assert worker.suspended_until == T0 + seconds(4) + RULES.breaker_pause
    assert refusals(worker, 10) == ["its circuit breaker is open for another 24 s, after 5 failures in a row"]
    assert refusals(worker, 34) == []


def test_four_failures_or_a_success_in_between_do_not() -> None:
    assert not suspended(after(*[BAD] * 4), T0 + seconds(5))
    assert not suspended(after(*[BAD] * 4, GOOD, *[BAD] * 4), T0 + seconds(20))


def test_after_the_pause_one_failure_opens_it_again_at_once() -> None:
    worker = judged(after(*[BAD] * 5), BAD, T0 + seconds(100), RULES)
    assert worker is not None
    assert suspended(worker, T0 + seconds(101))


def test_after_the_pause_two_successes_close_it() -> None:
    half_open = after(*[BAD] * 5)
    assert after(GOOD, worker=half_open, start=100).failures == 5
    closed = after(GOOD, GOOD, worker=half_open, start=100)
    assert (closed.failures, closed.successes, closed.suspended_until) == (0, 0, None)


def test_while_it_is_open_nothing_counts_so_that_it_opens_once() -> None:
    open_one = after(*[BAD] * 5)
    assert after(BAD, GOOD, GOOD, BAD, worker=open_one, start=5) == open_one


def test_half_open_it_has_place_for_one_attempt_whose_end_makes_room() -> None:
    half_open = after(*[BAD] * 5)
    now = T0 + seconds(100)
    trial = trial_of(half_open, "t/1", seconds(60), now)
    taken = tried(half_open, trial, now)
    assert taken is not None
    assert (admits(taken, "t/1", now), admits(taken, "t/2", now)) == (True, False)
    assert tried(taken, trial_of(half_open, "t/2", seconds(60), now), now) is None
    assert refusals(taken, 100) == ["its circuit breaker is half-open: one attempt at a time, now t/1"]
    other = GOOD.but(succeeded=None, attempt="t/2")
    assert judged(taken, other, now, RULES) is None
    over = judged(taken, other.but(attempt="t/1"), now, RULES)
    assert over is not None
    assert (over.trial, over.failures, over.version) == (None, 5, taken.version + 1)
    again = judged(taken, BAD.but(attempt="t/1"), now, RULES)
    assert again is not None
    assert (suspended(again, now), again.trial) == (True, None)


async def test_half_open_it_is_offered_one_of_the_tickets_that_wait() -> None:
    flow, stores = make_flow(), MemoryStore().stores
    waiting = tuple(make_ticket(flow, number, waiting=Waiting.SLOT) for number in range(3))
    await stores.store.commit(make_step(flow, tickets=waiting))
    ports = ports_of(stores)
    [event] = await release(after(*[BAD] * 5), ports)
    assert len(event.data["ticket_ids"]) == 1
    [event] = await release(make_worker(), ports)
    assert len(event.data["ticket_ids"]) == 2


async def test_half_open_it_is_found_for_one_ticket_of_a_batch() -> None:
    flow, stores = make_flow(status=FlowStatus.EXECUTING, tickets_generated=3), MemoryStore().stores
    tickets = {ticket.ticket_id: ticket for ticket in make_plan(flow, 3)}
    batch = TicketsReady(flow_id=flow.flow_id, ticket_ids=tuple(tickets))
    context = Context(flow=flow, tickets=tickets, now=LATER, function="discover", cause="cause")
    await stores.registry.put(after(*[BAD] * 5).but(last_seen=LATER, version=1))
    outcome = await discover(batch, context, ports_of(stores))
    assert isinstance(outcome, Discovered)
    assert (len(outcome.found), list(outcome.waiting.values())) == (1, [Waiting.SLOT] * 2)


def test_a_trial_whose_process_has_died_gives_its_place_up_in_the_end() -> None:
    half_open = after(*[BAD] * 5)
    trial = trial_of(half_open, "t/1", seconds(60), T0 + seconds(100))
    taken = tried(half_open, trial, T0 + seconds(100))
    assert taken is not None
    assert tried(taken, trial.but(attempt="t/2", until=trial.until + seconds(60)), trial.until) is not None


def test_an_acknowledgement_is_a_success_where_deliveries_were_the_doubt_only() -> None:
    acknowledged = GOOD.but(why=ACKNOWLEDGED)
    unreachable = BAD.but(why="worker_unreachable")
    assert after(unreachable, acknowledged).failures == 0
    assert after(BAD, acknowledged).failures == 1
    assert after(*[unreachable] * 5).suspended_until is not None
    closed = after(acknowledged, acknowledged, worker=after(*[unreachable] * 5), start=100)
    assert closed.suspended_until is None


def test_it_is_looked_at_when_it_becomes_half_open() -> None:
    open_one = after(*[BAD] * 5)
    until = open_one.suspended_until
    assert open_one.next_wakeup_at == until
    assert heard(open_one, Heartbeat(), T0 + seconds(10), RULES).next_wakeup_at == until
    assert heard(open_one, Heartbeat(), T0 + seconds(50), RULES).next_wakeup_at == T0 + seconds(50) + RULES.unhealthy


def test_success_changes_nothing_for_a_worker_that_nobody_doubts() -> None:
    assert judged(make_worker(), GOOD, T0, RULES) is None


def test_only_what_a_worker_is_to_blame_for_counts_against_it() -> None:
    flow = make_flow()
    causes = {
        "timed_out": False,
        "heartbeat_lost": False,
        "worker_unreachable": None,  # counted when the delivery failed
        "worker_refused": None,
        "worker_busy": None,
        "flaky": None,
    }
    for cause, expected in causes.items():
        entry = make_history(flow, type="ticket.retried", ticket_id="t", worker_id="worker-1", attempt=1, cause=cause)
        [verdict] = verdicts_of(make_step(flow, history=(entry,)))
        assert (verdict.succeeded, verdict.attempt) == (expected, "t/1"), cause
    done = make_history(flow, type="ticket.completed", ticket_id="t", worker_id="worker-1", attempt=1)
    assert list(verdicts_of(make_step(flow, history=(done,)))) == [GOOD.but(attempt="t/1")]


def test_answers_count_at_once_and_a_full_worker_is_not_to_blame() -> None:
    worker = make_worker()
    said = {
        status: verdict_of(Answer(status), worker, "t/1")
        for status in (200, 202, 204, 429, 400, 401, 408, 409, 425, 500, 503, 0)
    }
    assert {status for status, verdict in said.items() if verdict is None} == {200, 202, 204, 429}
    assert {status: verdict.why for status, verdict in said.items() if verdict is not None} == {
        400: "worker_refused",
        401: "worker_refused",
        **dict.fromkeys((408, 409, 425, 500, 503, 0), "worker_unreachable"),
    }
    doubted = worker.but(failures=1, doubt="worker_unreachable")
    assert verdict_of(Answer(204), doubted, "t/1") == GOOD.but(why=ACKNOWLEDGED, attempt="t/1")
    assert verdict_of(Answer(0, suspended=True), doubted, "t/1") is None


def test_it_is_opened_and_closed_by_a_wish_whatever_attempts_say() -> None:
    worker = make_worker()
    opened = ordered(worker, BreakerOrder(worker_id="w1", opened=True), T0, RULES)
    assert opened is not None
    assert (suspended(opened, T0), opened.doubt, opened.failures) == (True, "ordered", RULES.breaker_failures)
    assert ordered(opened, BreakerOrder(worker_id="w1", opened=True), T0, RULES) is None
    assert refusals(opened, 1) != []
    closed = ordered(opened, BreakerOrder(worker_id="w1", opened=False), T0 + seconds(1), RULES)
    assert closed is not None
    assert (closed.suspended_until, closed.failures, closed.doubt) == (None, 0, "")
    assert refusals(closed, 1) == []
    assert ordered(closed, BreakerOrder(worker_id="w1", opened=False), T0, RULES) is None
