"""Outputs of simulated tasks have what others refer to."""

import pytest

from functions._core.decision.resolving import resolve
from functions._simulator.outputs import paths_of, with_paths
from tests.support.world import decision, task

PATHS = ["", "/a", "/a/b", "/list/0/name", "/attempt", "/sl~1ash/ti~0lde", "/by/x", "/"]


@pytest.mark.parametrize("path", PATHS)
def test_every_reference_of_a_plan_finds_something_even_where_all_parameters_are_meant(path: str) -> None:
    reference = {"$output": "a", "path": path}
    output = with_paths({"by": "w", "attempt": 1}, PATHS)
    assert resolve({"deep": [reference]}, {"a": output})
    assert isinstance(resolve(reference, {"a": output}), dict)


def test_references_of_tasks_and_of_compensations_count_and_malformed_ones_do_not() -> None:
    plan = decision(
        task("a", compensation={"parameters": {"x": {"$output": "a", "path": "/id"}}}),
        task("b", "a", parameters={"y": [{"$output": "a", "path": "/n"}, {"$output": "a"}, {"$output": 1}]}),
        task("c", parameters=3),
    )
    assert paths_of(plan) == {"a": ["/id", "/n"]}
    assert paths_of({"cognitive_plan": "{"}) == {}
