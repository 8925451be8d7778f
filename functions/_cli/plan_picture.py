"""What is drawn of a plan: its tasks by level, each construct with its own shape, the critical path, and states."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from functions._cli.words import clean
from functions._core.decision.model import Task
from functions._core.explain.spans import counted, span_of_seconds
from functions._core.planning.graph import schedule

MOST_TASKS, MOST_EDGES = 2_000, 10_000
"""What a picture holds at most; more of it nobody sees anything in."""

NAME, NOTE = 28, 34
"""Characters of a name and of a note."""

SHAPES: Mapping[str, str] = {"APPROVE": "approval", "WAIT": "wait", "SUBFLOW": "sub-flow"}
"""The shape of a task that the platform does itself, by its type; others are `foreach` or `task`."""

MARKS: Mapping[str, str] = {"approval": "⬡", "wait": "◷", "foreach": "☰", "sub-flow": "▣", "task": "▢"}
"""The shapes in text; a condition is ◇."""


class TooLarge(ValueError):
    """The plan has more than a picture shows."""


@dataclass(frozen=True, slots=True)
class Node:
    """A task in the picture; `condition` is its `when`, `after` are places of other nodes.

    `before` is the place of the node before it on the critical path.
    """

    task_id: str
    shape: str
    kind: str
    note: str
    condition: str | None
    after: tuple[int, ...]
    level: int
    critical: bool
    before: int | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Picture:
    """A plan to be drawn: the nodes by level, and the length of the critical path in words."""

    nodes: Sequence[Node]
    levels: int
    length: str
    inner: Mapping[int, "Picture"] = field(default_factory=dict)
    """The plans of sub-flows, by the place of their task."""


def picture_of_plan(tasks: Sequence[Task], states: Mapping[str, str]) -> Picture:
    """Return the picture of a plan that C1 accepts, with the present `states` of its tasks; raise `TooLarge`."""
    number, edges = _size(tasks)
    if number > MOST_TASKS or edges > MOST_EDGES:
        text = f"it has {number} tasks and {edges} dependencies; up to {MOST_TASKS} and {MOST_EDGES} are drawn"
        raise TooLarge(text)
    return _picture(tasks, states, "")


def _size(tasks: Sequence[Task]) -> tuple[int, int]:
    """Return how many tasks and dependencies there are, those of sub-flows included."""
    inner = [_size(task.plan.tasks) for task in tasks if task.plan]
    edges = sum(len(task.dependencies) for task in tasks)
    return len(tasks) + sum(one for one, _ in inner), edges + sum(one for _, one in inner)


def _picture(tasks: Sequence[Task], states: Mapping[str, str], scope: str) -> Picture:
    now = datetime.now(UTC)
    planned = schedule(tasks, now, now)
    by_id = {task.task_id: task for task in tasks}
    place = {task_id: number for number, task_id in enumerate(planned.timings)}
    path = planned.critical_path
    before = dict(zip(path[1:], (place[one] for one in path), strict=False))
    on_path = {*path}
    nodes = [
        Node(
            task_id=task_id,
            shape=shape_of(by_id[task_id]),
            kind=str(by_id[task_id].task_type),
            note=_note(by_id[task_id]),
            condition=by_id[task_id].when,
            after=tuple(place[one] for one in by_id[task_id].dependencies),
            level=timing.level,
            critical=task_id in on_path,
            before=before.get(task_id),
            status=states.get(scope + task_id),
        )
        for task_id, timing in planned.timings.items()
    ]
    inner = {
        place[task.task_id]: _picture(task.plan.tasks, states, f"{scope}{task.task_id}/")
        for task in tasks
        if task.plan and task.plan.tasks
    }
    return Picture(nodes, planned.levels, span_of_seconds(planned.critical_path_ms / 1000), inner)


def shape_of(task: Task) -> str:
    """Return the shape of a task: `approval`, `wait`, `sub-flow`, `foreach` or `task`."""
    return "foreach" if task.foreach else SHAPES.get(task.task_type, "task")


def short(text: str, most: int) -> str:
    """Return foreign text on one line of at most so many characters."""
    line = clean(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _note(task: Task) -> str:
    """Return what the shape does not say."""
    notes = []
    if task.foreach:
        notes.append(f"for each item, {task.foreach.limit} at once")
    if task.plan:
        notes.append(f"a plan of {counted(len(task.plan.tasks), 'task')}")
    if task.wait and task.wait.event:
        notes.append(task.wait.event.type)
    elif task.wait:
        notes.append("until a moment" if task.wait.seconds is None else f"{task.wait.seconds} s")
    if task.allow_failure:
        notes.append("may fail")
    return ", ".join(notes)


def as_text(picture: Picture) -> str:
    """Return the picture as text: `*` marks the critical path."""
    lines = [f"critical path {picture.length}, marked by *"]
    level = -1
    for node in picture.nodes:
        if node.level != level:
            level = node.level
            lines.append(f"level {level + 1}")
        after = ", ".join(short(picture.nodes[one].task_id, NAME) for one in node.after)
        parts = (
            "*" if node.critical else " ",
            MARKS[node.shape],
            f"{short(node.task_id, NAME):<{NAME}}",
            node.status or node.kind,
            f"({short(node.note, NOTE)})" if node.note else "",
            f"after {after}" if after else "",
            f"◇ when {short(node.condition, 80)}" if node.condition else "",
        )
        lines.append("  " + " ".join(part for part in parts if part).rstrip())
    return "\n".join(lines)


SAFE = frozenset(" _.,-")
CORNERS: Mapping[str, tuple[str, str]] = {
    "approval": ("{{", "}}"),
    "wait": ("([", "])"),
    "foreach": ("[/", "/]"),
    "sub-flow": ("[[", "]]"),
    "task": ("[", "]"),
}
"""The shapes of Mermaid."""


def as_mermaid(picture: Picture) -> str:
    """Return the picture as a flowchart of Mermaid; every foreign character that could mean something is escaped."""
    return "\n".join(("flowchart LR", *_chart(picture, ""), "    classDef critical stroke-width:3px"))


def _chart(picture: Picture, prefix: str) -> list[str]:
    """Return the lines of a picture, each node named by `prefix` and its place; a sub-flow has a subgraph."""
    lines = []
    for number, node in enumerate(picture.nodes):
        opening, closing = CORNERS[node.shape]
        words = [short(node.task_id, NAME), node.status or node.kind, short(node.note, NOTE)]
        label = "<br/>".join(_escaped(word) for word in words if word)
        name, to = f"{prefix}t{number}", f"{prefix}{'c' if node.condition else 't'}{number}"
        lines.append(f'    {name}{opening}"{label}"{closing}')
        if node.condition:
            lines.append(f'    {to}{{"{_escaped(short(node.condition, NOTE))}"}}')
            lines.append(f"    {to} --> {name}")
        lines += [f"    {prefix}t{one} {'==>' if one == node.before else '-->'} {to}" for one in node.after]
        if number in picture.inner:
            lines.append(f'    subgraph {name}s["{_escaped(short(node.task_id, NAME))}"]')
            lines += [*_chart(picture.inner[number], f"{name}s"), "    end", f"    {name} -.-> {name}s"]
    critical = ",".join(f"{prefix}t{number}" for number, node in enumerate(picture.nodes) if node.critical)
    return [*lines, f"    class {critical} critical"]


def _escaped(text: str) -> str:
    return "".join(one if one.isalnum() or one in SAFE else f"#{ord(one)};" for one in text)
