"""Schemas of what comes from outside say what the code reads: what one takes the other takes, as far as it can."""

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from functions._core.decision.reading import InvalidDecision, read_decision
from functions._core.decision.vocabulary import COMPENSATION_TYPES, MAX_SPAN_MS, MAX_TASKS, TASK_TYPES
from tests.contract.schemas import INCOMING, document, faults
from tests.support.decisions import a_document, a_plan, a_task

DECISION = "decision.consolidated.v1"
Folder = Callable[[str], Path]


def read(stem: str, data: object) -> bool:
    """Tell whether the code reads some data; of a decision, whether it becomes one."""
    try:
        if stem == DECISION:
            read_decision(json.dumps(data).encode())
        else:
            INCOMING[stem].model_validate(data)
    except (InvalidDecision, ValidationError):
        return False
    return True


FULL_DECISION = a_document(
    a_plan(
        a_task(
            "b",
            "a",
            parameters={"n": 1},
            metadata={"n": 1},
            priority=3,
            risk_band="low",
            security_level="PUBLIC",
            template_id="t",
            idempotent=True,
            estimated_duration_ms=5,
            required_capabilities=["x"],
            compensation={
                "task_type": "COMPENSATE",
                "parameters": {},
                "required_capabilities": ["x"],
                "timeout_ms": 5,
            },
            retry={
                "max_retries": 1,
                "initial_ms": 5,
                "coefficient": 2,
                "max_ms": 5,
                "jitter": 0.5,
                "non_retryable": ["x"],
            },
            timeout_ms=5,
            schedule_to_start_ms=5,
            heartbeat_timeout_ms=5,
        ),
        version="1.0.0",
        schema_version=1,
        execution_order=["b"],
        valid_until="2036-01-01T00:00:00Z",
        expires_at="2036-01-01T00:00:00Z",
        priority="HIGH",
        original_priority="LOW",
        risk_band="low",
        security_level="INTERNAL",
        original_security_level="INTERNAL",
        requires_approval=False,
        approval_status="approved",
        compensate_by_type=False,
        is_destructive=False,
        destructive_tasks=[],
    ),
    correlation_id="c",
    schema_version=1,
    requires_human_review=False,
    valid_until="2036-01-01T00:00:00Z",
    priority="HIGH",
    risk_band="low",
    sla_deadline="2036-01-01T00:00:00Z",
    sla_deadline_seconds=60,
)
SAID_SELDOM: Mapping[str, Any] = {"sla_seconds": 5, "output": {"n": 1}, "dry_run": False}
FULL: Mapping[str, dict[str, Any]] = {
    **{
        stem: {**document(f"{stem}.example.json")["data"], **{n: v for n, v in SAID_SELDOM.items() if n in fields}}
        for stem, fields in ((stem, model.model_fields) for stem, model in INCOMING.items())
    },
    DECISION: FULL_DECISION,
    "ticket.reported.v1": {
        "ticket_id": "t",
        "attempt": 1,
        "status": "FAILED",
        "progress": 1,
        "output": {"n": 1},
        "error": {"type": "e", "message": "m", "retryable": True},
        "worker_id": "w",
    },
    "worker.heartbeat.v1": {
        "worker_id": "w",
        "status": "HEALTHY",
        "telemetry": {"success_rate": 0.5, "total_executions": 1, "avg_duration_ms": 2.5},
        "running": [{"ticket_id": "t", "attempt": 1}],
    },
}

