"""`flowc simulate` as a user meets it: what it prints, what it refuses, and the line that shows a failure again."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from functions._core.decision.sample import Shape, sample_decision
from functions._simulator.faults import CATALOGUE
from tests.conftest import ROOT
from tests.support.command_line import flowc

BUG = "commit_without_outbox"


@pytest.fixture
def plan(tmp_path: Path) -> str:
    """Return a file with a decision of eight tasks."""
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(sample_decision(8, Shape.LAYERS, 3, ["python"])), encoding="utf-8")
    return str(file)


def with_a_bug(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `flowc simulate` in a process whose platform has a bug."""
    command = [sys.executable, "-m", "tests.simulation.mutants", BUG, "simulate", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_secrets_that_a_plan_refers_to_are_placeholders(tmp_path: Path) -> None:
    decision = sample_decision(2, Shape.LAYERS, 3, ["python"])
    for task in decision["cognitive_plan"]["tasks"]:
        task["parameters"] = {"key": {"$secret": "db"}}
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(decision), encoding="utf-8")
    run = flowc("simulate", str(file), "--faults", "none", "--runs", "3", "--jobs", "1")
    assert re.search(r"COMPLETED +3 +100\.0%", run.output)


def test_outputs_that_are_given_decide_how_long_a_list_is(tmp_path: Path) -> None:
    decision = sample_decision(2, Shape.LAYERS, 3, ["python"])
    first, second = decision["cognitive_plan"]["tasks"]
    second |= {"dependencies": [first["task_id"]], "foreach": {"items": {"$output": first["task_id"], "path": "/ids"}}}
    (tmp_path / "plan.json").write_text(json.dumps(decision), encoding="utf-8")
    outputs = tmp_path / "outputs.json"
    outputs.write_text(json.dumps({first["task_id"]: {"ids": [1, 2, 3]}}), encoding="utf-8")
    of_plan = ("simulate", str(tmp_path / "plan.json"), "--outputs", str(outputs), "--faults", "none")
    run = flowc(*of_plan, "--seed", "1", "--history")
    assert run.exit_code == 0, run.output
    made = [json.loads(line) for line in run.stdout.splitlines()]
    assert [one["detail"]["tickets"] for one in made if one["type"] == "ticket.expanded"] == [3]
    outputs.write_text("[]", encoding="utf-8")
    assert "outputs are a JSON object" in flowc(*of_plan).output


def test_it_prints_when_flows_are_done_and_how_likely_the_sla_is_met(plan: str) -> None:
    run = flowc("simulate", plan, "--faults", "none", "--runs", "20", "--jobs", "1")
    assert run.exit_code == 0
    assert re.search(r"COMPLETED +20 +100\.0%", run.output)
    assert re.search(r"p50 \d+\.\d +p90 \d+\.\d +p99 \d+\.\d +max \d+\.\d", run.output)
    assert "The SLA was met in 20 of 20 runs: 100.0% (95 % interval 83.9% to 100.0%)" in run.output
    assert "Every invariant held" in run.output


def test_a_plan_that_is_always_refused_comes_with_the_reasons(tmp_path: Path) -> None:
    decision = sample_decision(2, Shape.CHAIN, 3, ["python"])
    decision["cognitive_plan"]["tasks"][0]["dependencies"] = ["nobody"]
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(decision), encoding="utf-8")
    arguments = ("simulate", str(file), "--faults", "none", "--runs", "2", "--jobs", "1")
    lines = flowc(*arguments).stdout.splitlines()
    at = lines.index("Why flows were rejected")
    assert (lines[at + 1][:11], "nobody" in lines[at + 1]) == ("  2 times: ", True)
    (reason, number), *_ = json.loads(flowc(*arguments, "--json").stdout)["rejected_because"].items()
    assert (number, reason in lines[at + 1]) == (2, True)


def test_it_says_as_json_which_faults_struck(plan: str) -> None:
    run = flowc("simulate", plan, "--faults", "duplicate,crash", "--seed", "1", "--runs", "6", "--jobs", "1", "--json")
    told = json.loads(run.stdout)
    assert (run.exit_code, told["runs"], told["broken"]) == (0, 6, [])
    assert set(told["faults"]) <= {"duplicate", "crash"}
    assert sum(told["outcomes"].values()) == 6


def test_a_seed_alone_is_one_run_and_its_history_can_be_had() -> None:
    once, again = (flowc("simulate", "--seed", "7", "--history") for _ in range(2))
    lines = [json.loads(line) for line in once.stdout.splitlines()]
    assert lines[0]["type"] == "decision.consolidated"
    assert once.stdout == again.stdout


def test_a_broken_promise_is_exit_status_1_and_comes_with_the_command_that_shows_it_again(plan: str) -> None:
    found = with_a_bug(plan, "--runs", "3", "--jobs", "1")
    assert found.returncode == 1
    assert "3 of 3 runs violated an invariant" in found.stderr
    assert "For every transition one event goes out with the commit" in found.stderr
    again = next(line.strip() for line in found.stderr.splitlines() if line.startswith("  flowc simulate"))
    replayed = with_a_bug(*shlex.split(again)[2:])
    assert replayed.returncode == 1
    assert again in replayed.stderr


def test_every_fault_is_explained() -> None:
    run = flowc("simulate", "--faults", "list")
    assert run.exit_code == 0
    assert all(re.search(rf"^{fault.name} +[A-Z].*\.$", run.output, re.MULTILINE) for fault in CATALOGUE)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--faults", "nonsense"), "no fault is called nonsense; there are all, none, drop"),
        (("--faults", ","), "no fault is named"),
        (("--runs", "0"), "greater than or equal to 1"),
        (("--seed", "-1"), "greater than or equal to 0"),
        (("--workers", "many"), "--workers"),
        (("--at", "yesterday"), "'yesterday' is no time such as 2026-01-31T08:00:00Z"),
        (("--history",), "it is about one run: give its --seed"),
        (("--outputs", "/nowhere.json"), "--outputs are those of tasks of a PLAN"),
        (("/nowhere.json",), "/nowhere.json: cannot be read"),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(arguments: tuple[str, ...], told: str) -> None:
    run = flowc("simulate", *arguments)
    assert run.exit_code == 2
    assert told in " ".join(re.sub(r"[│╭╮╰╯─]", " ", run.output).split())
    assert "Traceback" not in run.output


@pytest.mark.parametrize(
    ("text", "told"),
    [("{}", "the plan cannot be simulated: decision_id is missing"), ("[1]", "a decision is a JSON object")],
)
def test_what_is_no_decision_is_refused(text: str, told: str) -> None:
    run = flowc("simulate", "-", stdin=text)
    assert run.exit_code == 2
    assert told in run.output
