"""Reading headers, and a body within a limit, and writing small answers: what the hot paths do by hand."""

import asyncio
import json
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from fastapi import Request, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from functions._core.errors import Rejected
from functions._core.events.envelope import AVRO_MEDIA, CloudEvent
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
_COMPACT = json.JSONEncoder(separators=(",", ":")).encode


def header(request: Request, name: bytes) -> str:
    """Return the first header of a name, which is lower-case; an empty text when there is none."""
    for given, value in request.scope["headers"]:
        if given == name:
            return str(value, "latin-1")
    return ""


def headers_of(request: Request) -> dict[str, str]:
    """Return all headers by their lower-case names, of each name the last."""
    return {str(name, "latin-1"): str(value, "latin-1") for name, value in request.scope["headers"]}


class HeldBody:
    """The body of a request, for as long as the context is open: `async with HeldBody(request, limit) as body`.

    Raises `Rejected`, status 413, as soon as the body is known to be longer than `limit` bytes.

    While the context is open, what is more than `SMALL` counts for all requests together, and raises `Rejected`, status
    503, where that is too much: many bodies that never end cost no more memory than a few. What is not read is left to
    the server, which passes over it before it takes the next request.
    """

    __slots__ = ("_counted", "_held", "_limit", "_request")

    def __init__(self, request: Request, limit: int) -> None:
        self._request = request
        self._limit = limit
        self._held = services_of(request).held
        self._counted = 0

    async def __aenter__(self) -> bytes:
        """Return the whole body."""
        announced = header(self._request, b"content-length")
        if announced.isdecimal() and (len(announced) > MAX_DIGITS or int(announced) > self._limit):
            raise _too_large(self._limit)
        try:
            return await self._read()
        except BaseException:
            self._release()
            raise

    async def __aexit__(self, *_error: object) -> None:
        """Count it no more."""
        self._release()

    async def _read(self) -> bytes:
        receive = self._request.receive
        part, more = self._part(await receive(), 0)
        if not more:
            return part
        body = bytearray(part)
        while more:
            part, more = self._part(await receive(), len(body))
            body += part
        return bytes(body)

    def _part(self, message: Mapping[str, Any], before: int) -> tuple[bytes, bool]:
        """Return the part of the body in a message, which comes after `before` bytes, and whether there are more."""
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part: bytes = message.get("body", b"")
        size = before + len(part)
        if size > self._limit:
            raise _too_large(self._limit)
        if size > SMALL:
            self._count(size - SMALL)
        return part, message.get("more_body", False)

    def _count(self, large: int) -> None:
        more = large - self._counted
        if more and self._held.size + more > max(self._held.limit, 2 * self._limit):
            raise Rejected("too many large bodies arrive at once; try again", code="overloaded", status=503)
        self._held.size += more
        self._counted = large

    def _release(self) -> None:
        self._held.size -= self._counted
        self._counted = 0


async def unhurried(body: bytes, read: Callable[[Parse], T]) -> T:
    """Return what `read` makes of a body with the parser that it is given; a heavy body keeps only a thread busy.

    It is one thread for all of them, so that as many values as one body holds are being made at a time.
    """
    if is_light(body):
        return read(parse_json)
    return await asyncio.get_running_loop().run_in_executor(_READER, read, parse_in_steps)


async def read_message(request: Request, limit: int) -> tuple[list[CloudEvent], bool]:
    """Return the events in a body of at most `limit` bytes, and whether they are a batch; see `ReadEvents`."""
    async with HeldBody(request, limit) as body:
        return await read_events(services_of(request), headers_of(request), body)


async def read_events(services: ApiServices, headers: Mapping[str, str], body: bytes) -> tuple[list[CloudEvent], bool]:
    """Return the events in a body, and whether they are a batch; see `ReadEvents`. Names of headers are lower-case."""
    read = partial(services.read_events, headers, body, received_at=services.ports.clock.now())
    return await unhurried(body, lambda parse: read(parse=parse))


async def read_json(request: Request, model: type[Model], *, limit: int = MAX_JSON) -> Model:
    """Return a JSON body as a `model`; an empty body counts as an empty object.

    Raises `Rejected`: 413 when it is too large, 415 when it does not say that it is JSON, 400 when it is not,
    422 with every wrong field.
    """
    async with HeldBody(request, min(services_of(request).max_body, limit)) as body:
        if not body:
            return checked(model, {}, "body")
        media = header(request, b"content-type").partition(";")[0].strip().lower()
        if media != "application/json" and not media.endswith("+json"):
            raise Rejected("the body has to be JSON, with content-type: application/json", code="not_json", status=415)
        value = await unhurried(body, lambda parse: parse(body))
    return checked(model, value, "body")


async def read_json_or_avro(request: Request, model: type[Model], kind: str, *, limit: int = MAX_JSON) -> Model:
    """Return a body as a `model`: JSON, see `read_json`, or Avro of a kind, see `ApiServices.read_avro`."""
    if header(request, b"content-type").partition(";")[0].strip().lower() not in AVRO_MEDIA:
        return await read_json(request, model, limit=limit)
    services = services_of(request)
    async with HeldBody(request, min(services.max_body, limit)) as body:
        if len(body) <= SMALL:
            value = services.read_avro(body, kind)
        else:
            value = await asyncio.get_running_loop().run_in_executor(_READER, services.read_avro, body, kind)
    return checked(model, value, "body")


def json_answer(status: int, value: object) -> Response:
    """Return `value` as compact JSON."""
    return Response(_COMPACT(value), status_code=status, media_type="application/json")


def _too_large(limit: int) -> Rejected:
    return Rejected(f"the body is larger than {limit} bytes", code="too_large", status=413)
