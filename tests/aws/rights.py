"""What the roles of the template allow: a call that AWS would refuse is refused here, too.

It is test equipment. Of policies only as much is known as the template uses: statements that allow actions on
resources, by name or with `*`. A statement with a condition allows nothing here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

from tests.aws.wire import Answer, Call, answer_of

Json = Any
Act = tuple[str, str]
"""An action, such as `dynamodb:GetItem`, on a resource's ARN."""

ACTIONS = {"Put": "PutItem", "Update": "UpdateItem", "Delete": "DeleteItem", "ConditionCheck": "ConditionCheckItem"}
"""A transaction asks for the rights to what it does, and for none of its own."""


@dataclass
class Rights:
    """The rights of functions, by their names; who is no function may do anything. `denied` is what was refused.

    `arn` is the form of a resource's name in full, with places for its service and its name.
    """

    arn: str
    statements: Mapping[str, Sequence[Mapping[str, Json]]]
    denied: list[tuple[str, Act]] = field(default_factory=list)

    def refusal(self, function: str, call: Call) -> Answer | None:
        """Return what AWS answers to a function that may not do what it asks for."""
        if function not in self.statements:
            return None
        for act in self._acts(call):
            if not self._may(function, act):
                self.denied.append((function, act))
                text = f"User: {function} is not authorized to perform: {act[0]} on resource: {act[1]}"
                if call.name.startswith("s3."):
                    return Answer(
                        403, {}, f"<Error><Code>AccessDenied</Code><Message>{text}</Message></Error>".encode()
                    )
                return answer_of({"__type": "AccessDeniedException", "message": text}, 400)
        return None

    def _may(self, function: str, act: Act) -> bool:
        fitting = [one for one in self.statements[function] if "Condition" not in one and _fits(one, act)]
        return bool(fitting) and all(one["Effect"] == "Allow" for one in fitting)

    def _acts(self, call: Call) -> Iterator[Act]:
        service, _, operation = call.name.partition(".")
        resources = RESOURCES[service](operation, call)
        return ((f"{service}:{action}", self._in_full(service, resource)) for action, resource in resources)

    def _in_full(self, service: str, resource: str) -> str:
        if resource.startswith("arn:"):
            return resource
        return f"arn:aws:s3:::{resource}" if service == "s3" else self.arn.format(service, resource)


def _fits(statement: Mapping[str, Json], act: Act) -> bool:
    action, resource = act
    return any(fnmatchcase(action.lower(), one.lower()) for one in _listed(statement["Action"])) and any(
        fnmatchcase(resource, one) for one in _listed(statement["Resource"])
    )


def _listed(value: Json) -> list[str]:
    return value if isinstance(value, list) else [value]


def _of_dynamodb(operation: str, call: Call) -> Iterator[Act]:
    said = call.json
    if operation == "TransactWriteItems":
        for item in said["TransactItems"]:
            ((kind, what),) = item.items()
            yield ACTIONS[kind], f"table/{what['TableName']}"
    elif "RequestItems" in said:
        yield from ((operation, f"table/{table}") for table in said["RequestItems"])
    else:
        index = f"/index/{said['IndexName']}" if "IndexName" in said else ""
        yield operation, f"table/{said['TableName']}{index}"


def _of_events(operation: str, call: Call) -> Iterator[Act]:
    return ((operation, _bus(entry["EventBusName"])) for entry in call.json["Entries"])


def _bus(name: str) -> str:
    return name if name.startswith("arn:") else f"event-bus/{name}"


def _of_sqs(operation: str, call: Call) -> Iterator[Act]:
    said = call.json
    yield operation, said["QueueUrl"].rsplit("/", 1)[1] if "QueueUrl" in said else said["QueueName"]


def _of_secrets(operation: str, call: Call) -> Iterator[Act]:
    yield operation, call.json["SecretId"]


def _of_s3(operation: str, call: Call) -> Iterator[Act]:
    yield operation, call.path.partition("?")[0].lstrip("/")


RESOURCES: Mapping[str, Callable[[str, Call], Iterator[Act]]] = {
    "dynamodb": _of_dynamodb,
    "events": _of_events,
    "sqs": _of_sqs,
    "secretsmanager": _of_secrets,
    "s3": _of_s3,
}
