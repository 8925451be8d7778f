"""From the bytes of a decision to a `Decision`, or to every reason why it is not one.

The one module to import for decisions: models, limits and the checks of C1 are in `model`, `vocabulary`,
`json_text` and `checks`.
"""

from collections.abc import Mapping

from pydantic import ValidationError

from functions._core.decision.checks import check_plan
from functions._core.decision.model import (
    CognitivePlan,
    Compensation,
    Decision,
    Task,
    unwrap_plan,
)
from functions._core.decision.vocabulary import ID_PATTERN, NotUnderstood, shown
from functions._core.errors import Rejected
from functions._core.records.json_text import check_depth, content_hash, parse_json
from functions._core.records.models import Reason
from functions._core.records.values import Verdict

__all__ = [
    "CognitivePlan",
    "Compensation",
    "Decision",
    "InvalidDecision",
    "Task",
    "approval_reasons",
    "check_depth",
    "check_plan",
    "content_hash",
    "decision_in",
    "document_in",
    "parse_json",
    "read_decision",
    "refusal_reasons",
]

SENTENCES: Mapping[str, tuple[str, str]] = {
    "missing": ("missing_field", "is missing"),
    "string_type": ("invalid_field", "must be text"),
    "string_too_short": ("invalid_field", "must not be empty"),
    "string_too_long": ("invalid_field", "must be at most {max_length} characters long"),
    "string_pattern_mismatch": ("invalid_field", "must fit the pattern {pattern}"),
    "model_type": ("invalid_field", "must be an object"),
    "mapping_type": ("invalid_field", "must be an object"),
    "dict_type": ("invalid_field", "must be an object"),
    "tuple_type": ("invalid_field", "must be a list"),
    "too_long": ("too_many_entries", "has more than {max_length} entries"),
    "greater_than": ("invalid_field", "must be greater than {gt}"),
    "greater_than_equal": ("invalid_field", "must be at least {ge}"),
    "less_than_equal": ("invalid_field", "must be at most {le}"),
    "enum": ("unknown_word", "is {word}; known are {expected}"),
    "value_error": ("invalid_field", "{error}"),
    "int": ("invalid_field", "must be a whole number"),
    "float": ("invalid_field", "must be a number"),
    "bool": ("invalid_field", "must be true or false"),
    "datetime": ("invalid_field", "must be a time, as RFC 3339 text or in epoch milliseconds"),
}
"""Code and sentence for each kind of error that pydantic finds, by its name or the name's first word."""

MAX_REASONS = 1_000
"""Errors of a decision that are named; of more nobody needs each."""

OTHERWISE = ("invalid_field", "cannot be read")
"""Code and sentence for an error that no entry of `SENTENCES` names."""


class InvalidDecision(Rejected):
    """The decision cannot be read; `reasons` holds everything that is wrong with it."""

    def __init__(self, reasons: tuple[Reason, ...]) -> None:
        """Take one reason at least; the first becomes the message."""
        others = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        super().__init__(f"{reasons[0].message}{others}", code="invalid_decision")
        self.reasons = reasons


def read_decision(text: bytes) -> Decision:
    """Return the decision that `text`, JSON in UTF-8, holds; raise `InvalidDecision` with all its errors."""
    return decision_in(document_in(text))


def document_in(text: bytes) -> object:
    """Return the JSON value that `text`, JSON in UTF-8, holds; raise `InvalidDecision`."""
    try:
        return parse_json(text)
    except Rejected as error:
        raise InvalidDecision((Reason(code=error.code, message=str(error)),)) from None


def decision_in(document: object) -> Decision:
    """Return the decision that a JSON value holds; raise `InvalidDecision` with all its errors."""
    try:
        decision = Decision.model_validate(document)
    except ValidationError as error:
        # The original shows the input at length, which belongs in no log; its content is in the reasons.
        raise InvalidDecision(_reasons(error, document)) from None
    if decision.plan_id != decision.cognitive_plan.plan_id:
        raise InvalidDecision((_mismatch(decision.plan_id, decision.cognitive_plan.plan_id),))
    return decision


