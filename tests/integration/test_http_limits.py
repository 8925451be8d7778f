"""What the HTTP server puts up with, over real connections: slow clients, huge heads, too many at once."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from functions._core.events.envelope import type_of
from functions._engine.settings import Settings
from functions._hosts.bounded_http import MAX_HEAD, MAX_HEADERS
from functions._hosts.one_machine.process import running
from functions.api.ingress import MAX_BATCH
from tests.support.http_api import bearer, problem_of, running_api
from tests.support.world import PATIENCE_S, decision, task

POST = b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
GET = b"GET /health HTTP/1.1\r\nhost: localhost\r\n"


@dataclass(frozen=True)
class Connection:
    """A raw connection to a platform."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, dict[str, str]]:
        """Return the status and the problem (or other JSON) of the next answer."""
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE_S)).decode().lower()
        length = next(int(line.partition(":")[2]) for line in head.splitlines() if line.startswith("content-length"))
        return int(head.split(" ")[1]), json.loads(await self.reader.readexactly(length))

    async def closed(self) -> bool:
        """Wait for the other side to close; tell whether it did so without another word."""
        try:
            return await asyncio.wait_for(self.reader.read(), PATIENCE_S) == b""
        except ConnectionResetError:
            return True


@dataclass(frozen=True)
class Server:
    """A running platform."""

    url: str

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        url = httpx.URL(self.url)
        reader, writer = await asyncio.open_connection(url.host, url.port)
        try:
            yield Connection(reader, writer)
        finally:
            writer.close()

    async def health(self) -> None:
        """Make a normal request; it has to succeed."""
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(f"{self.url}/health", timeout=PATIENCE_S)).status_code == 200


@asynccontextmanager
async def serving(folder: Path, request_seconds: float = 0.3, connections: int = 1000) -> AsyncIterator[Server]:
    settings = Settings(port=0, data=folder, request_seconds=request_seconds, connections=connections)
    async with running(settings) as platform:
        yield Server(platform.url)


async def trickle(connection: Connection, first: bytes, byte: bytes) -> None:
    """Send `first`, then a byte every now and then, until the other side has had enough."""
    try:
        await connection.send(first)
        while True:
            await connection.send(byte)
            await asyncio.sleep(0.05)  # this slowness is what is tested
    except ConnectionError:
        return


async def test_two_hundred_trickling_connections_keep_nobody_from_being_answered(tmp_path: Path) -> None:
    async with serving(tmp_path, request_seconds=60) as server, AsyncExitStack() as stack, asyncio.TaskGroup() as group:
        kinds = (
            (b"", b"G"),
            (GET, b"x"),
            (POST + b"content-length: 100000\r\n\r\n", b" "),
            (POST + b"transfer-encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
        )
        slow = [
            group.create_task(trickle(await stack.enter_async_context(server.connection()), *kinds[number % 4]))
            for number in range(200)
        ]
        for _ in range(20):
            await server.health()
        waiting = [connection for number, connection in enumerate(slow) if number % 4]  # the first kind is no HTTP
        assert not any(connection.done() for connection in waiting), "the slow ones were there all the time"
        for connection in slow:
            connection.cancel()


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"GET /hea",
        GET,
        GET + b"x: " + b"y" * 1000,
        POST + b"content-length: 10\r\n\r\n",
        POST + b"content-length: 10\r\n\r\n12345",
        POST + b"transfer-encoding: chunked\r\n\r\n5\r\n12345\r\n",
    ],
)
async def test_a_request_that_does_not_arrive_in_time_is_a_408_and_the_end_of_its_connection(
    tmp_path: Path, sent: bytes
) -> None:
    async with serving(tmp_path) as server, server.connection() as connection:
        if sent:
            await connection.send(sent)
        status, problem = await connection.answer()
        assert (status, problem["code"]) == (408, "request_timeout")
        assert await connection.closed()
        await server.health()


