"""C1 and the language of plans: conditions, approvals, waits, repetitions, sub-flows and their references."""

import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._core.decision.checks import check_plan
from functions._core.decision.control_checks import MAX_CONDITIONS, MAX_SUBFLOWS, has_branches
from functions._core.decision.form_limits import FORM_BYTES
from functions._core.decision.reading import InvalidDecision, decision_in
from functions._core.decision.unknown_fields import unknown_fields
from functions._core.decision.vocabulary import MAX_TASKS
from tests.support.decisions import NOW, a_decision, a_document, a_plan, a_task

TASK = "cognitive_plan.tasks"


def errors(*tasks: dict[str, Any], **plan: object) -> list[tuple[str, str | None]]:
    return [(one.code, one.where) for one in check_plan(a_decision(*tasks, plan=plan), NOW)[0]]


def approve(task_id: str, *after: str, **changes: object) -> dict[str, Any]:
    return a_task(task_id, *after, task_type="APPROVE", **changes)


def wait(task_id: str, *after: str, **changes: object) -> dict[str, Any]:
    return a_task(task_id, *after, task_type="WAIT", wait=changes)


def subflow(task_id: str, *tasks: dict[str, Any], result: object = None, **changes: object) -> dict[str, Any]:
    return a_task(task_id, task_type="SUBFLOW", plan={"tasks": list(tasks), "result": result}, **changes)


def output(task_id: str, path: str = "") -> dict[str, str]:
    return {"$output": task_id, "path": path}


def test_a_plan_with_every_construct_is_sound() -> None:
    event = {
        "type": "payment.received",
        "correlation": {"at": "/order", "equals": output("a", "/order")},
        "filter": "event.data.amount > 10 && event.source != ''",
    }
    tasks = [
        a_task("a", parameters={"key": {"$secret": "api-key"}}, labels={"team": "core"}),
        a_task("b", "a", when='outputs.a.score >= 0.5 && statuses["a"] == "COMPLETED"', allow_failure=True),
        a_task(
            "c",
            "b",
            on_skipped="run",
            foreach={"items": output("a", "/rows"), "limit": 5},
            parameters={"row": {"$item": "/id"}, "all": {"$item": ""}, "at": {"$index": True}, "from": output("a")},
        ),
        approve("d", "c", approval={"approvers": ["ops"], "form": {"type": "object"}}),
        approve("e", "c"),
        wait("f", "d", until="2026-03-02T00:00:00Z"),
        wait("g", "d", until=output("a", "/at")),
        wait("h", "d", seconds=5),
        wait("i", "a", event=event, timeout_ms=1000, on_timeout="continue"),
        subflow(
            "j",
            a_task("x", parameters={"in": {"$input": "/n"}}),
            a_task("y", "x", when="outputs.x.ok && input.n > 1", parameters={"x": output("x")}),
            subflow("z", a_task("x", parameters={"in": {"$input": ""}})),
            result={"y": output("y"), "n": {"$input": "/n"}},
            dependencies=["a"],
            foreach={"items": [1, 2, 3]},
            parameters={"n": {"$item": ""}, "a": output("a")},
        ),
    ]
    assert errors(*tasks, result={"a": output("a", "/x"), "j": [output("j")]}, labels={"env": "prod"}) == []


A = a_task("a")


