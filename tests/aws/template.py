"""`template.yaml` as CloudFormation follows it: what depends on parameters is decided, what on resources is looked up.

What a resource is called and which attributes it has is told by whoever makes it. An intrinsic, a resource or an
attribute that is not known is an error, never a guess.
"""

import re
from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

from tests.conftest import ROOT
from tests.support import cloudformation
from tests.support.dynamodb import ENVIRONMENT

BUILT = ROOT / ".aws-sam" / "build" / "template.yaml"
PLACE = re.compile(r"\$\{(!?)([^}]+)\}")
ACCOUNT = "000000000000"
"""The emulator's."""

Json = Any
Attributes = Mapping[str, Any]
"""Of a resource: `Ref`, and what `GetAtt` may ask for."""


class TemplateError(Exception):
    """The template says what cannot be followed."""


def current() -> dict[str, Json]:
    """Return what `sam build` has made of the template if it is of the same content, else the template itself."""
    source = cloudformation.document()
    if BUILT.exists():
        built = cloudformation.parse(BUILT.read_text(encoding="utf-8"))
        if _content(built) == _content(source):
            return built
    return source


def _content(document: Mapping[str, Json]) -> Json:
    """Return a template without what a build changes: where the code is, a hash of it, the runtime it was built for."""
    plain = deepcopy({name: section for name, section in document.items() if name != "Mappings"})
    plain["Parameters"] = {name: said for name, said in plain["Parameters"].items() if name != "Runtime"}
    plain.get("Globals", {}).get("Function", {}).pop("CodeUri", None)
    for resource in plain["Resources"].values():
        resource.get("Properties", {}).pop("CodeUri", None)
        resource.pop("Metadata", None)
    return plain


class Template:
    """A template with its parameters given; `attributes_of` tells of the resources that were made."""

    def __init__(
        self,
        document: Mapping[str, Json],
        stack: str,
        parameters: Mapping[str, str],
        attributes_of: Callable[[str], Attributes],
    ) -> None:
        pseudo = {
            "AWS::AccountId": ACCOUNT,
            "AWS::Region": ENVIRONMENT["AWS_DEFAULT_REGION"],
            "AWS::StackName": stack,
        }
        self._decided = cloudformation.Stack(document, pseudo, **parameters)
        self._attributes_of = attributes_of

    def resources(self, *kinds: str) -> dict[str, Mapping[str, Json]]:
        """Return the resources of some kinds, or all, that exist under the conditions."""
        found = self._decided.resources
        return {name: resource for name, resource in found.items() if not kinds or resource["Type"] in kinds}

    def resolve(self, value: Json) -> Json:
        """Return a value with every reference to a resource replaced by what it means."""
        if isinstance(value, list):
            return [self.resolve(one) for one in value]
        if isinstance(value, str):
            return PLACE.sub(self._replaced, value)  # of a `Sub`, in which the parameters are replaced already
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in {"Ref", "Fn::GetAtt"}:
                return self._attribute(*((argument, "Ref") if name == "Ref" else argument))
            if name == "Fn::Split":
                between, text = argument
                return str(self.resolve(text)).split(between)
            if name.startswith("Fn::"):
                raise TemplateError(f"unknown intrinsic {name}")
        return {name: self.resolve(one) for name, one in value.items()}

    def _attribute(self, resource: str, attribute: str) -> Json:
        if resource not in self._decided.resources:
            raise TemplateError(f"there is no resource {resource}")
        known = self._attributes_of(resource)
        if attribute not in known:
            raise TemplateError(f"{resource}.{attribute} is not known")
        return known[attribute]

    def _replaced(self, match: re.Match[str]) -> str:
        literal, name = match.groups()
        resource, _, attribute = name.partition(".")
        return f"${{{name}}}" if literal else str(self._attribute(resource, attribute or "Ref"))
