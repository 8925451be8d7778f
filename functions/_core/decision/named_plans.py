"""Plans that are stored by name and version: their references, their order, and a decision that uses one.

A version never changes: whoever names NAME@VERSION gets the same plan for ever. NAME alone is its newest version.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from functions._core.decision.vocabulary import shown
from functions._core.errors import Rejected

PLAN_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,98}[A-Za-z0-9])?"
"""The form of a name: 1 to 100 letters, digits, dots, dashes and underscores, a letter or digit at both ends."""

PLAN_VERSION = r"(?:0|[1-9][0-9]{0,8})(?:\.(?:0|[1-9][0-9]{0,8})){2}"
"""The form of a version: MAJOR.MINOR.PATCH, each of at most nine digits and without leading zeros."""

PLAN_REFERENCE = rf"^{PLAN_NAME}(@{PLAN_VERSION})?$"
"""The form of a reference."""

REFERENCE = re.compile(rf"({PLAN_NAME})(?:@({PLAN_VERSION}))?")
KEY = "plan"
"""The one key of a plan that stands for a stored one."""


class PlanReference(NamedTuple):
    """A stored plan; without a version its newest one."""

    name: str
    version: str | None


def plan_reference(text: object) -> PlanReference:
    """Return the reference that a text is; raise `Rejected`, status 422."""
    match = REFERENCE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        message = f"{shown(text)} names no stored plan; write NAME or NAME@1.2.3"
        raise Rejected(message, code="invalid_plan_reference", status=422)
    return PlanReference(match[1], match[2])


def reference_in(decision: object) -> PlanReference | None:
    """Return the reference that a decision has in place of its plan, None for a plan; raise `Rejected`, status 422."""
    plan = decision.get("cognitive_plan") if isinstance(decision, Mapping) else None
    if not isinstance(plan, Mapping) or KEY not in plan or "tasks" in plan:
        return None
    others = sorted(str(key) for key in plan if key != KEY)
    if others:
        message = f"cognitive_plan: a stored plan is named by 'plan' alone, without {', '.join(map(shown, others[:3]))}"
        raise Rejected(message, code="invalid_plan_reference", status=422)
    return plan_reference(plan[KEY])


def with_plan(decision: Mapping[str, Any], plan: Mapping[str, Any], name: str, version: str) -> dict[str, Any]:
    """Return a decision with a stored plan in its place; both have the decision's `plan_id`, else NAME@VERSION."""
    plan_id = decision.get("plan_id") or f"{name}@{version}"
    return {**decision, "plan_id": plan_id, "cognitive_plan": {**plan, "plan_id": plan_id}}


def order_of(version: str) -> tuple[int, ...]:
    """Return a version in the form that compares as versions do."""
    return tuple(int(part) for part in version.split("."))


def newest(versions: Iterable[str]) -> str | None:
    """Return the newest of some versions, None of none."""
    return max(versions, key=order_of, default=None)
