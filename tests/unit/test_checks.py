from datetime import timedelta
from typing import Any

import pytest

from functions._core.decision.checks import MAX_NAMED, chain
from functions._core.decision.reading import check_plan
from functions._core.records.models import Reason
from functions._core.records.values import format_time
from tests.support.decisions import NOW, a_decision, a_task

PAST = format_time(NOW - timedelta(seconds=1))
FUTURE = format_time(NOW + timedelta(days=1))


def checked(
    *tasks: dict[str, Any], plan: dict[str, Any] | None = None, **changes: object
) -> tuple[list[Reason], list[Reason]]:
    errors, warnings = check_plan(a_decision(*tasks, plan=plan, **changes), NOW)
    return list(errors), list(warnings)


def codes(reasons: list[Reason]) -> list[tuple[str, str | None]]:
    return [(reason.code, reason.where) for reason in reasons]


def test_a_sound_plan_has_neither_errors_nor_warnings() -> None:
    tasks = [a_task("a"), a_task("b", "a"), a_task("c", "a"), a_task("d", "b", "c")]
    plan = {"execution_order": ["a", "c", "b", "d"], "valid_until": FUTURE}
    assert checked(*tasks, plan=plan, valid_until=FUTURE, sla_deadline=FUTURE) == ([], [])


def test_an_empty_plan_is_refused() -> None:
    [error], warnings = checked(plan={"tasks": []})
    assert (error.code, error.where, warnings) == ("empty_plan", "cognitive_plan.tasks", [])
    assert "no tasks" in error.message


@pytest.mark.parametrize("version", ["1.0.0", "1.27.3", "01.0.0"])
def test_the_first_major_version_is_supported(version: str) -> None:
    assert checked(plan={"version": version}) == ([], [])


@pytest.mark.parametrize(
    ("version", "sentence"),
    [
        ("2.0.0", "is 2.0.0; supported major versions are 1"),
        ("0.9.0", "is 0.9.0; supported major versions are 1"),
        ("1.0", "is '1.0', not MAJOR.MINOR.PATCH as in 1.0.0"),
        ("latest", "is 'latest', not MAJOR.MINOR.PATCH"),
        ("1.0.0\n", "is '1.0.0?', not MAJOR.MINOR.PATCH"),
        ("9" * 5000 + ".0.0", "not MAJOR.MINOR.PATCH"),
        ("", "is '', not MAJOR.MINOR.PATCH"),
    ],
)
def test_other_versions_are_refused(version: str, sentence: str) -> None:
    [error], _ = checked(plan={"version": version})
    assert (error.code, error.where) == ("unsupported_version", "cognitive_plan.version")
    assert sentence in error.message


def test_what_has_expired_is_refused_each_under_its_own_code() -> None:
    errors, _ = checked(plan={"valid_until": PAST}, valid_until=PAST, sla_deadline=PAST)
    assert codes(errors) == [
        ("decision_expired", "valid_until"),
        ("plan_expired", "cognitive_plan.valid_until"),
        ("deadline_passed", "sla_deadline"),
    ]
    assert "the plan expired at 2026-03-01T11:59:59.000Z" in errors[1].message


def test_a_validity_that_ends_now_has_ended() -> None:
    errors, _ = checked(plan={"expires_at": format_time(NOW)})
    assert codes(errors) == [("plan_expired", "cognitive_plan.valid_until")]


def test_a_task_id_may_be_used_once() -> None:
    [error], _ = checked(a_task("a"), a_task("b"), a_task("a"))
    assert (error.code, error.where) == ("duplicate_task_id", "cognitive_plan.tasks[2].task_id")
    assert "'a' is the id of cognitive_plan.tasks[0] already" in error.message


def test_a_task_cannot_depend_on_itself() -> None:
    [error], _ = checked(a_task("a", "a"))
    assert (error.code, error.where) == ("self_dependency", "cognitive_plan.tasks[0].dependencies")


def test_dependencies_must_exist() -> None:
    errors, _ = checked(a_task("a"), a_task("b", "a", "x", "y"))
    assert [error.code for error in errors] == ["unknown_dependency"] * 2
    assert "task 'b' depends on 'x', which is no task of the plan" in errors[0].message


def test_a_cycle_is_refused_and_named_in_order() -> None:
    [error], _ = checked(a_task("start"), a_task("a", "b", "start"), a_task("b", "c"), a_task("c", "a"))
    assert (error.code, error.where) == ("cyclic_dependencies", "cognitive_plan.tasks")
    assert "a → b → c → a" in error.message