GONE = object()
ODD: tuple[Any, ...] = (
    GONE, None, True, False, 0, 1, -1, 5, 11, 2.0, 5.5, 1_772_366_400_000, 10**15,
    "", " ", "x", "a b", "low", " LoW ", "Medium", "high", "approve", "REJECT", "running", "Completed", "degraded",
    "execute", "Compensate", "code_generation", "0", "5", " 5 ", "+5", "-5", "1_0", "5.0", "5.", "1e3", "5.5", "yes",
    "OFF", "t", "2036-01-01T00:00:00Z", "2036-01-01", "2036-01-01 12:00", "1772366400000", "tomorrow", "1.0.0",
    "https://x.example", "ftp://x", "a" * 256, "tab\there", "é", "{}", '{"plan_id": "plan-1", "tasks": []}', [], ["a"],
    [1], [None], ["a"] * 201, {}, {"a": 1}, {"plan_id": "plan-1", "tasks": []}, {"task_type": None}, {"message": 1},
    {"plan_data": {"plan_id": "plan-1", "tasks": []}}, {"cognitive_plan": '{"plan_id": "plan-1", "tasks": []}'},
)  # fmt: skip


def paths(value: object, here: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Yield the place of everything within a JSON value."""
    if here:
        yield here
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from paths(item, (*here, key))


def changed(data: dict[str, Any], path: tuple[str | int, ...], value: object) -> dict[str, Any]:
    """Return `data` with something else, or nothing, in one place."""
    copy: Any = deepcopy(data)
    part = copy
    for key in path[:-1]:
        part = part[key]
    if value is GONE:
        del part[path[-1]]
    else:
        part[path[-1]] = value
    result: dict[str, Any] = copy
    return result


def variations(stem: str) -> Iterator[tuple[tuple[str | int, ...], object, dict[str, Any]]]:
    """Yield the data of a type with every odd value in every place."""
    for path in paths(FULL[stem]):
        for value in ODD:
            yield path, value, changed(FULL[stem], path, value)


@pytest.mark.parametrize("stem", INCOMING)
def test_a_schema_accepts_whatever_the_code_reads(stem: str) -> None:
    assert read(stem, FULL[stem])
    assert faults(stem, FULL[stem]) == []
    narrow = [
        (path, value, faults(stem, data))
        for path, value, data in variations(stem)
        if read(stem, data) and faults(stem, data)
    ]
    assert narrow == []


@pytest.mark.parametrize("stem", INCOMING)
def test_a_schema_refuses_what_the_code_does_not_read_where_it_can_say_so(stem: str) -> None:
    # Left out is text that looks like a number, a time or JSON: whether it is one, no pattern says well. And numbers in
    # fractions, as 2.0 is whole in JSON Schema, and false, which the code takes for 0 and JSON Schema for no number.
    sayable = [
        odd
        for odd in ODD
        if odd is not False
        and not isinstance(odd, float)
        and not (isinstance(odd, str) and set(odd) & set("0123456789{"))
    ]
    wide = [
        (path, value)
        for path, value, data in variations(stem)
        if any(value is odd for odd in sayable) and not read(stem, data) and not faults(stem, data)
    ]
    # That an endpoint is left out only by a worker that asks for its tickets, ours does not say.
    wide = [(path, value) for path, value in wide if path != ("endpoint",)]
    # That two ids have to be the same, no schema can say, nor what a text that is a plan holds.
    assert [(path, value) for path, value in wide if path[-1] not in {"plan_id", "cognitive_plan"}] == []
    assert [value for _, value in wide if not isinstance(value, str)] == []


@pytest.mark.parametrize("stem", INCOMING)
def test_unknown_fields_are_accepted_at_every_depth(stem: str) -> None:
    data = FULL[stem]
    places = [(), *(path for path in paths(data) if isinstance(at(data, path), dict))]
    for path in places:
        extended = changed(data, (*path, "surprise"), {"of": ["any", "kind"]})
        assert faults(stem, extended) == []
        assert read(stem, extended)


def at(data: object, path: tuple[str | int, ...]) -> Any:
    """Return what is in one place."""
    found: Any = data
    for key in path:
        found = found[key]
    return found


WORDS = [
    (DECISION, ("final_decision",), ("approve", "reject", "review_required", "conditional")),
    (DECISION, ("risk_band",), ("low", "medium", "high", "critical")),
    (DECISION, ("cognitive_plan", "priority"), ("low", "normal", "medium", "high", "critical")),
    (DECISION, ("cognitive_plan", "security_level"), ("public", "internal", "confidential", "restricted")),
    (DECISION, ("cognitive_plan", "tasks", 0, "task_type"), tuple(TASK_TYPES)),
    (DECISION, ("cognitive_plan", "tasks", 0, "compensation", "task_type"), tuple(COMPENSATION_TYPES)),
    ("ticket.reported.v1", ("status",), ("running", "completed", "failed")),
    ("worker.heartbeat.v1", ("status",), ("healthy", "degraded", "unhealthy")),
]


@pytest.mark.parametrize(("stem", "path", "words"), WORDS, ids=lambda value: str(value)[:40])
def test_words_are_accepted_in_any_letter_case(stem: str, path: tuple[str | int, ...], words: tuple[str, ...]) -> None:
    for word in words:
        for spelling in (word, word.upper(), word.title(), word.title().swapcase(), f" {word} "):
            data = changed(FULL[stem], path, spelling)
            assert faults(stem, data) == [], spelling
            assert read(stem, data), spelling
    for wrong in (f"{words[0]}x", f"x{words[0]}", f"{words[0]} {words[-1]}", "", 7.5, ["x"]):
        data = changed(FULL[stem], path, wrong)
        assert faults(stem, data), wrong
        assert not read(stem, data), wrong


@pytest.mark.parametrize("path", [("sla_deadline",), ("valid_until",), ("cognitive_plan", "valid_until")])
def test_times_are_accepted_as_text_and_in_epoch_milliseconds(path: tuple[str | int, ...]) -> None:
    for moment in (1_772_366_400_000, 0, 1_772_366_400_000.5, "2026-03-01T12:00:00Z", "2026-03-01T13:00:00.5+01:00"):
        data = changed(FULL_DECISION, path, moment)
        assert faults(DECISION, data) == [], moment
        assert read(DECISION, data), moment
    wrong_times: tuple[object, ...] = (-1, 253_402_300_800_000, "tomorrow", True, [], {})
    for wrong in wrong_times:
        data = changed(FULL_DECISION, path, wrong)
        assert faults(DECISION, data), wrong
        assert not read(DECISION, data), wrong


def without(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in data.items() if key != name}


def of_type(task: Mapping[str, Any], **changes: object) -> dict[str, Any]:
    return a_document(a_plan({**without("task_type", task), **changes}))


PLAN = a_plan()
GOOD: Mapping[str, object] = {
    "what every decision needs": a_document(),
    "the plan as text": a_document(json.dumps(PLAN)),
    "the plan below its own name": a_document({"cognitive_plan": PLAN, "approved_by": "somebody"}),
    "the plan as text below plan_data": a_document({"plan_data": json.dumps(PLAN)}),
    "text in text": a_document(json.dumps({"cognitive_plan": json.dumps(PLAN)})),
    "no tasks, which C1 is to say": a_document({"plan_id": "plan-1", "tasks": []}),
    "null for everything optional": a_document(a_plan(valid_until=None, version=None), risk_band=None, priority=None),
    "the older name of a task's type": of_type(a_task(), type="build"),
    "both names, the older one meaningless": of_type(a_task(), type="?", task_type="build"),
    "the newer name null": of_type(a_task(), type="build", task_type=None),
    "the older name of the expiry": a_document(a_plan(expires_at=1_772_366_400_000)),
    "a meaningless older name of the expiry": a_document(a_plan(expires_at="?", valid_until=1_772_366_400_000)),
    "a number for a priority": a_document(priority=99),
    "work undone in the way of its type": a_document(a_plan(a_task(compensation=True))),
    "work that stands": a_document(a_plan(a_task(compensation=False))),
    "the longest deadline": a_document(sla_deadline_seconds=MAX_SPAN_MS / 1000),
    "unknown fields": a_document(a_plan(strange=1), strange={"a": []}),
}
BAD: Mapping[str, object] = {
    **{f"no {name}": without(name, a_document()) for name in a_document()},
    **{f"no {name} in the plan": a_document(without(name, PLAN)) for name in PLAN},
    **{f"no {name} in a task": a_document(a_plan(without(name, a_task()))) for name in ("task_id", "description")},
    "a list": [],
    "null": None,
    "a decision_id that is null": a_document(decision_id=None),
    "a decision_id that is empty": a_document(decision_id=""),
    "a decision_id that is a number": a_document(decision_id=5),
    "an id that is too long": a_document(plan_id="p" * 256),
    "an id with a control character": a_document(intent_id="a\x00b"),
    "a plan that is a number": a_document(5),
    "a plan that is a list": a_document([PLAN]),
    "no plan below plan_data": a_document({"plan_data": {}}),
    "tasks that are no list": a_document({"plan_id": "plan-1", "tasks": {}}),
    "a task that is text": a_document({"plan_id": "plan-1", "tasks": ["build"]}),
    "a task without a type": of_type(a_task()),
    "a task of no known type": of_type(a_task(), task_type="dance"),
    "a known type below a meaningless newer name": of_type(a_task(), task_type="dance", type="build"),
    "a task of type COMPENSATE": of_type(a_task(), task_type="COMPENSATE"),
    "dependencies that are text": a_document(a_plan(a_task(dependencies="a"))),
    "parameters that are a list": a_document(a_plan(a_task(parameters=[]))),
    "a negative estimate": a_document(a_plan(a_task(estimated_duration_ms=-1))),
    "an estimate of nothing": a_document(a_plan(a_task(estimated_duration_ms=0))),
    "an estimate in fractions": a_document(a_plan(a_task(estimated_duration_ms=0.5))),
    "an estimate beyond all sense": a_document(a_plan(a_task(estimated_duration_ms=MAX_SPAN_MS + 1))),
    "a compensation that is a word": a_document(a_plan(a_task(compensation="yes"))),
    "a pause that shrinks with every retry": a_document(a_plan(a_task(retry={"coefficient": 0.5}))),
    "a deadline of no seconds": a_document(sla_deadline_seconds=0),
    "a flag that is a word": a_document(requires_human_review="perhaps"),
    "an unknown risk band": a_document(risk_band="extreme"),
    "a priority in fractions": a_document(priority=2.5),
}


@pytest.mark.parametrize("data", GOOD.values(), ids=GOOD)
def test_a_good_decision_is_one_by_schema_and_by_code(data: object) -> None:
    assert read(DECISION, data)
    assert faults(DECISION, data) == []


@pytest.mark.parametrize("data", BAD.values(), ids=BAD)
def test_a_bad_decision_is_none_by_schema_and_by_code(data: object) -> None:
    assert not read(DECISION, data)
    assert faults(DECISION, data)


def test_the_schema_limits_the_number_of_tasks_as_the_code_does() -> None:
    assert document(f"{DECISION}.schema.json")["$defs"]["CognitivePlan"]["properties"]["tasks"]["maxItems"] == MAX_TASKS


def test_recorded_decisions_are_valid_exactly_if_they_are_read(shared_folder: Folder) -> None:
    outcomes = []
    for path in sorted(shared_folder("real-data").glob("*.json")):
        for candidate in decisions_in(json.loads(path.read_text(encoding="utf-8"))):
            outcomes.append(read(DECISION, candidate))
            assert (faults(DECISION, candidate) == []) is outcomes[-1], path.name
    assert {True, False} == set(outcomes)


def decisions_in(value: object) -> Iterator[dict[str, Any]]:
    """Yield what looks like a decision, or like a plan that a decision can be made of, at any depth."""
    if isinstance(value, dict):
        if "decision_id" in value and "cognitive_plan" in value:
            yield value
        elif "plan_id" in value and isinstance(value.get("tasks"), list):
            yield a_document(value, plan_id=value["plan_id"])
        for item in value.values():
            yield from decisions_in(item)
    elif isinstance(value, list):
        for item in value:
            yield from decisions_in(item)
