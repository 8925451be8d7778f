"""Recorded decisions and plans, each with exactly what becomes of it."""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.decision.reading import InvalidDecision, approval_reasons, check_plan, read_decision
from functions._core.planning.graph import schedule
from functions._core.planning.tickets import generate_tickets, ticket_hash
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import Priority, RiskBand, SecurityLevel, TaskType
from functions._core.rules import Rules
from tests.support.decisions import a_flow

Folder = Callable[[str], Path]
NOW = datetime(2026, 2, 21, 12, 0, tzinfo=UTC)


def wrapped(plan: dict[str, Any], **changes: object) -> dict[str, Any]:
    """Put a bare plan into a decision that approves it."""
    return {
        "decision_id": "decision-1",
        "plan_id": plan.get("plan_id"),
        "intent_id": plan.get("intent_id", "intent-1"),
        "final_decision": "approve",
        "cognitive_plan": plan,
        **changes,
    }


def completed(plan: dict[str, Any]) -> dict[str, Any]:
    """Give the tasks of a plan what they lack beside their dependencies, so that C1 gets to see them."""
    tasks = [{"task_type": "QUERY", "description": "look", **task} for task in plan["tasks"]]
    return wrapped(plan | {"tasks": tasks})


def chained(recorded: dict[str, Any]) -> dict[str, Any]:
    variant = recorded["chained_variant"]
    tasks = [
        task | {"dependencies": variant["dependencies"].get(task["task_id"], [])} for task in recorded["plan"]["tasks"]
    ]
    return wrapped(recorded["plan"] | {"tasks": tasks, "execution_order": variant["execution_order"]})


def expired(recorded: dict[str, Any]) -> dict[str, Any]:
    plan = recorded["expired"]
    until = NOW + timedelta(milliseconds=plan["valid_until_offset_ms"])
    return completed(plan | {"valid_until": until.isoformat()})


def missing(*places: str) -> tuple[tuple[str, str], ...]:
    return tuple(("missing_field", place) for place in places)


def of_tasks(count: int, *names: str) -> tuple[str, ...]:
    return tuple(f"cognitive_plan.tasks[{n}].{name}" for n in range(count) for name in names)


@dataclass(frozen=True)
class Case:
    """What a file holds (`document` makes a decision of it) and what is wrong with that, in order."""

    file: str
    document: Callable[[Any], dict[str, Any]]
    reasons: tuple[tuple[str, str], ...] = ()
    messages: tuple[str, ...] = ()
    approval: tuple[str, ...] = ()
    now: datetime = NOW


