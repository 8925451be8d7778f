"""A hot route answers byte for byte as the framework would, whatever a stranger sends; requests are counted alike."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from functions._core.engine import Engine, ReportResult
from functions._core.errors import Conflict, Unavailable
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.reports import RefusedReport, Report
from functions._engine.settings import Settings
from functions._hosts.serving import listen, serving
from functions._observability.http_metrics import MeasuredApp
from functions._observability.metrics import Metrics
from functions.api.app import create_app
from functions.api.hot_routes import HotRoutes
from functions.api.services import ApiServices, Held
from tests.support.http_api import Api, running_api
from tests.support.world import PATIENCE_S, decision, task, until

KEY = "a-key-that-nobody-guesses"
ORIGIN = "https://console.example"
MAX_BODY, MAX_REPORT, MAX_HELD = 1_500_000, 1_000_000, 4_000_000
JSON, STRUCTURED, BATCHED = (
    ("content-type", media)
    for media in ("application/json", "application/cloudevents+json", "application/cloudevents-batch+json")
)
TROUBLES = {
    "/unavailable": Unavailable("the store is away"),
    "/conflict": Conflict(),
    "/broken": RuntimeError("broken"),
}

Header = tuple[str, str]


@dataclass(frozen=True)
class Troubled:
    """An engine that fails on reports of some sources."""

    engine: Engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    async def report(self, event: CloudEvent, report: Report | None = None) -> ReportResult:
        if event.source in TROUBLES:
            raise TROUBLES[event.source]
        return await self.engine.report(event, report)


@dataclass
class Door:
    """One way to the api, over real HTTP: its app, its counters and the refusals that it told of."""

    app: FastAPI
    metrics: Metrics
    refused: list[RefusedReport]
    address: tuple[str, int]

    async def answer(self, request: bytes) -> bytes:
        """Send a request over a connection of its own and return all bytes of the answer."""
        reader, writer = await asyncio.open_connection(*self.address)
        try:
            writer.write(request)
            async with asyncio.timeout(PATIENCE_S):
                head = await reader.readuntil(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                if length is None or request.startswith(b"HEAD "):
                    return head
                return head + await reader.readexactly(int(length[1]))
        finally:
            writer.close()

    def counted(self) -> Mapping[Any, float]:
        """Return the counters of requests."""
        return {key: number for key, number in self.metrics.totals().items() if key[0].startswith("api_")}


@dataclass
class Doors:
    """The hot routes and the framework's routes to one platform, and an attempt to report on."""

    api: Api
    hot: Door
    plain: Door
    assignment: Mapping[str, Any]

    @property
    def report_path(self) -> str:
        """The place of reports on the attempt."""
        return f"/api/v1/flows/{self.assignment['flow_id']}/reports"

    def token(self, *, expires_in: int = 60, **changes: Any) -> str:
        """Return a token of the attempt, or of a similar one."""
        held = {name: self.assignment[name] for name in ("ticket_id", "attempt", "worker_id")} | changes
        return self.api.world.ports.tokens.mint(**held, expires_at=datetime.now(UTC) + timedelta(seconds=expires_in))

    def said(self, **more: Any) -> dict[str, Any]:
        """Return the data of a report."""
        return {name: self.assignment[name] for name in ("ticket_id", "attempt")} | {"status": "RUNNING"} | more


def framework_only(services: ApiServices) -> FastAPI:
    """Return the api whose hot routes go through the framework, too."""
    app = create_app(services)
    others = [middleware for middleware in app.user_middleware if str(middleware.cls) != str(HotRoutes)]
    assert len(others) == len(app.user_middleware) - 1
    app.user_middleware = others
    return app