async def test_a_body_that_nobody_reads_is_not_waited_for_either(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.connection() as connection:
        await connection.send(b"GET /health HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n")
        assert (await connection.answer())[0] == 200
        await connection.send(b"1")
        assert (await connection.answer())[0] == 408
        assert await connection.closed()


async def test_each_request_of_a_connection_has_its_own_time(tmp_path: Path) -> None:
    async with serving(tmp_path, request_seconds=1) as server, server.connection() as connection:
        for _ in range(4):
            await connection.send(GET)
            await asyncio.sleep(0.4)  # together longer than one request may take
            await connection.send(b"\r\n")
            assert (await connection.answer())[0] == 200
        await connection.send(GET)
        assert (await connection.answer())[0] == 408


async def test_a_client_that_does_not_read_its_answers_is_cut_off(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.connection() as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]  # the only way to read nothing
        request = b"GET /openapi.json HTTP/1.1\r\nhost: localhost\r\n\r\n"

        async def flood() -> None:
            with suppress(ConnectionError):
                while True:
                    await connection.send(request * 100)

        await asyncio.wait_for(flood(), PATIENCE_S)
        await server.health()


@pytest.mark.parametrize(
    "head",
    [
        b"GET /" + b"a" * MAX_HEAD + b" HTTP/1.1\r\nhost: localhost\r\n\r\n",
        b"GET /" + b"a" * 4 * MAX_HEAD,
        GET + b"x: " + b"y" * MAX_HEAD + b"\r\n\r\n",
        GET + b"x: " + b"y" * 4 * MAX_HEAD,
        GET + b"x" * 4 * MAX_HEAD,
        GET + b"".join(b"x-%d: %s\r\n" % (n, b"y" * 1000) for n in range(100)) + b"\r\n",
        GET + b"x: y\r\n" * MAX_HEADERS + b"\r\n",
        POST + b"transfer-encoding: chunked\r\n\r\n1\r\n{\r\n0\r\n" + b"x: y\r\n" * MAX_HEADERS,
    ],
    ids=lambda head: f"{head[:20]!r} {len(head)}",
)
async def test_a_head_that_is_too_large_is_a_431(tmp_path: Path, head: bytes) -> None:
    async with serving(tmp_path, request_seconds=5) as server, server.connection() as connection:
        await connection.send(head)
        status, problem = await connection.answer()
        assert (status, problem["code"]) == (431, "head_too_large")
        assert await connection.closed()
        await server.health()


async def test_a_head_within_the_limits_is_read(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.connection() as connection:
        padding = b"".join(b"x-%d: %s\r\n" % (n, b"y" * 400) for n in range(MAX_HEADERS - 1))
        assert 48 * 1024 < len(padding) < MAX_HEAD
        for _ in range(2):
            await connection.send(GET + padding + b"\r\n")
            assert (await connection.answer())[0] == 200


async def test_large_bodies_one_after_the_other_are_no_large_heads(tmp_path: Path) -> None:
    body = b" " * 900_000
    request = POST + f"content-length: {len(body)}\r\n\r\n".encode() + body
    async with serving(tmp_path, request_seconds=10) as server, server.connection() as connection:
        for parts in ([request], [request + GET, b"\r\n"], [request[:50], request[50:]]):
            for part in parts:
                await connection.send(part)
            assert (await connection.answer())[1]["code"] == "malformed_event"
            if len(parts) > 1 and parts[1] == b"\r\n":
                assert (await connection.answer())[0] == 200


async def test_what_is_no_http_is_a_400_with_a_problem(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.connection() as connection:
        await connection.send(b"\x16\x03\x01\x02\x00 this is something else\r\n\r\n")
        status, problem = await connection.answer()
        assert (status, problem["code"]) == (400, "malformed_http")
        assert await connection.closed()


async def served(server: Server) -> bool:
    """Tell whether a new connection gets its answer; what is turned away is told so."""
    async with server.connection() as connection:
        await connection.send(GET + b"\r\n")
        status, _ = await connection.answer()
        assert status in {200, 503}
        return status == 200


async def test_beyond_so_many_connections_requests_are_a_503_until_there_is_room(tmp_path: Path) -> None:
    async with serving(tmp_path, request_seconds=5, connections=3) as server, AsyncExitStack() as stack:
        first = [await stack.enter_async_context(server.connection()) for _ in range(3)]
        for connection in first:
            await connection.send(GET + b"\r\n")
            assert (await connection.answer())[0] == 200
        async with server.connection() as fourth:
            await fourth.send(GET + b"\r\n")
            status, problem = await fourth.answer()
            assert (status, problem["code"]) == (503, "overloaded")
            assert await fourth.closed()
        await first[0].send(GET + b"\r\n")
        assert (await first[0].answer())[0] == 200
        first[0].writer.close()
        async with asyncio.timeout(PATIENCE_S):
            while not await served(server):
                await asyncio.sleep(0.01)  # until the server, too, has noticed that the connection is closed


async def test_how_large_a_report_may_be_is_a_setting(tmp_path: Path) -> None:
    async with (
        running(Settings(port=0, data=tmp_path, max_report_bytes=2048)) as platform,
        httpx.AsyncClient(base_url=platform.url, trust_env=False) as client,
    ):
        until = platform.ports.clock.now() + timedelta(hours=1)
        token = platform.ports.tokens.mint(ticket_id="t", attempt=1, worker_id="w", expires_at=until)
        for size, status, code in ((2048, 404, "unknown_ticket"), (2049, 413, "too_large")):
            said = json.dumps({"ticket_id": "t", "attempt": 1, "status": "RUNNING"}).ljust(size).encode()
            headers = {"content-type": "application/json", **bearer(token)}
            answer = await client.post("/api/v1/flows/f/reports", content=said, headers=headers)
            problem_of(answer, status, code)


async def test_a_body_that_is_too_large_is_refused_before_it_is_sent(tmp_path: Path) -> None:
    async with serving(tmp_path) as server, server.connection() as connection:
        await connection.send(POST + b"expect: 100-continue\r\ncontent-length: 999999999\r\n\r\n")
        status, problem = await connection.answer()
        assert (status, problem["code"]) == (413, "too_large")


@pytest.mark.parametrize(("count", "status"), [(MAX_BATCH + 1, 413), (3, 202)], ids=["one too many", "a few"])
async def test_a_batch_has_so_many_events_at_most(tmp_path: Path, count: int, status: int) -> None:
    def envelope(number: int) -> dict[str, object]:
        data = decision(task("a"), decision_id=f"d-{number}")
        head = {"specversion": "1.0", "id": str(number), "source": "/t", "type": type_of("decision.consolidated")}
        return {**head, "data": data}

    async with running_api(tmp_path) as api:
        body = json.dumps([envelope(number) for number in range(count)])
        headers = {"content-type": "application/cloudevents-batch+json"}
        answer = await api.client.post("/", content=body, headers=headers)
        assert answer.status_code == status
        flows = (await api.get("/api/v1/flows"))["items"]
        assert len(flows) == (count if status == 202 else 0)
        if status == 413:
            problem_of(answer, 413, "batch_too_large")
