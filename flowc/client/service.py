"""A service behind an address: what its async and sync clients share, and how each of them sends."""

import os
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from functools import wraps
from http import HTTPStatus
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar, overload
from urllib.parse import quote, urlsplit

import httpx

from flowc.client.calls import JSON, Call, Reply, Steps, json_body
from flowc.client.errors import BadAnswer, NoAnswer, NotEnded, refusal
from flowc.client.models import FlowCResult, ForgePipeline
from flowc.client.retries import CircuitBreaker, RetryPolicy, exchange
from flowc.client.tracing import next_traceparent
from functions._engine.version import __version__

P = ParamSpec("P")
T = TypeVar("T")
E = TypeVar("E", FlowCResult, ForgePipeline)

DEFAULT_URL = "http://127.0.0.1:8080"
"""The address of `flowc up`; the variable FLOWC_URL names another one."""

TIMEOUT_SECONDS = 30.0
"""For the answer to begin, and between its parts; connecting has a third of it."""

ANSWER_LIMIT = 64 * 1024 * 1024
"""Bytes of an answer: the tickets of the largest plan fit in."""

ENDED = frozenset({"COMPLETED", "FAILED", "TIMED_OUT", "CANCELLED", "REJECTED"})
"""How flows and pipelines end."""

FIRST_LOOK = 0.2
LONGEST_LOOK = 5.0
"""Seconds between looks at what was not started by the waiting call."""

IDEMPOTENT = frozenset({"GET", "PUT", "DELETE"})
"""Methods of calls that may always be sent twice."""

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class ServiceClient:
    """What every client has: an address, a key, a policy of retries, a circuit breaker."""

    def __init__(
        self,
        base_url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retry: RetryPolicy | None = None,
        breaker: CircuitBreaker | None = None,
    ) -> None:
        """Open nothing yet. Without an address or a key, FLOWC_URL and FLOWC_API_KEY of the environment hold.

        Raises `ValueError` for what is no `http://` or `https://` address.
        """
        self.base_url = http_address(base_url or os.environ.get("FLOWC_URL") or DEFAULT_URL)
        self._api_key = os.environ.get("FLOWC_API_KEY", "") if api_key is None else api_key
        self._timeout = httpx.Timeout(timeout_seconds, connect=max(timeout_seconds / 3, 0.1))
        self._retry = retry or RetryPolicy()
        self.breaker = breaker or CircuitBreaker()

    def _call(  # noqa: PLR0913 - the parts of a request
        self,
        method: str,
        url: str,
        document: object = None,
        *,
        parameters: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool = False,
        seconds: float | None = None,
        after: float = 0.0,
    ) -> Steps[Reply]:
        """Make a call of the API; raise `Refused` for an answer with a status of 400 or above.

        Parameters that are None are left out. GET, PUT and DELETE may always be repeated. A token in `headers` stands
        in the place of the client's key.
        """
        asked = {name: value for name, value in (parameters or {}).items() if value is not None}
        given = headers or {}
        key = {"x-api-key": self._api_key} if self._api_key and "authorization" not in given else {}
        body = None if document is None else json_body(document)
        call = Call(
            method=method,
            url=url,
            parameters=asked,
            headers={"content-type": JSON, **key, **given},
            body=body,
            repeatable=repeatable or method in IDEMPOTENT,
            seconds=seconds,
            after=after,
        )
        return self._exchange(call)

    def _ended(self, path: str, model: type[E], record_id: str, timeout_seconds: float | None) -> Steps[E]:
        """Look at a flow or a pipeline until it has ended; raise `NotEnded` when that takes longer."""
        until = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        pause = 0.0
        while True:
            record = (yield from self._call("GET", path, after=pause)).as_a(model)
            if record.status in ENDED:
                return record
            pause = next_pause(pause)
            if until is not None and time.monotonic() + pause > until:
                raise NotEnded(record_id, record.status)

    def _exchange(self, call: Call) -> Steps[Reply]:
        """Send a call; see `_call`."""
        reply = yield from exchange(call, self._retry, self.breaker)
        if reply.status >= HTTPStatus.BAD_REQUEST:
            raise refusal(reply.status, reply.body, reply.retry_after)
        if reply.status >= HTTPStatus.MULTIPLE_CHOICES:
            raise BadAnswer(f"the service answered {reply.status}; redirects are not followed")
        return reply

    def _request(self, call: Call) -> dict[str, Any]:
        """Return a call as httpx takes it."""
        headers = {
            "accept": JSON,
            "accept-encoding": "identity",
            "user-agent": f"flowc-client/{__version__}",
            "traceparent": next_traceparent(),
            **call.headers,
        }
        timeout = self._timeout if call.seconds is None else httpx.Timeout(call.seconds, connect=self._timeout.connect)
        return {
            "method": call.method,
            "url": call.url if "://" in call.url else f"{self.base_url}{call.url}",
            "headers": headers,
            "params": dict(call.parameters) or None,
            "content": call.body,
            "timeout": timeout,
        }

    def _options(self) -> dict[str, Any]:
        """Return how httpx is to be made: no proxy leads back to this machine, and a key follows no redirect."""
        return {"trust_env": urlsplit(self.base_url).hostname not in LOOPBACK, "follow_redirects": False}