def test_a_long_cycle_is_named_by_its_ends() -> None:
    size = 500
    [error], _ = checked(*(a_task(f"t{n}", f"t{(n + 1) % size}") for n in range(size)))
    assert "t0 → t1 → t2" in error.message
    assert f"… {size + 1 - MAX_NAMED} more …" in error.message
    assert error.message.endswith("→ t499 → t0")
    assert len(error.message) < 500


def test_a_path_of_the_greatest_named_length_is_written_out() -> None:
    assert chain(["a"] * MAX_NAMED) == " → ".join(["a"] * MAX_NAMED)


def test_an_order_of_unknown_tasks_is_refused() -> None:
    errors, _ = checked(a_task("a"), plan={"execution_order": ["a", "x"]})
    assert codes(errors) == [("unknown_task_in_order", "cognitive_plan.execution_order[1]")]


def test_an_order_that_does_not_fit_is_a_warning_because_the_order_is_computed() -> None:
    tasks = [a_task("a"), a_task("b", "a"), a_task("c")]
    errors, [warning] = checked(*tasks, plan={"execution_order": ["b", "a", "c"]})
    assert (errors, warning.code) == ([], "order_not_topological")
    assert "'b' comes before 'a', which it depends on" in warning.message
    errors, [warning] = checked(*tasks, plan={"execution_order": ["a", "c"]})
    assert (errors, warning.code) == ([], "order_incomplete")
    assert "1 of 3 tasks are not in it, the first is 'b'" in warning.message


def test_an_empty_order_counts_as_none() -> None:
    assert checked(a_task("a"), a_task("b", "a"), plan={"execution_order": []}) == ([], [])


def test_another_schema_version_is_a_warning() -> None:
    errors, warnings = checked(plan={"schema_version": 2}, schema_version=3)
    assert errors == []
    assert codes(warnings) == [
        ("unknown_schema_version", "schema_version"),
        ("unknown_schema_version", "cognitive_plan.schema_version"),
    ]


def test_a_critical_path_longer_than_the_sla_is_a_warning_that_names_it() -> None:
    tasks = [
        a_task("a", estimated_duration_ms=4_000),
        a_task("b", "a", estimated_duration_ms=7_000),
        a_task("c", "a", estimated_duration_ms=1_000),
    ]
    errors, [warning] = checked(*tasks, sla_deadline_seconds=10)
    assert (errors, warning.code) == ([], "critical_path_exceeds_sla")
    assert warning.message.endswith("takes 11000 ms of the 10000 ms that the SLA leaves: a → b")
    assert checked(*tasks, sla_deadline_seconds=11) == ([], [])


def test_the_default_sla_is_a_parameter() -> None:
    decision = a_decision(a_task("a", estimated_duration_ms=2_000))
    assert check_plan(decision, NOW) == ((), ())
    _, [warning] = check_plan(decision, NOW, default_sla=timedelta(seconds=1))
    assert warning.code == "critical_path_exceeds_sla"


def test_bad_references_are_refused_with_their_place() -> None:
    bad = a_task("b", "a", parameters={"list": [{"$output": "x"}], "self": {"$output": "b"}})
    errors, _ = checked(a_task("a"), bad)
    assert codes(errors) == [
        ("unknown_reference", "cognitive_plan.tasks[1].parameters.list[0]"),
        ("reference_not_upstream", "cognitive_plan.tasks[1].parameters.self"),
    ]


def test_all_errors_are_collected() -> None:
    tasks = [
        a_task("a", "a", "b"),
        a_task("b", "a"),
        a_task("b", "z"),
        a_task("c", parameters={"in": {"$output": "a", "path": "no pointer"}}),
    ]
    errors, _ = checked(*tasks, plan={"version": "7.0.0", "valid_until": PAST, "execution_order": ["q"]})
    assert {error.code for error in errors} == {
        "unsupported_version",
        "plan_expired",
        "duplicate_task_id",
        "self_dependency",
        "unknown_dependency",
        "unknown_task_in_order",
        "invalid_reference",
    }
    errors, _ = checked(*tasks[:2], plan={"version": "7.0.0"})
    assert {error.code for error in errors} == {
        "unsupported_version",
        "self_dependency",
        "cyclic_dependencies",
    }


def test_a_chain_of_twenty_thousand_tasks_is_checked() -> None:
    tasks = [a_task("t0"), *(a_task(f"t{n}", f"t{n - 1}", estimated_duration_ms=1) for n in range(1, 20_000))]
    tasks[-1]["parameters"] = {"first": {"$output": "t0"}}
    assert checked(*tasks) == ([], [])
