import json
import tracemalloc
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.decision.references import (
    Reference,
    ReferencesTooLarge,
    UnresolvedReference,
    check_references,
    find_references,
)
from functions._core.decision.resolving import Resolution, resolve
from functions._core.errors import Rejected
from functions._core.planning.graph import topological_levels


@dataclass(frozen=True)
class Piece:
    task_id: str
    dependencies: tuple[str, ...] = ()
    parameters: dict[str, Any] = field(default_factory=dict)
    undo_parameters: dict[str, Any] = field(default_factory=dict)


def problems(*tasks: Piece) -> list[tuple[str, str | None]]:
    order = topological_levels({task.task_id: task.dependencies for task in tasks})
    return [(reason.code, reason.where) for reason in check_references(tasks, order)]


def test_what_undoes_a_task_may_refer_to_its_own_output_and_to_what_comes_before() -> None:
    build, deploy = Piece("build"), Piece("deploy", ("build",))
    allowed = {"own": {"$output": "deploy"}, "before": {"$output": "build"}}
    assert problems(build, Piece("deploy", ("build",), undo_parameters=allowed)) == []
    place = "cognitive_plan.tasks[0].compensation.parameters.x"
    later = Piece("build", undo_parameters={"x": {"$output": "deploy"}})
    assert problems(later, deploy) == [("reference_not_upstream", place)]
    assert problems(Piece("build", undo_parameters={"x": {"$output": "?"}})) == [("unknown_reference", place)]
    assert problems(Piece("build", undo_parameters={"x": {"$output": ""}})) == [("invalid_reference", place)]


def test_references_are_found_at_any_depth_in_the_order_of_the_text() -> None:
    parameters = {
        "z": {"$output": "a"},
        "plain": "$output",
        "list": [1, {"deep": {"$output": "b", "path": "/x/0"}}, [{"$output": "c", "path": None}]],
    }
    assert find_references(parameters) == (
        Reference("parameters.z", "a", ""),
        Reference("parameters.list[1].deep", "b", "/x/0"),
        Reference("parameters.list[2][0]", "c", ""),
    )


def test_parameters_without_references_have_none() -> None:
    assert find_references({"a": [1, {"b": "{'$output': 'python text'}"}], "output": "x"}) == ()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ({"$output": "a", "default": 1}, "this one also 'default'"),
        ({"$output": "a", "path": "/x", "b": 1, "c": 2}, "this one also 'b', 'c'"),
        ({"$output": ""}, "'$output' must be the id of a task"),
        ({"$output": ["a"]}, "'$output' must be the id of a task"),
        ({"$output": None}, "'$output' must be the id of a task"),
        ({"$output": "a", "path": "x/y"}, "'path' is 'x/y', which is no JSON Pointer"),
        ({"$output": "a", "path": "/x~2"}, "which is no JSON Pointer"),
        ({"$output": "a", "path": "/x~"}, "which is no JSON Pointer"),
        ({"$output": "a", "path": 3}, "which is no JSON Pointer"),
    ],
)
def test_a_malformed_reference_says_what_is_wrong(value: dict[str, Any], fault: str) -> None:
    [reference] = find_references({"at": value})
    assert fault in (reference.fault or "")
    assert problems(Piece("a"), Piece("b", ("a",), {"at": value})) == [
        ("invalid_reference", "cognitive_plan.tasks[1].parameters.at")
    ]
    with pytest.raises(UnresolvedReference, match=r"^parameters\.at: "):
        resolve({"at": value}, {"a": {"x": 1}})


def test_a_reference_may_point_at_direct_and_at_distant_predecessors() -> None:
    last = Piece("c", ("b",), {"far": {"$output": "a", "path": "/x"}, "near": {"$output": "b"}})
    assert problems(Piece("a"), Piece("b", ("a",)), last) == []
    assert problems(last, Piece("b", ("a",)), Piece("a")) == []


def test_a_reference_must_point_upstream_at_a_task_that_exists() -> None:
    tasks = (
        Piece("a", (), {"later": {"$output": "b"}, "own": {"$output": "a"}}),
        Piece("b", ("a",), {"unknown": {"$output": "nobody"}}),
        Piece("c", ("a",), {"beside": {"$output": "b"}}),
    )
    assert problems(*tasks) == [
        ("reference_not_upstream", "cognitive_plan.tasks[0].parameters.later"),
        ("reference_not_upstream", "cognitive_plan.tasks[0].parameters.own"),
        ("unknown_reference", "cognitive_plan.tasks[1].parameters.unknown"),
        ("reference_not_upstream", "cognitive_plan.tasks[2].parameters.beside"),
    ]


def test_what_a_cycle_holds_up_is_not_blamed_for_its_references_too() -> None:
    assert problems(Piece("a", ("b",), {"x": {"$output": "b"}}), Piece("b", ("a",))) == []


def test_many_distant_references_are_checked_in_one_pass() -> None:
    size = 3_000
    tasks = [Piece("t0")]
    tasks += [Piece(f"t{n}", (f"t{n - 1}",), {"x": {"$output": f"t{n // 2}"}}) for n in range(1, size)]
    assert problems(*tasks) == []
    assert problems(*tasks, Piece("alone", (), {"x": {"$output": "t7"}})) == [
        ("reference_not_upstream", f"cognitive_plan.tasks[{size}].parameters.x")
    ]


