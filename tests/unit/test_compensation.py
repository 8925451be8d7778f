"""What is undone of a flow, and in which order: for every plan, however its tasks are mixed."""

import random
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest

from functions._core.planning.compensation import IN_PARALLEL, compensations
from functions._core.planning.tickets import TicketCorrupted, check_hash, generate_tickets, intact, ticket_hash
from functions._core.records.models import Ticket
from functions._core.records.policies import Undo
from functions._core.records.values import Priority, TaskType, TicketStatus
from functions._core.rules import Rules
from tests.support.decisions import NOW, a_decision, a_flow, a_task
from tests.support.plans import SHAPES

HOUR = timedelta(hours=1)
UNDO = {"compensation": {"parameters": {"how": "carefully"}}}


def done(*tasks: Mapping[str, Any], not_done: Sequence[str] = (), **plan: Any) -> list[Ticket]:
    """Return the tickets of a plan, COMPLETED but for those named."""
    decision = a_decision(*tasks, plan=plan)
    tickets = generate_tickets(a_flow(decision), decision, NOW, Rules())
    return [
        t.but(status=TicketStatus.CANCELLED if t.task_id in not_done else TicketStatus.COMPLETED, completed_at=NOW)
        for t in tickets
    ]


def undoing(tickets: Sequence[Ticket], redrives: int = 0) -> dict[str, Ticket]:
    """Return the compensations by the task that they undo."""
    flow = a_flow(a_decision(a_task())).but(redrives=redrives)
    made, originals = compensations(flow, tickets, NOW, HOUR)
    names = {t.ticket_id: t.task_id for t in tickets}
    assert {names[c.compensates or ""] for c in made} == {t.task_id for t in originals}
    return {names[c.compensates or ""]: c for c in made}


def before(made: Mapping[str, Ticket], task_id: str) -> set[str]:
    """Return the tasks whose undoing comes right before that of a task."""
    by_id = {c.ticket_id: name for name, c in made.items()}
    return {by_id[i] for i in made[task_id].dependencies}


def test_a_chain_is_undone_from_its_end() -> None:
    made = undoing(done(a_task("a", **UNDO), a_task("b", "a", **UNDO), a_task("c", "b", **UNDO)))
    assert (before(made, "c"), before(made, "b"), before(made, "a")) == (set(), {"c"}, {"b"})
    assert [made[name].open_dependencies for name in "cba"] == [0, 1, 1]


def test_what_was_not_completed_or_says_nothing_of_undoing_is_left_out_and_keeps_the_order() -> None:
    made = undoing(
        done(a_task("a", **UNDO), a_task("b", "a"), a_task("c", "b", **UNDO), a_task("d", "c", **UNDO), not_done=["d"])
    )
    assert made.keys() == {"a", "c"}
    assert before(made, "a") == {"c"}


def test_nothing_to_undo_makes_nothing() -> None:
    assert undoing(done(a_task("a"), a_task("b", "a", **UNDO), not_done=["b"])) == {}


def test_a_compensation_says_what_it_undoes_and_how() -> None:
    tickets = done(a_task("a", task_type="DEPLOY", required_capabilities=["deploy"], description="roll out", **UNDO))
    made = undoing(tickets)["a"]
    assert (made.task_id, made.task_type, made.priority) == ("compensate:a", TaskType.COMPENSATE, Priority.HIGH)
    assert made.parameters == {
        "action": "rollback_deployment",
        "how": "carefully",
        "compensates": {"ticket_id": tickets[0].ticket_id, "task_id": "a"},
    }
    assert made.required_capabilities == ("deploy",)
    assert made.sla.timeout_ms == 120_000
    assert made.sla.deadline == NOW + HOUR
    assert (made.version, made.attempt, made.output, made.undo) == (1, 0, None, None)
    assert made.hash == ticket_hash(made)


def test_a_changed_undoing_is_not_executed() -> None:
    tickets = done(a_task("a", **UNDO))
    assert intact(undoing(tickets)["a"])
    changed = [tickets[0].but(undo=Undo(parameters={"action": "burn"}))]
    made = undoing(changed)["a"]
    with pytest.raises(TicketCorrupted):
        check_hash(made)


