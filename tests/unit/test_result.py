"""The result of a plan is what it declares, made of outputs; without a declaration the outputs of the last tasks."""

from typing import Any

import pytest

from functions._core.decision.model import CognitivePlan
from functions._core.decision.references import UnresolvedReference
from functions._core.planning.result import PlanResult, ResultTooLarge, result_of, result_references
from tests.support.decisions import a_plan, a_task

TASKS = (a_task("a"), a_task("b", "a"), a_task("c", "a"))
OUTPUTS = {"a": {"n": 1, "rows": [1, 2]}, "b": "B", "c": None}


def plan(result: Any = None) -> CognitivePlan:
    """Return a plan of three tasks, two of them the last, that declares a result."""
    return CognitivePlan.model_validate(a_plan(*TASKS, result=result))


def test_without_a_declaration_the_outputs_of_the_last_tasks_are_the_result() -> None:
    assert result_references(plan()) == ("b", "c")
    assert result_of(plan(), OUTPUTS) == {"b": "B", "c": None}
    assert result_of(plan(), {}) == {"b": None, "c": None}
    odd = CognitivePlan.model_validate(a_plan(a_task("$output")))
    assert result_of(odd, {"$output": 1}) == {"$output": 1}


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ({"$output": "b"}, "B"),
        ({"$output": "a", "path": "/rows/1"}, 2),
        ([{"n": {"$output": "a", "path": "/n"}}, "text", {"$output": "c"}], [{"n": 1}, "text", None]),
        ("plain", "plain"),
        (0, 0),
        ({}, {}),
    ],
)
def test_a_declared_result_is_any_json_with_references_filled_in(declared: Any, value: Any) -> None:
    assert result_of(plan(declared), OUTPUTS) == value


def test_a_task_without_an_output_stands_for_null_wherever_a_reference_points() -> None:
    declared = {"skipped": {"$output": "c", "path": "/deep/0"}, "unknown": {"$output": "b", "path": "/x"}}
    assert result_of(plan(declared), {"c": None}) == {"skipped": None, "unknown": None}


def test_a_place_that_an_output_lacks_is_named_as_the_plan_has_it() -> None:
    declared = {"rows": [{"$output": "a", "path": "/nothing"}]}
    with pytest.raises(UnresolvedReference, match=r"^result\.rows\[0\]: the output of task 'a' has nothing at"):
        result_of(plan(declared), OUTPUTS)
    with pytest.raises(UnresolvedReference, match=r"^result: '\$output' must be the id of a task"):
        result_of(plan({"$output": []}), OUTPUTS)


def test_a_result_is_bounded_however_it_becomes_large() -> None:
    large = {"a": "x" * 600, "b": "y" * 600, "c": None}
    with pytest.raises(ResultTooLarge, match="more than 1000 bytes"):
        result_of(plan([{"$output": "a"}, {"$output": "a"}]), large, 1_000)
    with pytest.raises(ResultTooLarge):
        result_of(plan(), {"b": "y" * 600, "c": "z" * 600}, 1_000)
    with pytest.raises(ResultTooLarge):
        result_of(plan(["l" * 500, {"$output": "a"}]), large, 1_000)
    assert result_of(plan({"$output": "a"}), large, 1_000) == "x" * 600


def test_the_content_of_an_output_is_data() -> None:
    sly = {"$output": "b"}
    assert result_of(plan({"$output": "a"}), {"a": sly, "b": "key"}) == sly


def test_only_the_parts_that_are_referred_to_are_kept() -> None:
    result = PlanResult({"$output": "a", "path": "/n"}, 100)
    result.add("a", {"n": 1, "rows": "x" * 10_000})
    assert result.value() == 1
