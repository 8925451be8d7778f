import copy
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.decision.model import DEFAULT_ESTIMATE_MS
from functions._core.decision.reading import (
    InvalidDecision,
    approval_reasons,
    read_decision,
    refusal_reasons,
)
from functions._core.decision.vocabulary import MAX_TASKS
from functions._core.records.values import Priority, RiskBand, SecurityLevel, Verdict
from tests.support.decisions import NOW, a_decision, a_document, a_plan, a_task, faults, read, refusals


def without(document: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in document.items() if key != name}


def test_the_least_decision_is_read_with_every_default() -> None:
    plan = {"plan_id": "plan-1", "tasks": [{"task_id": "a", "task_type": "query", "description": "look"}]}
    decision = read(a_document(plan))
    task = decision.cognitive_plan.tasks[0]
    assert decision.final_decision is Verdict.APPROVE
    assert (decision.flow_priority, decision.flow_risk_band) == (Priority.NORMAL, RiskBand.MEDIUM)
    assert decision.flow_security_level is SecurityLevel.INTERNAL
    assert decision.cognitive_plan.version == "1.0.0"
    assert decision.deadline(NOW) == NOW + timedelta(hours=4)
    assert (task.dependencies, task.parameters, task.required_capabilities) == ((), {}, ())
    assert (task.estimate_ms, task.idempotent, task.compensation) == (DEFAULT_ESTIMATE_MS, True, None)


@pytest.mark.parametrize("name", ["decision_id", "plan_id", "intent_id", "final_decision", "cognitive_plan"])
def test_what_a_decision_needs_is_named_when_it_is_missing_or_null(name: str) -> None:
    assert faults(without(a_document(), name)) == [("missing_field", name)]
    assert faults(a_document() | {name: None}) == [("missing_field", name)]


@pytest.mark.parametrize("name", ["task_id", "task_type", "description"])
def test_what_a_task_needs_is_named_with_its_place(name: str) -> None:
    [reason] = refusals(a_document(a_plan(a_task("a"), a_task("b"), a_task("c"), without(a_task("d"), name))))
    assert reason.message == f"cognitive_plan.tasks[3].{name}: is missing"
    assert reason.where == f"cognitive_plan.tasks[3].{name}"


def test_every_error_is_listed_not_only_the_first() -> None:
    plan = a_plan({"task_id": "", "dependencies": "b"}, a_task("b", task_type="dance"), plan_id="other")
    document = without(a_document(plan, final_decision="maybe", valid_until="soon"), "intent_id")
    assert sorted(faults(document)) == [
        ("invalid_field", "cognitive_plan.tasks[0].dependencies"),
        ("invalid_field", "cognitive_plan.tasks[0].task_id"),
        ("invalid_field", "valid_until"),
        ("missing_field", "cognitive_plan.tasks[0].description"),
        ("missing_field", "cognitive_plan.tasks[0].task_type"),
        ("missing_field", "intent_id"),
        ("plan_id_mismatch", "cognitive_plan.plan_id"),
        ("unknown_task_type", "cognitive_plan.tasks[1].task_type"),
        ("unknown_word", "final_decision"),
    ]


def test_an_invalid_decision_says_how_much_is_wrong() -> None:
    with pytest.raises(InvalidDecision) as caught:
        read({})
    assert str(caught.value) == "decision_id: is missing (and 4 more)"
    assert (caught.value.code, caught.value.status, len(caught.value.reasons)) == ("invalid_decision", 400, 5)


@pytest.mark.parametrize("document", [[], 7, "text", None])
def test_what_is_no_object_is_no_decision(document: object) -> None:
    [reason] = refusals(document)
    assert (reason.message, reason.where) == ("the decision: must be an object", None)


def test_text_that_is_not_json_is_an_invalid_decision() -> None:
    with pytest.raises(InvalidDecision, match="the text is not JSON") as caught:
        read_decision(b"{decision}")
    assert [reason.code for reason in caught.value.reasons] == ["malformed_json"]


def test_decision_and_plan_must_agree_on_the_plan() -> None:
    [reason] = refusals(a_document(a_plan(plan_id="plan-2")))
    assert reason.code == "plan_id_mismatch"
    assert "'plan-2'" in reason.message
    assert "'plan-1'" in reason.message


@pytest.mark.parametrize(
    "wrap",
    [
        json.dumps,
        lambda plan: {"cognitive_plan": plan},
        lambda plan: {"plan_id": "ledger", "plan_data": plan, "immutable": True},
        lambda plan: {"cognitive_plan": {"plan_data": plan}},
        lambda plan: json.dumps({"cognitive_plan": json.dumps(plan)}),
    ],
)
def test_the_plan_is_found_in_every_recorded_wrapping(wrap: Callable[[object], object]) -> None:
    assert read(a_document(wrap(a_plan()))) == read(a_document())


def test_errors_in_a_wrapped_plan_name_the_whole_path() -> None:
    broken = {"cognitive_plan": {"plan_data": a_plan({"task_id": "a", "task_type": "QUERY"})}}
    where = "cognitive_plan.cognitive_plan.plan_data.tasks[0].description"
    assert faults(a_document(broken)) == [("missing_field", where)]
    assert faults(a_document({"plan_data": "[]"})) == [("invalid_field", "cognitive_plan.plan_data")]