def test_a_task_may_name_its_own_action_capabilities_and_timeout() -> None:
    declared = {"parameters": {"action": "burn"}, "required_capabilities": ["fire"], "timeout_ms": 5000}
    made = undoing(done(a_task("a", required_capabilities=["build"], compensation=declared)))["a"]
    assert (made.parameters["action"], made.required_capabilities, made.sla.timeout_ms) == ("burn", ("fire",), 5000)


@pytest.mark.parametrize(("said", "expected"), [(True, {"a"}), (False, set()), (None, set())])
def test_compensation_may_be_just_yes_or_no(said: object, expected: set[str]) -> None:
    assert undoing(done(a_task("a", compensation=said))).keys() == expected


def test_a_plan_may_ask_for_compensation_by_task_type() -> None:
    assert undoing(done(a_task("a"), a_task("b", task_type="TEST"), compensate_by_type=True)).keys() == {"a", "b"}


def test_a_task_that_says_no_is_not_undone_by_its_type_either() -> None:
    tasks = (a_task("a"), a_task("b", compensation=False), a_task("c", compensation=None))
    assert undoing(done(*tasks, compensate_by_type=True)).keys() == {"a", "c"}


def test_another_run_of_the_flow_makes_other_tickets_the_same_run_the_same() -> None:
    tickets = done(a_task("a", **UNDO))
    first, again, redriven = undoing(tickets), undoing(tickets), undoing(tickets, redrives=1)
    assert first["a"] == again["a"]
    assert first["a"].ticket_id != redriven["a"].ticket_id


def test_a_skipped_ticket_has_done_nothing_to_undo() -> None:
    assert undoing([t.but(skipped=True) for t in done(a_task("a", **UNDO))]) == {}


def descendants(tickets: Sequence[Ticket]) -> dict[str, set[str]]:
    """Return, by task, all tasks that depend on it, directly or not."""
    by_id = {t.ticket_id: t for t in tickets}
    found: dict[str, set[str]] = {}
    for ticket in reversed(tickets):
        followers = [by_id[i].task_id for i in ticket.dependants]
        found[ticket.task_id] = set(followers).union(*(found[f] for f in followers))
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_whatever_the_plan_work_is_undone_before_the_work_it_was_built_on(shape: str, seed: int) -> None:
    draw = random.Random(f"{shape}/{seed}")
    tasks = [a_task(name, *after, **(UNDO if draw.random() < 0.6 else {})) for name, after in SHAPES[shape](draw)]
    tickets = done(*tasks)
    made = undoing(tickets)
    earlier: dict[str, set[str]] = {}
    for name in sorted(made, key=lambda name: made[name].level):
        direct = before(made, name)
        earlier[name] = direct.union(*(earlier[other] for other in direct))
        assert name not in earlier[name]
    for name, after in descendants(tickets).items():
        if name in made:
            assert after & made.keys() <= earlier[name]


def test_a_wide_plan_does_not_make_an_edge_for_every_pair() -> None:
    width = 300
    roots = [a_task(f"r{n}", **UNDO) for n in range(width)]
    hub = a_task("hub", *(f"r{n}" for n in range(width)))
    leaves = [a_task(f"l{n}", "hub", **UNDO) for n in range(width)]
    made = undoing(done(*roots, hub, *leaves))
    assert sum(len(c.dependencies) for c in made.values()) <= (IN_PARALLEL + 1) * len(made)
    assert len(made) == 2 * width


def test_what_was_done_side_by_side_is_undone_side_by_side_up_to_a_number() -> None:
    width = 10 * IN_PARALLEL
    made = undoing(done(a_task("root", **UNDO), *(a_task(f"t{n}", "root", **UNDO) for n in range(width))))
    waves = Counter(c.level for name, c in made.items() if name != "root")
    assert waves == dict.fromkeys(range(10), IN_PARALLEL)
    assert (made["root"].level, len(made["root"].dependencies)) == (10, IN_PARALLEL)


def test_a_compensation_knows_nothing_of_how_the_work_that_it_undoes_was_sent() -> None:
    went_through = {"asked": True, "ready_at": NOW - HOUR, "perhaps_begun": True, "attempt": 3, "worker_id": "w"}
    made = undoing([t.but(**went_through) for t in done(a_task("a", **UNDO), a_task("b", "a", **UNDO))])
    assert {(c.asked, c.perhaps_begun, c.attempt, c.worker_id) for c in made.values()} == {(False, False, 0, None)}
    assert (made["b"].ready_at, made["a"].ready_at) == (NOW, None)