OUTPUT = {
    "items": [{"name": "first"}, {"name": "second"}],
    "a/b": 1,
    "m~n": 2,
    "": 3,
    "10": "ten",
    "none": None,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("", OUTPUT),
        ("/items/1/name", "second"),
        ("/a~1b", 1),
        ("/m~0n", 2),
        ("/", 3),
        ("/10", "ten"),
        ("/none", None),
    ],
)
def test_a_path_is_a_json_pointer(path: str, value: object) -> None:
    assert resolve({"got": [{"$output": "a", "path": path}]}, {"a": OUTPUT}) == {"got": [value]}


@pytest.mark.parametrize(
    ("path", "missing"),
    [("/nothing", "nothing"), ("/items/2", "2"), ("/items/-", "-"), ("/items/01", "01"), ("/none/x", "x")],
)
def test_a_place_that_is_missing_is_named(path: str, missing: str) -> None:
    with pytest.raises(UnresolvedReference) as caught:
        resolve({"file": {"$output": "a", "path": path}}, {"a": OUTPUT})
    assert str(caught.value) == (
        f"parameters.file: the output of task 'a' has nothing at '{path}', '{missing}' is missing"
    )
    assert (caught.value.code, isinstance(caught.value, Rejected)) == ("unresolved_reference", True)


def test_an_output_that_is_missing_is_named() -> None:
    with pytest.raises(UnresolvedReference, match=r"parameters\.x\[1\]: task 'b' has no output"):
        resolve({"x": [0, {"$output": "b"}]}, {"a": 1})


def test_the_parameters_as_a_whole_may_be_an_output_that_is_an_object() -> None:
    assert resolve({"$output": "a", "path": "/items/0"}, {"a": OUTPUT}) == {"name": "first"}
    with pytest.raises(UnresolvedReference, match="no object"):
        resolve({"$output": "a", "path": "/items"}, {"a": OUTPUT})


def test_references_inside_an_output_are_data() -> None:
    sly = {"$output": "secret"}
    assert resolve({"x": {"$output": "a"}}, {"a": sly, "secret": "key"}) == {"x": sly}


def test_names_with_dots_and_brackets_are_not_mistaken_for_places() -> None:
    parameters = {"a.b": {"$output": "t"}, "a": {"b": "left alone"}, "c[0]": {"$output": "t"}, "c": ["too"]}
    filled = {"a.b": 1, "a": {"b": "left alone"}, "c[0]": 1, "c": ["too"]}
    assert resolve(parameters, {"t": 1}) == filled


def test_what_references_stand_for_is_counted_each_time_and_bounded_before_it_is_filled_in() -> None:
    output = {"rows": ["x" * 98] * 100}  # 100 bytes each, with their quotes
    row = {"$output": "a", "path": "/rows/0"}
    assert resolve({"rows": [row] * 10}, {"a": output}, 1_000) == {"rows": ["x" * 98] * 10}
    with pytest.raises(ReferencesTooLarge, match="11 references stand for more than the 1000 bytes") as caught:
        resolve({"rows": [row] * 11}, {"a": output}, 1_000)
    assert caught.value.code == "references_too_large"
    apart = [{"$output": "a", "path": f"/rows/{number}"} for number in range(11)]
    with pytest.raises(ReferencesTooLarge):
        resolve({"rows": apart}, {"a": output}, 1_000)
    both = {"one": {"$output": "a"}, "other": {"$output": "b"}}
    with pytest.raises(ReferencesTooLarge):
        resolve(both, {"a": "x" * 600, "b": "x" * 600}, 1_000)


def test_the_largest_plan_of_references_costs_no_more_memory_than_one_output() -> None:
    outputs = {"a": {"text": "x" * 200_000}}
    parameters = {f"p{number}": {"$output": "a"} for number in range(2_000)}
    tracemalloc.start()
    try:
        with pytest.raises(ReferencesTooLarge):
            resolve(parameters, outputs)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000


def test_outputs_are_handed_over_one_by_one_and_only_what_is_referred_to_is_kept() -> None:
    resolution = Resolution({"x": {"$output": "a", "path": "/n"}, "y": {"$output": "b", "path": "/n"}}, 100)
    assert set(resolution.task_ids) == {"a", "b"}
    for task_id in resolution.task_ids:
        resolution.add(task_id, {"n": task_id, "rest": "x" * 1_000})
    assert resolution.parameters() == {"x": "a", "y": "b"}


NAMES = st.text().filter(lambda name: name != "$output")  # with that one it would be a reference
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(NAMES, inside, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_parameters_without_references_pass_unchanged(parameters: dict[str, Any]) -> None:
    before = json.dumps(parameters)
    assert resolve(parameters, {}) == parameters
    assert json.dumps(parameters) == before


def places(value: object, path: str = "") -> list[tuple[str, object]]:
    inside: list[tuple[object, object]] = []
    if isinstance(value, dict):
        inside = list(value.items())
    elif isinstance(value, list):
        inside = list(enumerate(value))
    below = [(f"{path}/{str(key).replace('~', '~0').replace('/', '~1')}", item) for key, item in inside]
    return [(path, value), *(place for at, item in below for place in places(item, at))]


@given(JSON)
def test_every_place_of_an_output_can_be_pointed_at(output: object) -> None:
    for path, value in places(output):
        assert resolve({"x": {"$output": "t", "path": path}}, {"t": output}) == {"x": value}
