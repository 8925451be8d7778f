"""What nothing reads in a decision is ignored with a warning that says what may have been meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions._core.decision.unknown_fields import MOST, unknown_fields
from tests.support.decisions import a_document, a_plan, a_task
from tests.support.world import running_world, task


def told(document: object) -> list[tuple[str | None, str]]:
    return [(reason.where, reason.message.rpartition("; ")[2]) for reason in unknown_fields(document)]


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("retries", "retry: {max_retries: …}"),
        ("timeout", "timeout_ms"),
        ("timout_ms", "timeout_ms"),
        ("depends_on", "dependencies"),
        ("capabilities", "required_capabilities"),
        ("compensate", "compensation"),
        ("taskid", "task_id"),
    ],
)
def test_an_unknown_field_of_a_task_is_named_with_what_may_have_been_meant(name: str, meant: str) -> None:
    document = a_document(a_plan(a_task("a"), a_task("b", **{name: 3})))
    assert told(document) == [(f"cognitive_plan.tasks[1].{name}", f"did you mean {meant}?")]


def test_a_name_like_no_other_is_named_alone() -> None:
    [warning] = unknown_fields(a_document(a_plan(a_task("a", zzz=1), a_task("b", zzz=2))))
    assert warning.message == "cognitive_plan.tasks[0].zzz: is not a known field and is ignored (in 2 places)"


def test_decision_plan_retry_and_compensation_are_looked_at_too_within_every_wrapping() -> None:
    task = a_task("a", retry={"max_retrys": 1}, compensation={"params": {}})
    plan = {"cognitive_plan": json.dumps(a_plan(task, prioriti="LOW"))}
    assert told(a_document(plan, sla_seconds=5)) == [
        ("sla_seconds", "did you mean sla_deadline_seconds?"),
        ("cognitive_plan.cognitive_plan.prioriti", "did you mean priority?"),
        ("cognitive_plan.cognitive_plan.tasks[0].retry.max_retrys", "did you mean max_retries?"),
        ("cognitive_plan.cognitive_plan.tasks[0].compensation.params", "did you mean parameters?"),
    ]


def test_what_the_contract_carries_and_other_names_in_use_are_known() -> None:
    plan = a_plan({**a_task("a"), "type": "EXECUTE", "compensation": True}, risk_score=0.5, expires_at=None)
    assert unknown_fields(a_document(plan, hash="x", specialist_votes=[])) == ()


@pytest.mark.parametrize("document", [None, [], {}, {"cognitive_plan": "{"}, {"cognitive_plan": {"tasks": [1, None]}}])
def test_what_is_no_decision_is_somebody_elses_to_refuse(document: object) -> None:
    assert unknown_fields(document) == ()


def test_warnings_are_few_and_short_whatever_is_sent() -> None:
    task: dict[str, Any] = {f"{n}{'x' * 10_000}\n": 1 for n in range(500)}
    warnings = unknown_fields(a_document(a_plan(*[a_task(f"t{n}", **task) for n in range(3)])))
    assert len(warnings) == MOST + 1
    assert warnings[-1].message == "480 more names are not known and are ignored, too"
    assert all(len(warning.message) < 250 and "\n" not in warning.message for warning in warnings)


async def test_a_flow_that_is_done_all_the_same_keeps_the_warnings(tmp_path: Path) -> None:
    async with running_world(tmp_path) as world:
        await world.register()
        flow = await world.run(task("a", retries=3, timeout="5s"))
    assert flow.status == "COMPLETED"
    assert [(warning.code, warning.where) for warning in flow.warnings] == [
        ("unknown_field", "cognitive_plan.tasks[0].retries"),
        ("unknown_field", "cognitive_plan.tasks[0].timeout"),
    ]
