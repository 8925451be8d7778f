"""`template.yaml` with its parameters given: conditions are decided, references to resources stay what they are.

`Ref`, `GetAtt` and `Sub` of a resource are left in their long form, so that tests can tell which resource is meant.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import yaml

from tests.conftest import ROOT

PATH = ROOT / "template.yaml"
FUNCTION = "AWS::Serverless::Function"
NO_VALUE = object()
PSEUDO = {
    "AWS::AccountId": "123456789012",
    "AWS::NoValue": NO_VALUE,
    "AWS::Partition": "aws",
    "AWS::Region": "eu-central-1",
    "AWS::StackName": "flow-c",
    "AWS::URLSuffix": "amazonaws.com",
}


class _Loader(yaml.CSafeLoader):
    """Reads the short forms of intrinsic functions as their long forms; it is libyaml's, ten times as fast."""


def _intrinsic(loader: _Loader, name: str, node: yaml.Node) -> dict[str, Any]:
    key = name if name in {"Ref", "Condition"} else f"Fn::{name}"
    if isinstance(node, yaml.ScalarNode):
        text = loader.construct_scalar(node)
        return {key: str(text).split(".", 1) if name == "GetAtt" else text}
    if isinstance(node, yaml.SequenceNode):
        return {key: loader.construct_sequence(node, deep=True)}
    raise TypeError(f"!{name} of a mapping")


_Loader.add_multi_constructor("!", _intrinsic)


def parse(text: str) -> dict[str, Any]:
    """Return a template as it is written."""
    found: dict[str, Any] = yaml.load(text, _Loader)  # noqa: S506 it is a safe one
    return found


def document() -> dict[str, Any]:
    """Return our template as it is written."""
    return parse(PATH.read_text(encoding="utf-8"))


class Stack:
    """What a template, ours without another one, makes when it is given `parameters`; `pseudo` are those of AWS."""

    def __init__(
        self, template: Mapping[str, Any] | None = None, pseudo: Mapping[str, Any] = PSEUDO, /, **parameters: str
    ) -> None:
        self._template = document() if template is None else template
        self._pseudo = {**PSEUDO, **pseudo}
        declared = self._template["Parameters"]
        assert parameters.keys() <= declared.keys()
        self.parameters = {name: str(parameters.get(name, said["Default"])) for name, said in declared.items()}
        self.resources: dict[str, dict[str, Any]] = {
            name: self._resource(resource)
            for name, resource in self._template["Resources"].items()
            if "Condition" not in resource or self.holds({"Condition": resource["Condition"]})
        }

    def of(self, kind: str) -> dict[str, dict[str, Any]]:
        """Return the properties of all resources of a kind, by their names."""
        return {name: found["Properties"] for name, found in self.resources.items() if found["Type"] == kind}

    @property
    def functions(self) -> dict[str, dict[str, Any]]:
        """The properties of the functions."""
        return self.of(FUNCTION)

    @property
    def refusals(self) -> list[str]:
        """What the template's rules have against the parameters."""
        return [
            assertion["AssertDescription"]
            for rule in self._template["Rules"].values()
            if "RuleCondition" not in rule or self.holds(rule["RuleCondition"])
            for assertion in rule["Assertions"]
            if not self.holds(assertion["Assert"])
        ]

    def holds(self, condition: dict[str, Any]) -> bool:
        """Tell whether a condition holds."""
        ((kind, said),) = condition.items()
        if kind == "Condition":
            return self.holds(self._template["Conditions"][said])
        if kind == "Fn::Equals":
            one, other = (self.plain(value) for value in said)
            return bool(one == other)
        if kind == "Fn::Contains":
            some, other = (self.plain(value) for value in said)
            return other in some
        if kind == "Fn::Not":
            return not self.holds(said[0])
        return {"Fn::And": all, "Fn::Or": any}[kind](self.holds(part) for part in said)

    def plain(self, value: Any) -> Any:
        """Return a value with everything in it decided that does not depend on a resource."""
        if isinstance(value, list):
            return [one for one in map(self.plain, value) if one is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, said),) = value.items()
            if name in INTRINSICS:
                return INTRINSICS[name](self, said)
        return {key: one for key, one in ((k, self.plain(v)) for k, v in value.items()) if one is not NO_VALUE}

    def reference(self, name: str) -> Any:
        if name not in self.parameters:
            return self._pseudo.get(name, {"Ref": name})
        text = self.parameters[name]
        return text.split(",") if self._template["Parameters"][name]["Type"] == "CommaDelimitedList" else text

    def either(self, said: Any) -> Any:
        condition, yes, no = said
        return self.plain(yes if self.holds({"Condition": condition}) else no)

    def joined(self, said: Any) -> str:
        between, parts = said
        return str(between).join(map(str, self.plain(parts)))

    def substituted(self, text: str) -> str:
        known = {**self._pseudo, **self.parameters}
        return re.sub(r"\$\{([^}!]+)\}", lambda place: str(known.get(place[1], place[0])), text)

    def mapped(self, keys: Any) -> Any:
        found = self._template["Mappings"]
        for key in keys:
            found = found[key]
        return found

    def _resource(self, resource: dict[str, Any]) -> dict[str, Any]:
        properties = resource.get("Properties", {})
        if resource["Type"] == FUNCTION:
            everywhere = self._template["Globals"]["Function"]
            variables = [part.get("Environment", {}).get("Variables", {}) for part in (everywhere, properties)]
            properties = {**everywhere, **properties, "Environment": {"Variables": variables[0] | variables[1]}}
        return {**resource, "Properties": self.plain(properties)}


