"""`flowc cost` as a user meets it."""

import json
from pathlib import Path
from typing import Any

import pytest

from functions._cost import run
from functions._cost.prices import PRICES
from tests.support.command_line import flowc, written
from tests.support.world import task

RIVALS = {"Step Functions Standard", "Lambda durable functions"}


@pytest.fixture(autouse=True)
def few_flows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count as few flows as may be: one is like the other."""
    monkeypatch.setattr(run, "FLOWS", run.FEWEST)


@pytest.fixture
def plan(tmp_path: Path) -> str:
    return written(tmp_path, task("a"), task("b", "a"))[0]


def told(*arguments: str) -> dict[str, Any]:
    run = flowc("cost", *arguments, "--json")
    assert run.exit_code == 0
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def test_it_prints_what_a_million_flows_cost_line_by_line_beside_what_else_there_is(plan: str) -> None:
    run = flowc("cost", plan)
    assert run.exit_code == 0
    assert "A flow of 2 tasks on AWS, us-east-1, prices of" in run.output
    for service in ("DynamoDB: write units", "EventBridge", "SQS", "Lambda", "HTTP API", "CloudWatch", *RIVALS):
        assert service in run.output
    assert "Not in it: workers" in run.output


def test_without_a_plan_five_tasks_are_priced() -> None:
    bill = told()
    assert bill["tasks"] == 5
    assert bill["steps"] == pytest.approx(sum(line["dollars"] for line in bill["lines"] if not line["around"]))
    assert bill["whole"] == pytest.approx(sum(line["dollars"] for line in bill["lines"]))
    assert bill["rivals"].keys() == RIVALS
    assert bill["rivals"]["Step Functions Standard"] == pytest.approx(23 * 25e-6, rel=0.03)
    assert bill["rivals"]["Lambda durable functions"] == pytest.approx(23 * 8e-6, rel=0.06)


def test_other_prices_may_be_given(plan: str, tmp_path: Path) -> None:
    prices = json.loads(PRICES.read_text(encoding="utf-8"))
    dearer = {name: 2 * dollars for name, dollars in prices["dollars"].items()}
    file = tmp_path / "prices.json"
    file.write_text(json.dumps({**prices, "region": "elsewhere", "dollars": dearer}), encoding="utf-8")
    bill = told(plan, "--prices", str(file))
    assert bill["prices"]["region"] == "elsewhere"
    assert bill["whole"] == pytest.approx(2 * told(plan)["whole"], rel=0.01)


def test_events_for_subscribers_have_their_price(plan: str) -> None:
    assert told(plan, "--subscriber-events", "flow.completed")["steps"] > told(plan)["steps"] + 2e-6
    run = flowc("cost", plan, "--subscriber-events", "flow.done")
    assert run.exit_code == 2
    assert "no such type of event: flow.done" in run.output


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"dollars": {}}', None])
def test_prices_that_lack_something_are_refused(plan: str, tmp_path: Path, content: str | None) -> None:
    file = tmp_path / "prices.json"
    if content is not None:
        file.write_text(content, encoding="utf-8")
    run = flowc("cost", plan, "--prices", str(file))
    assert run.exit_code == 2
    assert "the prices cannot be used" in run.output


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("[]", "a decision is a JSON object"),
        ("{", "JSON"),
        ('{"decision_id": "d", "final_decision": "approve"}', "cannot be priced"),
        ('{"final_decision": "approve"}', "cannot be priced"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: str, why: str) -> None:
    file = tmp_path / "plan.json"
    file.write_text(content, encoding="utf-8")
    run = flowc("cost", str(file))
    assert run.exit_code != 0
    assert why in run.output
