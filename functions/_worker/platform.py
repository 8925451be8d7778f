"""What a worker says to the platform about itself: that it is there, how it fares, and that it leaves."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote, urlencode

from functions._adapters.http.client import HttpClient
from functions._adapters.http.reply import Bounds, Reply
from functions._core.errors import FlowcError
from functions._core.events.signatures import usable
from functions._observability.logs import log
from functions._worker.reports import backoff, read_object
from functions._worker.trust import Membership

PATIENCE_SECONDS = 10.0
"""How much longer than it asks for the answer to a request for tickets may take."""

LEASE_BYTES = 8 * 1024 * 1024
"""Of an answer with tickets: about a mebibyte, and the largest assignment."""

SHORTEST_BEAT = 0.1
"""Seconds between two heartbeats at least, whatever the platform asks for."""

NOT_OURS = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT})
"""Answers after which the worker registers again: it is not known, or known as one that is sent its tickets."""


@dataclass(frozen=True, slots=True)
class Orders:
    """What the platform answers to a heartbeat: tickets to stop, and whether it knows the worker."""

    cancel: Sequence[str] = ()
    known: bool = True


@dataclass(frozen=True, slots=True)
class Given:
    """What the platform answers to a worker that asks: assignments as events, tickets to stop, whether it knows it."""

    assignments: Sequence[Mapping[str, Any]] = ()
    cancel: Sequence[str] = ()
    known: bool = True


class PlatformRegistry:
    """The platform's worker registry over HTTP."""

    def __init__(self, client: HttpClient, url: str, worker_id: str, api_key: str | None) -> None:
        self.may_know_us = False
        self._client = client
        self._workers = f"{url.rstrip('/')}/api/v1/workers"
        self._worker = f"{self._workers}/{quote(worker_id, safe='')}"
        self._lease = f"{url.rstrip('/')}/api/v1/tasks/lease"
        self._worker_id = worker_id
        self._goodbye = urlencode({"requested_by": worker_id, "reason": "the worker stops"})
        self._headers = {"content-type": "application/json"} | ({"x-api-key": api_key} if api_key else {})

    async def register(self, registration: Mapping[str, Any]) -> Membership:
        """Register, again and again until the platform takes it; an answer without a secret is no use either."""
        waits = backoff()
        while True:
            membership = await self.register_once(registration)
            if membership is not None:
                return membership
            await asyncio.sleep(next(waits))

    async def register_once(self, registration: Mapping[str, Any]) -> Membership | None:
        """Register; return None when the platform did not take it.

        Until an answer says otherwise, the platform may know the worker: it may have taken what it has not answered.
        """
        self.may_know_us = True
        reply = await self._call("POST", self._workers, registration)
        self.may_know_us = reply is None or reply.ok
        membership = _membership(reply) if reply and reply.ok else None
        if membership is None:
            log.warning("worker.not_registered", status=reply.status if reply else 0)
        else:
            log.info("worker.registered")
        return membership

    async def heartbeat(self, beat: Mapping[str, Any]) -> Orders:
        """Send one heartbeat; one that fails is made up for by the next."""
        reply = await self._call("POST", f"{self._worker}/heartbeat", beat)
        if reply is None or not reply.ok:
            log.warning("worker.heartbeat_lost", status=reply.status if reply else 0)
            return Orders(known=reply is None or reply.status != HTTPStatus.NOT_FOUND)
        cancel = read_object(reply).get("cancel")
        return Orders([str(ticket_id) for ticket_id in cancel] if isinstance(cancel, list) else ())

    async def lease(self, asked: Mapping[str, Any], wait_seconds: float) -> Given | None:
        """Ask for tickets; None when no answer came, or one of a platform in trouble."""
        bounds = Bounds(wait_seconds + PATIENCE_SECONDS, PATIENCE_SECONDS, LEASE_BYTES)
        reply = await self._call("POST", self._lease, {"worker_id": self._worker_id, **asked}, bounds)
        if reply is None or not reply.ok:
            log.warning("worker.not_given", status=reply.status if reply else 0)
            gone = reply is not None and reply.status in NOT_OURS
            return Given(known=False) if gone else None
        answer = read_object(reply)
        given, cancel = answer.get("assignments"), answer.get("cancel")
        return Given(
            given if isinstance(given, list) else (),
            [str(ticket_id) for ticket_id in cancel] if isinstance(cancel, list) else (),
        )

    async def deregister(self) -> None:
        """Leave; a platform that cannot be told finds out by the silence."""
        reply = await self._call("DELETE", f"{self._worker}?{self._goodbye}", None)
        log.info("worker.deregistered", status=reply.status if reply else 0)

    async def _call(
        self, method: str, url: str, body: Mapping[str, Any] | None, bounds: Bounds | None = None
    ) -> Reply | None:
        content = b"" if body is None else json.dumps(body).encode()
        try:
            return await self._client.request(method, url, self._headers, content, bounds)
        except FlowcError as error:
            log.warning("platform.unreachable", reason=str(error))
            return None


def _membership(reply: Reply) -> Membership | None:
    """Return what the answer to a registration says; None when it has no secret to know the platform's messages by."""
    said = read_object(reply)
    secret, base = said.get("signing_secret"), said.get("callback_base_url")
    if not isinstance(secret, str) or not usable(secret):
        return None
    interval = said.get("heartbeat_interval_seconds")
    seconds = max(interval, SHORTEST_BEAT) if isinstance(interval, int | float) and interval > 0 else None
    return Membership(secret, base if isinstance(base, str) else "", seconds)