CASES = {
    "a whole decision that needs a person": Case(
        "01", lambda r: r, approval=("final_decision", "requires_human_review")
    ),
    "the same a month later": Case(
        "01",
        lambda r: r,
        (("plan_expired", "cognitive_plan.valid_until"),),
        ("cognitive_plan.valid_until: the plan expired at 2026-02-22T10:18:08.352Z",),
        approval=("final_decision", "requires_human_review"),
        now=datetime(2026, 3, 21, tzinfo=UTC),
    ),
    "a plan out of the ledger": Case("02", wrapped, now=datetime(2026, 1, 26, tzinfo=UTC)),
    "a plan that analyzes": Case("03", wrapped),
    "foreign task types under another name": Case(
        "04", lambda r: r["decision"] | {"cognitive_plan": r["cognitive_plan"]}
    ),
    "a summary of a plan": Case(
        "08",
        lambda r: r["decision"] | {"intent_id": r["intent_id"], "cognitive_plan": r["cognitive_plan"]},
        missing("plan_id", "cognitive_plan.plan_id", *of_tasks(5, "task_type")),
    ),
    "a decision and figures of its plan": Case(
        "09",
        lambda r: r["decision"] | {"cognitive_plan": r["plan"]},
        missing("intent_id", "cognitive_plan.tasks"),
    ),
    "a plan that is only counted": Case(
        "10",
        lambda r: wrapped(r["plan"]),
        missing("cognitive_plan.tasks"),
        ("cognitive_plan.tasks: is missing",),
    ),
    "a decision without its plan": Case("11", lambda r: r, missing("cognitive_plan"), ("cognitive_plan: is missing",)),
    "a decision without plan and intent": Case("12", lambda r: r, missing("intent_id", "cognitive_plan")),
    "a decision about no plan": Case("13", lambda r: r, missing("plan_id", "intent_id", "cognitive_plan")),
    "the least plan": Case("14", wrapped),
    "an empty plan of an unknown decision": Case(
        "19",
        lambda r: r["input"]["consolidated_decision"] | {"cognitive_plan": r["input"]["cognitive_plan"]},
        missing("decision_id", "final_decision", "cognitive_plan.plan_id", "cognitive_plan.tasks"),
    ),
    "a plan nested in its approval": Case(
        "19", lambda r: wrapped(r["approval_record"]["cognitive_plan"], plan_id=r["approval_record"]["plan_id"])
    ),
    "a decision in words of its own": Case(
        "21",
        lambda r: r["decision_message"],
        (("unknown_word", "final_decision"), ("missing_field", "cognitive_plan")),
        ("final_decision: is 'approved'; known are approve, reject, review_required or conditional",),
    ),
    "a start request with bare tasks": Case(
        "22",
        lambda r: wrapped(r["start_request"]["cognitive_plan"]),
        missing(*of_tasks(2, "task_type", "description")),
    ),
    "a plan in another shape": Case(
        "25",
        lambda r: r["decision"] | {"cognitive_plan": r["cognitive_plan"]},
        missing("plan_id", "intent_id", "cognitive_plan.tasks"),
    ),
    "the same with its tasks where they belong": Case(
        "25",
        lambda r: completed(r["cognitive_plan"] | {"tasks": r["cognitive_plan"]["task_dag"]["nodes"]}),
        tuple(("unknown_task_type", place) for place in of_tasks(5, "task_type")),
        ("cognitive_plan.tasks[0].task_type: is 'SCAFFOLD_SERVICE'; known are analyze, approve, build,",),
    ),
    "a plan with an empty order": Case("28", lambda r: wrapped(r["plan"])),
    "the chained variant": Case("28", chained),
    "tasks without type and description": Case(
        "29", lambda r: wrapped(r["valid"]), missing(*of_tasks(3, "task_type", "description"))
    ),
    "a valid plan": Case("29", lambda r: completed(r["valid"])),
    "a plan without tasks": Case(
        "29",
        lambda r: wrapped(r["missing_fields"]),
        (("empty_plan", "cognitive_plan.tasks"),),
        ("cognitive_plan.tasks: the plan has no tasks, there is nothing to do",),
    ),
    "an order of unknown tasks": Case(
        "29",
        lambda r: completed(r["unknown_in_order"]),
        (("unknown_task_in_order", "cognitive_plan.execution_order[1]"),),
        ("cognitive_plan.execution_order[1]: 'task-nonexistent' is no task of the plan",),
    ),
    "an expired plan": Case("29", expired, (("plan_expired", "cognitive_plan.valid_until"),)),
    "a cycle": Case(
        "29",
        lambda r: completed(r["cycle"]),
        (("cyclic_dependencies", "cognitive_plan.tasks"),),
        ("these tasks wait for each other in a circle: task-1 → task-3 → task-2 → task-1",),
    ),
    "a task that waits for itself": Case(
        "29",
        lambda r: completed(r["self_reference"]),
        (("self_dependency", "cognitive_plan.tasks[0].dependencies"),),
        ("task 'task-1' depends on itself",),
    ),
}
NEITHER_DECISION_NOR_PLAN = {
    *("05", "06", "07", "15", "16", "17", "18", "20", "23", "24", "26", "27", "30"),
}


def recorded(folder: Path, number: str) -> dict[str, Any]:
    [path] = folder.glob(f"{number}-*.json")
    document: dict[str, Any] = json.loads(path.read_bytes())["input"]
    return document


def outcome(document: object, now: datetime) -> tuple[list[Reason], list[str | None]]:
    """Return every error, and where a person has to approve."""
    try:
        decision = read_decision(json.dumps(document).encode())
    except InvalidDecision as error:
        return list(error.reasons), []
    errors, warnings = check_plan(decision, now)
    assert warnings == ()
    return list(errors), [reason.where for reason in approval_reasons(decision)]


