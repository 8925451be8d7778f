"""`template.yaml` as CloudFormation reads it: parameters, conditions, and the intrinsics that it uses, no others.

What a resource is called and which attributes it has is told by whoever creates it. An intrinsic, a parameter or an
attribute that is not known here is an error, never a guess.
"""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml

from tests.conftest import ROOT
from tests.dynamodb import ENVIRONMENT

SOURCE = ROOT / "template.yaml"
BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"

FUNCTION = "AWS::Serverless::Function"
PLACE = re.compile(r"\$\{(!?)([^}]+)\}")
Json = Any
Attributes = Mapping[str, Any]
"""Of a resource: `Ref`, and what `GetAtt` may ask for."""

NO_VALUE = object()


class TemplateError(Exception):
    """The template says what cannot be followed."""


class _Loader(yaml.SafeLoader):
    """Reads the short forms of intrinsics, too."""


def _short(loader: _Loader, suffix: str, node: yaml.Node) -> Json:
    name = suffix if suffix in {"Ref", "Condition"} else f"Fn::{suffix}"
    if isinstance(node, yaml.ScalarNode):
        value: Json = loader.construct_scalar(node)
        return {name: value.split(".", 1) if suffix == "GetAtt" else value}
    if isinstance(node, yaml.SequenceNode):
        return {name: loader.construct_sequence(node, deep=True)}
    assert isinstance(node, yaml.MappingNode)
    return {name: loader.construct_mapping(node, deep=True)}


_Loader.add_multi_constructor("!", _short)


def read(path: Path) -> dict[str, Json]:
    """Return a template with its intrinsics in their long form."""
    found: dict[str, Json] = yaml.load(path.read_text(), _Loader)  # noqa: S506 a SafeLoader
    return found


def current() -> dict[str, Json]:
    """Return what `sam build` has made of the template if it is of the same content, else the template itself."""
    source = read(SOURCE)
    if BUILT.exists() and _content(read(BUILT)) == _content(source):
        return read(BUILT)
    return source


def _content(document: Mapping[str, Json]) -> Json:
    """Return a template without what a build changes: where the code is, a hash of it, the runtime it was built for."""
    plain = deepcopy({name: section for name, section in document.items() if name != "Mappings"})
    plain["Parameters"] = {name: said for name, said in plain.get("Parameters", {}).items() if name != "Runtime"}
    for section in (plain.get("Globals", {}).get("Function", {}), *_properties(plain)):
        section.pop("CodeUri", None)
    for resource in plain["Resources"].values():
        resource.pop("Metadata", None)
    return plain


def _properties(document: Mapping[str, Json]) -> list[Json]:
    return [resource.get("Properties", {}) for resource in document["Resources"].values()]


