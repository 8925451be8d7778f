from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.planning.graph import schedule
from functions._core.planning.tickets import HASHED, generate_tickets, intact, priority_score, score_at, ticket_hash
from functions._core.records.json_text import content_hash
from functions._core.records.models import Ticket
from functions._core.records.policies import Consistency, DeliveryMode, Durability, Qos, Undo
from functions._core.records.record import as_json, decode, encode
from functions._core.records.values import (
    Priority,
    RiskBand,
    SecurityLevel,
    TicketStatus,
    Waiting,
    ticket_id_of,
)
from functions._core.rules import Rules
from functions._engine.settings import Settings
from tests.support.decisions import NOW, a_decision, a_flow, a_task


def tickets_of(*tasks: dict[str, Any], plan: dict[str, Any] | None = None, **changes: object) -> dict[str, Ticket]:
    decision = a_decision(*tasks, plan=plan, **changes)
    return {ticket.task_id: ticket for ticket in generate_tickets(a_flow(decision), decision, NOW, Rules())}


DIAMOND = (a_task("d", "b", "c"), a_task("b", "a"), a_task("c", "a"), a_task("a"))


def test_there_is_one_ticket_for_each_task_in_stable_topological_order() -> None:
    decision = a_decision(*DIAMOND)
    tickets = generate_tickets(a_flow(decision), decision, NOW, Rules())
    assert [ticket.task_id for ticket in tickets] == ["a", "b", "c", "d"]
    assert [ticket.level for ticket in tickets] == [0, 1, 1, 2]
    assert generate_tickets(a_flow(decision), decision, NOW, Rules()) == tickets


def test_ids_are_derived_and_dependencies_are_mapped_to_them() -> None:
    decision = a_decision(*DIAMOND)
    flow = a_flow(decision)
    ids = {name: ticket_id_of(flow.flow_id, name) for name in "abcd"}
    tickets = {ticket.task_id: ticket for ticket in generate_tickets(flow, decision, NOW, Rules())}
    assert {name: ticket.ticket_id for name, ticket in tickets.items()} == ids
    assert tickets["d"].dependencies == (ids["b"], ids["c"])
    assert tickets["a"].dependants == (ids["b"], ids["c"])
    assert tickets["d"].dependants == ()
    assert [tickets[name].open_dependencies for name in "abcd"] == [0, 1, 1, 2]


def test_a_ticket_carries_the_correlation_of_its_flow() -> None:
    ticket = tickets_of()["a"]
    assert (ticket.plan_id, ticket.intent_id, ticket.decision_id) == ("plan-1", "intent-1", "decision-1")
    assert (ticket.correlation_id, ticket.trace_id, ticket.span_id) == ("correlation-1", "a" * 32, "b" * 16)


def test_ready_tickets_wait_for_discovery_and_the_others_for_their_dependencies() -> None:
    tickets = tickets_of(a_task("a"), a_task("b", "a"), sla_deadline_seconds=600)
    ready, blocked = tickets["a"], tickets["b"]
    assert (ready.status, ready.waiting, ready.waiting_since) == (TicketStatus.PENDING, Waiting.DISCOVERY, NOW)
    assert ready.next_wakeup_at == NOW + timedelta(seconds=30)
    assert (blocked.status, blocked.waiting) == (TicketStatus.PENDING, Waiting.DEPENDENCIES)
    assert blocked.until == NOW + timedelta(seconds=600)


def test_a_ticket_is_looked_at_when_it_should_have_started_even_if_it_may_wait_longer() -> None:
    blocked = tickets_of(a_task("a"), a_task("b", "a"), sla_deadline_seconds=600)["b"]
    assert blocked.until is not None
    assert blocked.next_wakeup_at == blocked.latest_start < blocked.until


@pytest.mark.parametrize(
    ("band", "retries", "delivery", "consistency", "score"),
    [
        ("critical", 5, DeliveryMode.EXACTLY_ONCE, Consistency.STRONG, 0.79),
        ("high", 3, DeliveryMode.EXACTLY_ONCE, Consistency.STRONG, 0.67),
        ("medium", 2, DeliveryMode.AT_LEAST_ONCE, Consistency.EVENTUAL, 0.4685),
        ("low", 1, DeliveryMode.AT_LEAST_ONCE, Consistency.EVENTUAL, 0.3885),
    ],
)
def test_the_risk_band_decides_retries_care_and_score(
    band: str, retries: int, delivery: DeliveryMode, consistency: Consistency, score: float
) -> None:
    ticket = tickets_of(plan={"risk_band": band})["a"]
    assert ticket.risk_band == RiskBand(band)
    assert ticket.sla.max_retries == retries
    qos = Qos(delivery_mode=delivery, consistency=consistency, durability=Durability.PERSISTENT)
    assert ticket.qos == qos
    assert ticket.priority_score == score