INTRINSICS: Mapping[str, Callable[[Stack, Any], Any]] = {
    "Ref": Stack.reference,
    "Fn::If": Stack.either,
    "Fn::Join": Stack.joined,
    "Fn::Sub": Stack.substituted,
    "Fn::FindInMap": Stack.mapped,
}


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every mapping in a value, the outer ones first."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from walk(inner)


def named(value: Any) -> set[str]:
    """Return the names of parameters and resources that a value refers to."""
    found: set[str] = set()
    for part in walk(value):
        if "Ref" in part:
            found.add(part["Ref"])
        if "Fn::GetAtt" in part:
            found.add(part["Fn::GetAtt"][0])
        if isinstance(part.get("Fn::Sub"), str):
            found |= {place.partition(".")[0] for place in re.findall(r"\$\{([^}!]+)\}", part["Fn::Sub"])}
    return found


def listed(value: Any) -> list[Any]:
    """Return a value that may be one or several as several."""
    return value if isinstance(value, list) else [value]


EVERYTHING: Mapping[str, str] = {
    "TaskSecrets": "db=aws:db",
    "TaskSecretArns": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:db-a1b2c3",
    "PrometheusUrl": "https://prometheus.example.com/team",
    "AlertWebhookSecretArn": "arn:aws:secretsmanager:eu-central-1:123456789012:secret:alerts-c3d4e5",
    "Learning": "on",
    "Insights": "on",
    "LearnLayerArn": "arn:aws:lambda:eu-central-1:123456789012:layer:flow-c-learn:3",
    "PublicUrl": "https://flows.example.com",
    "JwtIssuer": "https://issuer.example.com",
    "JwtAudience": "flows",
    "WorkerNetworks": "private",
    "SubnetIds": "subnet-0a,subnet-0b",
    "SecurityGroupIds": "sg-0a",
    "KmsKeyArn": "arn:aws:kms:eu-central-1:123456789012:key/0a",
    "SnapStart": "PublishedVersions",
    "ReservedConcurrency": "50",
    "Tracing": "Active",
    "AlarmEmail": "somebody@example.com",
}
"""Parameters that switch on all that is off by default."""
