"""What CloudFormation makes of the template, made in the emulator: nothing but what the template says.

It is test equipment. Roles, routes and mappings are read for those who keep them: `rights.py`, `http_api.py`, `sqs.py`.
Of alarms, dashboards and the like nothing is made. A property or an attribute that nobody here knows is an error.
"""

import json
import secrets
import string
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import get_session

from tests.aws.functions import Configuration
from tests.aws.sqs import Mapped
from tests.aws.template import Attributes, Template, TemplateError, current
from tests.support.cloudformation import FUNCTION
from tests.support.dynamodb import ENVIRONMENT

REGION = ENVIRONMENT["AWS_DEFAULT_REGION"]
ARN = f"arn:aws:{{}}:{REGION}:000000000000:{{}}"
Json = Any


@dataclass(frozen=True)
class Cloud:
    """Where the services of AWS are: one emulator for DynamoDB, one for the others, or one for all."""

    others: str
    dynamodb: str

    def url_of(self, service: str) -> str:
        """Return where a service is."""
        return self.dynamodb if service == "dynamodb" else self.others


def client_of(url: str, service: str) -> Any:
    """Return a client of the service at `url`."""
    return get_session().create_client(
        service,
        region_name=REGION,
        endpoint_url=url,
        aws_access_key_id=ENVIRONMENT["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=ENVIRONMENT["AWS_SECRET_ACCESS_KEY"],
        config=Config(retries={"total_max_attempts": 2}),
    )


@dataclass(frozen=True)
class Rule:
    """Which queues get the events of some types, or of all, that are put on a bus; queues go by their ARNs.

    A rule with `unlike` also takes each type that does not begin with it.
    """

    bus: str
    event_types: frozenset[str]
    queues: frozenset[str]
    unlike: str | None = None

    def takes(self, event_type: str) -> bool:
        """Tell whether events of a type may come by this rule."""
        known = event_type in self.event_types or (self.unlike is None and not self.event_types)
        return known or (self.unlike is not None and not event_type.startswith(self.unlike))


@dataclass
class Stack:
    """A stack in the emulator. `create` it, `delete` it."""

    cloud: Cloud
    parameters: Mapping[str, str]
    api_url: str
    document: Mapping[str, Json] = field(default_factory=current)
    name: str = field(default_factory=lambda: f"flowc-{uuid4().hex[:8]}")
    made: dict[str, Attributes] = field(default_factory=dict)
    rules: list[Rule] = field(default_factory=list)
    template: Template = field(init=False)
    _clients: dict[str, Any] = field(default_factory=dict)
    deletions: list[Callable[[], Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Read the template."""
        self.template = Template(self.document, self.name, self.parameters, self._attributes_of)

    def create(self) -> None:
        """Make everything."""
        for name in self.template.resources(*MAKERS):
            self._attributes_of(name)

    def delete(self) -> None:
        """Unmake everything, last things first."""
        for undo in reversed(self.deletions):
            with suppress(ClientError):
                undo()
        for client in self._clients.values():
            client.close()

    def client(self, service: str) -> Any:
        """Return a client of a service."""
        if service not in self._clients:
            self._clients[service] = client_of(self.cloud.url_of(service), service)
        return self._clients[service]

    def functions(self) -> dict[str, Configuration]:
        """Return how each function runs, by its logical id."""
        found = {}
        for name, resource in self.template.resources(FUNCTION).items():
            said = resource["Properties"]
            given = {key: said[key] for key in ("Environment", "Handler", "Timeout", "MemorySize") if key in said}
            known = self.template.resolve(given)
            variables = {key: str(value) for key, value in known["Environment"]["Variables"].items()}
            found[name] = Configuration(
                name=self.made[name]["Ref"],
                handler=known["Handler"],
                environment=variables,
                timeout=float(known.get("Timeout", 3)),
                memory=int(known.get("MemorySize", 128)),
            )
        return found

    def mappings(self) -> dict[str, list[Mapped]]:
        """Return the mappings of each function, by its logical id."""
        queues = {self.made[name]["Arn"]: name for name in self.template.resources("AWS::SQS::Queue")}
        functions = {self.made[name]["Ref"]: name for name in self.template.resources(FUNCTION)}
        found: dict[str, list[Mapped]] = {}
        for resource in self.template.resources("AWS::Lambda::EventSourceMapping").values():
            said = self.template.resolve(dict(resource["Properties"]))
            function, queue = functions[said.pop("FunctionName")], queues[said.pop("EventSourceArn")]
            if said.pop("Enabled", True):
                found.setdefault(function, []).append(self._mapped(queue, said))
        return found

    def routes(self) -> dict[str, str]:
        """Return which function answers which route of the API, by its name."""
        functions = {self.made[name]["Arn"]: self.made[name]["Ref"] for name in self.template.resources(FUNCTION)}
        targets = {}
        for name, resource in self.template.resources("AWS::ApiGatewayV2::Integration").items():
            said = self.template.resolve(resource["Properties"])
            if (said["IntegrationType"], said["PayloadFormatVersion"]) != ("AWS_PROXY", "2.0"):
                raise TemplateError(f"{name}: such integrations are not known here")
            targets[f"integrations/{self.made[name]['Ref']}"] = functions[said["IntegrationUri"]]
        found = {}
        for name, resource in self.template.resources("AWS::ApiGatewayV2::Route").items():
            said = self.template.resolve(resource["Properties"])
            if said.get("AuthorizationType", "NONE") != "NONE":
                raise TemplateError(f"{name}: authorisers are not known here")
            found[said["RouteKey"]] = targets[said["Target"]]
        return found

    def statements(self) -> dict[str, list[Mapping[str, Json]]]:
        """Return what the role of each function says, by the function's name."""
        roles = {self.made[name]["Arn"]: name for name in self.template.resources("AWS::IAM::Role")}
        found = {}
        for name, resource in self.template.resources(FUNCTION).items():
            role = self.template.resources()[roles[self.template.resolve(resource["Properties"]["Role"])]]
            policies = self.template.resolve(role["Properties"].get("Policies", []))
            found[self.made[name]["Ref"]] = [one for each in policies for one in each["PolicyDocument"]["Statement"]]
        return found

    def queues_of(self, bus: str, event_type: str) -> set[str]:
        """Return the ARNs of the queues that may get an event; `bus` is a name or an ARN.

        Rules that look at more than the type may still leave it out.
        """
        name = bus.rpartition("/")[2]
        leading = (rule for rule in self.rules if rule.bus == name)
        return {queue for rule in leading if rule.takes(event_type) for queue in rule.queues}

    def _mapped(self, queue: str, said: dict[str, Json]) -> Mapped:
        made = self.made[queue]
        attributes = self.template.resolve(self.template.resources()[queue].get("Properties", {}))
        mapped = Mapped(
            queue_url=made["Ref"],
            queue_arn=made["Arn"],
            visibility=float(attributes.get("VisibilityTimeout", 30)),
            largest=int(said.pop("BatchSize", 10)),
            at_once=_number(said.pop("ScalingConfig", {}).get("MaximumConcurrency")),
            partial="ReportBatchItemFailures" in said.pop("FunctionResponseTypes", []),
        )
        if int(said.pop("MaximumBatchingWindowInSeconds", 0)) or said:
            raise TemplateError(f"the mapping of {queue} says what is not known here: {sorted(said)}")
        return mapped

    def schedules(self) -> dict[str, Json]:
        """Return the targets of the schedules, by their logical ids."""
        found = self.template.resources("AWS::Scheduler::Schedule")
        return {name: self.template.resolve(resource["Properties"]["Target"]) for name, resource in found.items()}

    def _attributes_of(self, name: str) -> Attributes:
        """Return the attributes of a resource, which is made first if it is not there yet."""
        if name not in self.made:
            resource = self.template.resources()[name]
            maker = MAKERS.get(resource["Type"])
            if maker is None:
                raise TemplateError(f"{name}: nothing is made of {resource['Type']} here")
            said = {} if resource["Type"] in LATER else self.template.resolve(dict(resource.get("Properties", {})))
            self.made[name] = maker(self, name, said)
        return self.made[name]

    def physical(self, name: str, said: str | None = None) -> str:
        """Return what a resource is called: as the template says, or as CloudFormation would make up a name."""
        return said or f"{self.name}-{name}-{uuid4().hex[:8]}"

    def undo(self, service: str, operation: str, **arguments: Any) -> None:
        """Remember how a resource is deleted."""
        self.deletions.append(lambda: getattr(self.client(service), operation)(**arguments))


def _number(value: Json) -> int | None:
    return None if value is None else int(value)


def _known(name: str, said: Mapping[str, Json], known: set[str]) -> None:
    if unknown := said.keys() - known:
        raise TemplateError(f"{name}: properties that nobody here knows: {sorted(unknown)}")


TABLE_SAYS = {"TableName", "BillingMode", "AttributeDefinitions", "KeySchema"} | {
    f"{kind}SecondaryIndexes" for kind in ("Local", "Global")
}
TABLE_KEEPS = {
    "DeletionProtectionEnabled",
    "PointInTimeRecoverySpecification",
    "SSESpecification",
    "Tags",
    "TableClass",
    "TimeToLiveSpecification",
}
"""Of no effect on what the functions see."""


def _table(stack: Stack, name: str, said: dict[str, Json]) -> Attributes:
    _known(name, said, TABLE_SAYS | TABLE_KEEPS)
    called = stack.physical(name, said.get("TableName"))
    arguments = {key: value for key, value in said.items() if key in TABLE_SAYS}
    stack.client("dynamodb").create_table(**{**arguments, "TableName": called})
    stack.undo("dynamodb", "delete_table", TableName=called)
    return {"Ref": called, "Arn": ARN.format("dynamodb", f"table/{called}")}


def _bus(stack: Stack, name: str, said: dict[str, Json]) -> Attributes:
    _known(name, said, {"Name", "Description", "Tags"})
    arn = stack.client("events").create_event_bus(Name=said["Name"])["EventBusArn"]
    stack.undo("events", "delete_event_bus", Name=said["Name"])
    return {"Ref": said["Name"], "Name": said["Name"], "Arn": arn}


def _rule(stack: Stack, name: str, said: dict[str, Json]) -> Attributes:
    """Make a rule and its targets. Dead letters of targets are not the emulator's, and it never fails to deliver."""
    _known(name, said, {"Name", "Description", "EventBusName", "EventPattern", "State", "Targets"})
    called, bus, events = stack.physical(name, said.get("Name")), said["EventBusName"], stack.client("events")
    pattern, state = json.dumps(said["EventPattern"]), said.get("State", "ENABLED")
    arn = events.put_rule(Name=called, EventBusName=bus, EventPattern=pattern, State=state)["RuleArn"]
    stack.undo("events", "delete_rule", Name=called, EventBusName=bus)
    for target in said["Targets"]:
        _known(f"{name}.{target['Id']}", target, {"Id", "Arn", "DeadLetterConfig", "RetryPolicy"})
    answer = events.put_targets(Rule=called, EventBusName=bus, Targets=said["Targets"])
    assert not answer["FailedEntryCount"], answer
    wanted = said["EventPattern"].get("detail-type", ())
    types = frozenset(one for one in wanted if isinstance(one, str))
    unlike = next((one["anything-but"]["prefix"] for one in wanted if isinstance(one, dict)), None)
    stack.rules.append(Rule(bus, types, frozenset(one["Arn"] for one in said["Targets"]), unlike))
    stack.undo("events", "remove_targets", Rule=called, EventBusName=bus, Ids=[one["Id"] for one in said["Targets"]])
    return {"Ref": called, "Arn": arn}


QUEUE_SAYS = {"DelaySeconds", "MaximumMessageSize", "MessageRetentionPeriod", "VisibilityTimeout", "RedrivePolicy"}
QUEUE_KEEPS = {"SqsManagedSseEnabled", "KmsMasterKeyId", "RedriveAllowPolicy", "Tags"}
"""Of no effect on what the functions see."""


def _queue(stack: Stack, name: str, said: dict[str, Json]) -> Attributes:
    _known(name, said, QUEUE_SAYS | QUEUE_KEEPS | {"QueueName", "ReceiveMessageWaitTimeSeconds"})
    called = stack.physical(name, said.get("QueueName"))
    attributes = {
        key: json.dumps(value) if isinstance(value, dict) else str(value)
        for key, value in said.items()
        if key in QUEUE_SAYS
    }
    if "RedrivePolicy" in said:
        policy = {**said["RedrivePolicy"], "maxReceiveCount": _received(stack, name, said["RedrivePolicy"])}
        attributes["RedrivePolicy"] = json.dumps(policy)
    sqs = stack.client("sqs")
    url = sqs.create_queue(QueueName=called, Attributes=attributes)["QueueUrl"]
    stack.undo("sqs", "delete_queue", QueueUrl=url)
    return {"Ref": url, "QueueUrl": url, "QueueName": called, "Arn": ARN.format("sqs", called)}


def _received(stack: Stack, name: str, policy: Mapping[str, Json]) -> int:
    """Return how often a message may be received.

    The emulator lets a message bring its count along into a dead letter queue, and moves it on from there at once if
    that queue has a dead letter queue, too. In SQS each queue counts anew. So here the counts before are added.
    """
    before = [
        resource["Properties"]["RedrivePolicy"]
        for resource in stack.template.resources("AWS::SQS::Queue").values()
        if "RedrivePolicy" in resource.get("Properties", {})
    ]
    leading_here = [one for one in before if one["deadLetterTargetArn"] == {"Fn::GetAtt": [name, "Arn"]}]
    brought = [int(stack.template.resolve(one["maxReceiveCount"])) for one in leading_here]
    return int(policy["maxReceiveCount"]) + max(brought, default=0)


BUCKET_KEEPS = {"BucketEncryption", "LifecycleConfiguration", "OwnershipControls", "PublicAccessBlockConfiguration"}
"""Of no effect on what the functions see."""


def _bucket(stack: Stack, name: str, said: dict[str, Json]) -> Attributes:
    _known(name, said, BUCKET_KEEPS | {"BucketName"})
    called = str(stack.physical(name, said.get("BucketName"))).lower()
    stack.client("s3").create_bucket(Bucket=called, CreateBucketConfiguration={"LocationConstraint": REGION})

    def empty() -> None:
        for found in stack.client("s3").list_objects_v2(Bucket=called).get("Contents", []):
            stack.client("s3").delete_object(Bucket=called, Key=found["Key"])

    stack.undo("s3", "delete_bucket", Bucket=called)
    stack.deletions.append(empty)
    return {"Ref": called, "Arn": f"arn:aws:s3:::{called}"}


def _secret(stack: Stack, name: str, said: dict[str, Json]) -> Attributes:
    _known(name, said, {"Name", "Description", "GenerateSecretString", "Tags"})
    how = said["GenerateSecretString"]
    _known(name, how, {"PasswordLength", "ExcludePunctuation"})
    signs = string.ascii_letters + string.digits + ("" if how.get("ExcludePunctuation") else string.punctuation)
    text = "".join(secrets.choice(signs) for _ in range(int(how.get("PasswordLength", 32))))
    called = stack.physical(name, said.get("Name"))
    arn = stack.client("secretsmanager").create_secret(Name=called, SecretString=text)["ARN"]
    stack.undo("secretsmanager", "delete_secret", SecretId=arn, ForceDeleteWithoutRecovery=True)
    return {"Ref": arn, "Id": arn, "text": text}


def _function(stack: Stack, name: str, _said: dict[str, Json]) -> Attributes:
    properties = stack.template.resources()[name]["Properties"]
    called = stack.physical(name, stack.template.resolve(properties.get("FunctionName")))
    return {"Ref": called, "Arn": ARN.format("lambda", f"function:{called}")}


def _api(stack: Stack, _name: str, _said: dict[str, Json]) -> Attributes:
    return {"Ref": "api", "ApiId": "api", "ApiEndpoint": stack.api_url}


def _nothing(stack: Stack, name: str, _said: dict[str, Json]) -> Attributes:
    """Make nothing of what only has a name here."""
    called = stack.physical(name)
    return {"Ref": called, "Arn": ARN.format("none", called)}


Maker = Callable[[Stack, str, dict[str, Json]], Attributes]
MAKERS: Mapping[str, Maker] = {
    "AWS::DynamoDB::Table": _table,
    "AWS::Events::EventBus": _bus,
    "AWS::Events::Rule": _rule,
    "AWS::SQS::Queue": _queue,
    "AWS::S3::Bucket": _bucket,
    "AWS::SecretsManager::Secret": _secret,
    "AWS::ApiGatewayV2::Api": _api,
    "AWS::ApiGatewayV2::Integration": _nothing,
    "AWS::IAM::Role": _nothing,
    "AWS::Logs::LogGroup": _nothing,
    FUNCTION: _function,
}
LATER = {FUNCTION, "AWS::ApiGatewayV2::Api", "AWS::ApiGatewayV2::Integration", "AWS::IAM::Role", "AWS::Logs::LogGroup"}
"""What is made under its name alone; its properties may name what is made after it."""
