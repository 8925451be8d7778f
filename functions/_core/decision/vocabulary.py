"""The words of a decision as its authors write them, and the limits of these words.

Foreign words are mapped by tables, never by guessing: a word that no table holds is an error that names it.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints

from functions._core.records.values import Priority, TaskType, Timestamp

MAX_ID_LENGTH = 255
"""Characters of an id: the width of the contract's task id. Ids become keys, header values and log fields."""

MAX_TASKS = 20_000
"""Tasks of a plan: its tickets still fit into one process's memory and into one flow's SLA."""

MAX_SPAN_MS = 315_360_000_000
"""Ten years. Longer durations are mistaken units, and their sums would leave the calendar."""

MAX_LABELS = 16
"""Labels of a flow or of a ticket, those that it inherits among them: each of them is an entry of an index."""

MAX_SHOWN = 60
"""Characters of foreign text repeated in a message: enough to recognise it, too few to flood a log."""

TASK_TYPES: Mapping[str, TaskType] = {
    "analyze": TaskType.QUERY,
    "approve": TaskType.APPROVE,
    "build": TaskType.BUILD,
    "code_generation": TaskType.BUILD,
    "deploy": TaskType.DEPLOY,
    "design": TaskType.EXECUTE,
    "documentation": TaskType.EXECUTE,
    "execute": TaskType.EXECUTE,
    "generate": TaskType.EXECUTE,
    "implementation": TaskType.BUILD,
    "query": TaskType.QUERY,
    "review": TaskType.VALIDATE,
    "subflow": TaskType.SUBFLOW,
    "test": TaskType.TEST,
    "testing": TaskType.TEST,
    "tool": TaskType.TOOL,
    "transform": TaskType.TRANSFORM,
    "validate": TaskType.VALIDATE,
    "validation": TaskType.VALIDATE,
    "wait": TaskType.WAIT,
}
"""Every word for the type of a task that is understood, in lower case; any letter case is read."""

WITHOUT_WORKER = frozenset({TaskType.APPROVE, TaskType.WAIT, TaskType.SUBFLOW})
"""Types of tasks that the platform does itself."""

COMPENSATION_TYPES: Mapping[str, TaskType] = {
    word: kind for word, kind in TASK_TYPES.items() if kind not in WITHOUT_WORKER
} | {"compensate": TaskType.COMPENSATE}
"""The words for the type of a compensation; COMPENSATE is kept from plain tasks."""

DOMAINS = frozenset({"BEHAVIOR", "BUSINESS", "COMPLIANCE", "INFRASTRUCTURE", "OPERATIONAL", "SECURITY", "TECHNICAL"})
"""The domains of plans. They are few: each worker leaves a trail in each of them."""

PRIORITY_STEPS = ((2, Priority.LOW), (5, Priority.NORMAL), (8, Priority.HIGH))
"""Numeric priorities up to and including each number; above the last they are CRITICAL."""

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""Control characters, which would disturb a terminal or a log."""

EPOCH = datetime.fromtimestamp(0, tz=UTC)
"""The earliest moment that a decision may name; an earlier one is a mistaken unit."""


class NotUnderstood(ValueError):
    """A value that is well-formed but has no meaning here; `code` says of which kind."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def shown(value: object) -> str:
    """Return `value` as one short line for a message."""
    text = UNPRINTABLE.sub("?", value if isinstance(value, str) else repr(value))
    return f"'{text}'" if len(text) <= MAX_SHOWN else f"'{text[:MAX_SHOWN]}…'"


def read_task_type(value: object) -> TaskType:
    """Read the type of a task."""
    return _task_type(value, TASK_TYPES)


def read_compensation_type(value: object) -> TaskType:
    """Read the type of a compensation."""
    return _task_type(value, COMPENSATION_TYPES)


def read_priority(value: object) -> Priority:
    """Read a priority as a word in any letter case (`medium` is NORMAL) or as a whole number."""
    if isinstance(value, int) and not isinstance(value, bool):
        return next((priority for limit, priority in PRIORITY_STEPS if value <= limit), Priority.CRITICAL)
    if isinstance(value, str) and _folded(value) == "medium":
        return Priority.NORMAL
    try:
        return Priority(str(value))
    except ValueError:
        known = "LOW, NORMAL (also medium), HIGH, CRITICAL and whole numbers"
        raise NotUnderstood("unknown_word", f"is {shown(value)}; known are {known}") from None


def read_domain(value: object) -> str | None:
    """Read the domain of a plan in any letter case; None for a word that names no domain, which is no fault."""
    word = value.strip().upper() if isinstance(value, str) else ""
    return word if word in DOMAINS else None


def in_utc(moment: datetime) -> datetime:
    """Return `moment` in UTC; refuse a moment outside 1970 to 9999."""
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = datetime.min.replace(tzinfo=UTC)
    if moment < EPOCH:
        raise ValueError("must lie between the years 1970 and 9999")
    return moment


def unique(ids: tuple[str, ...]) -> tuple[str, ...]:
    """Return `ids` without repetitions: naming a dependency twice means the same as once."""
    return tuple(dict.fromkeys(ids))


def _task_type(value: object, table: Mapping[str, TaskType]) -> TaskType:
    found = table.get(_folded(value)) if isinstance(value, str) else None
    if found is None:
        raise NotUnderstood("unknown_task_type", f"is {shown(value)}; known are {', '.join(table)}")
    return found


def _folded(word: str) -> str:
    return word.strip().casefold()


ID_PATTERN = r"^[^\x00-\x1f\x7f-\x9f]*$"
"""No control characters."""

Id = Annotated[str, StringConstraints(min_length=1, max_length=MAX_ID_LENGTH, pattern=ID_PATTERN)]
"""An id from outside: it becomes a key, a header value and a log field."""

Ids = Annotated[tuple[Id, ...], AfterValidator(unique)]
"""Ids without repetitions."""

Label = Annotated[
    str, StringConstraints(min_length=1, max_length=63, pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$")
]
"""The name or the value of a label, as on Kubernetes."""

Labels = Annotated[Mapping[Label, Label], Field(max_length=MAX_LABELS)]
"""Names and values by which people find a record."""

Moment = Annotated[Timestamp, AfterValidator(in_utc)]
"""A moment between 1970 and 9999, in UTC."""

DurationMs = Annotated[int, Field(gt=0, le=MAX_SPAN_MS)]
"""A duration above zero, in milliseconds."""

Seconds = Annotated[float, Field(gt=0, le=MAX_SPAN_MS / 1000, allow_inf_nan=False)]
"""A duration above zero, in seconds."""

PriorityWord = Annotated[Priority, BeforeValidator(read_priority)]
"""A priority as a word or as a whole number."""

TaskWord = Annotated[TaskType, BeforeValidator(read_task_type)]
"""The type of a task, as a word of `TASK_TYPES`."""

CompensationWord = Annotated[TaskType, BeforeValidator(read_compensation_type)]
"""The type of a compensation, as a word of `COMPENSATION_TYPES`."""
