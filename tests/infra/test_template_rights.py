"""Every role of template.yaml may do what its function does, and no more."""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from functions._adapters.dynamodb.schema import create_table
from functions._core.events.routes import HANDLERS
from functions._hosts.entry import NAMES
from infra.generate.manifests import calls_out
from tests.support.cloudformation import EVERYTHING, Stack, listed

Statement = dict[str, Any]

WHOLE = Stack(**EVERYTHING)
NAMED = {"".join(word.capitalize() for word in name.split("_")): name for name in NAMES}
INDEXES = [index["IndexName"] for index in create_table("any")["GlobalSecondaryIndexes"]]

WILDCARDS = {
    ("Trace", "*"): "X-Ray knows no resources",
    ("Network", "*"): "AWS: network interfaces are made and described on all resources or not at all",
    ("Claims", "${Claims.Arn}/claims/*"): "objects are named by what is in them",
    ("NeverUnencrypted", "${Claims.Arn}/*"): "it refuses, and what it refuses has to be everything",
}
"""Resources with a wildcard, each with its reason."""

SHARED = {
    "dynamodb:GetItem": "Table",
    "dynamodb:BatchGetItem": "Table",
    "dynamodb:PutItem": "Table",
    "dynamodb:UpdateItem": "Table",
    "dynamodb:DeleteItem": "Table",
    "dynamodb:BatchWriteItem": "Table",
    "dynamodb:Query": "Table",
    "events:PutEvents": "Bus",
    "sqs:SendMessage": "EnforceSlaQueue",
    "secretsmanager:GetSecretValue": "WorkerKey",
}
"""What every function may do to what, beside its own queue and log group."""

CHAIN = {name for name, function in NAMED.items() if function in HANDLERS.values()}
"""Functions that others send events to."""

SEND_ASSIGNMENTS = {"Assign", "Monitor", "EnforceSla", "TrackWorkers", "Api", "RunExecutor"}
"""Functions that send assignments, or send them again, or carry them out, and so fill in the secrets of tasks."""

RECEIVE = ("ReceiveMessage", "DeleteMessage", "ChangeMessageVisibility", "GetQueueAttributes", "GetQueueUrl")
KEY = (
    "Encrypt",
    "Decrypt",
    "ReEncryptFrom",
    "ReEncryptTo",
    "GenerateDataKey",
    "GenerateDataKeyWithoutPlaintext",
    "DescribeKey",
)
NETWORK = (
    "CreateNetworkInterface",
    "DescribeNetworkInterfaces",
    "DescribeSubnets",
    "DeleteNetworkInterface",
    "AssignPrivateIpAddresses",
    "UnassignPrivateIpAddresses",
)


def statements(stack: Stack) -> Iterator[tuple[str, Statement]]:
    """Yield every statement of every policy, with the resource that it is in."""
    for name, resource in stack.resources.items():
        properties = resource["Properties"]
        for policy in [*properties.get("Policies", []), *([properties] if "PolicyDocument" in properties else [])]:
            yield from ((name, statement) for statement in policy["PolicyDocument"]["Statement"])


def rights(stack: Stack, role: str) -> set[tuple[str, str]]:
    """Return which action a role allows on what."""
    return {
        (action, target(resource))
        for name, statement in statements(stack)
        if name == role
        for action in listed(statement["Action"])
        for resource in listed(statement["Resource"])
    }


def target(resource: Any) -> str:
    if isinstance(resource, str):
        return resource
    if "Fn::Split" in resource:  # of a single one
        return str(resource["Fn::Split"][1])
    return str(resource["Ref"]) if "Ref" in resource else str(resource["Fn::GetAtt"][0])


def expected(
    name: str, *, traced: bool, in_vpc: bool, key: str, secret: str = "", alerts: str = ""
) -> set[tuple[str, str]]:
    """Return what a function may do."""
    found = {*SHARED.items()} | {("sqs:SendMessage", f"{queue}Queue") for queue in CHAIN}
    found |= {("dynamodb:Query", f"${{Table.Arn}}/index/{index}") for index in INDEXES}
    found |= {(f"s3:{action}", "${Claims.Arn}/claims/*") for action in ("GetObject", "PutObject")}
    found |= {(f"sqs:{action}", f"{name}Queue") for action in RECEIVE}
    found |= {(f"logs:{action}", f"{name}Logs") for action in ("CreateLogStream", "PutLogEvents")}
    if traced:
        found |= {(f"xray:{action}", "*") for action in ("PutTraceSegments", "PutTelemetryRecords")}
    if in_vpc and calls_out(NAMED[name]):
        found |= {(f"ec2:{action}", "*") for action in NETWORK}
    if key:
        found |= {(f"kms:{action}", key) for action in KEY}
    if secret and name in SEND_ASSIGNMENTS:
        found |= {("secretsmanager:GetSecretValue", secret)}
    if name == "Api":
        found |= {("dynamodb:Scan", "Table"), ("secretsmanager:GetSecretValue", "ApiKey")}
        found |= {("secretsmanager:GetSecretValue", alerts)} if alerts else set()
    return found


