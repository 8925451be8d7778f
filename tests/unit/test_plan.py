from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions._core.planning.graph import (
    Schedule,
    dependants,
    find_cycle,
    named_edges,
    redundant_edges,
    schedule,
    topological_levels,
)

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Piece:
    task_id: str
    dependencies: tuple[str, ...] = ()
    estimate_ms: int = 1_000


DIAMOND = (
    Piece("a", (), 1_000),
    Piece("b", ("a",), 2_000),
    Piece("c", ("a",), 500),
    Piece("d", ("b", "c"), 1_000),
)


def planned(tasks: Sequence[Piece], window_ms: int) -> Schedule:
    return schedule(tasks, START, START + timedelta(milliseconds=window_ms))


def after_start(moment: datetime) -> int:
    return (moment - START) // timedelta(milliseconds=1)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[Piece, ...]:
    """Any acyclic plan, its tasks in any order."""
    size = draw(st.integers(1, 25))
    tasks = []
    for n in range(size):
        before = draw(st.lists(st.integers(0, n - 1), unique=True, max_size=4)) if n else []
        estimate = draw(st.integers(1, 10 ** draw(st.integers(1, 8))))
        tasks.append(Piece(f"t{n}", tuple(f"t{i}" for i in before), estimate))
    return tuple(draw(st.permutations(tasks)))


windows = st.integers(0, 10**9)


class TestOrder:
    def test_the_order_is_by_level_and_then_as_the_plan_lists_the_tasks(self) -> None:
        edges = {"z": (), "late": ("m",), "m": ("z",), "a": (), "b": ("a", "z")}
        assert list(topological_levels(edges).items()) == [("z", 0), ("a", 0), ("m", 1), ("b", 1), ("late", 2)]

    def test_what_a_cycle_holds_up_has_no_level(self) -> None:
        edges = {"a": (), "b": ("c",), "c": ("b",), "behind": ("c", "a")}
        assert topological_levels(edges) == {"a": 0}

    @given(graphs())
    def test_every_task_stands_one_level_above_its_highest_dependency(self, tasks: tuple[Piece, ...]) -> None:
        levels = topological_levels({task.task_id: task.dependencies for task in tasks})
        for task in tasks:
            assert levels[task.task_id] == 1 + max((levels[d] for d in task.dependencies), default=-1)
        assert list(levels.values()) == sorted(levels.values())

    def test_dependants_are_listed_for_every_task_in_the_order_of_the_plan(self) -> None:
        assert dependants(DIAMOND) == {"a": ("b", "c"), "b": ("d",), "c": ("d",), "d": ()}


class TestCycles:
    def test_an_acyclic_graph_has_none(self) -> None:
        assert find_cycle({task.task_id: task.dependencies for task in DIAMOND}) == ()
        assert find_cycle({}) == ()

    def test_a_cycle_is_given_in_order_from_its_first_member_on(self) -> None:
        edges = {"behind": ("b",), "b": ("c",), "c": ("a",), "a": ("free", "b"), "free": ()}
        assert find_cycle(edges) == ("b", "c", "a")

    def test_a_task_that_waits_for_itself_is_a_cycle_of_one(self) -> None:
        assert find_cycle({"a": (), "b": ("a", "b")}) == ("b",)

    def test_unknown_dependencies_do_not_matter(self) -> None:
        assert find_cycle({"a": ("x",), "b": ("a",)}) == ()

    @given(graphs(), st.data())
    def test_whatever_closes_a_cycle_is_found(self, tasks: tuple[Piece, ...], data: st.DataObject) -> None:
        edges: dict[str, tuple[str, ...]] = {task.task_id: task.dependencies for task in tasks}
        first, last = data.draw(st.tuples(st.sampled_from(sorted(edges)), st.sampled_from(sorted(edges))))
        edges["bridge"] = (last,)
        edges[first] = (*edges[first], "bridge")
        cycle = find_cycle(edges)
        closes = first in upstream_of(last, edges) | {last}
        assert bool(cycle) == closes
        assert len(set(cycle)) == len(cycle)
        for waiting, awaited in pairwise((*cycle, *cycle[:1])):
            assert awaited in edges[waiting]
        assert find_cycle(dict(edges)) == cycle


