"""The circuit breaker of a worker: opened by failures in a row, closed by successes, seen by the ranking."""

from functions._core.ranking import rank_for
from functions._core.rules import Rules
from functions._core.worker_record import Worker
from functions._core.workers import Verdict, judged, suspended, verdicts_of
from tests.builders import T0, make_flow, make_history, make_step, make_worker, seconds

RULES = Rules()
GOOD = Verdict(worker_id="worker-1", succeeded=True)
BAD = Verdict(worker_id="worker-1", succeeded=False, why="timed_out")


def after(*verdicts: Verdict, worker: Worker | None = None) -> Worker:
    """Return the worker after verdicts, one a second."""
    worker = worker or make_worker()
    for second, verdict in enumerate(verdicts):
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
    open_one = after(*[BAD] * 5)
    assert after(GOOD, worker=open_one).failures == 5
    closed = after(GOOD, GOOD, worker=open_one)
    assert (closed.failures, closed.successes, closed.suspended_until) == (0, 0, None)


def test_success_changes_nothing_for_a_worker_that_nobody_doubts() -> None:
    assert judged(make_worker(), GOOD, T0, RULES) is None


def test_only_what_a_worker_is_to_blame_for_counts_against_it() -> None:
    flow = make_flow()
    causes = {
        "timed_out": 1,
        "worker_unreachable": 1,
        "worker_refused": 1,
        "heartbeat_lost": 1,
        "worker_busy": 0,
        "flaky": 0,
    }
    for cause, expected in causes.items():
        entry = make_history(flow, type="ticket.retried", ticket_id="t", worker_id="worker-1", cause=cause)
        verdicts = list(verdicts_of(make_step(flow, history=(entry,))))
        assert [verdict.succeeded for verdict in verdicts] == [False] * expected, cause
    done = make_history(flow, type="ticket.completed", ticket_id="t", worker_id="worker-1")
    assert list(verdicts_of(make_step(flow, history=(done,)))) == [GOOD]
