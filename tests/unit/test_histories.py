"""The generator of histories: seeded, in order, and with the effects that it says it has."""

from collections import Counter
from math import log
from statistics import median

from functions._core.records.values import Outcome, TicketStatus
from tests.support.fleet_world import START, FleetWorld
from tests.support.histories import history, history_of


def test_the_same_seed_gives_the_same_history_and_another_one_another() -> None:
    first = history(1, 40)
    assert history(1, 40) == first
    assert history(2, 40) != first


def test_flows_come_in_the_order_of_their_ends_with_their_tickets_between() -> None:
    found = history(3, 120, days=1)
    ends = [flow.ended_at for flow, _ in found]
    assert ends == sorted(ends)
    for flow, rows in found:
        assert flow.received_at >= START
        assert all(row.flow_id == flow.flow_id and row.completed_at <= flow.ended_at for row in rows)
        assert {row.sla_ms for row in rows} == {round((flow.deadline - flow.received_at).total_seconds() * 1000)}
    assert {flow.outcome for flow, _ in found} >= {Outcome.COMPLETED, Outcome.TIMED_OUT}


def test_the_truth_of_the_world_is_in_its_history() -> None:
    world = FleetWorld(5, recorded=False)
    rows = [row for _, rows in history_of(world, 250, days=10) for row in rows if row.actual_ms is not None]
    for row in rows[:50]:
        assert row.work.capabilities == world.kinds[row.task_id].capabilities
    errors = []
    for plan in world.plans:
        for row in (row for row in rows if row.task_id in plan.base_ms):
            truth = world.true_ms(row.work, row.worker_id, plan.base_ms[row.task_id])
            errors.append(log((row.actual_ms or 0) / truth))
    assert abs(median(errors)) < 0.03
    slow = [log((row.actual_ms or 0) / row.estimate_ms) for row in rows if row.worker_id == "worker-0"]
    assert median(slow) > median(log((row.actual_ms or 0) / row.estimate_ms) for row in rows) + 0.5


def test_a_busy_day_has_lines_failures_and_retries() -> None:
    rows = [row for _, rows in history(2, 400, days=0.7) for row in rows]
    statuses = Counter(row.status for row in rows)
    assert statuses[TicketStatus.COMPLETED] > 0.9 * len(rows)
    assert statuses[TicketStatus.CANCELLED] > 0
    assert sum(row.retries > 0 for row in rows) > 100
    assert sum((row.waited_ms or 0) > 1000 for row in rows) > len(rows) / 5