class Template:
    """A template with its parameters given; `attributes_of` tells of the resources that were created."""

    def __init__(
        self,
        document: Mapping[str, Json],
        stack: str,
        parameters: Mapping[str, str],
        attributes_of: Callable[[str], Attributes],
    ) -> None:
        self._document = document
        self._attributes_of = attributes_of
        region = ENVIRONMENT["AWS_DEFAULT_REGION"]
        self._pseudo: dict[str, Json] = {
            "AWS::AccountId": "000000000000",
            "AWS::NoValue": NO_VALUE,
            "AWS::Partition": "aws",
            "AWS::Region": region,
            "AWS::StackId": f"arn:aws:cloudformation:{region}:000000000000:stack/{stack}/1",
            "AWS::StackName": stack,
            "AWS::URLSuffix": "amazonaws.com",
        }
        self.parameters = self._given(parameters)
        self._conditions: dict[str, bool] = {}

    def _given(self, parameters: Mapping[str, str]) -> dict[str, Json]:
        declared = self._document.get("Parameters", {})
        if unknown := parameters.keys() - declared.keys():
            raise TemplateError(f"no such parameters: {sorted(unknown)}")
        values: dict[str, Json] = {}
        for name, said in declared.items():
            value = parameters.get(name, said.get("Default"))
            if value is None:
                raise TemplateError(f"parameter {name} has no value")
            text = str(value).lower() if isinstance(value, bool) else str(value)
            allowed = [str(one) for one in said.get("AllowedValues", [])]
            if (allowed and text not in allowed) or not re.fullmatch(said.get("AllowedPattern", ".*"), text, re.DOTALL):
                raise TemplateError(f"parameter {name} may not be {text!r}")
            values[name] = text.split(",") if said["Type"] == "CommaDelimitedList" else text
        return values

    def resources(self, *kinds: str) -> dict[str, Mapping[str, Json]]:
        """Return the resources of some kinds that exist under the conditions, with what `Globals` says of functions."""
        found = {}
        for name, resource in self._document["Resources"].items():
            wanted = not kinds or resource["Type"] in kinds
            if wanted and ("Condition" not in resource or self.holds(resource["Condition"])):
                found[name] = self._with_globals(resource)
        return found

    def _with_globals(self, resource: Mapping[str, Json]) -> Mapping[str, Json]:
        if resource["Type"] != FUNCTION:
            return resource
        everywhere = self._document.get("Globals", {}).get("Function", {})
        own = resource.get("Properties", {})
        merged = {**everywhere, **own}
        variables = [part.get("Environment", {}).get("Variables", {}) for part in (everywhere, own)]
        merged["Environment"] = {"Variables": {**variables[0], **variables[1]}}
        return {**resource, "Properties": merged}

    def holds(self, condition: str) -> bool:
        """Tell whether a condition holds."""
        if condition not in self._conditions:
            self._conditions[condition] = self._true(self._document["Conditions"][condition])
        return self._conditions[condition]

    def _true(self, said: Json) -> bool:
        ((name, value),) = said.items()
        if name == "Condition":
            return self.holds(value)
        if name == "Fn::Equals":
            one, other = map(self.resolve, value)
            return bool(one == other)
        if name == "Fn::Not":
            return not self._true(value[0])
        if name in {"Fn::And", "Fn::Or"}:
            found = [self._true(one) for one in value]
            return all(found) if name == "Fn::And" else any(found)
        raise TemplateError(f"unknown condition {name}")

    def resolve(self, value: Json) -> Json:
        """Return a value with every intrinsic in it replaced by what it means."""
        if isinstance(value, list):
            return [one for one in map(self.resolve, value) if one is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name == "Ref" or name.startswith("Fn::"):
                return self._meaning(name, argument)
        resolved = {name: self.resolve(one) for name, one in value.items()}
        return {name: one for name, one in resolved.items() if one is not NO_VALUE}

    def _meaning(self, name: str, argument: Json) -> Json:
        if name == "Ref":
            return self._ref(argument)
        if name == "Fn::GetAtt":
            resource, attribute = argument
            return self._attribute(resource, attribute)
        if name == "Fn::Sub":
            return self._substituted(argument)
        if name == "Fn::If":
            condition, yes, no = argument
            return self.resolve(yes if self.holds(condition) else no)
        if name == "Fn::Join":
            between, parts = argument
            return between.join(map(str, self.resolve(parts)))
        raise TemplateError(f"unknown intrinsic {name}")

    def _ref(self, name: str) -> Json:
        if name in self._pseudo:
            return self._pseudo[name]
        if name in self.parameters:
            return self.parameters[name]
        return self._attribute(name, "Ref")

    def _attribute(self, resource: str, attribute: str) -> Json:
        if resource not in self.resources():
            raise TemplateError(f"there is no resource {resource}")
        known = self._attributes_of(resource)
        if attribute not in known:
            raise TemplateError(f"{resource}.{attribute} is not known")
        return known[attribute]

    def _substituted(self, argument: Json) -> str:
        text, local = argument if isinstance(argument, list) else (argument, {})

        def replaced(match: re.Match[str]) -> str:
            literal, name = match.groups()
            if literal:
                return f"${{{name}}}"
            if name in local:
                return str(self.resolve(local[name]))
            resource, _, attribute = name.partition(".")
            return str(self._attribute(resource, attribute) if attribute else self._ref(name))

        return PLACE.sub(replaced, text)
