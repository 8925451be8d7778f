"""template.yaml wires exactly the routes that the code declares, and nothing is lost silently."""

import importlib
import json
import re
from typing import Any

import pytest

from functions._adapters.dynamodb.schema import create_table
from functions._adapters.http.cloudevents import STRUCTURED, read_events
from functions._core.events.catalogue import BY_TYPE, CATALOGUE
from functions._core.events.envelope import TYPE_PREFIX
from functions._core.events.routes import HANDLERS, TRANSITIONS
from functions._engine.clock import SystemClock
from functions._hosts.aws.environment import read_environment
from functions._hosts.aws.records import LIMITS
from functions._hosts.entry import NAMES
from functions.api.access import OPEN, REPORTS
from infra.generate.manifests import calls_out
from tests.conftest import ROOT
from tests.support.cloudformation import EVERYTHING, PATH, Stack, document

STACK = Stack()
QUEUES = STACK.of("AWS::SQS::Queue")
RULES = STACK.of("AWS::Events::Rule")
MAPPINGS = STACK.of("AWS::Lambda::EventSourceMapping")
TICK = f"{TYPE_PREFIX}clock.ticked.v1"
NAMED = {"".join(word.capitalize() for word in name.split("_")): name for name in NAMES}
"""Functions by their logical ids."""


def ref(name: str) -> dict[str, str]:
    return {"Ref": name}


def arn(name: str) -> dict[str, list[str]]:
    return {"Fn::GetAtt": [name, "Arn"]}


def consumer(queue: dict[str, Any]) -> str:
    """Return the function that a queue, given as `GetAtt`, leads to."""
    [found] = [mapping["FunctionName"]["Ref"] for mapping in MAPPINGS.values() if mapping["EventSourceArn"] == queue]
    return NAMED[found]


def test_every_deployable_function_is_there_and_its_handler_can_be_imported() -> None:
    assert STACK.functions.keys() == NAMED.keys()
    for name, function in STACK.functions.items():
        module, attribute = function["Handler"].rsplit(".", 1)
        assert module == f"functions.{NAMED[name]}.handler"
        assert callable(getattr(importlib.import_module(module), attribute))
        assert function["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"] == NAMED[name]


def test_each_function_that_handles_events_of_others_is_sent_them_by_its_queue() -> None:
    functions = set(HANDLERS.values())
    queues = {function: name for name, function in NAMED.items()}
    # Everybody has the queue of enforce_sla as that of timers.
    wanted = {f"{function}=${{{queues[function]}Queue}}" for function in functions - {"enforce_sla"}}
    for properties in STACK.functions.values():
        assert set(properties["Environment"]["Variables"]["FLOWC_QUEUES"].split()) == wanted
    for function in functions:
        assert consumer(arn(f"{queues[function]}Queue")) == function


def test_the_rules_of_the_bus_bring_the_ticks_and_the_transitions() -> None:
    routes = {(TICK, name) for name in BY_TYPE["clock.ticked"].handled_by.split(", ")}
    found = []
    for rule in RULES.values():
        if rule["EventBusName"] == ref("Bus"):
            [(by, kinds)] = rule["EventPattern"].items()
            [target] = rule["Targets"]
            assert by == ("source" if consumer(target["Arn"]) == "notify" else "detail-type")
            found += [(kind, consumer(target["Arn"])) for kind in kinds]
    assert sorted(found) == sorted(routes | {(TRANSITIONS, "notify")})


def test_without_webhooks_nothing_is_brought_to_them_or_polled_for_them() -> None:
    for state, stack in (("DISABLED", STACK), ("ENABLED", Stack(Webhooks="on"))):
        assert stack.of("AWS::Events::Rule")["NotifyRule"]["State"] == state
        assert stack.of("AWS::Lambda::EventSourceMapping")["NotifyEvents"]["Enabled"] is (state == "ENABLED")
        said = {function["Environment"]["Variables"]["FLOWC_WEBHOOKS"] for function in stack.functions.values()}
        assert said == {"true" if state == "ENABLED" else "false"}


