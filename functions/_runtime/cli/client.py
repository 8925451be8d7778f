"""Calls the platform's HTTP API; whatever goes wrong becomes one sentence for people."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Self
from urllib.parse import quote, urlsplit

import httpx

from functions._runtime.cli.console import CommandFailed
from functions._runtime.cli.words import JsonObject

PAGE = 200
"""Records in one page of a longer listing."""

TIMEOUT = httpx.Timeout(15, connect=3)
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class NoPlatform(CommandFailed):
    """Nobody answers at the address."""


class Refused(CommandFailed):
    """The platform has answered with a problem; `status` is the one of HTTP."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Unavailable(Refused):
    """The platform cannot answer now, but may later."""


def flow_path(flow_id: str, *rest: str) -> str:
    """Return the path of a flow or of something that belongs to it."""
    return "/".join(("/api/v1/flows", quote(flow_id, safe=""), *rest))


def ticket_path(ticket_id: str, *rest: str) -> str:
    """Return the path of a ticket or of something that belongs to it."""
    return "/".join(("/api/v1/tickets", quote(ticket_id, safe=""), *rest))


class Client:
    """The API at one address. Use it as an async context manager."""

    def __init__(self, url: str, api_key: str = "") -> None:
        self.url = url
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={"X-API-Key": api_key} if api_key else {},
            timeout=TIMEOUT,
            trust_env=urlsplit(url).hostname not in LOOPBACK,  # no proxy leads back to this machine
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def get(self, path: str, **parameters: str | int | None) -> JsonObject:
        """Return the record, or the page, at `path`; parameters that are None are left out."""
        given = {name: value for name, value in parameters.items() if value is not None}
        return await self._call(self._http.build_request("GET", path, params=given))

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> JsonObject:
        """Send `body` as JSON and return the answer."""
        return await self._call(self._http.build_request("POST", path, json=dict(body or {})))

    async def delete(self, path: str) -> JsonObject:
        """Remove what is at `path`."""
        return await self._call(self._http.build_request("DELETE", path))

    async def send(self, headers: Mapping[str, str], body: bytes) -> JsonObject:
        """Send an encoded event to the ingress and return the answer."""
        return await self._call(self._http.build_request("POST", "/", headers=dict(headers), content=body))

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

    async def _call(self, request: httpx.Request) -> JsonObject:
        try:
            response = await self._http.send(request)
        except httpx.TimeoutException as error:
            raise NoPlatform(f"the platform at {self.url} did not answer in time") from error
        except (httpx.TransportError, httpx.InvalidURL) as error:
            raise NoPlatform(f"no platform at {self.url}", hint="start one with `flowc up`") from error
        answer = _json(response)
        if response.is_success and answer is not None:
            return answer
        if answer is None or not {"detail", "title"} & answer.keys():
            raise NoPlatform(f"no platform at {self.url}: what listens there answered {response.status_code}")
        kind = Unavailable if response.status_code in {429, 503} else Refused
        raise kind(_in_words(answer), response.status_code)


def _json(response: httpx.Response) -> JsonObject | None:
    """Return the JSON object of an answer, an empty one when there is no content, None when it is none."""
    if not response.content:
        return {}
    try:
        value = response.json()
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
