"""A body of a million faults costs no more than one of a few: nobody needs all of them named."""

import time
from collections.abc import Mapping
from typing import Any

import pytest
from pydantic import BaseModel

from functions._core.decision.reading import InvalidDecision, decision_in
from functions._core.decision.single import NewTicket
from functions._core.errors import Rejected
from functions._core.placement.workers import Heartbeat, Registration
from functions._core.webhooks.subscription import SubscriptionForm
from functions.api.forms import KeyForm, Wanted
from functions.api.problems import checked
from functions.api.ticket_forms import StatusChange
from functions.api.webhook_forms import PipelineCompleted

LONGEST_SECONDS = 0.05
MANY: list[Any] = [0] * 300_000
KEYS = {f"k{number}": 0 for number in range(80_000)}
TICKET: Mapping[str, Any] = {"plan_id": "p", "task_type": "BUILD"}
WORKER: Mapping[str, Any] = {"worker_id": "w", "endpoint": "http://x/"}


@pytest.mark.parametrize(
    ("model", "value"),
    [
        (NewTicket, {**TICKET, "required_capabilities": MANY}),
        (NewTicket, {**TICKET, "dependencies": MANY}),
        (NewTicket, {**TICKET, "compensation": {"required_capabilities": MANY}}),
        (NewTicket, {**TICKET, "retry": {"non_retryable": MANY}}),
        (StatusChange, KEYS),
        (Registration, {**WORKER, "running": MANY}),
        (Registration, {**WORKER, "capabilities": MANY}),
        (Heartbeat, {"running": MANY}),
        (PipelineCompleted, {"pipeline_id": "w", "ticket_id": "x", "status": "COMPLETED", "artifacts": MANY}),
        (KeyForm, {"name": "x", "roles": MANY}),
        (KeyForm, {"name": "x", "roles": ["viewer"], "scopes": MANY}),
        (SubscriptionForm, {"sink": "http://x/", "types": MANY}),
        (SubscriptionForm, {"sink": "http://x/", "filters": MANY}),
        (Wanted, {"capabilities": MANY}),
    ],
    ids=lambda given: given.__name__ if isinstance(given, type) else ",".join([*given][-1:]),
)
def test_faults_that_nobody_can_name_cost_little(model: type[BaseModel], value: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        checked(model, {"x": 1, "status": 7, "running": 7, "roles": 7, "sink": 7, "plan_id": 7}, "body")  # build it
    begun = time.thread_time()
    with pytest.raises(Rejected):
        checked(model, value, "body")
    assert time.thread_time() - begun < LONGEST_SECONDS


@pytest.mark.parametrize(
    "plan",
    [
        {"tasks": [{"task_id": "a", "task_type": "BUILD", "required_capabilities": MANY}]},
        {"tasks": [], "execution_order": MANY},
        {"tasks": MANY},
        {"tasks": [0] * 20_000},
        {"tasks": [], "destructive_tasks": MANY},
    ],
    ids=["capabilities", "order", "too many tasks", "wrong tasks", "destructive"],
)
def test_a_decision_of_a_million_faults_is_refused_like_one_of_a_few(plan: dict[str, Any]) -> None:
    head = {"decision_id": "d", "plan_id": "p", "intent_id": "i", "final_decision": "approve"}
    with pytest.raises(InvalidDecision):
        decision_in({})
    begun = time.thread_time()
    with pytest.raises(InvalidDecision):
        decision_in({**head, "cognitive_plan": {"plan_id": "p", **plan}})
    assert time.thread_time() - begun < 2 * LONGEST_SECONDS