@pytest.mark.parametrize(
    ("task", "code", "place"),
    [
        (a_task("b", approval={}), "misplaced_block", ".approval"),
        (a_task("b", wait={"seconds": 1}), "misplaced_block", ".wait"),
        (a_task("b", plan={"tasks": [A]}), "misplaced_block", ".plan"),
        (approve("b", wait={"seconds": 1}), "misplaced_block", ".wait"),
        (a_task("b", task_type="WAIT"), "missing_block", ""),
        (a_task("b", task_type="SUBFLOW"), "missing_block", ""),
        (approve("b", foreach={"items": []}), "misplaced_block", ".foreach"),
        (wait("b", seconds=1) | {"foreach": {"items": []}}, "misplaced_block", ".foreach"),
        (approve("b", compensation=True), "misplaced_block", ".compensation"),
        (subflow("b", A, compensation={"parameters": {}}), "misplaced_block", ".compensation"),
        (wait("b"), "invalid_wait", ".wait"),
        (wait("b", seconds=1, until=0), "invalid_wait", ".wait"),
        (wait("b", seconds=0), "invalid_wait", ".wait.seconds"),
        (wait("b", seconds=True), "invalid_wait", ".wait.seconds"),
        (wait("b", seconds="5"), "invalid_wait", ".wait.seconds"),
        (wait("b", seconds=1e12), "invalid_wait", ".wait.seconds"),
        (wait("b", "a", seconds={"a": output("a")}), "invalid_wait", ".wait.seconds"),
        (wait("b", until="soon"), "invalid_wait", ".wait.until"),
        (wait("b", until=-1), "invalid_wait", ".wait.until"),
        (wait("b", until={}), "invalid_wait", ".wait.until"),
        (wait("b", until=[]), "invalid_wait", ".wait.until"),
        (
            wait("b", event={"type": "t", "correlation": {"at": "a/b", "equals": 1}}),
            "invalid_wait",
            ".wait.event.correlation.at",
        ),
        (
            wait("b", event={"type": "t", "correlation": {"at": "/~2", "equals": 1}}),
            "invalid_wait",
            ".wait.event.correlation.at",
        ),
        (
            wait("b", event={"type": "t", "correlation": {"at": "subject", "equals": [1]}}),
            "invalid_wait",
            ".wait.event.correlation.equals",
        ),
        (wait("b", event={"type": "t", "filter": "event.data.x >"}), "invalid_condition", ".wait.event.filter"),
        (wait("b", event={"type": "t", "filter": "outputs.a == 1"}), "condition_out_of_scope", ".wait.event.filter"),
        (a_task("b", foreach={"items": "abc"}), "invalid_foreach", ".foreach.items"),
        (a_task("b", foreach={"items": {"a": 1}}), "invalid_foreach", ".foreach.items"),
        (a_task("b", foreach={"items": [1, 2, 3], "max_items": 2}), "too_many_items", ".foreach.items"),
        (a_task("b", foreach={"items": output("a")}), "reference_not_upstream", ".foreach.items"),
        (a_task("b", "a", foreach={"items": {"$item": ""}}), "reference_out_of_scope", ".foreach.items"),
        (a_task("b", when="outputs.a =="), "invalid_condition", ".when"),
        (a_task("b", when="outputs.a == 1"), "reference_not_upstream", ".when"),
        (a_task("b", when='statuses["nobody"] == "SKIPPED"'), "unknown_reference", ".when"),
        (a_task("b", when="outputs.b == 1"), "reference_not_upstream", ".when"),
        (a_task("b", when="item == 1", foreach={"items": [1]}), "condition_out_of_scope", ".when"),
        (a_task("b", when="index == 1"), "condition_out_of_scope", ".when"),
        (a_task("b", when="input.n == 1"), "condition_out_of_scope", ".when"),
        (a_task("b", when="event.type == 'x'"), "condition_out_of_scope", ".when"),
        (a_task("b", parameters={"x": {"$item": ""}}), "reference_out_of_scope", ".parameters.x"),
        (a_task("b", parameters={"x": [{"$index": True}]}), "reference_out_of_scope", ".parameters.x[0]"),
        (a_task("b", parameters={"x": {"$input": ""}}), "reference_out_of_scope", ".parameters.x"),
        (subflow("b", A, parameters={"x": {"$secret": "k"}}), "reference_out_of_scope", ".parameters.x"),
        (wait("b", seconds={"$secret": "k"}), "reference_out_of_scope", ".wait.seconds"),
        (wait("b", "a", until=output("a", "x")), "invalid_reference", ".wait.until"),
        (a_task("b", parameters={"x": {"$item": "x"}}, foreach={"items": []}), "invalid_reference", ".parameters.x"),
        (a_task("b", parameters={"x": {"$index": 1}}, foreach={"items": []}), "invalid_reference", ".parameters.x"),
        (a_task("b", parameters={"x": {"$secret": "a b"}}), "invalid_reference", ".parameters.x"),
        (a_task("b", parameters={"x": {"$secret": "k", "path": "/a"}}), "invalid_reference", ".parameters.x"),
        (a_task("b", "a", parameters={"x": {"$output": "a", "$item": ""}}), "invalid_reference", ".parameters.x"),
        (subflow("b"), "empty_plan", ".plan.tasks"),
        (subflow("b", A, A), "duplicate_task_id", ".plan.tasks[1].task_id"),
        (subflow("b", a_task("x", "y"), a_task("y", "x")), "cyclic_dependencies", ".plan.tasks"),
        (subflow("b", a_task("x", "a")), "unknown_dependency", ".plan.tasks[0].dependencies"),
        (subflow("b", a_task("x", parameters={"p": output("a")})), "unknown_reference", ".plan.tasks[0].parameters.p"),
        (subflow("b", a_task("x", when="outputs.a == 1")), "unknown_reference", ".plan.tasks[0].when"),
        (
            subflow("b", a_task("x", parameters={"p": {"$item": ""}}), foreach={"items": [1]}),
            "reference_out_of_scope",
            ".plan.tasks[0].parameters.p",
        ),
        (subflow("b", A, result=output("b")), "unknown_reference", ".plan.result"),
        (subflow("b", A, result={"$item": ""}), "reference_out_of_scope", ".plan.result"),
        (subflow("b", A, result={"x": "y" * 70_000}), "too_large", ".plan.result"),
        (approve("b", approval={"form": {"x": "y" * FORM_BYTES}}), "invalid_form", ".approval.form"),
        (approve("b", approval={"form": {"$ref": "https://example.com/x"}}), "invalid_form", ".approval.form"),
        (a_task("b" * 253, foreach={"items": []}), "task_id_too_long", ".task_id"),
        (subflow("b" * 250, a_task("x" * 10)), "task_id_too_long", ".plan.tasks[0].task_id"),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, str) else "",
)
def test_each_error_has_its_code_and_place(task: dict[str, Any], code: str, place: str) -> None:
    assert errors(A, task) == [(code, f"{TASK}[1]{place}")]


