"""Sample decisions: C1 finds nothing in them, and they have the shape that was asked for."""

import json

import pytest

from functions._cli import sample_command
from functions._core.decision.checks import check_plan
from functions._core.decision.model import Decision
from functions._core.decision.reading import approval_reasons, read_decision, refusal_reasons
from functions._core.decision.sample import Shape, sample_decision
from functions._core.decision.vocabulary import MAX_TASKS
from functions._core.planning.graph import schedule
from tests.support.command_line import flowc
from tests.support.decisions import NOW


def read(text: str) -> Decision:
    return read_decision(text.encode())


def edges(decision: Decision) -> dict[int, list[int]]:
    """Return for each task, by number, what it depends on."""
    tasks = decision.cognitive_plan.tasks
    return {int(task.task_id[5:]): [int(name[5:]) for name in task.dependencies] for task in tasks}


@pytest.mark.parametrize("shape", Shape)
@pytest.mark.parametrize("tasks", [1, 2, 3, 10, 97, 1000])
def test_validation_finds_nothing_wrong_with_any_sample(shape: Shape, tasks: int) -> None:
    for seed in range(3 if tasks < 1000 else 1):
        decision = read(json.dumps(sample_decision(tasks, shape, seed, ["python", "go"])))
        errors, warnings = check_plan(decision, NOW)
        assert (errors, warnings, refusal_reasons(decision), approval_reasons(decision)) == ((), (), (), ())
        assert len(decision.cognitive_plan.tasks) == tasks


def test_a_chain_is_one_after_the_other_and_a_fork_join_one_many_one() -> None:
    assert edges(read(json.dumps(sample_decision(4, Shape.CHAIN, 1)))) == {1: [], 2: [1], 3: [2], 4: [3]}
    assert edges(read(json.dumps(sample_decision(4, Shape.FORK_JOIN, 1)))) == {1: [], 2: [1], 3: [1], 4: [2, 3]}
    assert edges(read(json.dumps(sample_decision(2, Shape.FORK_JOIN, 1)))) == {1: [], 2: [1]}


@pytest.mark.parametrize("seed", range(5))
def test_layers_depend_on_the_layer_before(seed: int) -> None:
    decision = read(json.dumps(sample_decision(100, Shape.LAYERS, seed)))
    for task, before in edges(decision).items():
        assert {(number - 1) // 10 for number in before} == ({(task - 1) // 10 - 1} if task > 10 else set())
    assert schedule(decision.cognitive_plan.tasks, NOW, decision.deadline(NOW)).levels == 10


def test_random_tasks_depend_on_up_to_three_earlier_ones_and_differ_by_seed() -> None:
    one, two = (edges(read(json.dumps(sample_decision(200, Shape.RANDOM, seed)))) for seed in (1, 2))
    assert one != two
    assert {len(before) for before in one.values()} == {0, 1, 2, 3}
    assert all(number < task for task, before in one.items() for number in before)


def test_the_same_seed_gives_the_same_decision_and_whatever_differs_another_flow() -> None:
    assert sample_decision(9, Shape.RANDOM, 1, ["a"]) == sample_decision(9, Shape.RANDOM, 1, ["a"])
    samples = [
        sample_decision(9, Shape.RANDOM, 1, ["a"]),
        sample_decision(9, Shape.RANDOM, 2, ["a"]),
        sample_decision(8, Shape.RANDOM, 1, ["a"]),
        sample_decision(9, Shape.LAYERS, 1, ["a"]),
        sample_decision(9, Shape.RANDOM, 1, ["b"]),
    ]
    assert len({sample["decision_id"] for sample in samples}) == len(samples)


def test_each_task_asks_for_one_of_the_capabilities() -> None:
    def asked(*capabilities: str) -> set[tuple[str, ...]]:
        tasks = sample_decision(50, Shape.CHAIN, 1, capabilities)["cognitive_plan"]["tasks"]
        return {tuple(task["required_capabilities"]) for task in tasks}

    assert asked() == {()}
    assert asked("python", "go") == {("python",), ("go",)}


def test_the_command_prints_a_decision_that_can_be_submitted() -> None:
    result = flowc("sample", "--tasks", "5", "--shape", "fork-join", "--seed", "7", "--capability", "python")
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == sample_decision(5, Shape.FORK_JOIN, 7, ["python"])
    one, two = (json.loads(flowc("sample").stdout)["decision_id"] for _ in range(2))
    assert one != two


def test_the_largest_sample_is_the_largest_plan() -> None:
    assert sample_command.MAX_TASKS == MAX_TASKS
    assert [shape.value for shape in sample_command.Shapes] == [shape.value for shape in Shape]


@pytest.mark.parametrize("arguments", [("--tasks", "0"), ("--shape", "ring"), ("--seed", "-1"), ("--tasks", "20001")])
def test_a_sample_that_cannot_be_made_is_wrong_usage(arguments: tuple[str, str]) -> None:
    assert flowc("sample", *arguments).exit_code == 2
