"""Fields of a decision that nothing reads: ignored, with a warning that suggests a known name.

A misspelt `retries` or `timeout` would otherwise be noticed too late. Fields of the contract that nothing here
reads are known, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from functions._core.decision.model import (
    CognitivePlan,
    Compensation,
    Decision,
    Input,
    Retry,
    SubPlan,
    Task,
    unwrap_plan,
)
from functions._core.decision.vocabulary import shown
from functions._core.errors import Rejected
from functions._core.records.control import Approval, Correlation, EventFilter, Foreach, Wait
from functions._core.records.models import Reason
from functions._core.records.record import Record

CODE = "unknown_field"
"""Code of the warning about a field that nothing reads."""

MOST = 20
"""Names in the warnings about one decision: warnings are kept on the flow's row, which must stay small."""

CUTOFF = 0.6
"""How alike two names must be (0..1) for one to be suggested for the other."""

MAX_NAME = 60
"""Characters of a name that are compared with others."""

EDITORS = "$schema"
"""Where editors find the JSON Schema of a file; nothing here reads it."""

CARRIED_BY_DECISION = frozenset(
    [
        "trace_id",
        "span_id",
        "consensus_method",
        "aggregated_confidence",
        "aggregated_risk",
        "specialist_votes",
        "consensus_metrics",
        "explainability_token",
        "reasoning_summary",
        "compliance_checks",
        "guardrails_triggered",
        "created_at",
        "metadata",
        "hash",
    ]
)
"""Fields of the contract that a decision carries for others: known, though nothing here reads them."""

CARRIED_BY_PLAN = frozenset(
    [
        "intent_id",
        "correlation_id",
        "trace_id",
        "span_id",
        "risk_score",
        "risk_factors",
        "explainability_token",
        "reasoning_summary",
        "status",
        "created_at",
        "estimated_total_duration_ms",
        "complexity_score",
        "metadata",
        "approved_by",
        "approved_at",
        "risk_matrix",
    ]
)
"""Fields of the contract that stay with the stored decision and change nothing here."""

MEANT: Mapping[str, str] = {
    "args": "parameters",
    "capabilities": "required_capabilities",
    "deadline": "sla_deadline",
    "depends_on": "dependencies",
    "duration_ms": "estimated_duration_ms",
    "heartbeat_ms": "heartbeat_timeout_ms",
    "id": "task_id",
    "input": "parameters",
    "inputs": "parameters",
    "max_attempts": "retry: {max_retries: …}",
    "max_retries": "retry: {max_retries: …}",
    "params": "parameters",
    "retries": "retry: {max_retries: …}",
    "security": "security_level",
    "sla_seconds": "sla_deadline_seconds",
    "timeout": "timeout_ms",
    "timeout_seconds": "timeout_ms",
}
"""Names that are in use elsewhere, each with its name here."""


Level = type[Input] | type[Record]
"""The model of one level of a decision."""

BLOCKS: Mapping[str, Level] = {
    "retry": Retry,
    "compensation": Compensation,
    "foreach": Foreach,
    "approval": Approval,
    "wait": Wait,
    "plan": SubPlan,
}
"""The objects within a task, by name."""

WITHIN: Mapping[str, Mapping[str, Level]] = {"wait": {"event": EventFilter}, "event": {"correlation": Correlation}}
"""The objects within these, by name."""


@dataclass(slots=True)
class Seen:
    """An unknown name at one level: its first place, the number of places, and the model of that level."""

    where: str
    model: Level
    places: int = 1


def unknown_fields(document: object) -> tuple[Reason, ...]:
    """Return a warning for each unknown name of a decision, its plan, tasks and their blocks.

    At most `MOST` are named; one more warning counts the rest.
    """
    found: dict[tuple[Level, str], Seen] = {}
    for where, model, name in _unknown(document):
        if (seen := found.get((model, name))) is not None:
            seen.places += 1
        else:
            found[model, name] = Seen(where, model)
    warnings = [_warning(name, seen) for (_, name), seen in list(found.items())[:MOST]]
    if len(found) > MOST:
        more = f"{len(found) - MOST} more names are not known and are ignored, too"
        warnings.append(Reason(code=CODE, message=more))
    return tuple(warnings)


def _unknown(document: object) -> Iterator[tuple[str, Level, str]]:
    """Yield place, level and name of every field that is not known, from the decision inwards."""
    yield from _of(Decision, document, "", CARRIED_BY_DECISION)
    try:
        plan, keys = unwrap_plan(document.get("cognitive_plan") if isinstance(document, Mapping) else None)
    except Rejected:
        return
    root = ".".join(("cognitive_plan", *keys)) + "."
    yield from _of(CognitivePlan, plan, root, CARRIED_BY_PLAN)
    yield from _of_tasks(plan, root)


def _of_tasks(plan: object, root: str) -> Iterator[tuple[str, Level, str]]:
    """Yield the same for the tasks of a plan at `root`, and of the plans within it."""
    tasks = plan.get("tasks") if isinstance(plan, Mapping) else None
    for position, task in enumerate(tasks if isinstance(tasks, list) else ()):
        place = f"{root}tasks[{position}]."
        yield from _of(Task, task, place)
        if not isinstance(task, Mapping):
            continue
        for name, level in BLOCKS.items():
            if name in task:
                yield from _of_block(name, level, task[name], f"{place}{name}.")
        if "plan" in task:
            yield from _of_tasks(task["plan"], f"{place}plan.")  # JSON is at most 64 levels deep


def _of_block(name: str, level: Level, block: object, place: str) -> Iterator[tuple[str, Level, str]]:
    yield from _of(level, block, place)
    for inner, its in WITHIN.get(name, {}).items():
        if isinstance(block, Mapping):
            yield from _of_block(inner, its, block.get(inner), f"{place}{inner}.")


def _of(
    model: Level, data: object, place: str, carried: frozenset[str] = frozenset()
) -> Iterator[tuple[str, Level, str]]:
    if isinstance(data, Mapping):
        known = _known(model)
        unknown = [name for name in data if name not in known] if not known.keys() >= data.keys() else []
        yield from ((f"{place}{name}", model, name) for name in unknown if name not in carried and name != EDITORS)


@cache
def _known(model: Level) -> Mapping[str, None]:
    """Return the names of the fields of a level, in order."""
    own = model.__struct_fields__ if issubclass(model, Record) else (*model.model_fields, *model.synonyms)
    return dict.fromkeys(own)


def _warning(name: str, seen: Seen) -> Reason:
    known = _known(seen.model)
    meant = MEANT.get(name, "")
    if meant.partition(":")[0] not in known:
        meant = next(iter(get_close_matches(name[:MAX_NAME], known, 1, CUTOFF)), "")
    where = shown(seen.where)[1:-1]
    often = f" (in {seen.places} places)" if seen.places > 1 else ""
    hint = f"; did you mean {meant}?" if meant else ""
    return Reason(code=CODE, message=f"{where}: is not a known field and is ignored{often}{hint}", where=where)
