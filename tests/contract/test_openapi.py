"""/openapi.json is written for generators, of clients and of tests, as much as for people."""

import re
from collections.abc import Iterator, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from functions._engine.version import __version__
from functions.api.app import create_app
from functions.api.links import LINKS
from functions.api.services import ApiServices

Document = Mapping[str, Any]

FOREIGN = {"ge", "gt", "le", "lt", "min_length", "max_length"}
"""Words of pydantic that mean nothing in a schema: a limit that is written so is lost."""


@pytest.fixture(scope="module")
def document() -> Document:
    nothing = SimpleNamespace(version=__version__, identify=None, limiter=None, hosts=None, origins=())
    return create_app(cast("ApiServices", nothing)).openapi()


def operations(document: Document) -> dict[str, Any]:
    return {one["operationId"]: one for path in document["paths"].values() for one in path.values()}


def objects(value: Any, place: str = "") -> Iterator[tuple[str, Document]]:
    """Yield every object in a JSON value with its place."""
    if isinstance(value, dict):
        yield place, value
    parts = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, part in parts:
        yield from objects(part, f"{place}/{name}")


def fields_of(document: Document, schema: Document) -> set[str]:
    """Return the fields of the objects that a schema describes."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    found = set(schema.get("properties", ()))
    for form in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        found |= fields_of(document, form)
    return found


def test_no_limit_is_lost(document: Document) -> None:
    named = objects(document["components"]["schemas"])
    assert [place for place, one in named if not place.endswith("/properties") and one.keys() & FOREIGN] == []


def test_a_parameter_is_never_null(document: Document) -> None:
    parameters = [part for one in operations(document).values() for part in one.get("parameters", ())]
    assert [part for part in parameters if {"type": "null"} in part["schema"].get("anyOf", ())] == []


def test_every_body_is_json_as_generators_of_clients_can_write_it(document: Document) -> None:
    bodies = [one["requestBody"]["content"] for one in operations(document).values() if "requestBody" in one]
    assert {media for content in bodies for media in content if not re.search(r"[/+]json$", media)} == set()


def test_every_link_leads_to_a_route_by_a_field_of_the_answer(document: Document) -> None:
    known = operations(document)
    assert known.keys() >= LINKS.keys()
    for name, links in LINKS.items():
        answers = {status: one for status, one in known[name]["responses"].items() if "links" in one}
        assert answers, name
        fields = set()
        for answer in answers.values():
            fields |= fields_of(document, answer["content"]["application/json"]["schema"])
        for link in links.values():
            target = known[link["operationId"]]
            parameters = {part["name"] for part in target["parameters"]}
            required = {part["name"] for part in target["parameters"] if part.get("required")}
            assert required <= link["parameters"].keys() <= parameters, (name, link)
            taken = [value for value in link["parameters"].values() if value.startswith("$")]
            taken += [value for value in link.get("requestBody", {}).values() if str(value).startswith("$")]
            assert {value.removeprefix("$response.body#/").partition("/")[0] for value in taken} <= fields, (name, link)