def upstream_of(task_id: str, edges: Mapping[str, Sequence[str]]) -> set[str]:
    found: set[str] = set()
    rest = [task_id]
    while rest:
        new = set(edges[rest.pop()]) - found
        found |= new
        rest.extend(new)
    return found


class TestSchedule:
    def test_slack_is_spread_in_proportion_to_the_estimates(self) -> None:
        plan = planned(DIAMOND, 8_000)
        assert [
            (t.task_id, t.index, t.level, after_start(t.latest_start), after_start(t.latest_finish), t.critical)
            for t in plan.timings.values()
        ] == [
            ("a", 0, 0, 1_000, 2_000, True),
            ("b", 1, 1, 4_000, 6_000, True),
            ("c", 2, 1, 5_500, 6_000, False),
            ("d", 3, 2, 7_000, 8_000, True),
        ]
        assert (plan.levels, plan.critical_path, plan.critical_path_ms) == (3, ("a", "b", "d"), 4_000)

    def test_estimates_that_do_not_fit_shrink_alike(self) -> None:
        plan = planned(DIAMOND, 2_000)
        finishes = {task_id: after_start(timing.latest_finish) for task_id, timing in plan.timings.items()}
        assert finishes == {"a": 500, "b": 1_500, "c": 1_500, "d": 2_000}

    def test_after_the_deadline_everything_is_due_at_the_deadline(self) -> None:
        plan = planned(DIAMOND, -5_000)
        moments = {moment for t in plan.timings.values() for moment in (t.latest_start, t.latest_finish)}
        assert moments == {START - timedelta(milliseconds=5_000)}

    def test_a_plan_without_tasks_has_an_empty_schedule(self) -> None:
        assert planned((), 1_000) == Schedule({}, 0, (), 0)

    @pytest.mark.parametrize(
        "tasks",
        [
            (Piece("a", ("b",)), Piece("b", ("a",))),
            (Piece("a"), Piece("a")),
            (Piece("a", ("nobody",)),),
        ],
    )
    def test_what_is_no_acyclic_graph_cannot_be_scheduled(self, tasks: tuple[Piece, ...]) -> None:
        with pytest.raises(ValueError, match="not a directed acyclic graph"):
            planned(tasks, 1_000)

    @given(graphs(), windows)
    def test_deadlines_follow_the_dependencies(self, tasks: tuple[Piece, ...], window: int) -> None:
        plan = planned(tasks, window)
        deadline = START + timedelta(milliseconds=window)
        awaited = {dependency for task in tasks for dependency in task.dependencies}
        assert list(plan.timings) == [t.task_id for t in sorted(plan.timings.values(), key=lambda t: t.index)]
        for task in tasks:
            timing = plan.timings[task.task_id]
            assert START <= timing.latest_start <= timing.latest_finish <= deadline
            for dependency in task.dependencies:
                assert plan.timings[dependency].latest_finish <= timing.latest_start
                assert plan.timings[dependency].index < timing.index
            if task.task_id not in awaited:
                assert timing.latest_finish == deadline

    @given(graphs(), windows)
    def test_a_plan_that_takes_its_scaled_estimates_misses_nothing(self, tasks: tuple[Piece, ...], window: int) -> None:
        plan = planned(tasks, window)
        by_id = {task.task_id: task for task in tasks}
        # Whole numbers of 1/critical_path_ms milliseconds, so that nothing is rounded here.
        done: dict[str, int] = {}
        for task_id, timing in plan.timings.items():
            task = by_id[task_id]
            begin = max((done[d] for d in task.dependencies), default=0)
            done[task_id] = begin + task.estimate_ms * window
            assert begin <= after_start(timing.latest_start) * plan.critical_path_ms
            assert done[task_id] <= after_start(timing.latest_finish) * plan.critical_path_ms

    @given(graphs())
    def test_the_critical_path_is_a_longest_path(self, tasks: tuple[Piece, ...]) -> None:
        plan = planned(tasks, 1_000)
        by_id = {task.task_id: task for task in tasks}
        ends: dict[str, int] = {}
        for task_id in plan.timings:
            task = by_id[task_id]
            ends[task_id] = task.estimate_ms + max((ends[d] for d in task.dependencies), default=0)
        assert plan.critical_path_ms == max(ends.values())
        assert sum(by_id[task_id].estimate_ms for task_id in plan.critical_path) == plan.critical_path_ms
        for before, after in pairwise(plan.critical_path):
            assert before in by_id[after].dependencies
        assert {t.task_id for t in plan.timings.values() if t.critical} >= set(plan.critical_path)


