"""Calls of servers that settings name, repeated while that may help and time is left."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import NamedTuple

from functions._adapters.http.client import HttpClient
from functions._adapters.http.reply import Bounds, NotReached, Reply
from functions._core.errors import Rejected, Unavailable

TRIES = 4
"""Calls of one request."""

PAUSE_SECONDS = 0.1
"""The pause before the second call; each further one is twice as long."""

PASSING = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})
"""Answers of a server, or of a gateway before it, that may be others a moment later."""


class Request(NamedTuple):
    """What is asked of a server."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes = b""


async def call_repeated(
    client: HttpClient, request: Request, *, seconds: float, answer_bytes: int, harmless: bool = True
) -> Reply:
    """Return the answer, whatever its status, after `seconds` for all calls together at the latest.

    A call that does harm when it is made twice (`harmless=False`) is repeated only where nothing was sent. Raises
    `Unavailable` when no answer came, or the address may not be called: the setting can be corrected.
    """
    loop = asyncio.get_running_loop()
    until, pause = loop.time() + seconds, PAUSE_SECONDS
    for last in (*[False] * (TRIES - 1), True):
        left = until - loop.time()
        try:
            reply = await client.request(*request, Bounds(left, left, answer_bytes))
        except Rejected as refusal:
            raise Unavailable(str(refusal)) from refusal
        except Unavailable as away:
            over = last or until - loop.time() <= pause
            if over or not (harmless or isinstance(away, NotReached)):
                raise
        else:
            over = last or until - loop.time() <= pause
            if over or not harmless or reply.status not in PASSING:
                return reply
        await asyncio.sleep(pause)
        pause *= 2
    raise AssertionError("the last call returns or raises")
