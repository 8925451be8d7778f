"""What operators meet in template.yaml: parameters, alarms, the dashboard, SnapStart, and the files around it."""

import json
import re
import tomllib
from collections import Counter
from typing import Any

import pytest

from functions._hosts.aws.environment import NAMESPACE
from functions._observability.emf import DURATION, ENDS, FAILED, NAMES
from tests.conftest import ROOT
from tests.support.cloudformation import EVERYTHING, FUNCTION, PATH, Stack, document, named, walk

TEMPLATE = document()
WHOLE = Stack(**EVERYTHING)
ALARMS = WHOLE.of("AWS::CloudWatch::Alarm")
FUNCTIONS = set(WHOLE.functions)
QUEUES = {f"{name}Queue" for name in FUNCTIONS}
WATCHED = FUNCTIONS - {
    "Notify",
    "CalculateBudgets",
    "EnforceFreezes",
    "ReconcileResources",
    "HealIncident",
    "RunExecutor",
    "Learn",
    "Analyze",
}
"""Functions in the alarms over all of them, which take ten: what the others cannot handle is told as a dead letter, or
done by the next tick."""

METRICS = {
    NAMESPACE: {*NAMES.values(), *ENDS.values(), FAILED, DURATION},
    "AWS/Lambda": {"Invocations", "Duration", "Errors", "Throttles"},
    "AWS/SQS": {
        "ApproximateAgeOfOldestMessage",
        "ApproximateNumberOfMessagesVisible",
        "NumberOfEmptyReceives",
        "NumberOfMessagesReceived",
        "NumberOfMessagesSent",
    },
    "AWS/DynamoDB": {
        "ConsumedReadCapacityUnits",
        "ConsumedWriteCapacityUnits",
        "ReadThrottleEvents",
        "WriteThrottleEvents",
    },
    "AWS/ApiGateway": {"4xx", "5xx", "Count", "Latency"},
    "AWS/Logs": {"IncomingBytes"},
}
"""What the functions tell, and what AWS does."""

DIMENSIONS = {
    "AWS/Lambda": [{"FunctionName"}],
    "AWS/SQS": [{"QueueName"}],
    "AWS/DynamoDB": [{"TableName"}, {"TableName", "GlobalSecondaryIndexName"}],
    "AWS/ApiGateway": [{"ApiId"}],
    "AWS/Logs": [{"LogGroupName"}],
}


