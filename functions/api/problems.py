"""Every error as an RFC 9457 problem document: what is wrong, in one sentence, and each fault where there are more.

`code` is the word to program against. Texts never repeat input at length and never show what went wrong inside.
"""

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.records.models import Reason
from functions._core.records.record import fields_of
from functions._core.records.values import Model

MEDIA_TYPE = "application/problem+json"
MAX_DETAIL = 2_000
MAX_ERRORS = 100
MAX_FAULTS = 5_000
"""Faults of a value beyond which none is named: to list them takes time, whether or not they are shown."""

HEADERS = {401: {"www-authenticate": "Bearer"}, 503: {"retry-after": "1"}}

M = TypeVar("M", bound=BaseModel)


class Problem(Model):
    """An error. `errors` lists every single fault, where there can be several."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    errors: tuple[Reason, ...] = ()


class RefusedEvent(Reason):
    """One event of a batch that was not taken: its place in the batch, its id and type, and why."""

    index: int
    id: str
    type: str


class BatchProblem(Problem):
    """A batch of which some events were refused. Those in `taken` were taken and need not be sent again."""

    errors: tuple[RefusedEvent, ...]
    taken: tuple[Mapping[str, Any], ...]


class Itemised(Rejected):
    """A refusal with more to say: `members` are added to the problem document."""

    def __init__(self, message: str, *, code: str, status: int, members: Mapping[str, object]) -> None:
        super().__init__(message, code=code, status=status)
        self.members = members


def not_found(what: str, record_id: str) -> Rejected:
    """Return the refusal of a path that names a record which is not there."""
    return Rejected(f"there is no {what} {record_id[:100]!r}", code=f"unknown_{what.replace(' ', '_')}", status=404)


def checked(model: type[M], value: object, where: str) -> M:
    """Return `value` as a `model`; raise `Itemised`, status 422, with every fault, `where` being its root."""
    if isinstance(value, dict) and model.model_config.get("extra") == "forbid":
        unknown = len(value) - len(model.model_fields)
        if unknown > MAX_FAULTS:  # each would be made into a fault first
            raise _too_many(unknown, where)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        if error.error_count() > MAX_FAULTS:
            raise _too_many(error.error_count(), where) from None
        raise _invalid(error.errors(include_url=False, include_input=False), where) from None


def _too_many(faults: int, where: str) -> Itemised:
    text = f"{where}: {faults} faults are too many to be named"
    return Itemised(text, code="invalid_data", status=422, members={"errors": []})


def problem(
    status: int, code: str, detail: str, headers: Mapping[str, str] | None = None, **members: object
) -> Response:
    """Return a problem document as a response."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail if len(detail) <= MAX_DETAIL else f"{detail[:MAX_DETAIL]}…",
        "code": code,
        **members,
    }
    return Response(json.dumps(document), status_code=status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Answer every error of `app` with a problem document."""
    for expected in (Rejected, Unavailable, Conflict, RequestValidationError, ClientDisconnect):
        app.add_exception_handler(expected, _expected)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def answer_to(error: Exception) -> Response | None:
    """Return the answer to an error that is expected; None for one that is not."""
    if isinstance(error, RequestValidationError):
        error = _invalid(error.errors(), "")
    if isinstance(error, Rejected):
        members: Mapping[str, object] = getattr(error, "members", {})
        return problem(error.status, error.code, str(error), HEADERS.get(error.status), **members)
    if isinstance(error, Unavailable | Conflict):
        code = "conflict" if isinstance(error, Conflict) else "unavailable"
        return problem(503, code, str(error), HEADERS[503])
    if isinstance(error, ClientDisconnect):
        return problem(400, "cut_off", "the connection was closed before the whole body had arrived")
    return None


async def _expected(request: Request, error: Exception) -> Response:
    return answer_to(error) or await _unexpected(request, error)


async def _http(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = {"allow": ", ".join(_allowed(request))} if status == HTTPStatus.METHOD_NOT_ALLOWED else None
    code = HTTPStatus(status).phrase.lower().replace(" ", "_")
    path = request.url.path[:200]
    details = {
        404: f"there is nothing at {path}; /openapi.json lists what there is",
        405: f"{path} does not take {request.method[:20]}",
    }
    return problem(status, code, details.get(status, "the request cannot be answered"), headers)


def _allowed(request: Request) -> list[str]:
    """Return the methods of the request's path, as the document lists them; a route knows only its own.

    The first route that matches is the path's, so what is literal has to stand before `/{id}`.
    """
    route = request.scope.get("route")
    path = route.path_format if isinstance(route, APIRoute) else request.url.path  # of the document itself
    return sorted(request.app.state.methods.get(path, ()))


async def _unexpected(_request: Request, _error: Exception) -> Response:
    # The error goes on after this answer, to where it is logged with its traceback.
    return problem(500, "internal", "something went wrong inside; the platform's log says what")


def _invalid(faults: Sequence[Any], where: str) -> Itemised:
    """Return the refusal of a value with `faults` as pydantic names them."""
    errors = [
        Reason(code=fault["type"], message=fault["msg"][:MAX_DETAIL], where=_path(where, fault["loc"]))
        for fault in faults[:MAX_ERRORS]
    ]
    first = "; ".join(f"{error.where}: {error.message}" for error in errors[:3])
    more = f" (and {len(faults) - 3} more)" if len(faults) > len(errors[:3]) else ""
    members = {"errors": [fields_of(error) for error in errors]}
    return Itemised(f"{first}{more}", code="invalid_data", status=422, members=members)


def _path(root: str, loc: Sequence[int | str]) -> str:
    """Return the place of a fault, e.g. `body.running[0].attempt`; a foreign key in it is cut."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:100]}" for part in loc)
    return f"{root}{path}".removeprefix(".")
