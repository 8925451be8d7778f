"""Reading a body within a limit, and writing small answers: what the hot paths do by hand."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager
from functools import partial
from typing import TypeVar

from fastapi import Request, Response
from pydantic import BaseModel

from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.records.json_text import Parse, is_light, parse_in_steps, parse_json
from functions.api.problems import checked
from functions.api.services import ApiServices, services_of

MAX_JSON = 1024 * 1024
"""Bytes of a body that is not an event: registrations, heartbeats and what people ask for are small."""

SMALL = 64 * 1024
"""Bytes of a body that always find room: as many the server holds for each connection anyway."""

MAX_DIGITS = 18
"""Digits of a content length that can be a real one."""

Model = TypeVar("Model", bound=BaseModel)
T = TypeVar("T")

_READER = ThreadPoolExecutor(1, "heavy-json")


@asynccontextmanager
async def body_of(request: Request, limit: int) -> AsyncIterator[bytes]:
    """Give the body; raise `Rejected`, status 413, as soon as it is known to be longer than `limit` bytes.

    While the context is open, what is more than `SMALL` counts for all requests together, and raises `Rejected`, status
    503, where that is too much: many bodies that never end cost no more memory than a few. What is not read is left to
    the server, which passes over it before it takes the next request.
    """
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and (len(announced) > MAX_DIGITS or int(announced) > limit):
        raise _too_large(limit)
    held, counted, body = services_of(request).held, 0, bytearray()
    try:
        async with aclosing(request.stream()) as stream:
            async for part in stream:
                if len(body) + len(part) > limit:
                    raise _too_large(limit)
                more = max(0, len(body) + len(part) - SMALL) - counted
                if more and held.size + more > max(held.limit, 2 * limit):
                    raise Rejected("too many large bodies arrive at once; try again", code="overloaded", status=503)
                held.size += more
                counted += more
                body += part
        whole = bytes(body)
        body.clear()
        yield whole
    finally:
        held.size -= counted


async def unhurried(body: bytes, read: Callable[[Parse], T]) -> T:
    """Return what `read` makes of a body with the parser that it is given; a heavy body keeps only a thread busy.

    It is one thread for all of them, so that as many values as one body holds are being made at a time.
    """
    if is_light(body):
        return read(parse_json)
    return await asyncio.get_running_loop().run_in_executor(_READER, read, parse_in_steps)


async def read_message(request: Request, limit: int) -> tuple[list[CloudEvent], bool]:
    """Return the events in a body of at most `limit` bytes, and whether they are a batch; see `ReadEvents`."""
    async with body_of(request, limit) as body:
        return await read_events(services_of(request), dict(request.headers.items()), body)


async def read_events(services: ApiServices, headers: Mapping[str, str], body: bytes) -> tuple[list[CloudEvent], bool]:
    """Return the events in a body, and whether they are a batch; see `ReadEvents`. Names of headers are lower-case."""
    read = partial(services.read_events, headers, body, received_at=services.ports.clock.now())
    return await unhurried(body, lambda parse: read(parse=parse))


async def read_json(request: Request, model: type[Model], *, limit: int = MAX_JSON) -> Model:
    """Return a JSON body as a `model`; an empty body counts as an empty object.

    Raises `Rejected`: 413 when it is too large, 415 when it does not say that it is JSON, 400 when it is not,
    422 with every wrong field.
    """
    async with body_of(request, min(services_of(request).max_body, limit)) as body:
        if not body:
            return checked(model, {}, "body")
        media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if media != "application/json" and not media.endswith("+json"):
            raise Rejected("the body has to be JSON, with content-type: application/json", code="not_json", status=415)
        value = await unhurried(body, lambda parse: parse(body))
    return checked(model, value, "body")


def json_answer(status: int, value: object) -> Response:
    """Return `value` as compact JSON."""
    return Response(json.dumps(value, separators=(",", ":")), status_code=status, media_type="application/json")


def _too_large(limit: int) -> Rejected:
    return Rejected(f"the body is larger than {limit} bytes", code="too_large", status=413)