def test_every_parameter_is_described_used_grouped_and_takes_its_default() -> None:
    used = named({key: part for key, part in TEMPLATE.items() if key not in {"Parameters", "Metadata"}})
    groups = TEMPLATE["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(TEMPLATE["Parameters"])
    for name, parameter in TEMPLATE["Parameters"].items():
        assert name in used
        assert 10 < len(parameter["Description"]) < 130
        default = parameter["Default"]
        if parameter["Type"] == "Number":
            assert "AllowedValues" in parameter or "MinValue" in parameter
        else:
            assert "AllowedValues" in parameter or "AllowedPattern" in parameter
        assert default in parameter.get("AllowedValues", [default])
        assert re.fullmatch(parameter.get("AllowedPattern", ".*"), str(default))
        assert (
            parameter.get("MinValue", 0) <= float(default if parameter["Type"] == "Number" else 0)
            or "MinValue" not in parameter
        )


def test_every_condition_is_used_and_every_reference_leads_somewhere() -> None:
    text = PATH.read_text(encoding="utf-8")
    for name in TEMPLATE["Conditions"]:
        assert len(re.findall(rf"\b{name}\b", text)) >= 2, name
    known = TEMPLATE["Parameters"].keys() | TEMPLATE["Resources"].keys()
    assert {name for name in named(TEMPLATE) if not name.startswith("AWS::")} - known == set()


@pytest.mark.parametrize(
    ("given", "fits"),
    [
        ({"SubscriberEvents": "none"}, True),
        ({"SubscriberEvents": "flow.completed, flow.failed"}, False),
        ({"SubnetIds": "10.0.0.0/8"}, False),
        ({"SubnetIds": "subnet-0a,subnet-0b"}, True),
        ({"SubnetIds": "subnet-0a,"}, False),
        ({"SecurityGroupIds": "sg-0a,sg-0b"}, True),
        ({"KmsKeyArn": "alias/mine"}, False),
        ({"ReservedConcurrency": "1"}, False),
        ({"ReservedConcurrency": "0"}, True),
        ({"PublicUrl": "flows.example.com"}, False),
        ({"PrometheusUrl": "https://prometheus.example.com/team"}, True),
        ({"PrometheusUrl": "https://prometheus.example.com/?team=a"}, False),
        ({"AlertWebhookSecretArn": "the-secret-itself"}, False),
        ({"LearnLayerArn": "flow-c-learn"}, False),
        ({"LearnLayerArn": EVERYTHING["LearnLayerArn"]}, True),
        ({"LearnLayerArn": EVERYTHING["LearnLayerArn"].rpartition(":")[0]}, False),
        ({"JwtIssuer": "http://issuer.example.com"}, False),
        ({"AlarmTopicArn": "arn:aws:sns:eu-central-1:123456789012:flow-c"}, True),
        ({"AlarmEmail": "nobody"}, False),
    ],
    ids=str,
)
def test_wrong_parameters_are_refused_before_anything_is_made(given: dict[str, str], fits: bool) -> None:
    for name, value in given.items():
        assert (re.fullmatch(TEMPLATE["Parameters"][name]["AllowedPattern"], value) is not None) is fits


JWT = "JwtIssuer and JwtAudience go together"
VPC = "SubnetIds and SecurityGroupIds go together"


@pytest.mark.parametrize(
    ("given", "refusal"),
    [
        ({}, None),
        (EVERYTHING, None),
        ({"JwtIssuer": "https://issuer.example.com"}, JWT),
        ({"JwtAudience": "flows"}, JWT),
        ({"SubnetIds": "subnet-0a,subnet-0b"}, VPC),
        ({"SecurityGroupIds": "sg-0a"}, VPC),
        ({"SnapStart": "PublishedVersions", "Runtime": "python3.12"}, None),
        (
            {"AlarmEmail": "a@example.com", "AlarmTopicArn": "arn:aws:sns:a:1:b"},
            "AlarmEmail or AlarmTopicArn, not both",
        ),
    ],
    ids=str,
)
def test_parameters_that_do_not_go_together_are_refused(given: dict[str, str], refusal: str | None) -> None:
    assert Stack(**given).refusals == ([refusal] if refusal else [])


def test_rules_compare_single_texts() -> None:
    """What a rule makes of a list of parameters, and of an empty one above all, is nowhere documented."""
    lists = {name for name, said in TEMPLATE["Parameters"].items() if said["Type"] not in {"String", "Number"}}
    assert named(TEMPLATE["Rules"]) & lists == set()
    kinds = {key for part in walk(TEMPLATE["Rules"]) for key in part if key.startswith("Fn::")}
    assert kinds <= {"Fn::And", "Fn::Equals", "Fn::Not", "Fn::Or"}


def watched(alarm: dict[str, Any]) -> Counter[str]:
    """Return the resources whose metrics an alarm watches."""
    dimensions = [*alarm.get("Dimensions", [])]
    for metric in alarm.get("Metrics", []):
        dimensions += metric.get("MetricStat", {}).get("Metric", {}).get("Dimensions", [])
    return Counter(name for dimension in dimensions for name in named(dimension["Value"]))


def metrics_of(alarm: dict[str, Any]) -> set[tuple[str, str]]:
    found = {(alarm["Namespace"], alarm["MetricName"])} if "MetricName" in alarm else set()
    for metric in alarm.get("Metrics", []):
        if "MetricStat" in metric:
            found.add((metric["MetricStat"]["Metric"]["Namespace"], metric["MetricStat"]["Metric"]["MetricName"]))
        if query := re.fullmatch(r"SELECT SUM\((\w+)\) FROM SCHEMA\((\w+), service\)", metric.get("Expression", "")):
            found.add((query[2], query[1]))
    return found


def alarm_on(namespace: str, metric: str, *names: str) -> dict[str, Any]:
    """Return the alarm on a metric of exactly these resources."""
    [found] = [
        alarm
        for alarm in ALARMS.values()
        if metrics_of(alarm) == {(namespace, metric)} and watched(alarm) == Counter(names)
    ]
    return found


def test_there_is_an_alarm_for_whatever_somebody_should_look_at() -> None:
    depth = "ApproximateNumberOfMessagesVisible"
    for queue in ("DeadLetterQueue", "LastQueue"):
        assert alarm_on("AWS/SQS", depth, queue)["Threshold"] == 1
    assert (
        alarm_on("AWS/SQS", "ApproximateAgeOfOldestMessage", *(f"{name}Queue" for name in WATCHED))["Threshold"] == 300
    )
    assert alarm_on("AWS/Lambda", "Errors", *WATCHED)["Threshold"] == 1
    assert alarm_on("AWS/Lambda", "Throttles", *WATCHED)["Threshold"] == 1
    for metric in ("SlaViolated", "DeadLetters"):
        assert alarm_on(NAMESPACE, metric)["Threshold"] == 1
    assert alarm_on("AWS/ApiGateway", "5xx", "HttpApi")["Threshold"] == 5
    assert len(ALARMS) == 11


def test_a_function_near_its_timeout_is_told_of() -> None:
    alarm = alarm_on("AWS/Lambda", "Duration", *WATCHED)
    [timeout] = {WHOLE.functions[name]["Timeout"] for name in WATCHED}
    assert alarm["Threshold"] == 0.8 * timeout * 1000
    assert {metric["MetricStat"]["Stat"] for metric in alarm["Metrics"] if "MetricStat" in metric} == {"p99"}


def test_a_clock_that_stands_still_is_told_of_because_nothing_comes() -> None:
    alarm = alarm_on("AWS/Lambda", "Invocations", "EnforceSla")
    assert (alarm["ComparisonOperator"], alarm["Threshold"]) == ("LessThanThreshold", 1)
    assert alarm["TreatMissingData"] == "breaching"


def test_every_alarm_adds_up_what_it_watches_and_tells_whom_it_is_given() -> None:
    for name, alarm in ALARMS.items():
        assert alarm["AlarmDescription"]
        assert alarm["AlarmActions"] == alarm["OKActions"] == [{"Ref": "AlarmTopic"}]
        if name != "ClockAlarm":
            assert alarm["ComparisonOperator"] == "GreaterThanOrEqualToThreshold"
            assert alarm["TreatMissingData"] == "notBreaching"
        metrics = alarm.get("Metrics", [])
        assert [metric["Id"] for metric in metrics if metric.get("ReturnData", True)] == ["all"][: len(metrics)]
        assert len([metric for metric in metrics if "MetricStat" in metric]) <= 10, "CloudWatch takes no more"
        if len(metrics) > 1:
            watches_most = metrics_of(alarm) & {
                ("AWS/SQS", "ApproximateAgeOfOldestMessage"),
                ("AWS/Lambda", "Duration"),
            }
            assert metrics[0]["Expression"] == ("MAX(METRICS())" if watches_most else "SUM(METRICS())")
        for namespace, metric in metrics_of(alarm):
            assert metric in METRICS[namespace]
    mailed = Stack(AlarmEmail="somebody@example.com")
    assert {str(a["AlarmActions"]) for a in mailed.of("AWS::CloudWatch::Alarm").values()} == {"[{'Ref': 'AlarmTopic'}]"}
    [topic] = mailed.of("AWS::SNS::Topic").values()
    assert topic["Subscription"] == [{"Protocol": "email", "Endpoint": "somebody@example.com"}]
    own = "arn:aws:sns:eu-central-1:123456789012:mine"
    elsewhere = Stack(AlarmTopicArn=own)
    assert {str(a["AlarmActions"]) for a in elsewhere.of("AWS::CloudWatch::Alarm").values()} == {str([own])}
    assert elsewhere.of("AWS::SNS::Topic") == {}
    assert {str(a["AlarmActions"]) for a in Stack().of("AWS::CloudWatch::Alarm").values()} == {"[]"}


def dashboard() -> dict[str, Any]:
    [found] = WHOLE.of("AWS::CloudWatch::Dashboard").values()
    body = found["DashboardBody"]
    for name in re.findall(r"\$\{([^}]+)\}", body):
        resource, _, attribute = name.partition(".")
        assert resource in WHOLE.resources
        assert attribute in {"", "Arn", "QueueName"}
    read: dict[str, Any] = json.loads(body)
    return read


def test_the_dashboard_reads_only_what_is_told() -> None:
    seen = set()
    for widget in dashboard()["widgets"]:
        for metric in widget["properties"].get("metrics", []):
            if isinstance(metric[0], str):
                namespace, name, *dimensions = [part for part in metric if isinstance(part, str)]
                assert name in METRICS[namespace]
                assert set(dimensions[::2]) in DIMENSIONS[namespace]
                seen.add((namespace, name))
            elif search := re.search(
                r"SEARCH\('\{(\w+),service\} MetricName=\"(\w+)\"', '(Sum|p99)'", metric[0]["expression"]
            ):
                assert search[2] in METRICS[search[1]]
                seen.add((search[1], search[2]))
    assert seen == {(namespace, name) for namespace, names in METRICS.items() for name in names}, "all of it is shown"


def test_the_dashboard_shows_every_function_queue_and_alarm_in_places_that_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    shown: dict[str, set[str]] = {}
    for widget in dashboard()["widgets"]:
        cells = {
            (x, y)
            for x in range(widget["x"], widget["x"] + widget["width"])
            for y in range(widget["y"], widget["y"] + widget["height"])
        }
        assert not cells & taken
        assert widget["x"] + widget["width"] <= 24
        taken |= cells
        shown[widget["properties"]["title"]] = set(re.findall(r"\$\{(\w+)", json.dumps(widget)))
    assert shown["Alarms"] == set(ALARMS)
    for title, names in shown.items():
        if title.startswith("Functions"):
            assert names == FUNCTIONS
        if title.startswith("Queues"):
            assert names - {"LastQueue"} == QUEUES


def test_what_it_costs_is_added_up_from_prices_that_the_template_names() -> None:
    [widget] = [one for one in dashboard()["widgets"] if one["properties"]["title"].startswith("Cost")]
    metrics = widget["properties"]["metrics"]
    formulas = {metric[0]["id"]: metric[0]["expression"] for metric in metrics if isinstance(metric[0], dict)}
    inputs = {metric[-1]["id"]: metric for metric in metrics if isinstance(metric[0], str)}
    total = formulas.pop("all")
    assert total.split(" + ") == list(formulas)
    used = set()
    for formula in formulas.values():
        for part in re.findall(r"METRICS\('(\w+)'\)", formula):
            matching = {name for name in inputs if part in name}
            assert len(matching) >= 5
            assert len({tuple(inputs[name][:2]) for name in matching}) == 1, "CloudWatch finds ids that contain it"
            used |= matching
        used |= {name for name in inputs if re.search(rf"\b{name}\b(?!')", formula)}
    assert used == inputs.keys()
    comment = PATH.read_text(encoding="utf-8").partition("# Dashboard.")[2].partition("Dashboard:")[0]
    for price in re.findall(r"\d+\.\d+", " ".join(formulas.values())):
        assert f" {price} per " in comment, price


def test_published_versions_are_published_anew_whenever_code_or_a_setting_changes() -> None:
    snapshot = TEMPLATE["Resources"]["Snapshot"]["Properties"]["Content"]
    assert {"Fn::FindInMap": ["Artifact", "Functions", "Hash"]} in list(walk(snapshot))
    settings: set[str] = set()
    parts = [TEMPLATE["Globals"]] + [r for r in TEMPLATE["Resources"].values() if r["Type"] == FUNCTION]
    for name in named(parts):
        settings.add(name)
    conditions = {part["Fn::If"][0] for one in parts for part in walk(one) if "Fn::If" in part}
    settings |= {name for condition in conditions for name in named(TEMPLATE["Conditions"][condition])}
    settings &= TEMPLATE["Parameters"].keys()
    assert named(snapshot) == settings - {"SnapStart", "ReservedConcurrency"}, "neither is part of a version"


def test_with_snapstart_everything_that_calls_a_function_calls_its_version() -> None:
    stack = Stack(SnapStart="PublishedVersions")
    versions = stack.of("AWS::Lambda::Version")
    assert {version["FunctionName"]["Ref"] for version in versions.values()} == FUNCTIONS
    for name, function in stack.functions.items():
        assert versions[f"{name}Version"]["FunctionName"] == {"Ref": name}
        assert versions[f"{name}Version"]["Description"] == "Settings ${Snapshot.VersionNumber}"
        assert function["SnapStart"] == {"ApplyOn": "PublishedVersions"}
        # Lambda publishes nothing that has not changed, so what makes new versions has to change every function.
        assert function["Environment"]["Variables"]["SNAPSHOT"] == {"Fn::GetAtt": ["Snapshot", "VersionNumber"]}
        assert stack.of("AWS::Lambda::EventSourceMapping")[f"{name}Events"]["FunctionName"] == {"Ref": f"{name}Version"}
    [integration] = stack.of("AWS::ApiGatewayV2::Integration").values()
    [permission] = stack.of("AWS::Lambda::Permission").values()
    assert integration["IntegrationUri"] == permission["FunctionName"] == {"Ref": "ApiVersion"}
    plain = Stack()
    assert plain.of("AWS::Lambda::Version") == {}
    assert not any("SnapStart" in function for function in plain.functions.values())
    assert not any("SNAPSHOT" in function["Environment"]["Variables"] for function in plain.functions.values())
    assert not any(name.startswith("Snapshot") for name in plain.resources)


def test_appconfig_takes_the_name_of_its_application_whatever_the_stack_is_called() -> None:
    """AppConfig takes 64 characters; a stack may have 128, its id ends in 36 of its own."""
    [application] = Stack(SnapStart="PublishedVersions").of("AWS::AppConfig::Application").values()
    assert application == {"Name": {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}}


def test_the_linter_is_told_to_pass_over_two_rules_only() -> None:
    assert TEMPLATE["Metadata"]["cfn-lint"] == {"config": {"ignore_checks": ["W1033", "W2530"]}}
    for resource in TEMPLATE["Resources"].values():
        assert "cfn-lint" not in resource.get("Metadata", {})


def test_samconfig_names_no_account_no_region_and_what_is_there() -> None:
    text = (ROOT / "samconfig.toml").read_text(encoding="utf-8")
    config = tomllib.loads(text)["default"]
    assert (ROOT / config["build"]["parameters"]["manifest"]).is_file()
    assert config["global"]["parameters"] == {"stack_name": "flow-c"}
    assert config["deploy"]["parameters"]["capabilities"] == "CAPABILITY_IAM"
    assert config["deploy"]["parameters"]["resolve_s3"] is True
    assert config["deploy"]["parameters"]["confirm_changeset"] is True, "what would change is shown before it does"
    assert config["deploy"]["parameters"]["fail_on_empty_changeset"] is False, "the same again is no failure"
    assert re.search(r"region\s*=|profile|s3_bucket|\d{12}", text) is None


def test_outputs_lead_to_what_a_user_needs_first() -> None:
    outputs = TEMPLATE["Outputs"]
    targets = {name: named(output["Value"]) - {"AWS::Region"} for name, output in outputs.items()}
    assert targets == {
        "ApiUrl": {"HttpApi"},
        "ApiKeyCommand": {"ApiKey"},
        "IngressBus": {"Ingress"},
        "BusName": {"Bus"},
        "TableName": {"Table"},
        "ClaimsBucket": {"Claims"},
        "DeadLetterQueueUrl": {"DeadLetterQueue"},
        "LastQueueUrl": {"LastQueue"},
        "DashboardUrl": {"Dashboard"},
    }
    assert all(output["Description"] for output in outputs.values())
