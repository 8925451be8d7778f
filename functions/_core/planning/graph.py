"""The graph of a plan: its order, its cycles and how its deadline is shared out. Linear in tasks and edges.

An edge leads from a task to one it depends on. Nothing here recurses, so no plan is too deep.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from types import MappingProxyType
from typing import Protocol

from functions._core.records.values import add_time, milliseconds, time_span


class Plannable(Protocol):
    """The part of a task that planning needs."""

    @property
    def task_id(self) -> str:
        """The id, unique within the plan."""

    @property
    def dependencies(self) -> Sequence[str]:
        """The ids of the tasks that must be done first."""

    @property
    def estimate_ms(self) -> int:
        """The expected duration, in milliseconds and above zero."""


@dataclass(frozen=True, slots=True)
class Work:
    """Work that is no task of a plan: work to be done again, or to be undone."""

    task_id: str
    dependencies: tuple[str, ...]
    estimate_ms: int


@dataclass(frozen=True, slots=True)
class Timing:
    """When a task has to run so that the flow meets its deadline; `index` counts in topological order.

    `tail_ms` is the length of the critical path of estimates after it.
    """

    task_id: str
    index: int
    level: int
    latest_start: datetime
    latest_finish: datetime
    critical: bool
    tail_ms: int


@dataclass(frozen=True, slots=True)
class Schedule:
    """The timings of all tasks by id, in topological order: by level, then as the plan lists them.

    `levels` is how many there are; `critical_path` has the greatest sum of estimates from source to sink.
    """

    timings: Mapping[str, Timing]
    levels: int
    critical_path: tuple[str, ...]
    critical_path_ms: int

    def redundant(self, tasks: Iterable[Plannable]) -> dict[str, frozenset[str]]:
        """Return the edges of `tasks`, those that are scheduled, that nothing has to wait for."""
        return redundant_edges(tasks, {timing.task_id: timing.level for timing in self.timings.values()})


def dependants(
    tasks: Iterable[Plannable], redundant: Mapping[str, frozenset[str]] = MappingProxyType({})
) -> dict[str, tuple[str, ...]]:
    """Return, for every task, those that wait for it, as the plan lists them; nothing waits by a `redundant` edge."""
    edges = {
        task.task_id: [one for one in task.dependencies if one not in redundant.get(task.task_id, ())] for task in tasks
    }
    return {task_id: tuple(ids) for task_id, ids in _followers(edges).items()}


AT_ONCE = 2_048
"""Dependencies whose dependants are looked for in one walk over the plan: it bounds the memory of a walk."""


def redundant_edges(tasks: Iterable[Plannable], levels: Mapping[str, int]) -> dict[str, frozenset[str]]:
    """Return, by task, the dependencies that another dependency of the task waits for anyway: A of C in A → B → C.

    What is left leads to the same order. `levels` are those of all tasks, in topological order; a task without such an
    edge is absent. Only an edge below another one of its task can be redundant: most plans need no walk at all.
    """
    dependencies = {task.task_id: task.dependencies for task in tasks}
    doubtful: dict[str, list[str]] = {}
    for task_id, ids in dependencies.items():
        highest = max((levels[one] for one in ids), default=0)
        if below := [one for one in ids if levels[one] < highest]:
            doubtful[task_id] = below
    candidates = list(dict.fromkeys(one for below in doubtful.values() for one in below))
    found: dict[str, set[str]] = {}
    for start in range(0, len(candidates), AT_ONCE):
        bits = {task_id: 1 << place for place, task_id in enumerate(candidates[start : start + AT_ONCE])}
        before: dict[str, int] = {}
        for task_id in levels:
            reached = 0
            for one in dependencies[task_id]:
                reached |= before[one]
            for one in doubtful.get(task_id, ()):
                if reached & bits.get(one, 0):
                    found.setdefault(task_id, set()).add(one)
            before[task_id] = reached | sum(bits.get(one, 0) for one in {*dependencies[task_id]})
    return {task_id: frozenset(ids) for task_id, ids in found.items()}


def topological_levels(dependencies: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Return the level of every task that no cycle holds up, by level and then in the order of the mapping.

    A task without dependencies has level 0, any other one more than its highest dependency. Dependencies on
    ids that are no keys do not count.
    """
    followers = _followers(dependencies)
    waiting = {task_id: sum(d in dependencies for d in ids) for task_id, ids in dependencies.items()}
    found: dict[str, int] = {}
    wave = [task_id for task_id, count in waiting.items() if not count]
    depth = 0
    while wave:
        following: list[str] = []
        for task_id in wave:
            found[task_id] = depth
            for follower in followers[task_id]:
                waiting[follower] -= 1
                if not waiting[follower]:
                    following.append(follower)
        wave = following
        depth += 1
    by_level: list[list[str]] = [[] for _ in range(depth)]
    for task_id in dependencies:
        if task_id in found:
            by_level[found[task_id]].append(task_id)
    return {task_id: level for level, ids in enumerate(by_level) for task_id in ids}


