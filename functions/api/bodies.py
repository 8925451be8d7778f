"""Reading a body within a limit, and writing small answers: what the hot paths do by hand."""

import json
from contextlib import aclosing
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from functions._core.errors import Rejected
from functions._core.json_text import parse_json
from functions.api.problems import checked
from functions.api.services import services_of

MAX_JSON = 1024 * 1024
"""Bytes of a body that is not an event: registrations, heartbeats and what people ask for are small."""

MAX_DIGITS = 18
"""Digits of a content length that can be a real one."""

Model = TypeVar("Model", bound=BaseModel)


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body; raise `Rejected`, status 413, as soon as it is known to be longer than `limit` bytes.

    What is not read is left to the server, which passes over it before it takes the next request.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > MAX_DIGITS or int(announced) > limit):
        raise _too_large(limit)
    parts: list[bytes] = []
    size = 0
    async with aclosing(request.stream()) as stream:
        async for part in stream:
            size += len(part)
            if size > limit:
                raise _too_large(limit)
            parts.append(part)
    return b"".join(parts)


async def read_json(request: Request, model: type[Model], *, limit: int = MAX_JSON) -> Model:
    """Return a JSON body as a `model`; an empty body counts as an empty object.

    Raises `Rejected`: 413 when it is too large, 415 when it does not say that it is JSON, 400 when it is not,
    422 with every wrong field.
    """
    body = await read_body(request, min(services_of(request).max_body, limit))
    if not body:
        return checked(model, {}, "body")
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    # A browser may send anything but JSON to this machine on behalf of any page; so it has to be said.
    if media != "application/json" and not media.endswith("+json"):
        raise Rejected("the body has to be JSON, with content-type: application/json", code="not_json", status=415)
    return checked(model, parse_json(body), "body")


def json_answer(status: int, value: object) -> Response:
    """Return `value` as compact JSON."""
    return Response(json.dumps(value, separators=(",", ":")), status_code=status, media_type="application/json")


def _too_large(limit: int) -> Rejected:
    return Rejected(f"the body is larger than {limit} bytes", code="too_large", status=413)