def test_a_plan_whose_text_is_not_json_is_reported_with_the_other_errors() -> None:
    document = without(a_document("{'plan_id': 'python'}"), "intent_id")
    assert sorted(faults(document)) == [("malformed_json", "cognitive_plan"), ("missing_field", "intent_id")]


def test_a_plan_hidden_too_deep_in_text_is_refused() -> None:
    assert faults(a_document("[" * 20_000)) == [("too_deep", "cognitive_plan")]


def test_a_plan_has_a_limit_of_tasks() -> None:
    tasks = [a_task(str(n)) for n in range(MAX_TASKS + 1)]
    assert len(read(a_document(a_plan(*tasks[1:]))).cognitive_plan.tasks) == MAX_TASKS
    [reason] = refusals(a_document(a_plan(*tasks)))
    assert (reason.code, reason.where) == ("too_many_tasks", "cognitive_plan.tasks")
    assert "more than 20000" in reason.message


def test_null_counts_as_absent_and_unknown_fields_do_not_matter() -> None:
    task = a_task(estimated_duration_ms=None, parameters=None, dependencies=None, priority=None, colour="red")
    document = a_document(a_plan(task, execution_order=None, risk_band=None), mood={"good": True})
    document |= {"specialist_votes": "none", "consensus_method": "manual_approval", "valid_until": None}
    assert read(document) == read(a_document())


def test_a_dependency_named_twice_is_one_dependency() -> None:
    assert a_decision(a_task("a"), a_task("b", "a", "a")).cognitive_plan.tasks[1].dependencies == ("a",)


@pytest.mark.parametrize(
    ("changes", "plan", "places"),
    [
        ({}, {}, []),
        ({"final_decision": "Review_Required"}, {}, ["final_decision"]),
        ({"final_decision": "conditional"}, {}, ["final_decision"]),
        ({"requires_human_review": True}, {}, ["requires_human_review"]),
        ({}, {"is_destructive": True}, ["cognitive_plan.is_destructive"]),
        ({}, {"destructive_tasks": ["a"]}, ["cognitive_plan.destructive_tasks"]),
        ({}, {"requires_approval": True}, ["cognitive_plan.requires_approval"]),
        ({}, {"requires_approval": True, "approval_status": "pending"}, ["cognitive_plan.requires_approval"]),
        ({}, {"requires_approval": True, "approval_status": "APPROVED"}, []),
        ({}, {"requires_approval": False, "approval_status": "pending"}, []),
        (
            {"final_decision": "conditional", "requires_human_review": True},
            {"is_destructive": True},
            ["final_decision", "requires_human_review", "cognitive_plan.is_destructive"],
        ),
    ],
)
def test_approval_is_needed_for_each_of_its_grounds(
    changes: dict[str, Any], plan: dict[str, Any], places: list[str]
) -> None:
    reasons = approval_reasons(a_decision(plan=plan, **changes))
    assert [reason.where for reason in reasons] == places
    assert {reason.code for reason in reasons} <= {"approval_required"}


def test_the_state_of_an_approval_is_told() -> None:
    [none] = approval_reasons(a_decision(plan={"requires_approval": True}))
    [pending] = approval_reasons(a_decision(plan={"requires_approval": True, "approval_status": "pending"}))
    assert none.message == "cognitive_plan.requires_approval: the plan asks for approval, which is 'absent'"
    assert pending.message.endswith("which is 'pending'")


def test_a_rejected_decision_is_refused_and_needs_no_approval() -> None:
    rejected = a_decision(final_decision="REJECT")
    assert [reason.code for reason in refusal_reasons(rejected)] == ["decision_rejected"]
    assert approval_reasons(rejected) == ()
    assert refusal_reasons(a_decision()) == ()


FULL = a_document(
    a_plan(
        a_task("a", parameters={"x": [1]}, compensation={"task_type": "build", "parameters": {}}),
        a_task("b", "a", estimated_duration_ms=5, required_capabilities=["c"], template_id="t", idempotent=False),
        execution_order=["a", "b"],
        risk_band="low",
        version="1.0.0",
        schema_version=1,
        valid_until="2030-01-01T00:00:00Z",
        destructive_tasks=[],
        approval_status="pending",
    ),
    priority=3,
    sla_deadline_seconds=60,
    requires_human_review=False,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(), inside, max_size=3),
    max_leaves=5,
)


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    return [path, *(place for key, item in inside for place in places(item, (*path, key)))]


@given(place=st.sampled_from(places(FULL)[1:]), value=JSON)
def test_whatever_stands_anywhere_is_read_or_refused_in_our_own_words(place: tuple[Any, ...], value: object) -> None:
    document = copy.deepcopy(FULL)
    target: Any = document
    for key in place[:-1]:
        target = target[key]
    target[place[-1]] = value
    for reason in refusals(document):
        assert reason.message.startswith(f"{reason.where or 'the decision'}: ")
        assert not any(words in reason.message for words in ("Input should", "cannot be read", "pydantic"))
