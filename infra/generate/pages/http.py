"""`docs/reference/http.md`: every route of the OpenAPI document, and the bodies that requests and answers have."""

from collections.abc import Iterator
from http import HTTPStatus
from types import SimpleNamespace
from typing import cast

from functions._core.events.catalogue import CATALOGUE
from functions._engine.version import __version__
from functions.api.access import OPEN
from functions.api.app import create_app
from functions.api.problems import MEDIA_TYPE
from functions.api.services import ApiServices
from infra.generate.pages.json_types import Schema, default_of, field, fields, type_in_words, values
from infra.generate.pages.markdown import anchor, bullet, bullets, code, page, paragraphs, text

INTRODUCTION = """
Every route of the API. A running platform gives the same as an OpenAPI document at `/openapi.json`.
"""

EVERYWHERE = """
A request of a client on the platform's machine needs no key. Every other client sends the key of the setting
`FLOWC_API_KEY`, as `X-API-Key` or as a bearer token. A route that differs says so.

An answer with status 400 or above is a problem document (`application/problem+json`). Its `code` is for programs, its
`detail` for people. [Errors](errors.md) lists the codes of each status. A route names the statuses that its own work
leads to. Besides, every route may answer 401, 403, 415 or 421 for where a request comes from, 500 after a fault inside,
and 503 while the platform is overloaded or its store is away.

A list comes in pages. `cursor` of a page is the parameter `cursor` of the next one; it is null at the end.
"""

EVENT_OF = {entry.model.__name__: entry.event_type for entry in CATALOGUE}
"""Bodies that are the data of an event, too: they are described there."""


def http() -> str:
    """Return the page."""
    # The document follows from routes and models alone: nothing of a platform is asked for.
    nothing = SimpleNamespace(version=__version__, identify=None, hosts=None, origins=())
    document = create_app(cast("ApiServices", nothing)).openapi()
    first = ("## Every request", paragraphs(EVERYWHERE))
    return page("HTTP API", INTRODUCTION, first, _routes(document), _bodies(document))


def _linked(name: str) -> str:
    """Return a link to the description of a schema."""
    if name.endswith("Event"):
        return "[event](events.md)"
    if name in EVENT_OF:
        return f"[{name}](events.md#{anchor(EVENT_OF[name])})"
    return f"[{name}](#{anchor(name)})"


def _routes(document: Schema) -> Iterator[str]:
    routes = [(path, verb, route) for path, verbs in document["paths"].items() for verb, route in verbs.items()]
    for tag in dict.fromkeys(route["tags"][0] for _, _, route in routes):
        yield f"## {tag.capitalize()}"
        for path, verb, route in routes:
            if route["tags"][0] == tag:
                yield from _route(f"{verb.upper()} {path}", path, route)


def _route(title: str, path: str, route: Schema) -> Iterator[str]:
    yield f"### {title}"
    yield paragraphs(route["description"])
    yield _caller(path, route)
    if parameters := route.get("parameters"):
        yield "Parameters:"
        yield bullets(_parameter(parameter) for parameter in parameters)
    if body := route.get("requestBody"):
        yield "Body:" if body.get("required") else "Body, which may be left out:"
        yield bullets(f"{code(media)}: {_body(part['schema'])}" for media, part in body["content"].items())
    yield "Answers:"
    yield "\n".join(_answers(route["responses"]))


def _caller(path: str, route: Schema) -> str:
    if path in OPEN:
        return "Anybody may call it, without a key."
    security = route.get("security")
    if security == [{"assignment": []}]:
        return "The token of the assignment is required, as a bearer token; no key is."
    return text("A report needs the token of its assignment as a bearer token.") if security else ""


def _parameter(parameter: Schema) -> str:
    schema = parameter["schema"]
    kind = type_in_words(schema, _linked)
    facts = [parameter["in"], kind, "required" if parameter.get("required") else default_of(schema)]
    return field(parameter["name"], facts, parameter.get("description") or schema.get("description"))


def _body(schema: Schema) -> str:
    many = len(schema.get("anyOf", ())) > 1 and "description" in schema
    return "the data of any event that is taken from outside" if many else type_in_words(schema, _linked)


def _answers(responses: Schema) -> Iterator[str]:
    numbers = sorted(status for status in responses if status != "default")
    problems = [status for status in numbers if MEDIA_TYPE in responses[status].get("content", {})]
    for status in numbers:
        if status not in problems:
            yield bullet(f"{code(status)} {HTTPStatus(int(status)).phrase}: {_content(responses[status])}.")
    if problems:
        yield bullet(f"Problems: {', '.join(f'[{status}](errors.md#status-{status})' for status in problems)}.")


def _content(answer: Schema) -> str:
    parts = [part.get("schema", {}) for part in answer.get("content", {}).values()]
    return " or ".join(type_in_words(schema, _linked) for schema in parts) or "no body"


def _bodies(document: Schema) -> Iterator[str]:
    schemas: Schema = document["components"]["schemas"]
    yield "## Bodies"
    for name in sorted(_shown(document["paths"], schemas), key=str.lower):
        schema = schemas[name]
        yield f"### {name}"
        yield paragraphs(schema.get("description", ""))
        yield text(values(schema))
        yield bullets(fields(schema, _linked))


def _shown(routes: Schema, schemas: Schema) -> set[str]:
    """Return the schemas that routes lead to; the page of events describes events and their data."""
    found: set[str] = set()
    waiting: list[object] = [routes]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).rpartition("/")[2]
            if name and name not in found and name not in EVENT_OF and not name.endswith("Event"):
                found.add(name)
                waiting.append(schemas[name])
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return found