def test_ids_of_parts_are_reserved() -> None:
    tasks = [a_task("a", foreach={"items": []}), subflow("s", A), a_task("p")]
    assert errors(*tasks, a_task("p[0]"), a_task("p/x"), a_task("as"), a_task("x/a[0]")) == []
    reserved = [(("reserved_task_id"), f"{TASK}[{n}].task_id") for n in (3, 4, 5, 6)]
    assert errors(*tasks, a_task("a[0]"), a_task("s/x"), a_task("a[x]/y"), a_task("s/x/y")) == reserved


def test_the_result_may_name_any_task_of_the_plan_and_no_other_value() -> None:
    assert errors(A, a_task("b"), result=[output("a"), output("b")]) == []
    assert errors(A, result={"x": output("z"), "y": {"$input": ""}, "z": {"$secret": "k"}}) == [
        ("unknown_reference", "cognitive_plan.result.x"),
        ("reference_out_of_scope", "cognitive_plan.result.y"),
        ("reference_out_of_scope", "cognitive_plan.result.z"),
    ]


def nested(levels: int) -> dict[str, Any]:
    task = a_task("t")
    for _ in range(levels):
        task = subflow("t", task)
    return task


def test_sub_flows_are_nested_three_levels_deep_at_most() -> None:
    assert errors(nested(MAX_SUBFLOWS)) == []
    [(code, where)] = errors(nested(MAX_SUBFLOWS + 1))
    assert (code, where) == ("too_many_levels", TASK + "[0].plan.tasks" * (MAX_SUBFLOWS + 1))
    assert [code for code, _ in errors(nested(15))] == ["too_many_levels"]


def test_the_tasks_of_all_sub_plans_count_together() -> None:
    half = [a_task(f"t{n}") for n in range(MAX_TASKS // 2)]
    assert errors(subflow("a", *half), subflow("b", *half)) == [("too_many_tasks", TASK)]


def test_conditions_of_a_plan_are_bounded_together_and_compiled_once_each() -> None:
    same = [a_task(f"t{n}", "a", when="outputs.a == 1") for n in range(5_000)]
    assert errors(A, *same) == []
    text = "outputs.a == " + "'" + "x" * 4_000 + "'"
    different = [a_task(f"t{n}", "a", when=f"{text} || {n} == 0") for n in range(60)]
    begun = time.process_time()
    found = errors(A, *different)
    assert time.process_time() - begun < 20
    assert {code for code, _ in found} == {"invalid_condition"}
    assert len(found) == 60 - MAX_CONDITIONS // (len(text) + len(" || 00 == 0"))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"foreach": {"items": [], "limit": 0}}, "foreach.limit: must be at least 1"),
        ({"foreach": {"items": [], "limit": 1_001}}, "foreach.limit: must be at most 1000"),
        ({"foreach": {}}, "foreach.items: is missing"),
        ({"foreach": []}, "foreach: must be an object"),
        ({"when": ""}, "when: must not be empty"),
        ({"when": "x" * 4_097}, "when: must be at most 4096 characters long"),
        ({"when": 3}, "when: must be text"),
        ({"on_skipped": "maybe"}, "on_skipped: is 'maybe'; known are skip, any or run"),
        ({"labels": {"a b": "c"}}, "must fit the pattern"),
        ({"labels": {str(n): "c" for n in range(17)}}, "labels: has more than 16 entries"),
        ({"approval": {"timeout_ms": 0}}, "approval.timeout_ms: must be greater than 0"),
        ({"approval": {"approvers": ["x"] * 101}}, "approval.approvers: has more than 100 entries"),
        ({"wait": {"event": {}}}, "wait.event.type: is missing"),
        ({"plan": {}}, "plan.tasks: is missing"),
        ({"plan": {"tasks": [{"task_id": ""}]}}, "plan.tasks[0].task_id: must not be empty"),
    ],
)
def test_a_field_of_the_wrong_form_is_refused_with_its_place(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidDecision) as refusal:
        decision_in(a_document(a_plan(a_task("a", **changes))))
    assert any(sentence in reason.message for reason in refusal.value.reasons), refusal.value.reasons


