"""The flows of a simulated world in which policies act on those that come late: an urgent one, and others beside it."""

from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import Any

from functions._simulator.plans import Scenario

POLICY = "sla-policy"
"""The fault with which there are policies."""

PAUSE_SECONDS = 900
"""How long a flow may be paused in these worlds: longer than it may take until a policy lets it go on."""


LITTLE, MUCH = (45, 60, 90, 120), 900
"""Seconds until the deadline of the urgent flow, one of these, and of those beside it."""


def with_rivals(scenario: Scenario, seed: int) -> Scenario:
    """Return a drawn scenario whose first flow is urgent and has little time, beside others that may be paused."""
    draw = Random(f"{seed}/rivals")
    decisions: list[dict[str, Any]] = [dict(deepcopy(one)) for one in scenario.decisions]
    first = decisions[0]
    first |= {"priority": "HIGH", "sla_deadline_seconds": draw.choice(LITTLE)}
    for number in range(draw.randint(1, 2)):
        rival = deepcopy(first)
        rival |= {"decision_id": f"{first['decision_id']}-rival-{number}", "sla_deadline_seconds": MUCH}
        decisions.append(rival)
    for one in decisions[1:]:
        one["priority"] = draw.choice(("LOW", "NORMAL"))
    return replace(scenario, decisions=decisions)
