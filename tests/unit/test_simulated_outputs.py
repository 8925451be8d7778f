"""Outputs of simulated tasks have what others refer to."""

from typing import Any

import pytest

from functions._core.decision.resolving import resolve
from functions._core.records.values import flow_id_of
from functions._simulator.outputs import ANYTHING, Outputs, paths_of, with_paths
from tests.support.world import decision, task

PATHS = ["", "/a", "/a/b", "/list/0/name", "/attempt", "/sl~1ash/ti~0lde", "/by/x", "/"]


@pytest.mark.parametrize("path", PATHS)
def test_every_reference_of_a_plan_finds_something_even_where_all_parameters_are_meant(path: str) -> None:
    reference = {"$output": "a", "path": path}
    output = with_paths({"by": "w", "attempt": 1}, dict.fromkeys(PATHS, ANYTHING))
    assert resolve({"deep": [reference]}, {"a": output})
    assert isinstance(resolve(reference, {"a": output}), dict)


def test_references_of_tasks_and_of_compensations_count_and_malformed_ones_do_not() -> None:
    plan = decision(
        task("a", compensation={"parameters": {"x": {"$output": "a", "path": "/id"}}}),
        task("b", "a", parameters={"y": [{"$output": "a", "path": "/n"}, {"$output": "a"}, {"$output": 1}]}),
        task("c", parameters=3),
    )
    assert paths_of(plan) == {"a": {"/id": ANYTHING, "/n": ANYTHING}}
    assert paths_of({"cognitive_plan": "{"}) == {}


def test_a_list_has_as_many_items_as_are_expected_with_what_the_items_are_asked_for() -> None:
    each = {"items": {"$output": "a", "path": "/rows"}, "expected_items": 3}
    plan = decision(task("a"), task("b", "a", foreach=each, parameters={"id": {"$item": "/id"}}))
    rows = Outputs.of_decisions([plan], {}).of(flow_id_of(plan["decision_id"]), "a", {})["rows"]
    assert [set(row) for row in rows] == [{"simulated", "id"}] * 3


def test_references_into_lists_and_sub_flows_lead_to_the_tasks_within_them() -> None:
    inner = {"tasks": [task("x"), task("y", "x")], "result": {"last": {"$output": "y", "path": "/km"}}}
    plan = decision(
        task("each", foreach={"items": [1, 2]}),
        task("sub", task_type="SUBFLOW", plan=inner),
        task("end", "each", "sub", parameters={"a": {"$output": "each", "path": "/1/id"}}),
        task("pause", "sub", task_type="WAIT", wait={"seconds": {"$output": "sub", "path": "/last/long"}}),
    )
    assert paths_of(plan) == {"each": {"/id": ANYTHING}, "sub/y": {"/km": ANYTHING, "/km/long": 1}}


@pytest.mark.parametrize(
    ("task_id", "output"), [("a", 7), ("each[1]", "two"), ("each[5]", None), ("sub[2]/a", {"n": 1}), ("other", {})]
)
def test_what_is_given_is_not_made_up(task_id: str, output: Any) -> None:
    given = {"a": 7, "each": ["one", "two"], "sub/a": {"n": 1}}
    assert Outputs(given).of("flow", task_id, {}) == output