@pytest.mark.parametrize("name", CASES)
def test_recorded_data_is_taken_or_refused_for_exactly_its_reasons(name: str, shared_folder: Folder) -> None:
    case = CASES[name]
    reasons, approval = outcome(case.document(recorded(shared_folder("real-data"), case.file)), case.now)
    assert [(reason.code, reason.where) for reason in reasons] == list(case.reasons)
    assert tuple(approval) == case.approval
    for message in case.messages:
        assert any(message in reason.message for reason in reasons), message


def test_every_recorded_file_is_accounted_for(shared_folder: Folder) -> None:
    files = {path.name[:2] for path in shared_folder("real-data").glob("*.json")}
    assert {case.file for case in CASES.values()} | NEITHER_DECISION_NOR_PLAN == files


def tickets_for(document: object, now: datetime) -> tuple[Ticket, ...]:
    decision = read_decision(json.dumps(document).encode())
    return generate_tickets(a_flow(decision, sla_deadline=decision.deadline(now)), decision, now, Rules())


def test_the_eight_task_template_has_its_four_levels(shared_folder: Folder) -> None:
    tickets = tickets_for(wrapped(recorded(shared_folder("real-data"), "02")), NOW)
    levels = [[ticket.task_id for ticket in tickets if ticket.level == level] for level in range(4)]
    assert levels == [
        ["task_0", "task_1", "task_2"],
        ["task_3", "task_4"],
        ["task_5", "task_6"],
        ["task_7"],
    ]
    assert [ticket.task_id for ticket in tickets if ticket.critical] == ["task_0", "task_3", "task_6", "task_7"]


def test_the_foreign_words_of_the_delivery_plan_become_task_types(shared_folder: Folder) -> None:
    case = CASES["foreign task types under another name"]
    tickets = tickets_for(case.document(recorded(shared_folder("real-data"), case.file)), NOW)
    types = [TaskType.VALIDATE, TaskType.EXECUTE, TaskType.BUILD, TaskType.TEST, TaskType.EXECUTE]
    assert [ticket.task_type for ticket in tickets] == types
    assert {ticket.priority for ticket in tickets} == {Priority.HIGH}


def test_parameters_in_foreign_notation_stay_opaque_text(shared_folder: Folder) -> None:
    document = recorded(shared_folder("real-data"), "01")
    [ticket] = tickets_for(document, NOW)
    assert ticket.parameters == document["cognitive_plan"]["tasks"][0]["parameters"]
    assert (ticket.risk_band, ticket.security_level) == (RiskBand.LOW, SecurityLevel.INTERNAL)


def files_of(folder: Path) -> Iterable[Path]:
    paths = sorted(folder.glob("*.json"))
    assert paths
    return paths


def test_recorded_workflows_are_sound_and_give_a_ticket_for_each_task(shared_folder: Folder) -> None:
    now = datetime(2026, 11, 21, tzinfo=UTC)
    for path in files_of(shared_folder("real-plans")):
        decision = read_decision(path.read_bytes())
        assert check_plan(decision, now) == ((), ()), path.name
        assert approval_reasons(decision) == (), path.name
        flow = a_flow(decision, sla_deadline=decision.deadline(now))
        tickets = generate_tickets(flow, decision, now, Rules())
        assert len(tickets) == len(json.loads(path.read_bytes())["cognitive_plan"]["tasks"])
        assert max(ticket.sla.deadline for ticket in tickets) == flow.sla_deadline
        assert all(ticket_hash(ticket) == ticket.hash for ticket in tickets)
        planned = schedule(decision.cognitive_plan.tasks, now, flow.sla_deadline)
        assert [ticket.task_id for ticket in tickets] == list(planned.timings)
        assert {ticket.task_id for ticket in tickets if ticket.critical} >= set(planned.critical_path)


def test_there_are_seven_recorded_workflows(shared_folder: Folder) -> None:
    assert len(list(files_of(shared_folder("real-plans")))) == 7
