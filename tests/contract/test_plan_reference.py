"""docs/reference/plan.md has every field and word that is read; the first decision is examples/hello.json."""

import json
import re
from pathlib import Path

import pytest

from functions._core.decision.checks import check_plan
from functions._core.decision.model import CognitivePlan, Compensation, Decision, Input, Retry, Task
from functions._core.decision.reading import read_decision
from functions._core.decision.references import ReferenceKind
from functions._core.decision.unknown_fields import CARRIED_BY_DECISION, CARRIED_BY_PLAN, unknown_fields
from functions._core.decision.vocabulary import TASK_TYPES
from functions._core.records.control import Approval, EventFilter, Foreach, Wait
from functions._core.records.record import Record
from tests.conftest import ROOT
from tests.support.command_line import flowc
from tests.support.decisions import NOW

PAGE = (ROOT / "docs" / "reference" / "plan.md").read_text(encoding="utf-8")
HELLO = ROOT / "examples" / "hello.json"


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(
    ("title", "model"),
    {"Decision": Decision, "Plan": CognitivePlan, "Task": Task, "Retries": Retry, "Compensation": Compensation}.items(),
)
def test_every_field_that_is_read_is_in_its_section_and_no_other(title: str, model: type[Input]) -> None:
    rows = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)} - {"retry", "compensation"}
    assert named == ({*model.model_fields, *model.synonyms} - {"retry", "compensation"})


@pytest.mark.parametrize(("title", "record"), {"Foreach": Foreach, "Approval": Approval, "Wait": Wait}.items())
def test_every_field_of_a_block_is_in_its_section(title: str, record: type[Record]) -> None:
    rows = re.findall(r"^\| (`.*?) \|", section(title), re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)} - {title.lower()}
    assert named == {*record.__struct_fields__}
    assert title != "Wait" or {*EventFilter.__struct_fields__} <= {*re.findall(r"`(\w+)`", section(title))}


def test_every_kind_of_reference_is_listed() -> None:
    assert set(re.findall(r'\{"(\$\w+)"', section("References"))) == {*ReferenceKind}


def test_every_word_for_a_task_type_is_listed_with_what_it_is_read_as() -> None:
    listed = dict(re.findall(r"`(\w+)` \| ([A-Z]+)", section("Task types")))
    assert listed == {word: kind.value for word, kind in TASK_TYPES.items()}


def test_what_is_carried_is_listed() -> None:
    decision, plan = section("Carried").split("Plan:")
    assert set(re.findall(r"`(\w+)`", decision)) == CARRIED_BY_DECISION
    assert set(re.findall(r"`(\w+)`", plan)) == CARRIED_BY_PLAN


def test_the_page_is_short() -> None:
    lines = PAGE.splitlines()
    assert len(lines) <= 230
    assert max(map(len, lines)) <= 160


def test_the_first_page_shows_the_example_which_is_sound() -> None:
    text = HELLO.read_text(encoding="utf-8")
    assert f"```json\n{text}```" in (ROOT / "docs" / "getting-started.md").read_text(encoding="utf-8")
    assert check_plan(read_decision(text.encode()), NOW) == ((), ())
    assert unknown_fields(json.loads(text)) == ()


def test_the_example_can_be_validated_simulated_and_priced() -> None:
    first, second = flowc("validate", str(HELLO)).stdout.splitlines()
    assert first == f"{HELLO}: valid"
    assert second.strip().startswith("2 levels, critical path 2 min, checked in ")
    simulated = flowc("simulate", str(HELLO), "--faults", "none", "--runs", "5")
    assert simulated.exit_code == 0
    assert re.search(r"COMPLETED +5 +100\.0%", simulated.stdout)
    assert flowc("cost", str(HELLO)).exit_code == 0


def test_a_decision_that_would_be_refused_is_told_offline_with_its_warnings(tmp_path: Path) -> None:
    document = json.loads(HELLO.read_text(encoding="utf-8"))
    document["cognitive_plan"]["tasks"][0] |= {"dependencies": ["reply"], "retries": 3}
    file = tmp_path / "d.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    result = flowc("validate", str(file))
    assert (result.exit_code, result.stdout) == (1, f"{file}: would be rejected\n")
    assert "error: cognitive_plan.tasks: these tasks wait for each other in a circle" in result.stderr
    assert "did you mean retry: {max_retries: …}? (unknown_field)" in result.stderr
    told = json.loads(flowc("validate", str(file), "--json").stdout)
    assert (told["valid"], told["errors"][0]["code"]) == (False, "cyclic_dependencies")
    file.write_text(json.dumps(document | {"final_decision": "maybe"}), encoding="utf-8")
    assert "is 'maybe'; known are" in flowc("validate", str(file)).stderr
