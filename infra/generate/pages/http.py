"""`docs/reference/http.md`: every route of the OpenAPI document, and the bodies that requests and answers have."""

from collections.abc import Iterator
from http import HTTPStatus
from types import SimpleNamespace
from typing import cast

from functions._core.events.catalogue import CATALOGUE
from functions._engine.version import __version__
from functions.api.access import SIGNED
from functions.api.app import create_app
from functions.api.problems import MEDIA_TYPE
from functions.api.roles import ROLES
from functions.api.services import ApiServices
from infra.generate.pages.json_types import Schema, default_of, field, fields, type_in_words, values
from infra.generate.pages.markdown import anchor, bullet, bullets, code, page, paragraphs, text

INTRODUCTION = """
Every route of the API. A running platform gives the same as an OpenAPI document at `/openapi.json`.
"""

EVERYWHERE = """
Where access is off, on a platform for its own machine alone, a request needs no credential. Everywhere else it brings
one, as `X-API-Key` or as a bearer token: the key of `FLOWC_API_KEY`, an API key, the token of an identity provider, or
the token of a ticket. [Security](../guides/security.md) says who has which.

Each route names the roles of which the caller needs one. `operator` includes `viewer` and `worker`; `admin` includes
all. The token of a ticket has the role `worker`, for its own ticket alone.

An answer with status 400 or above is a problem document (`application/problem+json`). Its `code` is for programs, its
`detail` for people. [Errors](errors.md) lists the codes of each status. A route names the statuses that its own work
leads to. Besides, every route may answer 401, 403, 415 or 421 for where a request comes from and whose it is, 429 for a
client that asks too often, 500 after a fault inside, and 503 while the platform is overloaded or its store is away. An
unknown path is a 404; a known path with another method is a 405, whose header `Allow` lists the methods that it takes.
A parameter of the query that a route does not know is a 400, and an unknown field of a command's body is a 422.

A list comes in pages. `cursor` of a page is the parameter `cursor` of the next one; it is null at the end.
Histories, events and keys have `after` in its place: the parameter `after` (`since_seq` of a history) asks for what
follows it.
"""

HEADERS = """
| header | in | meaning |
| --- | --- | --- |
| `ETag` | answers with one ticket | its version, such as `"7"` |
| `If-Match` | PATCH of a ticket's status | ETags that the ticket may have; 412 when it has another one |
| `If-None-Match` | GET of a ticket | ETags that the client knows; 304 without a body when it has one of them |
| `Idempotency-Key` | creation of a ticket, commands | the same key again does nothing a second time |
| `Location` | 201 and 200 of the creation of a ticket | its address |
| `RateLimit-Policy` | answers under the limits `read`, `write`, `day`; every 429 | the limit that counts |
| `RateLimit` | the same answers | `r`: requests left; `t`: seconds until all are there again |
| `X-RateLimit-Limit`, `-Remaining`, `-Reset` | the same answers | size of the limit, `r` and `t`, in the older form |
| `Retry-After` | 429, 503 | seconds to wait before the request is sent again |

An Idempotency-Key has 1 to 255 printable ASCII characters. For a command it stands for `order_id` of the body, which
counts where both are given; it is known for the flow that the command is about. A ticket that is created with
`ticket_id` is known by that; the key counts only without it, and other content under a known key is a 409.
[Security](../guides/security.md) has the limits.
"""

PROVEN = {
    "/": "Events of workers ask for the role `worker`, a report for the token of its assignment as a bearer token, all "
    "others for the role `operator`.",
    "/api/v1/flows/{flow_id}/reports": "The token of the assignment is required, as a bearer token; no key is.",
    SIGNED: "The signature of the body is required; no key is. [Webhooks](../guides/webhooks.md) says how it is made.",
}
"""Routes that ask for no role of their own, and what they ask for instead."""

EVENT_OF = {entry.model.__name__: entry.event_type for entry in CATALOGUE}
"""Bodies that are the data of an event, too: they are described there."""


def http() -> str:
    """Return the page."""
    # The document follows from routes and models alone: nothing of a platform is asked for.
    nothing = SimpleNamespace(version=__version__, identify=None, limiter=None, hosts=None, origins=())
    document = create_app(cast("ApiServices", nothing)).openapi()
    first = ("## Every request", paragraphs(EVERYWHERE))
    table, _, more = HEADERS.strip().partition("\n\n")
    headers = ("## Headers", table, paragraphs(more))
    return page("HTTP API", INTRODUCTION, first, headers, _routes(document), _bodies(document))


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
    yield _caller(title, path)
    if parameters := route.get("parameters"):
        yield "Parameters:"
        yield bullets(_parameter(parameter) for parameter in parameters)
    if body := route.get("requestBody"):
        yield "Body:" if body.get("required") else "Body, which may be left out:"
        yield bullets(f"{code(media)}: {_body(part['schema'])}" for media, part in body["content"].items())
        yield text(body.get("description", ""))
    yield "Answers:"
    yield "\n".join(_answers(route["responses"]))


def _caller(title: str, path: str) -> str:
    """Return who may call a route."""
    if roles := ROLES[title]:
        return f"Role: {' or '.join(map(code, roles))}."
    return text(PROVEN[path]) if path in PROVEN else "Anybody may call it, without a credential."


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