def test_what_does_not_learn_is_not_ticked_polled_or_paid_for() -> None:
    for given, on in (({}, set()), ({"Learning": "advise"}, {"Learn"}), ({"Insights": "on"}, {"Analyze"})):
        stack = Stack(**given)
        rules, mappings = stack.of("AWS::Events::Rule"), stack.of("AWS::Lambda::EventSourceMapping")
        for name in ("Learn", "Analyze"):
            assert rules[f"{name}Rule"]["State"] == ("ENABLED" if name in on else "DISABLED")
            assert mappings[f"{name}Events"]["Enabled"] is (name in on)
        for function in stack.functions.values():
            variables = function["Environment"]["Variables"]
            assert variables["FLOWC_LEARNING"] == given.get("Learning", "off")
            assert variables["FLOWC_INSIGHTS"] == ("true" if "Analyze" in on else "false")


def test_learn_alone_has_more_time_and_memory_and_the_layer_where_one_is_named() -> None:
    functions, whole = STACK.functions, Stack(**EVERYTHING).functions
    assert {name for name, function in functions.items() if function["Timeout"] != 30} == {"Learn"}
    assert functions["Learn"]["Timeout"] == 900, "the most that Lambda gives"
    assert (functions["Learn"]["MemorySize"], functions["Analyze"]["MemorySize"]) == ("2048", "512")
    assert [name for name, function in functions.items() if "Layers" in function] == []
    assert {name: function["Layers"] for name, function in whole.items() if "Layers" in function} == {
        "Learn": [EVERYTHING["LearnLayerArn"]]
    }


def test_users_put_on_their_own_bus_what_the_catalogue_opens_but_reports() -> None:
    [rule] = [rule for rule in RULES.values() if rule["EventBusName"] == ref("Ingress")]
    [target] = rule["Targets"]
    assert consumer(target["Arn"]) == "api"
    taken = [entry.event_type for entry in CATALOGUE if entry.outside and entry.event_type != "ticket.reported"]
    of_users = {"anything-but": {"prefix": TYPE_PREFIX}}
    assert rule["EventPattern"] == {"detail-type": [*(f"{TYPE_PREFIX}{one}.v1" for one in taken), of_users]}