def test_a_plan_with_branches_is_known_as_one() -> None:
    plain = a_decision(A, a_task("b", "a", on_skipped="skip", labels={"a": "b"})).cognitive_plan.tasks
    assert not has_branches(plain)
    for change in ({"when": "true"}, {"on_skipped": "any"}, {"allow_failure": True}):
        assert has_branches(a_decision(a_task("a", **change)).cognitive_plan.tasks)


def test_unknown_fields_within_the_blocks_are_named() -> None:
    inner = a_task("x", timeout=1)
    task = subflow("s", inner, foreach={"items": [], "limits": 3}) | {"wait": {"second": 1, "event": {"typ": "x"}}}
    document = a_document(a_plan(task, approve("b", approval={"aprovers": []})))
    document["cognitive_plan"]["tasks"][0]["plan"]["results"] = 1
    assert [(reason.where, reason.message.rpartition("; ")[2]) for reason in unknown_fields(document)] == [
        (f"{TASK}[0].foreach.limits", "did you mean limit?"),
        (f"{TASK}[0].wait.second", "did you mean seconds?"),
        (f"{TASK}[0].wait.event.typ", "did you mean type?"),
        (f"{TASK}[0].plan.results", "did you mean result?"),
        (f"{TASK}[0].plan.tasks[0].timeout", "did you mean timeout_ms?"),
        (f"{TASK}[1].approval.aprovers", "did you mean approvers?"),
    ]


IDS = st.sampled_from(["a", "b", "c", "a[0]", "a/b"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
REFERENCES = st.one_of(
    st.builds(output, IDS, st.sampled_from(["", "/x", "x"])),
    st.sampled_from(
        [{"$item": ""}, {"$index": True}, {"$input": "/x"}, {"$secret": "k"}, {"$item": 1, "$output": "a"}]
    ),
)
VALUES = st.recursive(
    SCALARS | REFERENCES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
CONDITION = st.sampled_from(
    [
        "true",
        "outputs.a == 1",
        "statuses['b'] == 'x'",
        "item == 1",
        "input.x",
        "event.type",
        "(",
        "outputs",
        "1 + 1",
        "",
    ]
)


def objects(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


EVENT = objects(type=st.text(max_size=5), filter=CONDITION, correlation=objects(at=st.text(max_size=5), equals=VALUES))


def tasks_of(plans: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.builds(
        lambda needed, more: needed | more,
        st.fixed_dictionaries(
            {
                "task_id": IDS,
                "task_type": st.sampled_from(["EXECUTE", "APPROVE", "WAIT", "SUBFLOW"]),
                "description": st.just("d"),
            }
        ),
        objects(
            dependencies=st.lists(IDS, max_size=2),
            parameters=st.dictionaries(st.text(max_size=3), VALUES, max_size=2),
            when=CONDITION,
            on_skipped=st.sampled_from(["skip", "any", "run", "x"]),
            allow_failure=st.booleans(),
            foreach=objects(items=VALUES, limit=st.integers(0, 3), max_items=st.integers(0, 3)) | SCALARS,
            approval=objects(form=VALUES, approvers=VALUES, timeout_ms=st.integers(-1, 5)) | SCALARS,
            wait=objects(until=VALUES, seconds=VALUES, event=EVENT | SCALARS) | SCALARS,
            plan=plans | SCALARS,
            compensation=st.booleans() | objects(parameters=objects(x=VALUES)),
            labels=VALUES,
        ),
    )


PLANS: st.SearchStrategy[Any] = st.recursive(
    st.just({"tasks": []}),
    lambda plans: objects(tasks=st.lists(tasks_of(plans), max_size=3), result=VALUES),
    max_leaves=4,
)


@settings(max_examples=200, deadline=None)
@given(st.lists(tasks_of(PLANS), min_size=1, max_size=4), VALUES)
def test_no_plan_breaks_the_checks_and_each_error_has_a_code_and_a_place(tasks: list[Any], result: object) -> None:
    document = a_document(a_plan(*tasks, result=result))
    unknown_fields(document)
    try:
        reasons = check_plan(decision_in(document), NOW)[0]
    except InvalidDecision as invalid:
        reasons = invalid.reasons
    for reason in reasons:
        assert reason.code
        assert (reason.where or "").startswith("cognitive_plan.")
        assert reason.message.startswith(f"{reason.where}: ")
