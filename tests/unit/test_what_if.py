"""What a policy would have done: a history whose numbers are computed by hand."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from functions._core.records.models import Ticket
from functions._core.records.values import Priority, RiskBand
from functions._core.slo.admission import AdmissionPolicy, FlowFacts
from functions._core.slo.budget import BudgetStatus
from functions._core.slo.course import CoursePoint
from functions._core.slo.definition import Slo
from functions._core.slo.freezing import FreezeEvent, FreezePolicy, ended
from functions._core.slo.past import Past, PastFlow
from functions._core.slo.what_if import WhatIf, blocked_by, freezes_under, under_admission, under_freezes
from tests.support.builders import T0, make_flow, make_ticket
from tests.support.slo_history import policy as freeze_policy
from tests.support.slo_history import slo
from tests.support.slos import freeze_of

ONE_DAY = slo(window_days=1)


def at(minutes: float) -> timedelta:
    return timedelta(minutes=minutes)


def flow(number: int, came: float, took: float = 1, *, bad: bool = False, **more: Any) -> PastFlow:
    """Return a flow of the orchestrator, with its minutes; it is to end within four hours, or by `due`."""
    labels = {"service": "orchestrator", "team": more.get("team", "a")}
    facts = FlowFacts(labels, RiskBand.LOW, more.get("priority", Priority.NORMAL))
    due = T0 + at(more.get("due", came + 240))
    return PastFlow(f"flow-{number}", T0 + at(came), T0 + at(came + took), due, facts, ((0, bad),))


HISTORY = (
    *(flow(number, number - 1, 0.5) for number in range(1, 9)),
    flow(9, 10, bad=True),  # at minute 11: 1 of 9 is bad, where 1 of 10 may be
    flow(10, 20, bad=True),
    flow(11, 30),
)
"""11 flows in half an hour, 2 of them bad: 2 / (11 * 0.1) of the budget is used, 181.818182 %."""


def past(*more: PastFlow, until: float = 200, slos: Sequence[Slo] = (ONE_DAY,), **fields: Any) -> Past:
    """Return the history up to a minute, with more flows."""
    flows = sorted((*HISTORY, *more), key=lambda one: one.ended, reverse=True)
    return Past(since=T0, until=T0 + at(until), counted_since=T0, flows=flows, slos=slos, **fields)


def tried(action: str, *more: PastFlow, until: float = 200, **changes: Any) -> WhatIf:
    return under_admission(admission(action, **changes), past(*more, until=until))


def admission(action: str, **changes: Any) -> AdmissionPolicy:
    made = {"name": "p", "created_at": T0, "updated_at": T0, "action": action}
    return AdmissionPolicy.model_validate({**made, **changes})


def used(found: WhatIf) -> tuple[float | None, float | None, float | None]:
    """Return what is used of the budget, what would be, and what the policy saves at most."""
    (one,) = found.slos
    return one.consumed, one.consumed_then, one.saved_at_most


def test_what_is_refused_counts_nowhere_and_one_error_of_two_is_saved() -> None:
    found = tried("REFUSE")
    assert (found.flows, found.refused, found.held) == (11, 2, 0)
    assert [(one.flow_id, one.action, one.until) for one in found.items] == [
        ("flow-10", "REFUSE", None),
        ("flow-11", "REFUSE", None),
    ]
    assert found.items[0].why == "0 % of the error budget of orchestrator is left (EXHAUSTED, SLO s)"
    assert used(found) == (181.818182, 111.111111, 90.909091)  # 2 of 11, 1 of 9, and the error of flow 10: 1 of 11


def test_what_is_held_ends_later_as_it_did() -> None:
    found = tried("HOLD")
    assert (found.held, found.timed_out, found.held_ms) == (2, 0, 2 * 3_600_000)
    assert [one.until for one in found.items] == [T0 + at(80), T0 + at(90)]
    assert used(found) == (181.818182, 181.818182, 90.909091)
    early = tried("HOLD", until=85)  # flow 10 has ended at minute 81, bad: 2 of 10; flow 11 is held even now
    assert (early.held_ms, early.items[1].until) == ((60 + 55) * 60_000, None)
    assert used(early)[1] == 200


def test_what_is_held_goes_on_when_the_budget_has_recovered() -> None:
    """With the third of these flows 1 of 11 is bad, when flow 10 is held: 9.09 % of the budget is left."""
    others = [flow(20 + number, 40 + number, team="b") for number in range(3)]
    found = tried("HOLD", *others, flows={"labels": {"team": "a"}})
    assert [one.until for one in found.items] == [T0 + at(42), T0 + at(42)]
    assert used(found) == (142.857143, 142.857143, 71.428571)  # 2 of 14


def test_what_is_held_past_its_deadline_is_an_error_more() -> None:
    found = tried("HOLD", flow(12, 25, due=60), flow(13, 26, 10, due=88))
    assert (found.held, found.timed_out) == (4, 2)  # 12 at minute 60; 13 goes on at 86, and would take until 96
    assert used(found) == (153.846154, 307.692308, 76.923077)  # 2 of 13, 4 of 13
    assert used(tried("HOLD", flow(12, 25, due=60), until=59))[1] == 111.111111


def test_a_flow_that_takes_longer_is_slow() -> None:
    timed = slo(window_days=1, history={"measure": "completion_time", "within_ms": 600_000})
    found = under_admission(admission("HOLD"), past(slos=(timed,)))
    assert used(found) == (181.818182, 272.727273, 90.909091)  # flow 11 takes an hour and a minute: 3 of 11


def test_approved_and_lowered_flows_end_as_they_did() -> None:
    approved = tried("APPROVE")
    assert (approved.approved_first, used(approved)) == (2, (181.818182, 181.818182, 90.909091))
    low = flow(12, 25, priority=Priority.LOW)
    lowered = tried("LOWER", low)
    assert (lowered.lowered, lowered.flows) == (2, 12)  # the third one is low already
    assert used(lowered) == (166.666667, 166.666667, 0)
    admitted = tried("ADMIT")
    assert (admitted.items, used(admitted)[2]) == ((), 0)


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"statuses": ["HEALTHY"]}, 10),  # all but the first, which finds no budget; and so the bad one is refused
        ({"flows": {"service": "search"}}, 0),
        ({"flows": {"priorities": ["HIGH"]}}, 0),
        ({"slo_selector": {"slo_ids": ["s"]}}, 2),
        ({"slo_selector": {"slo_ids": ["another"]}}, 0),
    ],
)
def test_the_fields_of_a_policy_hold_as_they_do_in_c1(changes: dict[str, Any], refused: int) -> None:
    assert tried("REFUSE", **changes).refused == refused


def test_a_flow_of_another_service_is_not_touched_by_the_budgets_of_this_one() -> None:
    other = flow(12, 25)
    other = other._replace(facts=FlowFacts({"service": "search"}, RiskBand.LOW, Priority.NORMAL))
    assert "flow-12" not in {one.flow_id for one in tried("REFUSE", other).items}


def test_flows_before_the_span_count_and_are_not_touched() -> None:
    later = past()
    found = under_admission(
        admission("REFUSE"),
        Past(since=T0 + at(25), until=later.until, counted_since=T0, flows=later.flows, slos=later.slos),
    )
    assert ([one.flow_id for one in found.items], found.flows) == (["flow-11"], 1)
    assert used(found) == (181.818182, 200, 0)  # 2 of 10


def test_a_recorded_course_decides_and_says_nothing_of_what_is_saved() -> None:
    recorded = slo(sli_query={"query": "good / all"})
    course = tuple(
        CoursePoint(
            at=T0 + at(minutes), sli_value=0.9, remaining=left, remaining_min=left, remaining_max=left,
            consumed=100 - left, status=BudgetStatus.EXHAUSTED if not left else BudgetStatus.HEALTHY,
            burn_rate=None, calculations=1,
        )
        for minutes, left in ((0, 60), (15, 0), (25, 60))
    )  # fmt: skip
    flows = [one._replace(counts=()) for one in HISTORY]
    found = under_admission(
        admission("HOLD"),
        Past(since=T0, until=T0 + at(200), counted_since=T0, flows=flows, slos=[recorded], courses={"s": course}),
    )
    assert [(one.flow_id, one.until) for one in found.items] == [("flow-10", T0 + at(25))]
    assert (found.slos[0].replayed, used(found)) == (False, (40, None, None))


def test_freezes_that_were_hold_flows_of_a_policy_that_names_them() -> None:
    freeze = freeze_of("orchestrator", T0 + at(19), policy_id="f", lasted=at(3))
    policy = admission("HOLD", freeze_policies=["f"])
    found = under_admission(policy, past(freezes=(freeze,)))
    assert [(one.flow_id, one.until) for one in found.items] == [("flow-10", T0 + at(22))]
    assert used(found)[2] == 90.909091


def deploys(*minutes: float) -> Sequence[Ticket]:
    """Return DEPLOY tickets that a worker got at these minutes, and one of another type."""
    made = [("DEPLOY", "orchestrator", one) for one in minutes]
    made += [("DEPLOY", "search", 20), ("BUILD", "orchestrator", 20)]
    return [
        make_ticket(
            make_flow(), place, task_type=kind, parameters={"service": service}, status="COMPLETED", attempt=1,
            worker_id="w", assigned_at=T0 + at(minute), next_wakeup_at=None,
        )
        for place, (kind, service, minute) in enumerate(made, 1)
    ]  # fmt: skip


def begin_and_end(freezes: Sequence[FreezeEvent]) -> list[tuple[float, float | None]]:
    return [
        ((one.triggered_at - T0) / at(1), (one.resolved_at - T0) / at(1) if one.resolved_at else None)
        for one in freezes
    ]


def test_a_freeze_policy_freezes_as_the_budget_says_and_holds_deploys_back() -> None:
    policy, before = freeze_policy(), past()
    (lasting,) = freezes_under(policy, before)
    assert begin_and_end([lasting]) == [(11, None)]
    assert "0 % of the error budget of orchestrator is left" in lasting.trigger_reason
    blocked = blocked_by([lasting], deploys(5, 21, 300), {})
    assert [(one.at - T0) / at(1) for one in blocked] == [21, 300]
    touched = [one._replace(flow_id="flow-10") for one in blocked[:1]]
    told = under_freezes(policy, before, [lasting], touched)
    assert (told.tickets, told.held, told.frozen_ms, told.held_ms) == (1, 1, 189 * 60_000, 179 * 60_000)
    assert used(told) == (181.818182, None, 90.909091)
    assert blocked_by([ended(lasting, T0 + at(21), "budget", "x")], deploys(21), {}) == []


@pytest.mark.parametrize(
    ("changes", "spans"),
    [
        ({}, [(11, 81)]),  # 1 of 20 is bad with the 20th flow: half of the budget is left
        ({"min_duration_seconds": 80 * 60}, [(11, 91)]),
        ({"auto_unfreeze": False}, [(11, None)]),
        ({"trigger_threshold_percent": 0, "unfreeze_threshold_percent": 10}, [(11, 73)]),  # 1 of 12 is bad
    ],
)
def test_a_freeze_ends_with_both_thresholds_and_not_before_its_time(
    changes: dict[str, Any], spans: list[tuple[float, float | None]]
) -> None:
    good = [flow(30 + number, 70 + number) for number in range(12)]
    flows = sorted((*HISTORY[:9], *good), key=lambda one: one.ended, reverse=True)
    span = Past(since=T0, until=T0 + at(200), counted_since=T0, flows=flows, slos=(ONE_DAY,))
    policy: FreezePolicy = freeze_policy(**changes)
    assert begin_and_end(freezes_under(policy, span)) == spans