def refusal_reasons(decision: Decision) -> tuple[Reason, ...]:
    """Return why the flow of this decision is not to be run at all: empty unless it was rejected."""
    if decision.final_decision is Verdict.REJECT:
        return (_reason("decision_rejected", "final_decision", "the decision is 'reject', so nothing is done"),)
    return ()


def approval_reasons(decision: Decision) -> tuple[Reason, ...]:
    """Return why a person has to approve this decision first: empty when none has to."""
    plan = decision.cognitive_plan
    approved = (plan.approval_status or "").strip().casefold() == "approved"
    grounds = (
        (
            decision.final_decision in {Verdict.REVIEW_REQUIRED, Verdict.CONDITIONAL},
            "final_decision",
            f"the decision is '{decision.final_decision}'",
        ),
        (decision.requires_human_review, "requires_human_review", "the decision asks for human review"),
        (plan.is_destructive, "cognitive_plan.is_destructive", "the plan is destructive"),
        (
            bool(plan.destructive_tasks),
            "cognitive_plan.destructive_tasks",
            f"the plan has {len(plan.destructive_tasks)} destructive tasks",
        ),
        (
            plan.requires_approval and not approved,
            "cognitive_plan.requires_approval",
            f"the plan asks for approval, which is {shown(plan.approval_status or 'absent')}",
        ),
    )
    return tuple(_reason("approval_required", where, text) for holds, where, text in grounds if holds)


def _reasons(error: ValidationError, document: object) -> tuple[Reason, ...]:
    """Translate the errors that pydantic found, and add those that it could not reach."""
    if error.error_count() > MAX_REASONS:
        return (_reason("invalid_field", "", f"has {error.error_count()} faults, too many to be named"),)
    plan, keys = _plan_of(document)
    reasons = []
    for found in error.errors(include_url=False):
        kind = found["type"]
        code, sentence = SENTENCES.get(kind) or SENTENCES.get(kind.partition("_")[0], OTHERWISE)
        facts = dict(found.get("ctx", {}))
        if isinstance(facts.get("error"), NotUnderstood):
            code = facts["error"].code
        if kind == "string_pattern_mismatch" and facts["pattern"] == ID_PATTERN:
            sentence = "must not hold control characters"
        if kind == "too_long" and found["loc"][-1] == "tasks":
            code = "too_many_tasks"
        if kind == "enum":
            facts |= {"word": shown(found["input"]), "expected": facts["expected"].replace("'", "")}
        reasons.append(_reason(code, _where(found["loc"], keys), sentence.format(**facts)))
    decided, planned = (part.get("plan_id") if isinstance(part, dict) else None for part in (document, plan))
    if isinstance(decided, str) and isinstance(planned, str) and decided != planned:
        reasons.append(_mismatch(decided, planned))
    return tuple(reasons)


def _plan_of(document: object) -> tuple[object, tuple[str, ...]]:
    """Return the plan in a decision that is not valid, as far as there is one, and the keys around it."""
    try:
        return unwrap_plan(document.get("cognitive_plan") if isinstance(document, dict) else None)
    except Rejected:
        return None, ()


def _where(loc: tuple[int | str, ...], keys: tuple[str, ...]) -> str:
    """Return the place of an error as a path, e.g. `cognitive_plan.tasks[3].task_id`; empty for the decision itself."""
    parts = (*loc[:1], *keys, *loc[1:]) if loc[:1] == ("cognitive_plan",) else loc
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return path.removeprefix(".")


def _mismatch(decided: str, planned: str) -> Reason:
    text = f"is {shown(planned)}, but the decision is about plan {shown(decided)}"
    return _reason("plan_id_mismatch", "cognitive_plan.plan_id", text)


def _reason(code: str, where: str, text: str) -> Reason:
    return Reason(code=code, message=f"{where or 'the decision'}: {text}", where=where or None)