def find_cycle(dependencies: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """Return one cycle, each task depending on the next and the last on the first; empty when there is none.

    The same mapping gives the same cycle, beginning with its member that the mapping lists first.
    """
    free = topological_levels(dependencies)
    stuck = {task_id: position for position, task_id in enumerate(dependencies) if task_id not in free}
    if not stuck:
        return ()
    # Every stuck task depends on a stuck one, so the walk goes on until it meets itself.
    walk: dict[str, int] = {}
    at = next(iter(stuck))
    while at not in walk:
        walk[at] = len(walk)
        at = next(d for d in dependencies[at] if d in stuck)
    cycle = tuple(walk)[walk[at] :]
    first = cycle.index(min(cycle, key=stuck.__getitem__))
    return cycle[first:] + cycle[:first]


def schedule(tasks: Sequence[Plannable], start: datetime, deadline: datetime) -> Schedule:
    """Share the time from `start` to `deadline` out over the tasks, in proportion to their estimates.

    With `tail(t)` the critical path of estimates after task t, `critical` the critical path of all tasks, both in
    milliseconds, and `scale = max(0, deadline - start) / critical`::

        latest_finish(t) = deadline - floor(scale * tail(t))
        share_start(t)   = deadline - floor(scale * (tail(t) + estimate(t)))
        latest_start(t)  = max(share_start(t), latest_finish(t) - estimate(t))

    Slack is thereby spread over the path: a task's share is `scale` times its estimate, and it may start as late
    as still leaves the estimate. When the estimates do not fit, all shares shrink alike (scale < 1).
    A dependency's latest finish is never after the latest start of its dependants, every sink may finish
    at the deadline, and a plan whose tasks take `scale * estimate` each misses nothing.

    Raises `ValueError` when ids repeat, a dependency is unknown or the graph has a cycle; C1 refuses those.
    """
    by_id = {task.task_id: task for task in tasks}
    levels = topological_levels({task.task_id: task.dependencies for task in tasks})
    if len(levels) < len(tasks) or any(d not in by_id for task in tasks for d in task.dependencies):
        raise ValueError("the tasks are not a directed acyclic graph over unique ids")
    return timed([by_id[task_id] for task_id in levels], levels, start, deadline)


def timed(order: Sequence[Plannable], levels: Mapping[str, int], start: datetime, deadline: datetime) -> Schedule:
    """Share the time out as `schedule` does, over tasks that are in topological order, with their levels."""
    ends, tails = longest_paths(order)
    share = _Share(deadline, max(0, milliseconds(deadline - start)), max(ends.values(), default=0))
    timings = {
        task.task_id: share.timing(task, index, levels[task.task_id], ends[task.task_id], tails[task.task_id])
        for index, task in enumerate(order)
    }
    path = _critical_path(order, ends, {task_id for task_id, timing in timings.items() if timing.critical})
    return Schedule(timings, max(levels.values(), default=-1) + 1, path, share.critical_ms)


def critical_path_ms(tasks: Sequence[Plannable]) -> int:
    """Return the greatest sum of estimates along a path, in milliseconds; tasks that no order has do not count."""
    levels = topological_levels({task.task_id: task.dependencies for task in tasks})
    by_id = {task.task_id: task for task in tasks}
    ends: dict[str, int] = {}
    for task_id in levels:
        before = (ends.get(one, 0) for one in by_id[task_id].dependencies)
        ends[task_id] = by_id[task_id].estimate_ms + max(before, default=0)
    return max(ends.values(), default=0)


def named_edges(redundant: Mapping[str, frozenset[str]]) -> tuple[str, ...]:
    """Return redundant edges as `A → C`, in a stable order, at most `EDGES_NAMED`."""
    edges = (f"{one} → {task_id}" for task_id, ids in redundant.items() for one in sorted(ids))
    return tuple(islice(edges, EDGES_NAMED))


EDGES_NAMED = 100
"""Redundant edges that are named; all of them are counted."""


@dataclass(frozen=True, slots=True)
class _Share:
    """The division of a window of time over the critical path."""

    deadline: datetime
    window_ms: int
    critical_ms: int

    def before_deadline(self, path_ms: int) -> datetime:
        return add_time(self.deadline, -time_span(path_ms * self.window_ms // self.critical_ms))

    def timing(self, task: Plannable, index: int, level: int, end: int, tail: int) -> Timing:
        finish = self.before_deadline(tail)
        start = max(self.before_deadline(tail + task.estimate_ms), add_time(finish, -time_span(task.estimate_ms)))
        return Timing(task.task_id, index, level, start, finish, end + tail == self.critical_ms, tail)


def _followers(dependencies: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    followers: dict[str, list[str]] = {task_id: [] for task_id in dependencies}
    for task_id, ids in dependencies.items():
        for dependency in ids:
            if dependency in followers:
                followers[dependency].append(task_id)
    return followers


def longest_path(order: Sequence[Plannable]) -> Sequence[str]:
    """Return the critical path of tasks in topological order, the last task first."""
    ends: dict[str, int] = {}
    for task in order:
        ends[task.task_id] = task.estimate_ms + max((ends[d] for d in task.dependencies), default=0)
    by_id = {task.task_id: task for task in order}
    path: list[str] = []
    before: Sequence[str] = [*ends]
    while before:
        path.append(max(before, key=ends.__getitem__))
        before = by_id[path[-1]].dependencies
    return path


def longest_paths(order: Sequence[Plannable]) -> tuple[dict[str, int], dict[str, int]]:
    """Return the length of the critical path up to the end of each task, and of the one after it."""
    ends: dict[str, int] = {}
    for task in order:
        ends[task.task_id] = task.estimate_ms + max((ends[d] for d in task.dependencies), default=0)
    tails = dict.fromkeys(ends, 0)
    for task in reversed(order):
        for dependency in task.dependencies:
            tails[dependency] = max(tails[dependency], tails[task.task_id] + task.estimate_ms)
    return ends, tails


def _critical_path(order: Sequence[Plannable], ends: Mapping[str, int], critical: set[str]) -> tuple[str, ...]:
    """Return the critical path that comes first in topological order."""
    path: list[str] = []
    for task in order:
        # A critical task continues the path when it can start just when the path so far is done.
        reached = ends[path[-1]] if path else 0
        joins = not path or path[-1] in task.dependencies
        if task.task_id in critical and joins and ends[task.task_id] - task.estimate_ms == reached:
            path.append(task.task_id)
    return tuple(path)
