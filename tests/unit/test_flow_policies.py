"""Flow SLA policies: which flows they are for, which transitions count once, and which flows give way."""

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from functions._core.events.policies import PolicyAct
from functions._core.explain.policies import with_policies
from functions._core.explain.ticket import Explanation
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Priority, RiskBand, SlackState
from functions._core.slo.flow_policies import (
    RANKS,
    ActionResult,
    Announced,
    FlowSlaPolicy,
    PolicyApplication,
    SlaSubject,
    announced,
    application_key,
    applied_event,
    due_event,
    least_urgent,
    order_id_of,
)
from tests.support.builders import T0, make_flow, make_history, make_ticket, seconds

CANCEL = [{"action": "cancel"}]


def policy(**fields: Any) -> FlowSlaPolicy:
    form = {"name": "p", "on": "at_risk", "actions": CANCEL, "created_at": T0, "updated_at": T0}
    return FlowSlaPolicy.model_validate({**form, **fields})


def flow(number: int = 1, **changes: Any) -> Flow:
    return make_flow(number, **{"status": FlowStatus.EXECUTING, **changes})


@pytest.mark.parametrize(
    ("selector", "changes", "fits"),
    [
        ({}, {}, True),
        ({"plan_id": "plan-1"}, {}, True),
        ({"plan_id": "plan-2"}, {}, False),
        ({"risk_band": "high"}, {"risk_band": RiskBand.HIGH}, True),
        ({"risk_band": "high"}, {}, False),
        ({"priority": "LOW"}, {"priority": Priority.LOW}, True),
        ({"priority": "LOW"}, {}, False),
        ({"tenant_id": "a"}, {"tenant_id": "a"}, True),
        ({"tenant_id": "a"}, {}, False),
        ({"labels": {"x": "1"}}, {"labels": {"x": "1", "y": "2"}}, True),
        ({"labels": {"x": "1", "y": "2"}}, {"labels": {"x": "1"}}, False),
        ({"plan_id": "plan-1", "labels": {"x": "1"}}, {}, False),
    ],
)
def test_a_policy_is_for_the_flows_that_fit_all_that_it_selects_by(
    selector: dict[str, Any], changes: dict[str, Any], fits: bool
) -> None:
    one = policy(selector=selector)
    assert one.wants(SlackState.AT_RISK, SlaSubject.FLOW, flow(**changes)) is fits
    assert not one.wants(SlackState.BREACHED, SlaSubject.FLOW, flow(**changes))
    assert not one.wants(SlackState.AT_RISK, SlaSubject.TICKET, flow(**changes))
    assert not one.but(enabled=False).wants(SlackState.AT_RISK, SlaSubject.FLOW, flow(**changes))


@pytest.mark.parametrize("of", list(SlaSubject))
def test_what_cannot_be_meant_is_refused(of: SlaSubject) -> None:
    for fields in (
        {"on": "on_track"},
        {"on": "breached", "actions": [{"action": "ask"}]},
        {"actions": [{"action": "ask"}, {"action": "cancel"}]},
        {"actions": [*CANCEL, *CANCEL]},
        {"actions": [{"action": "raise_priority", "to": "LOW"}]},
        {"actions": [{"action": "ask", "at_most": 2}]},
    ):
        with pytest.raises(ValidationError):
            policy(of=of, **fields)


def test_a_flow_that_missed_its_deadline_is_over_so_little_can_be_done_for_it() -> None:
    for actions in (CANCEL, [{"action": "raise_priority", "to": "HIGH"}], [{"action": "cancel_and_compensate"}]):
        with pytest.raises(ValidationError, match="is over"):
            policy(on="breached", actions=actions)
        assert policy(on="breached", of="ticket", actions=actions).actions
    assert policy(on="breached", actions=[{"action": "notify"}, {"action": "pause_others"}]).actions


