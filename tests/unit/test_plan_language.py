"""Samples of each construct, and plans written in Python."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from flowc.plan import INDEX, Plan, given, item, secret
from functions._cli.decision_file import read_file
from functions._core.decision.reading import check_plan, decision_in
from functions._core.decision.sample_constructs import SCHEDULE, SENTENCES, construct_sample
from functions._core.decision.unknown_fields import unknown_fields
from tests.conftest import ROOT
from tests.contract.test_plan_schema import fits
from tests.support.command_line import flowc
from tests.support.decisions import NOW
from tests.support.documents import Block, blocks

DECISIONS = [name for name in SENTENCES if name != SCHEDULE]


@pytest.mark.parametrize("name", DECISIONS)
def test_each_construct_is_printed_and_nothing_is_wrong_with_it(name: str, tmp_path: Path) -> None:
    printed = flowc("sample", name, "--seed", "7")
    assert printed.exit_code == 0
    document = json.loads(printed.stdout)
    assert document == construct_sample(name, "00000007")
    assert (fits("decision", document), unknown_fields(document)) == ([], ())
    assert check_plan(decision_in(document), NOW) == ((), ())
    file = tmp_path / "decision.json"
    file.write_text(printed.stdout, encoding="utf-8")
    checked = flowc("validate", str(file))
    assert checked.exit_code == 0
    assert not {"error:", "warning:"} & {*checked.stderr.split()}


def test_the_constructs_are_listed_and_others_refused() -> None:
    assert [line.split()[0] for line in flowc("sample", "--list").stdout.splitlines()] == [*SENTENCES]
    assert flowc("sample", "dance").exit_code == 2
    one, two = (json.loads(flowc("sample", "wait").stdout)["decision_id"] for _ in range(2))
    assert one != two


def test_the_schedule_has_a_decision_without_an_id() -> None:
    schedule = json.loads(flowc("sample", SCHEDULE).stdout)
    decision = {**schedule.pop("decision"), "decision_id": "x"}
    assert (schedule["cron"], schedule["zone"]) == ("0 3 * * *", "Europe/Berlin")
    assert check_plan(decision_in(decision), NOW) == ((), ())


def every_construct() -> Plan:
    plan = Plan("nightly", labels={"team": "data"}, priority="HIGH")
    rows = plan.task("extract", type="QUERY", input={"token": secret("warehouse")})
    few = rows.output["count"] < 10
    ask = plan.approve("ask", "Go on?", after=rows, when=few & ~(rows.output["rows"].size() == 0))
    hold = plan.wait("hold", wait={"seconds": 1}, after=[ask, "extract"], on_skipped="any")
    each = plan.foreach(
        "each", rows.output("/rows"), after=hold, input={"row": item("/id"), "n": INDEX}, foreach={"limit": 3}
    )
    inner = Plan("inner")
    inner.result = inner.task("a", input={"x": given("/x")}).output()
    sub = plan.subflow("sub", inner, after=each, input={"x": each.output()})
    plan.task("last", after=sub, when=(sub.status == "COMPLETED") | (each.status != 'quo"te'))
    plan.result = {"sub": sub.output()}
    return plan


def test_a_plan_written_in_python_is_valid_and_says_what_was_meant() -> None:
    document = every_construct().decision("nightly-1", sla_deadline_seconds=60)
    assert (fits("decision", document), unknown_fields(document)) == ([], ())
    assert check_plan(decision_in(document), NOW)[0] == ()
    tasks: dict[str, Any] = {task["task_id"]: task for task in document["cognitive_plan"]["tasks"]}
    assert tasks["ask"]["when"] == ('(outputs["extract"]["count"] < 10) && (!(size(outputs["extract"]["rows"]) == 0))')
    assert tasks["last"]["when"] == '(statuses["sub"] == "COMPLETED") || (statuses["each"] != "quo\\"te")'
    assert tasks["hold"]["dependencies"] == ["ask", "extract"]
    assert tasks["each"]["foreach"] == {"items": {"$output": "extract", "path": "/rows"}, "limit": 3}
    assert tasks["sub"]["plan"]["result"] == {"$output": "a"}
    assert json.loads(str(every_construct()))["cognitive_plan"] == document["cognitive_plan"]


def test_a_condition_is_no_value_of_python_and_an_id_is_used_once() -> None:
    plan = Plan("p")
    task = plan.task("a")
    with pytest.raises(TypeError, match="when the plan runs"):
        assert task.output["x"] > 0
    with pytest.raises(ValueError, match="already"):
        plan.task("a")


def test_writing_a_plan_imports_nothing_of_the_platform() -> None:
    code = (
        "import sys, flowc.plan; print([m for m in sys.modules if m.startswith(('functions._c', 'pydantic', 'typer'))])"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


GUIDE = (ROOT / "docs" / "guides" / "plans.md").read_text(encoding="utf-8")
EXAMPLES = [block for block in blocks(GUIDE) if block.language in {"yaml", "python"}]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda block: f"line {block.line}")
def test_each_example_of_the_guide_is_a_plan_that_nothing_is_wrong_with(example: Block) -> None:
    text = example.text
    if example.language == "python":
        run = subprocess.run([sys.executable, "-c", text], cwd=ROOT, capture_output=True, text=True, check=True)
        text = run.stdout
    document = read_file("-", text.encode()).event.data
    assert (fits("decision", document), unknown_fields(document)) == ([], ())
    assert check_plan(decision_in(document), NOW) == ((), ())
