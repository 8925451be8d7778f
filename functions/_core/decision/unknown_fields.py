"""Fields of a decision that nothing reads: ignored, with a warning that suggests a known name.

A misspelt `retries` or `timeout` would otherwise be noticed too late. Fields of the contract that nothing here
reads are known, too.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches

from functions._core.decision.model import CognitivePlan, Compensation, Decision, Input, Retry, Task, unwrap_plan
from functions._core.decision.vocabulary import shown
from functions._core.errors import Rejected
from functions._core.records.models import Reason

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


@dataclass(slots=True)
class Seen:
    """An unknown name at one level: its first place, the number of places, and the model of that level."""

    where: str
    model: type[Input]
    places: int = 1


def unknown_fields(document: object) -> tuple[Reason, ...]:
    """Return a warning for each unknown name of a decision, its plan, tasks, retries and compensations.

    At most `MOST` are named; one more warning counts the rest.
    """
    found: dict[tuple[type[Input], str], Seen] = {}
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


def _unknown(document: object) -> Iterator[tuple[str, type[Input], str]]:
    """Yield place, level and name of every field that is not known, from the decision inwards."""
    yield from _of(Decision, document, "", CARRIED_BY_DECISION)
    try:
        plan, keys = unwrap_plan(document.get("cognitive_plan") if isinstance(document, Mapping) else None)
    except Rejected:
        return
    root = ".".join(("cognitive_plan", *keys)) + "."
    yield from _of(CognitivePlan, plan, root, CARRIED_BY_PLAN)
    tasks = plan.get("tasks") if isinstance(plan, Mapping) else None
    for position, task in enumerate(tasks if isinstance(tasks, list) else ()):
        place = f"{root}tasks[{position}]."
        yield from _of(Task, task, place)
        if isinstance(task, Mapping):
            yield from _of(Retry, task.get("retry"), f"{place}retry.")
            yield from _of(Compensation, task.get("compensation"), f"{place}compensation.")


def _of(
    model: type[Input], data: object, place: str, carried: frozenset[str] = frozenset()
) -> Iterator[tuple[str, type[Input], str]]:
    if isinstance(data, Mapping):
        unknown = [name for name in data if not (name in model.model_fields or name in model.synonyms)]
        yield from ((f"{place}{name}", model, name) for name in unknown if name not in carried and name != EDITORS)


def _warning(name: str, seen: Seen) -> Reason:
    known = [*seen.model.model_fields, *seen.model.synonyms]
    meant = MEANT.get(name, "")
    if meant.partition(":")[0] not in known:
        meant = next(iter(get_close_matches(name[:MAX_NAME], known, 1, CUTOFF)), "")
    where = shown(seen.where)[1:-1]
    often = f" (in {seen.places} places)" if seen.places > 1 else ""
    hint = f"; did you mean {meant}?" if meant else ""
    return Reason(code=CODE, message=f"{where}: is not a known field and is ignored{often}{hint}", where=where)
