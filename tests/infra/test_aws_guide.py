"""The guide names what is there, its decision is one, and commands that need an account are marked."""

import json
import re
from datetime import UTC, datetime

from typer.main import get_command

from functions._cli.app import app
from functions._cli.lazy_group import LazyGroup
from functions._core.decision.reading import check_plan, read_decision
from functions._core.rules import Rules
from tests.conftest import ROOT
from tests.support.cloudformation import document
from tests.support.documents import blocks

GUIDE = (ROOT / "docs" / "operate" / "aws.md").read_text(encoding="utf-8")
TEMPLATE = document()
RULES = Rules()
BLOCKS = [block for block in blocks(GUIDE) if block.language == "sh"]


def test_commands_that_call_aws_are_marked_and_others_are_not() -> None:
    calls = re.compile(r"^\s*(aws|sam (deploy|delete)|curl|flowc) |\$\((aws|output) |\boutput\(\)", re.MULTILINE)
    for block in BLOCKS:
        assert (block.needs == "aws") is (calls.search(block.text) is not None), block
    assert len(BLOCKS) >= 12


def test_every_parameter_is_explained_with_its_default() -> None:
    rows = re.findall(
        r"^\| (`[A-Z].*?) \| (.*?) \| (.*?) \|$", GUIDE.partition("## Parameters")[2].partition("## ")[0], re.MULTILINE
    )
    explained = {name: defaults for names, defaults, _ in rows for name in re.findall(r"`(\w+)`", names)}
    assert explained.keys() == TEMPLATE["Parameters"].keys()
    for name in (
        "SlaSeconds",
        "RetentionDays",
        "MaximumConcurrency",
        "MemorySize",
        "ApiMemorySize",
        "LogRetentionDays",
    ):
        assert re.search(rf"\b{TEMPLATE['Parameters'][name]['Default']}\b", explained[name]), name
    for name in ("Runtime", "ReservedConcurrency", "SnapStart", "LogLevel", "Tracing", "WorkerNetworks"):
        assert f"`{TEMPLATE['Parameters'][name]['Default']}`" in explained[name], name


def test_what_the_guide_reads_or_sets_is_in_the_template() -> None:
    outputs = set(re.findall(r"\$\(output (\w+)\)", GUIDE))
    assert outputs <= TEMPLATE["Outputs"].keys()
    assert {"ApiUrl", "ApiKeyCommand", "IngressBus", "BusName", "TableName", "ClaimsBucket", "LastQueueUrl"} <= outputs
    for line in re.findall(r"--parameter-overrides (.*)", GUIDE):
        for name, value in re.findall(r"(\w+)=([^\s`]+)", line):
            parameter = TEMPLATE["Parameters"][name]
            assert value in parameter.get("AllowedValues", [value])
            assert re.fullmatch(parameter.get("AllowedPattern", ".*"), value), name
    alarms = set(re.findall(r"`(\w+Alarm)`", GUIDE))
    assert alarms == {name for name, made in TEMPLATE["Resources"].items() if made["Type"] == "AWS::CloudWatch::Alarm"}


def test_functions_in_the_network_are_named() -> None:
    inside = {
        name
        for name, made in TEMPLATE["Resources"].items()
        if made["Type"] == "AWS::Serverless::Function" and "VpcConfig" in made["Properties"]
    }
    [named] = re.findall(r"functions that call workers \((.*?)\)", GUIDE, re.DOTALL)
    assert set(re.findall(r"`(\w+)`", named)) == inside


def test_how_long_workers_may_be_silent_is_told_as_it_is() -> None:
    stopped = GUIDE.partition("## Stop everything")[2].partition("\n## ")[0]
    told = [int(seconds) for seconds in re.findall(r"(\d+)\s+s\s+of\s+silence", stopped)]
    assert told == [RULES.unhealthy.total_seconds(), RULES.removed.total_seconds()]
    assert f"{RULES.removed.total_seconds():.0f} s" in TEMPLATE["Parameters"]["ReservedConcurrency"]["Description"]


def test_the_largest_body_is_told_as_it_is() -> None:
    largest = TEMPLATE["Resources"]["Api"]["Properties"]["Environment"]["Variables"]["FLOWC_MAX_BODY_BYTES"]
    told = f"{int(largest) / 1_000_000:.0f} MB (`FLOWC_MAX_BODY_BYTES`)"
    assert " ".join(GUIDE.split()).count(told) == 2


def test_the_first_decision_can_be_done() -> None:
    [text] = re.findall(r"cat > decision.json <<'END'\n(.*?)^END$", GUIDE, re.MULTILINE | re.DOTALL)
    event = json.loads(text)
    assert event["type"] == "io.neuralhive.decision.consolidated.v1"
    errors, _ = check_plan(read_decision(json.dumps(event["data"]).encode()), datetime.now(UTC))
    assert errors == ()
    [capability] = {word for task in event["data"]["cognitive_plan"]["tasks"] for word in task["required_capabilities"]}
    assert f"--capability {capability} " in GUIDE


def test_commands_of_flowc_are_there() -> None:
    group = get_command(app)
    assert isinstance(group, LazyGroup)
    assert set(re.findall(r"\bflowc ([a-z-]+)", GUIDE)) <= set(group.list_commands(None))