def test_every_rule_retries_within_bounds_and_then_gives_up_to_the_dead_letters() -> None:
    for rule in RULES.values():
        for target in rule["Targets"]:
            assert target["DeadLetterConfig"] == {"Arn": arn("DeadLetterQueue")}
            assert 60 <= target["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 86_400
            assert 1 <= target["RetryPolicy"]["MaximumRetryAttempts"] <= 185


def test_every_function_has_a_queue_of_its_own_whose_messages_end_as_dead_letters() -> None:
    assert sorted(consumer(arn(f"{name}Queue")) for name in NAMED) == sorted(NAMES)
    for name in NAMED:
        queue = QUEUES[f"{name}Queue"]
        last = "LastQueue" if name == "DeadLetter" else "DeadLetterQueue"
        assert queue["RedrivePolicy"]["deadLetterTargetArn"] == arn(last)
        assert queue["VisibilityTimeout"] >= 6 * STACK.functions[name]["Timeout"]


def test_what_is_away_for_minutes_makes_no_dead_letters() -> None:
    """A message is seen again after seconds, so it has to be delivered more often than one that waits for its queue."""
    for name in NAMED:
        queue = QUEUES[f"{name}Queue"]
        received = queue["RedrivePolicy"]["maxReceiveCount"]
        if name == "DeadLetter":  # it never asks for a message sooner
            lasts = received * queue["VisibilityTimeout"]
        else:
            lasts = sum(LIMITS.pause(attempts) for attempts in range(1, received + 1))
        assert 600 <= lasts <= 1800, name


def test_how_often_a_queue_delivers_is_told_as_it_is() -> None:
    [received] = {
        queue["RedrivePolicy"]["maxReceiveCount"]
        for name, queue in QUEUES.items()
        if name not in {"DeadLetterQueue", "LastQueue"}
    }
    guide = (ROOT / "docs" / "operate" / "aws.md").read_text(encoding="utf-8")
    for text in (PATH.read_text(encoding="utf-8"), guide):
        told = re.findall(r"(\w+) (?:deliveries|tries|times(?= in vain| without success|; then a dead letter))", text)
        assert told
        assert set(told) == {str(received)}


def test_dead_letters_are_kept_longer_than_what_they_were() -> None:
    """SQS counts the age of a dead letter from when it was sent first."""
    assert QUEUES["LastQueue"]["MessageRetentionPeriod"] == QUEUES["DeadLetterQueue"]["MessageRetentionPeriod"]
    for name, queue in QUEUES.items():
        if name not in {"LastQueue", "DeadLetterQueue"}:
            assert queue["MessageRetentionPeriod"] < QUEUES["DeadLetterQueue"]["MessageRetentionPeriod"]


def test_nothing_reads_the_last_queue() -> None:
    assert "RedrivePolicy" not in QUEUES["LastQueue"]
    assert [name for name, mapping in MAPPINGS.items() if mapping["EventSourceArn"] == arn("LastQueue")] == []
    assert QUEUES.keys() == {f"{name}Queue" for name in NAMED} | {"LastQueue"}


def test_batches_are_answered_message_by_message_and_at_once() -> None:
    for mapping in MAPPINGS.values():
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["BatchSize"] == 10
        assert mapping["MaximumBatchingWindowInSeconds"] == 0
        usual = STACK.parameters["MaximumConcurrency"]
        assert mapping["ScalingConfig"] == {"MaximumConcurrency": 2 if mapping is MAPPINGS["LearnEvents"] else usual}


def test_each_queue_takes_events_of_its_rules_only_and_the_dead_letters_of_every_rule() -> None:
    senders: dict[str, list[Any]] = {}
    for policy in STACK.of("AWS::SQS::QueuePolicy").values():
        [queue] = policy["Queues"]
        [statement] = policy["PolicyDocument"]["Statement"]
        assert statement["Effect"] == "Allow"
        assert statement["Principal"] == {"Service": "events.amazonaws.com"}
        assert statement["Action"] == "sqs:SendMessage"
        assert statement["Resource"] == arn(queue["Ref"])
        assert statement["Condition"].keys() == {"ArnEquals"}
        sources = statement["Condition"]["ArnEquals"]["aws:SourceArn"]
        senders[queue["Ref"]] = sources if isinstance(sources, list) else [sources]
    leading: dict[str, list[Any]] = {"DeadLetterQueue": [arn(rule) for rule in RULES]}
    for name, rule in RULES.items():
        leading.setdefault(rule["Targets"][0]["Arn"]["Fn::GetAtt"][0], []).append(arn(name))
    assert {name: sorted(map(str, found)) for name, found in senders.items()} == {
        name: sorted(map(str, found)) for name, found in leading.items()
    }


def test_the_clock_puts_a_tick_on_the_bus_each_minute_and_gives_up_to_the_dead_letters() -> None:
    [clock] = STACK.of("AWS::Scheduler::Schedule").values()
    assert clock["ScheduleExpression"] == "rate(1 minute)"
    assert clock["FlexibleTimeWindow"] == {"Mode": "OFF"}
    target = clock["Target"]
    assert target["Arn"] == arn("Bus")
    assert target["DeadLetterConfig"] == {"Arn": arn("DeadLetterQueue")}
    assert target["RetryPolicy"]["MaximumEventAgeInSeconds"] == 60
    assert 1 <= target["RetryPolicy"]["MaximumRetryAttempts"] <= 185
    text = target["Input"].replace("<aws.scheduler.execution-id>", "0a1b2c")
    text = text.replace("<aws.scheduler.scheduled-time>", "2026-11-21T12:00:00Z")
    [tick], _ = read_events({"content-type": STRUCTURED}, text.encode(), received_at=SystemClock().now())
    assert (tick.id, tick.type, tick.data, tick.time.minute) == ("0a1b2c", TICK, {}, 0)
    assert target["EventBridgeParameters"] == {"DetailType": tick.type, "Source": tick.source}
    assert json.loads(text)["datacontenttype"] == "application/json"


def test_a_function_that_may_write_to_its_own_queue_is_not_stopped_as_a_loop() -> None:
    """Lambda stops, after 16 links, a chain of messages that leads back to a function: a flow, and timers, are such."""
    loops = set()
    for name, role in STACK.of("AWS::IAM::Role").items():
        for statement in role["Policies"][0]["PolicyDocument"]["Statement"]:
            own = arn(name.replace("Role", "Queue"))
            targets = statement.get("Resource")
            if "sqs:SendMessage" in statement.get("Action", "") and own in (
                targets if isinstance(targets, list) else [targets]
            ):
                loops.add(name.removesuffix("Role"))
    assert loops == {name for name in NAMED if NAMED[name] in HANDLERS.values()} | {"EnforceSla"}
    allowed = {name for name, function in STACK.functions.items() if function.get("RecursiveLoop") == "Allow"}
    assert allowed == loops


def test_the_table_is_the_one_that_the_code_creates() -> None:
    resource = STACK.resources["Table"]
    table = dict(resource["Properties"])
    assert table.pop("PointInTimeRecoverySpecification") == {"PointInTimeRecoveryEnabled": True}
    assert table.pop("TimeToLiveSpecification") == {"AttributeName": "ttl", "Enabled": True}
    assert table.pop("DeletionProtectionEnabled") == "true"
    assert ordered(table) == ordered({**create_table("any"), "TableName": None})
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    key = Stack(KmsKeyArn=EVERYTHING["KmsKeyArn"]).of("AWS::DynamoDB::Table")["Table"]["SSESpecification"]
    assert key == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": EVERYTHING["KmsKeyArn"]}


def ordered(table: dict[str, Any]) -> Any:
    """Return a table with the order left out of what has none."""
    sorts = {"AttributeDefinitions": "AttributeName", "GlobalSecondaryIndexes": "IndexName"}
    return {
        key: sorted(value, key=lambda one: str(one[sorts[key]])) if key in sorts else value
        for key, value in table.items()
        if value is not None
    }


def test_large_events_find_a_private_bucket_that_forgets_them() -> None:
    resource = STACK.resources["Claims"]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain", "a full bucket cannot be deleted"
    bucket = resource["Properties"]
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    [rule] = bucket["LifecycleConfiguration"]["Rules"]
    assert rule == {
        "Id": "claims",
        "Status": "Enabled",
        "Prefix": "claims/",
        "ExpirationInDays": STACK.parameters["RetentionDays"],
    }


@pytest.mark.parametrize("given", [{}, EVERYTHING], ids=["as by default", "everything on"])
def test_every_function_can_start_with_its_environment(given: dict[str, str]) -> None:
    made = {
        "Table": "flow-c-Table-1",
        "Bus": "flow-c",
        "EnforceSlaQueue": "https://sqs.eu-central-1.amazonaws.com/1/flow-c-EnforceSlaQueue",
        "ApiQueue": "arn:aws:sqs:eu-central-1:1:flow-c-ApiQueue",
        "Claims": "flow-c-claims-1",
        "HttpApi": "https://a1.execute-api.eu-central-1.amazonaws.com",
        "WorkerKey": "arn:aws:secretsmanager:eu-central-1:1:secret:WorkerKey-1",
        "ApiKey": "arn:aws:secretsmanager:eu-central-1:1:secret:ApiKey-1",
        "Snapshot": "7",
    }
    for name, function in Stack(**given).functions.items():
        variables = {
            key: made[value.get("Ref") or value["Fn::GetAtt"][0]]
            if isinstance(value, dict)
            else re.sub(r"\$\{(\w+Queue)\}", r"https://sqs.eu-central-1.amazonaws.com/1/\1", str(value))
            for key, value in function["Environment"]["Variables"].items()
        }
        secrets = {"FLOWC_WORKER_KEY": "w" * 48}
        secrets |= {"FLOWC_API_KEY": "a" * 48} if "FLOWC_API_KEY_SECRET" in variables else {}
        of_alerts = variables.get("FLOWC_ALERT_WEBHOOK_SECRET_SECRET", "")
        secrets |= {"FLOWC_ALERT_WEBHOOK_SECRET": "s" * 16} if of_alerts else {}
        settings = read_environment(NAMED[name], {**variables, **secrets})
        assert ("FLOWC_API_KEY_SECRET" in variables) is (name == "Api")
        assert str(settings.public_url).rstrip("/") == given.get("PublicUrl", made["HttpApi"])
        assert (of_alerts == given.get("AlertWebhookSecretArn", "")) is (name == "Api" or not given)
        assert bool(settings.alert_webhook_secrets) is bool(of_alerts)
        assert str(settings.prometheus_url or "") == given.get("PrometheusUrl", "")
        assert settings.budget_interval_seconds == 300.0
        assert settings.timer_queue is not None
        assert settings.queues is not None
        assert settings.claims_bucket is not None
        assert (settings.outside_queue == made["ApiQueue"]) is (name == "DeadLetter")
        assert settings.telemetry_url is None, "without it telemetry goes to the bus"


def test_the_api_refuses_itself_what_is_nearly_too_large_for_lambda() -> None:
    """Lambda takes 6 MB with all that the gateway puts around a body, and refuses more without saying why."""
    for name, function in STACK.functions.items():
        largest = function["Environment"]["Variables"].get("FLOWC_MAX_BODY_BYTES")
        assert (largest is not None) is (name == "Api"), name
        assert largest is None or 4_000_000 <= int(largest) <= 5_500_000


def test_functions_trace_when_tracing_is_on_and_only_then() -> None:
    for tracing, disabled in (("PassThrough", "true"), ("Active", "false")):
        for function in Stack(Tracing=tracing).functions.values():
            assert function["Tracing"] == tracing
            assert function["Environment"]["Variables"]["POWERTOOLS_TRACE_DISABLED"] == disabled


def test_functions_that_call_workers_are_in_the_network_when_there_is_one_and_no_others() -> None:
    whole = Stack(SubnetIds="subnet-0a,subnet-0b", SecurityGroupIds="sg-0a")
    inside = {
        NAMED[name]: function["VpcConfig"] for name, function in whole.functions.items() if "VpcConfig" in function
    }
    assert inside.keys() == {name for name in NAMES if calls_out(name)}
    for config in inside.values():
        assert config == {
            "SubnetIds": {"Fn::Split": [",", "subnet-0a,subnet-0b"]},
            "SecurityGroupIds": {"Fn::Split": [",", "sg-0a"]},
        }
    assert not any("VpcConfig" in function for function in STACK.functions.values())


def test_the_gateway_asks_for_jwts_where_the_api_would_ask_for_its_key() -> None:
    stack = Stack(JwtIssuer=EVERYTHING["JwtIssuer"], JwtAudience="flows")
    routes = {route["RouteKey"]: route for route in stack.of("AWS::ApiGatewayV2::Route").values()}
    console, alerts = {"GET /", "GET /console/{path+}"}, {"POST /webhooks/alertmanager"}
    assert routes.keys() == {"$default", "POST /api/v1/flows/{flow_id}/reports", "GET /health"} | alerts | console
    for key, route in routes.items():
        method, _, path = key.partition(" ")
        open_to_all = (
            path in OPEN
            or key in console | alerts
            or (method == "POST" and REPORTS.fullmatch(path.replace("{flow_id}", "1")) is not None)
        )
        assert (route["AuthorizationType"], "AuthorizerId" in route) == (
            ("NONE", False) if open_to_all else ("JWT", True)
        )
    [authorizer] = stack.of("AWS::ApiGatewayV2::Authorizer").values()
    assert authorizer["AuthorizerType"] == "JWT"
    assert authorizer["IdentitySource"] == ["$request.header.Authorization"]
    assert authorizer["JwtConfiguration"] == {"Issuer": EVERYTHING["JwtIssuer"], "Audience": ["flows"]}


def test_without_an_issuer_every_request_reaches_the_api_which_asks_for_the_key() -> None:
    assert STACK.of("AWS::ApiGatewayV2::Authorizer") == {}
    for route in STACK.of("AWS::ApiGatewayV2::Route").values():
        assert route["AuthorizationType"] == "NONE"
        assert route["Target"] == "integrations/${HttpApiIntegration}"
    [integration] = STACK.of("AWS::ApiGatewayV2::Integration").values()
    assert integration["IntegrationUri"] == arn("Api")
    assert integration["PayloadFormatVersion"] == "2.0"
    assert integration["TimeoutInMillis"] >= STACK.functions["Api"]["Timeout"] * 1000
    [stage] = STACK.of("AWS::ApiGatewayV2::Stage").values()
    assert (stage["StageName"], stage["AutoDeploy"]) == ("$default", True)
    [permission] = STACK.of("AWS::Lambda::Permission").values()
    assert permission["FunctionName"] == ref("Api")
    assert permission["Principal"] == "apigateway.amazonaws.com"
    assert re.fullmatch(r"arn:aws:execute-api:[a-z0-9-]+:\d+:\$\{HttpApi\}/\*", permission["SourceArn"])


def test_reserved_concurrency_of_zero_stops_everything_and_takes_nothing_out_of_a_queue() -> None:
    stopped = Stack(ReservedConcurrency="0")
    assert {function["ReservedConcurrentExecutions"] for function in stopped.functions.values()} == {"0"}
    assert {mapping["Enabled"] for mapping in stopped.of("AWS::Lambda::EventSourceMapping").values()} == {False}
    assert stopped.of("AWS::Scheduler::Schedule")["Clock"]["State"] == "DISABLED"
    assert not any("ReservedConcurrentExecutions" in function for function in STACK.functions.values())
    assert {name for name, mapping in MAPPINGS.items() if not mapping["Enabled"]} == {
        "NotifyEvents",
        "LearnEvents",
        "AnalyzeEvents",
    }
    assert STACK.of("AWS::Scheduler::Schedule")["Clock"]["State"] == "ENABLED"
    limited = Stack(ReservedConcurrency="50", Webhooks="on", Learning="on", Insights="on")
    assert {function["ReservedConcurrentExecutions"] for function in limited.functions.values()} == {"50"}
    assert {mapping["Enabled"] for mapping in limited.of("AWS::Lambda::EventSourceMapping").values()} == {True}


def test_every_function_writes_to_a_log_group_of_its_own_that_forgets() -> None:
    groups = STACK.of("AWS::Logs::LogGroup")
    assert groups.keys() == {f"{name}Logs" for name in NAMED}
    assert {group["RetentionInDays"] for group in groups.values()} == {STACK.parameters["LogRetentionDays"]}
    for name, function in STACK.functions.items():
        assert function["LoggingConfig"]["LogGroup"] == ref(f"{name}Logs")


def test_all_functions_are_one_artifact_for_one_runtime() -> None:
    template = document()
    shared = template["Globals"]["Function"]
    assert (shared["CodeUri"], shared["Runtime"], shared["Architectures"]) == ("functions/", ref("Runtime"), ["arm64"])
    for name in NAMED:
        function = template["Resources"][name]
        own = function["Properties"].keys() & {"CodeUri", "Runtime", "Architectures", "Layers"}
        assert own == ({"Layers"} if name == "Learn" else set())
        assert function["Metadata"] == {
            "BuildProperties": {"ParentPackageMode": "explicit", "ParentPackages": "functions"}
        }
