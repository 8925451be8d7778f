"""What playbooks have done about the incidents of a flow, in sentences."""

from collections.abc import Sequence
from datetime import datetime

from functions._core.decision.vocabulary import UNPRINTABLE
from functions._core.explain.ticket import Explanation
from functions._core.explain.wording import SAID, ago, ahead, plain
from functions._core.healing.runs import ActionState, HealingAction, HealingRun, HealingState

NAMED = 5
"""Runs that are told: the newest."""


def with_healing(explanation: Explanation, runs: Sequence[HealingRun], now: datetime) -> Explanation:
    """Return an explanation that says what playbooks have done about its subject, the newest last."""
    sentences = [_sentence(one, now) for one in runs[-NAMED:]]
    return explanation.but(details=(*explanation.details, *sentences)) if sentences else explanation


def _sentence(run: HealingRun, now: datetime) -> str:
    about = run.incident
    kind = about.incident_type.replace("_", " ").lower()
    begun = f"Playbook {plain(run.playbook)} took up the incident ({kind}) of {ago(about.raised_at, now)}"
    acts = "; ".join(map(_action, run.actions))
    said = f": {acts}" if acts else ""
    match run.state:
        case HealingState.ACTIVE:
            return f"{begun}{said}; it looks again at {ahead(run.look_at, now)}."
        case HealingState.RESOLVED:
            return f"{begun}{said}. It counts as resolved: {_whole(run.why)}."
        case HealingState.ESCALATED:
            return f"{begun}{said}. A person has to look: {_whole(run.why)}."
        case HealingState.REHEARSED:
            return f"{begun} and did nothing: {_whole(run.why)}."


def _action(action: HealingAction) -> str:
    if action.state is ActionState.BEGUN:
        return f"{action.action} is under way"
    return _whole(action.text) if action.state is ActionState.DONE else f"no {action.action}, as {_whole(action.text)}"


def _whole(text: str) -> str:
    """Return a text that the platform has made, in which words of others may be, as one line."""
    return UNPRINTABLE.sub("?", text)[:SAID]