def reachable(edges: Mapping[str, Sequence[str]]) -> dict[str, set[str]]:
    """Return all tasks that each task waits for, directly or not."""
    found: dict[str, set[str]] = {}
    for task_id in topological_levels(edges):
        found[task_id] = {*edges[task_id]}.union(*(found[one] for one in edges[task_id]))
    return found


class TestRedundantEdges:
    def test_a_task_does_not_wait_by_an_edge_that_others_imply(self) -> None:
        tasks = (Piece("a"), Piece("b", ("a",)), Piece("c", ("a", "b")))
        plan = planned(tasks, 1000)
        assert plan.redundant(tasks) == {"c": frozenset({"a"})}
        assert named_edges(plan.redundant(tasks)) == ("a → c",)
        assert dependants(tasks, plan.redundant(tasks)) == {"a": ("b",), "b": ("c",), "c": ()}

    def test_a_diamond_has_none(self) -> None:
        assert planned(DIAMOND, 1000).redundant(DIAMOND) == {}

    @given(graphs())
    def test_what_is_left_leads_to_the_same_order_and_no_edge_of_it_can_be_spared(
        self, tasks: tuple[Piece, ...]
    ) -> None:
        edges = {task.task_id: task.dependencies for task in tasks}
        redundant = redundant_edges(tasks, topological_levels(edges))
        left = {
            task_id: [one for one in ids if one not in redundant.get(task_id, ())] for task_id, ids in edges.items()
        }
        assert reachable(left) == reachable(edges)
        assert topological_levels(left) == topological_levels(edges)
        for task_id, ids in left.items():
            for one in ids:
                spared = {**left, task_id: [other for other in ids if other != one]}
                assert one not in reachable(spared)[task_id]

    def test_a_dense_plan_is_reduced_in_little_memory(self) -> None:
        tasks = [Piece(f"t{n}", tuple(f"t{i}" for i in range(max(0, n - 8), n))) for n in range(6_000)]
        redundant = redundant_edges(tasks, topological_levels({task.task_id: task.dependencies for task in tasks}))
        assert sum(map(len, redundant.values())) == sum(max(0, len(task.dependencies) - 1) for task in tasks)


class TestSize:
    def test_a_chain_of_twenty_thousand_tasks_is_planned(self) -> None:
        tasks = [Piece(f"t{n}", (f"t{n - 1}",) if n else ()) for n in range(20_000)]
        plan = planned(tasks[::-1], 40_000_000)
        assert (plan.levels, plan.critical_path_ms, len(plan.critical_path)) == (20_000, 20_000_000, 20_000)
        assert after_start(plan.timings["t0"].latest_finish) == 2_000

    def test_a_ring_of_twenty_thousand_tasks_is_found_by_a_few_looks_at_each(self) -> None:
        looks = []

        class Edges(tuple[str, ...]):
            __slots__ = ()

            def __iter__(self) -> Iterator[str]:
                looks.append(self)
                return super().__iter__()

        size = 20_000
        ring = {f"t{n}": Edges((f"t{(n + 1) % size}",)) for n in range(size)}
        assert len(find_cycle(ring)) == size
        assert size <= len(looks) <= 4 * size

    def test_a_wide_plan_is_planned(self) -> None:
        wide = [Piece("root"), *(Piece(f"t{n}", ("root",)) for n in range(10_000))]
        plan = planned([*wide, Piece("end", tuple(task.task_id for task in wide[1:]))], 3_000)
        assert (plan.levels, plan.timings["end"].index) == (3, 10_001)