def request(
    path: str, body: bytes | object = b"", *headers: Header, method: str = "POST", chunked: bool = False
) -> bytes:
    """Return the bytes of a request, with `host: localhost` unless `headers` name one."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [*headers]
    if "host" not in dict(headers):
        lines.append(("host", "localhost"))
    if chunked:
        lines.append(("transfer-encoding", "chunked"))
        half = len(content) // 2
        parts = [part for part in (content[:half], content[half:]) if part]
        content = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    elif content and "content-length" not in dict(headers):
        lines.append(("content-length", str(len(content))))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + content


def bearer(token: str) -> Header:
    return "authorization", f"Bearer {token}"


def attributes(event_type: str = "ticket.reported", **changes: str) -> dict[str, str]:
    return {"specversion": "1.0", "id": "1", "source": "/tests", "type": type_of(event_type), **changes}


def binary(event_type: str = "ticket.reported", **changes: str) -> tuple[Header, ...]:
    return tuple((f"ce-{name}", value) for name, value in attributes(event_type, **changes).items())


@pytest.fixture
async def doors(tmp_path: Path) -> AsyncIterator[Doors]:
    async with running_api(tmp_path) as api, AsyncExitStack() as stack:
        api.world.workers.behave = lambda _assignment: None
        await api.world.register("w1")
        await api.world.submit(decision(task("a"), task("b", "a")))

        async def assigned() -> Any:
            return next(iter(api.world.workers.assignments), None)

        assignment = await until(assigned, "an assignment")
        services = replace(
            api.app.state.services,
            engine=Troubled(api.app.state.services.engine),
            max_body=MAX_BODY,
            max_report=MAX_REPORT,
            hosts=frozenset({"flowc.example"}),
            origins=frozenset({ORIGIN}),
            identify=None,
        )

        async def door(make: Any) -> Door:
            refused: list[RefusedReport] = []
            app = make(replace(services, report_refused=refused.append, held=Held(MAX_HELD)))
            settings, metrics = Settings(port=0, data=tmp_path), Metrics()
            listener = stack.enter_context(listen(settings))
            await stack.enter_async_context(serving(MeasuredApp(app, metrics), settings, listener))
            return Door(app, metrics, refused, listener.getsockname())

        yield Doors(api, await door(create_app), await door(framework_only), assignment)


def strange_heads(path: str, good: bytes, *headers: Header) -> Iterator[bytes]:
    """Yield requests that are refused before their body, and some that are hardly not."""
    for host in ("localhost:1", "127.0.0.1", "[::1]", "flowc.example", "evil.example", "", "a b"):
        yield request(path, good, *headers, ("host", host))
    yield request(path, good, *headers, ("host", "localhost"), ("host", "evil.example"))
    for name, value in (
        ("origin", "https://evil.example"),
        ("origin", ORIGIN),
        ("origin", "http://localhost"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-origin"),
        ("x-forwarded-for", "203.0.113.9"),
        ("x-api-key", "wrong"),
        ("x-api-key", KEY),
        ("traceparent", "00-" + "a" * 32 + "-" + "b" * 16 + "-01"),
    ):
        yield request(path, good, *headers, (name, value))
    for method in ("GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
        yield request(path, good, *headers, method=method)
    for strange in ("?dry_run=true", "?", "/", "%0a", "%2f", "//", "#"):
        yield request(path + strange, good, *headers)
    for length in ("99999999999", "9" * 30, f"00{len(good)}", "x", "-1"):
        yield request(path, good, *headers, ("content-length", length))


def strange_bodies(path: str, *headers: Header) -> Iterator[bytes]:
    """Yield bodies that are no event, in several media types."""
    texts = (b"", b"{", b"[]", b"{}", b"null", b'"a"', b"\xff", b"\xef\xbb\xbf{}", b"[" * 70 + b"]" * 70, b'{"a": NaN}')
    for media in (JSON, STRUCTURED, BATCHED):
        for text in texts:
            yield request(path, text, media, *headers)
        yield request(path, b"[" + b"1," * 30_000 + b"1]", media, *headers)
        for size in (70_000, MAX_REPORT + 1, MAX_BODY + 1):
            yield request(path, b'"' + b"x" * size + b'"', media, *headers)
            yield request(path, b'"' + b"x" * size + b'"', media, *headers, chunked=True)
    for other in ("text/plain", "application/json; charset=latin-1", "application/cloudevents+avro", "a/b+json", ""):
        yield request(path, b"{}", ("content-type", other), *headers)
    yield request(path, b"{}", *headers)


def reports(doors: Doors) -> Iterator[bytes]:
    """Yield reports in every form, and with every fault."""
    path, good, mine = doors.report_path, doors.said(), bearer(doors.token())
    yield request(path, good, JSON, *binary(), mine)
    yield request(path, good, JSON, *binary(), mine, chunked=True)
    yield request(path, good, JSON, mine)
    yield request(path, {**attributes(), "data": good}, STRUCTURED, mine)
    yield request(path, [{**attributes(), "data": good}], BATCHED, mine)
    yield request(path, good, JSON, *binary(), *binary(source="/second"), mine, mine)
    yield from strange_heads(path, json.dumps(good).encode(), JSON, *binary(), mine)
    yield from strange_bodies(path, mine)
    yield from strange_bodies(path, mine, *binary())
    for given in ("Bearer", "Bearer  ", "Basic abc", "bearer x.y.z", mine[1] + "x", "Bearer \xe9"):
        yield request(path, good, JSON, *binary(), ("authorization", given))
    yield request(path, good, JSON, *binary())
    for token in (
        doors.token(expires_in=-5),
        doors.token(ticket_id="gone"),
        doors.token(attempt=2),
        doors.token(worker_id="w2"),
    ):
        yield request(path, good, JSON, *binary(), bearer(token))
        yield request("/", {**attributes(), "data": good}, STRUCTURED, bearer(token))
    for wrong in (
        {"attempt": 0},
        {"attempt": 2},
        {"status": "DONE"},
        {"ticket_id": ""},
        {"ticket_id": "gone"},
        {"progress": "much"},
        {"output": "x" * 300_000},
        {"output": ["é"] * 60_000},
        {"output": {"echo": mine[1]}},
        {"log": "x" * 100_000},
        {"error": "broken"},
    ):
        yield request(path, good | wrong, JSON, *binary(), mine)
        yield request("/", {**attributes(), "data": good | wrong}, STRUCTURED, mine)
    for strange in (
        {"id": ""},
        {"subject": ""},
        {"subject": "caf%C3%A9"},
        {"subject": "caf\xe9"},
        {"subject": '"quoted"'},
        {"specversion": "0.3"},
        {"time": "yesterday"},
        {"time": "2026-03-01T12:00:00Z"},
        {"data": "x"},
        {"dataschema": ""},
        {"under_score": "x"},
        {"long": "x" * 5_000},
        {"type": type_of("ticket.assigned")},
        *({"source": source} for source in TROUBLES),
    ):
        yield request(path, good, JSON, *binary(**strange), mine)
    yield request("/api/v1/flows/no-such-flow/reports", good, JSON, *binary(), mine)
    yield request("/api/v1/flows//reports", good, JSON, *binary(), mine)
    yield request("/api/v1/flows/a%00b/reports", good, JSON, *binary(), mine)


def events(doors: Doors) -> Iterator[bytes]:
    """Yield what is sent to the ingress."""
    data, mine = decision(task("a"), decision_id="d-1"), bearer(doors.token())
    event = {**attributes("decision.consolidated"), "data": data}
    headers = (JSON, *binary("decision.consolidated"))
    yield request("/", data, *headers)
    yield request("/", event, STRUCTURED)
    yield request("/", [event, event], BATCHED)
    yield request("/", [event, {**attributes("ticket.assigned"), "data": {}}, {**event, "data": 1}], BATCHED)
    yield request("/", [event] * 1_001, BATCHED)
    yield from strange_heads("/", json.dumps(data).encode(), *headers)
    yield from strange_bodies("/")
    yield from strange_bodies("/", *binary("decision.consolidated"))
    yield from strange_bodies("/", *binary())
    yield request("/", doors.said(), JSON, *binary(), mine)
    for event_type in ("ticket.assigned", "flow.cancel", "flow.cancel.requested", "worker.heartbeat", "no.such"):
        yield request("/", {"flow_id": "gone", "worker_id": "gone"}, JSON, *binary(event_type))
    yield request("/", {"worker_id": "w1"}, JSON, *binary("worker.heartbeat"))


def heartbeats(_doors: Doors) -> Iterator[bytes]:
    """Yield heartbeats, and what is none."""
    path = "/api/v1/workers/w1/heartbeat"
    yield request(path)
    yield request(path, {}, JSON)
    yield request(path, {"status": "degraded", "running": [{"ticket_id": "gone", "attempt": 1}]}, JSON)
    yield request(path, {"status": "fine", "running": 1}, JSON)
    yield request(path, {}, JSON, chunked=True)
    yield from strange_heads(path, b"{}", JSON)
    yield from strange_bodies(path)
    for worker in ("gone", "a%00b", "caf%C3%A9", "%"):
        yield request(f"/api/v1/workers/{worker}/heartbeat", {}, JSON)


@pytest.mark.parametrize("requests", [reports, events, heartbeats])
async def test_both_ways_answer_the_same(doors: Doors, requests: Any) -> None:
    statuses = set()
    for sent in requests(doors):
        plain, hot = await doors.plain.answer(sent), await doors.hot.answer(sent)
        assert hot == plain, sent[:1000]
        statuses.add(int(hot.split(b" ")[1]))
        assert doors.hot.counted() == doors.plain.counted(), sent[:1000]
    assert statuses >= {400, 403, 404, 405, 413, 415, 421, 422}
    assert statuses & {200, 202}
    assert doors.hot.refused == doors.plain.refused
    if requests is reports:
        assert statuses >= {200, 401, 500, 503}
        assert len(doors.hot.refused) > 50


async def test_both_ways_ask_strangers_for_the_key(doors: Doors) -> None:
    for door in (doors.hot, doors.plain):
        door.app.user_middleware[0].kwargs["key"] = KEY
    forwarded = ("x-forwarded-for", "203.0.113.9")
    for path, body, headers in (
        ("/", decision(task("a")), (JSON, *binary("decision.consolidated"))),
        ("/api/v1/workers/w1/heartbeat", {}, (JSON,)),
        (doors.report_path, doors.said(), (JSON, *binary(), bearer(doors.token()))),
        (doors.report_path, doors.said(), (JSON, *binary())),
    ):
        for more in ((), (forwarded,), (forwarded, ("x-api-key", KEY)), (forwarded, ("x-api-key", "wrong"))):
            sent = request(path, body, *headers, *more)
            assert await doors.hot.answer(sent) == await doors.plain.answer(sent), sent[:1000]


async def test_large_bodies_have_no_more_room_on_one_way_than_on_the_other(doors: Doors) -> None:
    for path in ("/", doors.report_path, "/api/v1/workers/w1/heartbeat"):
        sent = request(path, b'"' + b"x" * 100_000 + b'"', JSON, *binary(), bearer(doors.token()), chunked=True)
        for door in (doors.hot, doors.plain):
            door.app.state.services.held.size = MAX_HELD
        plain, hot = await doors.plain.answer(sent), await doors.hot.answer(sent)
        assert hot == plain
        assert int(hot.split(b" ")[1]) == 503
        for door in (doors.hot, doors.plain):
            assert door.app.state.services.held.size == MAX_HELD
            door.app.state.services.held.size = 0


async def test_a_body_that_is_cut_off_is_answered_the_same(doors: Doors) -> None:
    async def answers(app: FastAPI, path: str) -> list[Any]:
        sent: list[Any] = []
        messages = iter(
            [{"type": "http.request", "body": b"x" * 70_000, "more_body": True}, {"type": "http.disconnect"}]
        )
        headers = [("host", "localhost"), JSON, *binary(), bearer(doors.token())]
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers],
            "client": ("127.0.0.1", 1),
        }

        async def receive() -> Any:
            return next(messages)

        async def send(message: Any) -> None:
            sent.append(message)

        await app(scope, receive, send)
        assert app.state.services.held.size == 0
        return sent

    for path in ("/", doors.report_path, "/api/v1/workers/w1/heartbeat"):
        hot, plain = await answers(doors.hot.app, path), await answers(doors.plain.app, path)
        assert hot == plain
        assert hot[0]["status"] == 400