class AsyncServiceClient(ServiceClient):
    """Drives operations by coroutines; an async context manager. Belongs to the event loop of its first call."""

    _http: httpx.AsyncClient | None = None

    async def run(self, steps: Steps[T]) -> T:
        """Carry out an operation."""
        try:
            call = next(steps)
            while True:
                try:
                    if call.after:
                        import asyncio  # plain programs do without it

                        await asyncio.sleep(call.after)
                    reply = await self._send(call)
                except NoAnswer as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    async def _send(self, call: Call) -> Reply:
        if self._http is None:
            self._http = httpx.AsyncClient(**self._options())
        try:
            async with self._http.stream(**self._request(call)) as response:
                return Reply(response.status_code, _lower(response), await _whole(_plain(response).aiter_raw()))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _no_answer(error) from error

    async def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            await http.aclose()

    async def __aenter__(self) -> Self:
        """Return the client."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self.close()


class SyncServiceClient(ServiceClient):
    """Drives operations by plain calls; a context manager. Threads may share it."""

    _http: httpx.Client | None = None

    def run(self, steps: Steps[T]) -> T:
        """Carry out an operation."""
        try:
            call = next(steps)
            while True:
                try:
                    if call.after:
                        time.sleep(call.after)
                    reply = self._send(call)
                except NoAnswer as error:
                    call = steps.throw(error)
                else:
                    call = steps.send(reply)
        except StopIteration as end:
            result: T = end.value
            return result
        finally:
            steps.close()

    def _send(self, call: Call) -> Reply:
        if self._http is None:
            self._http = httpx.Client(**self._options())
        try:
            with self._http.stream(**self._request(call)) as response:
                return Reply(response.status_code, _lower(response), _all(_plain(response).iter_raw()))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _no_answer(error) from error

    def close(self) -> None:
        """Close all connections; a later call opens new ones."""
        http, self._http = self._http, None
        if http is not None:
            http.close()

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close all connections."""
        self.close()


class Operation(Generic[P, T]):
    """Makes a method of steps a coroutine method of an async client, and a plain method of a sync one."""

    def __init__(self, steps: Callable[Concatenate[Any, P], Steps[T]]) -> None:
        self.steps = steps
        self.__doc__ = steps.__doc__

    @overload
    def __get__(self, client: AsyncServiceClient, owner: object = None) -> Callable[P, Coroutine[Any, Any, T]]: ...
    @overload
    def __get__(self, client: SyncServiceClient, owner: object = None) -> Callable[P, T]: ...
    @overload
    def __get__(self, client: None, owner: object = None) -> "Operation[P, T]": ...

    def __get__(self, client: Any, owner: object = None) -> Any:
        """Return the operation of `client`."""
        if client is None:
            return self

        @wraps(self.steps)
        def operate(*positional: P.args, **named: P.kwargs) -> object:
            return client.run(self.steps(client, *positional, **named))

        return operate


def next_pause(pause: float) -> float:
    """Return the seconds to the next look after one that came `pause` seconds after another."""
    return min(2 * pause or FIRST_LOOK, LONGEST_LOOK)


def http_address(url: str) -> str:
    """Return an address without a slash at its end; raise `ValueError` for what is none."""
    try:
        parts = urlsplit(url)
        fits = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits or parts.query or parts.fragment:
        raise ValueError(f"{url!r} is no address of a service, such as {DEFAULT_URL}")
    return url.rstrip("/")


def in_path(text: str) -> str:
    """Return an id as one part of a path."""
    if text in {"", ".", ".."}:
        raise ValueError(f"{text!r} is no id")
    return quote(text, safe="")


async def _whole(parts: AsyncIterator[bytes]) -> bytes:
    body = bytearray()
    async for part in parts:
        _bounded(body, part)
    return bytes(body)


def _all(parts: Iterator[bytes]) -> bytes:
    body = bytearray()
    for part in parts:
        _bounded(body, part)
    return bytes(body)


def _bounded(body: bytearray, part: bytes) -> None:
    body += part
    if len(body) > ANSWER_LIMIT:
        raise BadAnswer(f"the answer has more than {ANSWER_LIMIT} bytes")


def _plain(response: httpx.Response) -> httpx.Response:
    """Refuse a compressed answer, which was not asked for: a few kilobytes of it can stand for gigabytes."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise BadAnswer(f"the answer is compressed ({encoding[:20]}), which was not asked for")
    return response


def _lower(response: httpx.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _no_answer(error: Exception) -> NoAnswer:
    """Return the exception for a call without an answer; its text names the kind, as httpx often gives none."""
    return NoAnswer(f"no answer: {str(error) or type(error).__name__}")
