"""Calls the platform's HTTP API; whatever goes wrong becomes one sentence for people."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote, urlencode, urlsplit
from urllib.request import Request

from functions._cli.console import WRONG_USE, CommandFailed
from functions._cli.http import ANSWER_SECONDS, NoAnswer, PlainReply, answer_to, opener
from functions._cli.wire import JsonObject
from functions._engine.version import __version__

Parameter = str | int | Sequence[str] | None
"""A parameter of a query; a list stands for the same one several times."""

PAGE = 200
"""Records in one page of a longer listing."""

JSON = {"content-type": "application/json"}
"""What every request that changes something says, also one without a body: no form of a web page can."""

SUCCESS = range(200, 300)
AWAY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class NoPlatform(CommandFailed):
    """Nobody answers at the address."""


WRONG = frozenset({400, 413, 415, 422})
"""Statuses that say what is wrong with a request itself."""

OF_THE_MOMENT = frozenset({"decision_conflict", "not_replayable", "no_receiver", "result_too_large"})
"""Codes of refusals with such a status that are about what the platform has: another one would take the request."""


class CommandRefused(CommandFailed):
    """The platform has answered with a problem; `status` is the one of HTTP, `code` the word for what it is.

    A request that is wrong in itself was wrong use of the command.
    """

    def __init__(self, message: str, status: int, code: str = "") -> None:
        wrong = status in WRONG and code not in OF_THE_MOMENT
        super().__init__(message, exit_status=WRONG_USE if wrong else 1)
        self.status = status
        self.code = code


class PlatformUnavailable(CommandRefused):
    """The platform cannot answer now, but may later."""


def flow_path(flow_id: str, *rest: str) -> str:
    """Return the path of a flow or of something that belongs to it."""
    return "/".join(("/api/v1/flows", quote(flow_id, safe=""), *rest))


def ticket_path(ticket_id: str, *rest: str) -> str:
    """Return the path of a ticket or of something that belongs to it."""
    return "/".join(("/api/v1/tickets", quote(ticket_id, safe=""), *rest))


class PlatformClient:
    """The API at one address. Use it as an async context manager."""

    def __init__(self, url: str, api_key: str = "", seconds: float = ANSWER_SECONDS) -> None:
        """Wait up to so many seconds for the next part of an answer."""
        self.url, self._seconds = url, seconds
        self._headers = {"user-agent": f"flowc/{__version__}"} | ({"x-api-key": api_key} if api_key else {})
        self._opener = opener(direct=urlsplit(url).hostname in LOOPBACK)  # no proxy leads back to this machine

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._opener.close()

    async def get(self, path: str, **parameters: Parameter) -> JsonObject:
        """Return the record, or the page, at `path`; parameters that are None are left out."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return await self._call("GET", f"{path}?{urlencode(given, doseq=True)}" if given else path)

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> JsonObject:
        """Send `body` as JSON and return the answer."""
        return await self._call("POST", path, json.dumps(dict(body or {})).encode(), JSON)

    async def put(self, path: str, body: Mapping[str, Any]) -> JsonObject:
        """Put `body` as JSON at `path` and return the answer."""
        return await self._call("PUT", path, json.dumps(dict(body)).encode(), JSON)

    async def delete(self, path: str) -> JsonObject:
        """Remove what is at `path`."""
        return await self._call("DELETE", path, headers=JSON)

    async def send(self, headers: Mapping[str, str], body: bytes) -> JsonObject:
        """Send an encoded event to the ingress and return the answer."""
        return await self._call("POST", "/", body, headers)

    async def items(
        self, path: str, *, limit: int | None = None, **parameters: str | int | None
    ) -> AsyncIterator[JsonObject]:
        """Yield the records of a listing, over as many pages as it takes; `limit` ends it earlier."""
        left, cursor = limit, None
        while left is None or left > 0:
            page = await self.get(path, **parameters, cursor=cursor, limit=PAGE if left is None else min(left, PAGE))
            for item in page["items"][:left]:
                yield item
            left = None if left is None else left - len(page["items"])
            cursor = page.get("cursor")
            if cursor is None:
                return

    async def page(self, path: str, *, limit: int, cursor: str | None = None, **parameters: Parameter) -> JsonObject:
        """Return `limit` records of a listing as one page: `items`, and the `cursor` of those that follow."""
        items: list[JsonObject] = []
        while True:
            left = min(limit - len(items), PAGE)
            page = await self.get(path, **parameters, cursor=cursor, limit=left)
            items += page["items"][:left]
            cursor = page.get("cursor")
            if cursor is None or len(items) >= limit:
                return {"items": items, "cursor": cursor}

    async def text(self, path: str) -> str:
        """Return the text at `path`, such as that of `/metrics`."""
        reply = await self._ask("GET", path)
        if reply.status in SUCCESS:
            return reply.body.decode(errors="replace")
        raise self._refusal(reply)

    async def _call(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> JsonObject:
        reply = await self._ask(method, path, body, headers)
        answer = _json(reply)
        if reply.status in SUCCESS and answer is not None:
            return answer
        raise self._refusal(reply)

    async def _ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> PlainReply:
        try:
            sent = {**self._headers, **(headers or {})}
            request = Request(self.url + path, body, sent, method=method)  # noqa: S310 - `Url` takes HTTP alone
            return await answer_to(self._opener, request, self._seconds)
        except NoAnswer as error:
            if error.late:
                raise NoPlatform(f"the platform at {self.url} did not answer in time") from error
            if error.untrusted:
                text = f"the certificate of {self.url} is not trusted: {error.untrusted}"
                raise NoPlatform(text, hint="SSL_CERT_FILE names a file of certificates to trust") from error
            raise NoPlatform(f"no platform at {self.url}", hint="start one with `flowc up`") from error
        except ValueError as error:
            raise NoPlatform(f"{self.url} is no address of a platform", exit_status=WRONG_USE) from error

    def _refusal(self, reply: PlainReply) -> CommandFailed:
        """Return what an answer without success means."""
        answer = _json(reply)
        if answer is None or not {"detail", "title"} & answer.keys():
            return NoPlatform(f"no platform at {self.url}: what listens there answered {reply.status}")
        kind = PlatformUnavailable if reply.status in AWAY else CommandRefused
        return kind(_in_words(answer), reply.status, str(answer.get("code") or ""))


def _json(reply: PlainReply) -> JsonObject | None:
    """Return the JSON object of an answer, an empty one when there is no content, None when it is none."""
    if not reply.body:
        return {}
    try:
        value = json.loads(reply.body)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _in_words(problem: JsonObject) -> str:
    """Return a problem document (RFC 9457) as a sentence, with a line for each error that it does not tell."""
    text = str(problem.get("detail") or problem.get("title"))
    code = problem.get("code")
    untold = [error for error in problem.get("errors") or () if error["message"] not in text]
    return "\n  ".join((f"{text} ({code})" if code else text, *(_fault(error) for error in untold)))


def _fault(error: JsonObject) -> str:
    where, message = error.get("where") or "", error["message"]
    return message if where in message else f"{where}: {message}"