SECRETS = {"FLOWC_API_KEY", "FLOWC_WORKER_KEY", "FLOWC_ALERT_WEBHOOK_SECRET"}
NETWORKED = {name: EVERYTHING[name] for name in ("SubnetIds", "SecurityGroupIds")}
KEYED = {"KmsKeyArn": EVERYTHING["KmsKeyArn"]}


@pytest.mark.parametrize("name", NAMED)
def test_a_function_may_do_exactly_this(name: str) -> None:
    role, key = f"{name}Role", EVERYTHING["KmsKeyArn"]
    assert rights(Stack(), role) == expected(name, traced=False, in_vpc=False, key="")
    assert rights(Stack(Tracing="Active"), role) == expected(name, traced=True, in_vpc=False, key="")
    assert rights(Stack(**NETWORKED), role) == expected(name, traced=False, in_vpc=True, key="")
    assert rights(Stack(**KEYED), role) == expected(name, traced=False, in_vpc=False, key=key)
    secret = EVERYTHING["TaskSecretArns"]
    assert rights(Stack(TaskSecretArns=secret), role) == expected(
        name, traced=False, in_vpc=False, key="", secret=secret
    )
    alerts = EVERYTHING["AlertWebhookSecretArn"]
    assert rights(Stack(AlertWebhookSecretArn=alerts), role) == expected(
        name, traced=False, in_vpc=False, key="", alerts=alerts
    )
    assert rights(WHOLE, role) == expected(name, traced=True, in_vpc=True, key=key, secret=secret, alerts=alerts)


def test_the_clock_may_tick_and_give_up() -> None:
    allowed = {("events:PutEvents", "Bus"), ("sqs:SendMessage", "DeadLetterQueue")}
    assert rights(WHOLE, "ClockRole") == allowed
    role = WHOLE.of("AWS::IAM::Role")["ClockRole"]
    [statement] = role["AssumeRolePolicyDocument"]["Statement"]
    assert statement["Principal"] == {"Service": "scheduler.amazonaws.com"}
    assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_every_function_has_a_role_of_its_own_and_no_policies_of_others() -> None:
    """A role that SAM made would come with AWS' own policies, which allow their actions on everything."""
    for name, function in WHOLE.functions.items():
        assert function["Role"] == {"Fn::GetAtt": [f"{name}Role", "Arn"]}
        assert "Policies" not in function
    roles = WHOLE.of("AWS::IAM::Role")
    assert roles.keys() == {f"{name}Role" for name in NAMED} | {"ClockRole"}
    for name, role in roles.items():
        assert "ManagedPolicyArns" not in role
        assert len(role["Policies"]) == 1
        if name != "ClockRole":
            [statement] = role["AssumeRolePolicyDocument"]["Statement"]
            assert statement["Principal"] == {"Service": "lambda.amazonaws.com"}


def test_no_resource_has_a_wildcard_without_a_reason_and_no_action_but_a_refused_one() -> None:
    found = set()
    for name, statement in statements(WHOLE):
        for resource in listed(statement["Resource"]):
            if isinstance(resource, str) and re.search(r"[*?]", resource):
                found.add((statement["Sid"], resource))
        wild = [action for action in listed(statement["Action"]) if re.search(r"[*?]", action)]
        assert statement["Effect"] == "Deny" or wild == [], name
        assert "NotAction" not in statement
        assert "NotResource" not in statement
    assert found == WILDCARDS.keys()


def test_whoever_may_be_anybody_is_refused() -> None:
    open_to_all = [statement for _, statement in statements(WHOLE) if statement.get("Principal") == "*"]
    assert [(one["Effect"], one["Condition"]) for one in open_to_all] == [
        ("Deny", {"Bool": {"aws:SecureTransport": "false"}})
    ]


def test_the_key_of_the_table_is_used_for_the_table_only() -> None:
    found = [statement for _, statement in statements(WHOLE) if statement.get("Sid") == "KeyOfTheTable"]
    assert len(found) == len(NAMED)
    for statement in found:
        via = {"StringEquals": {"kms:ViaService": "dynamodb.eu-central-1.amazonaws.com"}}
        assert statement["Condition"] == via


def test_both_keys_are_long_random_secrets_and_no_environment_holds_one() -> None:
    secrets = WHOLE.of("AWS::SecretsManager::Secret")
    assert secrets.keys() == {"WorkerKey", "ApiKey"}
    for secret in secrets.values():
        assert secret["GenerateSecretString"] == {"PasswordLength": 48, "ExcludePunctuation": True}
    for function in WHOLE.functions.values():
        assert function["Environment"]["Variables"].keys() & SECRETS == set()