@pytest.mark.parametrize(
    ("consumed", "score"), [(0.0, 0.4685), (0.49, 0.4685), (0.5, 0.5885), (0.8, 0.6785), (3.0, 0.6785)]
)
def test_the_score_grows_in_steps_with_the_time_that_passed(consumed: float, score: float) -> None:
    assert priority_score(RiskBand.MEDIUM, tickets_of()["a"].qos, consumed) == score


@pytest.mark.parametrize(
    ("estimate", "timeout"), [(None, 180_000), (1, 60_000), (20_000, 60_000), (20_001, 60_003), (10**9, 3 * 10**9)]
)
def test_the_timeout_is_three_times_the_estimate_and_a_minute_at_least(estimate: int | None, timeout: int) -> None:
    ticket = tickets_of(a_task(estimated_duration_ms=estimate))["a"]
    assert ticket.sla.timeout_ms == timeout
    assert ticket.estimated_duration_ms == (estimate or 60_000)


def test_the_deadline_of_a_ticket_is_its_latest_finish() -> None:
    decision = a_decision(*DIAMOND, sla_deadline_seconds=300)
    flow = a_flow(decision)
    timings = schedule(decision.cognitive_plan.tasks, NOW, flow.sla_deadline).timings
    for ticket in generate_tickets(flow, decision, NOW, Rules()):
        timing = timings[ticket.task_id]
        assert (ticket.sla.deadline, ticket.latest_start) == (timing.latest_finish, timing.latest_start)
        assert (ticket.critical, ticket.level) == (timing.critical, timing.level)
    assert timings["d"].latest_finish == NOW + timedelta(seconds=300)


def test_a_task_inherits_what_it_does_not_say_itself() -> None:
    own = {"priority": 9, "risk_band": "critical", "security_level": "restricted", "template_id": "t-1"}
    plan = {"original_priority": "high", "risk_band": "low", "original_security_level": "public"}
    tickets = tickets_of(a_task("a", **own, idempotent=False), a_task("b"), plan=plan)
    a, b = tickets["a"], tickets["b"]
    assert (a.priority, a.risk_band, a.security_level) == (
        Priority.CRITICAL,
        RiskBand.CRITICAL,
        SecurityLevel.RESTRICTED,
    )
    assert (b.priority, b.risk_band, b.security_level) == (Priority.HIGH, RiskBand.LOW, SecurityLevel.PUBLIC)
    assert (a.template_id, a.idempotent, b.template_id, b.idempotent) == ("t-1", False, None, True)


def test_capabilities_are_written_in_one_way() -> None:
    assert tickets_of(a_task(required_capabilities=[" Read", "python", "READ ", ""]))["a"].required_capabilities == (
        "python",
        "read",
    )
    assert tickets_of()["a"].required_capabilities == ()


def test_parameters_and_metadata_of_the_task_are_kept() -> None:
    parameters = {"nested": {"list": [1, {"deep": None}]}, "file": {"$output": "a"}}
    task = a_task("b", "a", parameters=parameters, metadata={"domain": "TECHNICAL"})
    ticket = tickets_of(a_task("a"), task)["b"]
    assert (ticket.parameters, ticket.metadata) == (parameters, {"domain": "TECHNICAL"})


def test_the_hash_covers_what_never_changes_and_nothing_else() -> None:
    ticket = tickets_of(a_task(parameters={"x": [1]}))["a"]
    assert len(ticket.hash) == 64
    assert ticket_hash(ticket) == ticket.hash
    moved = ticket.but(status=TicketStatus.RUNNING, attempt=3, retry_count=1, metadata={"a": 1}, version=9)
    assert ticket_hash(moved) == ticket.hash
    postponed = ticket.but(sla=ticket.sla.but(deadline=ticket.sla.deadline + timedelta(hours=1)))
    assert ticket_hash(postponed) == ticket.hash
    assert ticket_hash(ticket.but(sla=ticket.sla.but(max_retries=9))) != ticket.hash
    assert ticket_hash(ticket.but(parameters={"x": [2]})) != ticket.hash
    assert ticket_hash(ticket.but(description="something else")) != ticket.hash
    undone = ticket.but(undo=Undo(parameters={"action": "burn"}))
    assert not intact(undone)
    undone = undone.but(hash=ticket_hash(undone))
    assert intact(undone)
    assert not intact(undone.but(undo=None))
    assert not intact(undone.but(undo=Undo(parameters={"action": "sell"})))
    assert set(Ticket.__struct_fields__) >= HASHED