def test_each_announcement_of_a_flow_counts_and_of_its_tickets_the_first() -> None:
    one = flow()
    first = make_history(one, 1, type="sla.at_risk", at=T0)
    again = make_history(one, 2, type="sla.at_risk", at=T0 + seconds(9))
    flows = [found for line in (first, again) if (found := announced(line, one))]
    assert [found.of for found in flows] == [SlaSubject.FLOW] * 2
    tickets = [make_ticket(one, number) for number in (1, 2)]
    lines = [
        make_history(one, number, type="sla.violated", ticket_id=ticket.ticket_id, at=T0 + seconds(number))
        for number, ticket in enumerate(tickets, 1)
    ]
    of_tickets = [found for line in lines if (found := announced(line, one))]
    redriven = announced(lines[0], one.but(redrives=1))
    assert redriven is not None
    keys = [found.key for found in (*flows, *of_tickets, redriven)]
    assert len({*keys}) == 4
    assert of_tickets[0].key == of_tickets[1].key
    assert announced(make_history(one, 3, type="flow.paused"), one) is None
    events = [due_event(found, one, "/flowc/enforce_sla") for found in (*flows, *of_tickets)]
    assert len({event.id for event in events}) == 3
    assert {order_id_of("p", found) for found in flows}.isdisjoint({order_id_of("p", found) for found in of_tickets})
    assert application_key("p", flows[0]).startswith(f"{one.flow_id}/p/")


PRIORITIES = st.sampled_from(Priority)


@st.composite
def others(draw: st.DrawFn) -> list[Flow]:
    states = st.sampled_from((FlowStatus.EXECUTING, FlowStatus.PAUSED, FlowStatus.COMPLETED, FlowStatus.GENERATING))
    return [
        flow(
            number,
            status=draw(states),
            priority=draw(PRIORITIES),
            announced=draw(st.sampled_from(SlackState)),
            sla_deadline=T0 + timedelta(seconds=draw(st.integers(-100, 100_000))),
            labels={"kind": draw(st.sampled_from(("batch", "live")))},
            tenant_id=draw(st.sampled_from(("a", "b"))),
        )
        for number in range(2, draw(st.integers(2, 20)))
    ]


@given(others(), PRIORITIES, st.integers(1, 20), st.booleans())
def test_flows_of_lower_priority_with_the_most_slack_give_way(
    found: list[Flow], priority: Priority, at_most: int, of_tenant: bool
) -> None:
    urgent = flow(1, priority=priority, labels={"kind": "batch"}, tenant_id="a")
    one = policy(
        actions=[{"action": "pause_others", "labels": {"kind": "batch"}, "at_most": at_most}],
        selector={"tenant_id": "a"} if of_tenant else {},
    )
    chosen = least_urgent([urgent, *found], urgent, one, T0)
    assert len(chosen) <= at_most
    assert all(RANKS[other.priority] < RANKS[priority] for other in chosen)
    assert all(other.status is FlowStatus.EXECUTING and other.labels == {"kind": "batch"} for other in chosen)
    assert all(other.announced is SlackState.ON_TRACK for other in chosen)
    assert not of_tenant or all(other.tenant_id == "a" for other in chosen)
    order = [(RANKS[other.priority], -other.sla_deadline.timestamp()) for other in chosen]
    assert order == sorted(order)
    assert least_urgent(found, urgent, policy(), T0) == ()


def test_what_was_done_is_told_in_sentences_and_as_an_event() -> None:
    one = flow()
    about = Announced(flow_id=one.flow_id, on=SlackState.AT_RISK, at=T0, key="flow/at_risk/x")
    results = (
        ActionResult(action=PolicyAct.RAISE_PRIORITY, done=True, text="its priority was raised to HIGH"),
        ActionResult(action=PolicyAct.PAUSE_OTHERS, done=False, text="no flow of lower priority could be paused"),
    )
    begun = PolicyApplication(policy="p", announced=about, begun_at=T0)
    done = begun.but(done_at=T0, results=results)
    bare = Explanation(kind="flow", subject=one.flow_id, status="EXECUTING", headline="x", waits_for=None)
    first, second = with_policies(bare, [begun, done], T0 + seconds(3)).details
    assert first == "Policy p is being applied since 12:00:00 UTC (3 s), as the flow came at risk."
    assert second.startswith("Policy p acted at 12:00:00 UTC (3 s), as the flow came at risk: its priority was raised")
    assert second.endswith("raised to HIGH; no pause_others, as no flow of lower priority could be paused.")
    assert with_policies(bare, [], T0) is bare
    event = applied_event(done, one, T0)
    assert (event.event_type, event.source, event.subject) == ("sla.policy.applied", "/flowc", one.flow_id)
    assert [result["done"] for result in event.data["results"]] == [True, False]
    assert applied_event(done.but(done_at=T0 + seconds(9)), one, T0 + seconds(9)).id == event.id