def test_a_ticket_that_was_made_when_the_hash_did_not_cover_its_undoing_is_intact() -> None:
    ticket = tickets_of(a_task(compensation={"parameters": {"action": "burn"}}))["a"]
    before = {name: value for name, value in as_json(ticket).items() if name in HASHED - {"undo"}}
    del before["sla"]["deadline"]
    old = ticket.but(hash=content_hash(before))
    assert intact(old)
    assert not intact(old.but(parameters={"x": 1}))


def test_the_hash_survives_storing_and_reading_the_ticket() -> None:
    decision = a_decision(a_task(parameters={"é": [1.5, None]}))
    moment = NOW + timedelta(microseconds=123_456)
    [ticket] = generate_tickets(a_flow(decision), decision, moment, Rules())
    assert ticket_hash(decode(Ticket, encode(ticket))) == ticket.hash


def test_a_hash_that_is_known_stands_for_the_very_values_it_was_computed_from() -> None:
    ticket = tickets_of(a_task(parameters={"amount": 1}))["a"]
    assert intact(ticket)
    for amount in (1, 1.0, True, 2):
        stored = decode(Ticket, encode(ticket.but(parameters={"amount": amount})))
        assert intact(stored) == (amount is not True and amount == 1 and isinstance(amount, int))
        assert not intact(stored.but(hash="0" * 64))
    assert intact(ticket)


@given(st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=1, max_size=15))
def test_every_plan_gives_tickets_that_agree_with_each_other(shape: list[list[int]]) -> None:
    tasks = [
        a_task(f"t{n}", *(f"t{before % n}" for before in befores if n), estimated_duration_ms=n + 1)
        for n, befores in enumerate(shape)
    ]
    tickets = {ticket.ticket_id: ticket for ticket in tickets_of(*tasks).values()}
    assert len(tickets) == len(tasks)
    seen: set[str] = set()
    for ticket in tickets.values():
        assert set(ticket.dependencies) <= seen
        waits = {other for other in ticket.dependencies if ticket.ticket_id in tickets[other].dependants}
        assert ticket.open_dependencies == len(waits)
        for dependency in ticket.dependencies:
            # One that is no wait is implied by the others: whatever they wait for comes before.
            assert dependency in waits or any(dependency in all_before(tickets, other) for other in waits)
            assert tickets[dependency].sla.deadline <= ticket.sla.deadline
        for dependant in ticket.dependants:
            assert ticket.ticket_id in tickets[dependant].dependencies
        seen.add(ticket.ticket_id)


def all_before(tickets: Mapping[str, Ticket], ticket_id: str) -> set[str]:
    """Return the tickets that have to be done before one."""
    direct = tickets[ticket_id].dependencies
    return {*direct, *(further for other in direct for further in all_before(tickets, other))}


def test_the_score_grows_as_the_time_to_the_deadline_passes() -> None:
    ticket = tickets_of(a_task(risk_band="critical"))["a"]
    given = ticket.sla.deadline - ticket.created_at
    moments = (0, 0.49, 0.5, 0.79, 0.8, 3)
    assert [score_at(ticket, ticket.created_at + share * given) for share in moments] == [
        0.79,
        0.79,
        0.91,
        0.91,
        1.0,
        1.0,
    ]
    done = ticket.but(status=TicketStatus.COMPLETED, completed_at=ticket.created_at + 0.6 * given)
    assert score_at(done, ticket.created_at + 9 * given) == 0.91
    assert score_at(ticket.but(created_at=ticket.sla.deadline), ticket.sla.deadline) == 1.0


def test_a_longer_least_timeout_holds_for_new_tickets_that_name_none() -> None:
    rules = Settings.from_mapping({"SLA_DEFAULT_TIMEOUT_MS": "7200000"}).rules
    both = Settings.from_mapping({"SLA_DEFAULT_TIMEOUT_MS": "7200000", "FLOWC_DEFAULT_TIMEOUT_MS": "90000"}).rules
    assert (both.least_timeout_ms, Settings.from_mapping({}).rules) == (90_000, Rules())
    decision = a_decision(a_task("a"), a_task("b", timeout_ms=5_000), a_task("c", estimated_duration_ms=10**9))
    made = generate_tickets(a_flow(decision), decision, NOW, rules)
    assert {ticket.task_id: ticket.sla.timeout_ms for ticket in made} == {"a": 7_200_000, "b": 5_000, "c": 3 * 10**9}
    assert tickets_of()["a"].sla.timeout_ms == 180_000  # one that was made before keeps its own
