import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio

from functions._adapters.http.client import HttpClient
from functions._adapters.http.cloudevents import read_events
from functions._adapters.http.reply import ANSWER_LIMIT
from functions._adapters.http.telemetry import HttpTelemetrySink
from functions._adapters.http.workers import HttpBroker, HttpWorkerGateway
from functions._core.errors import Rejected, Unavailable
from functions._core.events.envelope import CloudEvent
from functions._core.events.signatures import SignedMessage
from functions._core.records.worker import Answer as WorkerAnswer
from functions._core.records.worker import Worker
from functions._engine.clock import SystemClock
from functions._engine.tokens import JwtTokens
from tests.support.loopback import Answer, Loopback, Request

# One server serves all tests of this module, since starting and stopping one takes longer than any test.
pytestmark = pytest.mark.asyncio(loop_scope="module")

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = b"k" * 32


def event(number: int = 1) -> CloudEvent:
    return CloudEvent(id=f"e-{number}", source="/test", type="a.b", time=NOW, subject="é", data={"n": number})


def worker_at(endpoint: str) -> Worker:
    return Worker(worker_id="w-1", endpoint=endpoint, registered_at=NOW, last_seen=NOW, next_wakeup_at=NOW)


def gateway(client: HttpClient) -> HttpWorkerGateway:
    clock = SystemClock()
    return HttpWorkerGateway(client, JwtTokens(KEY, clock), clock)


def received(requests: Sequence[Request]) -> list[CloudEvent]:
    return [found for request in requests for found in read_events(request.headers, request.body, received_at=NOW)[0]]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def one_server() -> AsyncIterator[Loopback]:
    async with Loopback() as loopback:
        yield loopback


@pytest.fixture
def server(one_server: Loopback) -> Loopback:
    one_server.reset()
    return one_server


@pytest_asyncio.fixture(loop_scope="module")
async def client() -> AsyncIterator[HttpClient]:
    opened = HttpClient(timeout_seconds=2)
    yield opened
    await opened.aclose()


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[Request], Any]:
    async def answer(_: Request) -> Answer:
        return Answer(status, body, headers)

    return answer


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_a_worker_gets_the_event_as_one_binary_post(server: Loopback, client: HttpClient) -> None:
    answer = await gateway(client).deliver(worker_at(f"{server.url}/tasks"), event())
    assert answer == WorkerAnswer(202, "{}")
    [request] = server.requests
    assert (request.method, request.path, request.headers["ce-id"]) == ("POST", "/tasks", "e-1")
    secret = JwtTokens(KEY, SystemClock()).worker_secret("w-1", "")
    assert SignedMessage.of(request.headers, datetime.now(UTC)).verify(request.body, [secret])
    assert received([request]) == [event()]


@pytest.mark.parametrize("status", [200, 202, 204, 400, 404, 409, 410, 429, 500, 503])
async def test_every_status_of_a_worker_is_an_answer(server: Loopback, client: HttpClient, status: int) -> None:
    server.answer = answering(status, b"" if status == 204 else b"because \xff")
    answer = await gateway(client).deliver(worker_at(server.url), event())
    assert answer == WorkerAnswer(status, "" if status == 204 else "because �")


async def test_redirects_are_not_followed(server: Loopback, client: HttpClient) -> None:
    server.answer = answering(307, location=f"{server.url}/elsewhere")
    answer = await gateway(client).deliver(worker_at(server.url), event())
    assert answer.status == 307
    assert [request.path for request in server.requests] == ["/"]


async def test_a_worker_that_is_not_there_is_an_answer_of_status_0(client: HttpClient) -> None:
    answer = await gateway(client).deliver(worker_at(f"http://127.0.0.1:{unused_port()}/"), event())
    assert answer.status == 0
    assert "cannot be reached" in answer.detail


async def test_a_name_that_leads_nowhere_is_an_answer_of_status_0(client: HttpClient) -> None:
    answer = await gateway(client).deliver(worker_at("http://worker.invalid/"), event())
    assert answer.status == 0


async def test_a_worker_that_does_not_answer_in_time_is_an_answer_of_status_0(server: Loopback) -> None:
    released = asyncio.Event()

    async def hang(_: Request) -> Answer:
        await released.wait()
        return Answer()

    server.answer = hang
    hasty = HttpClient(timeout_seconds=0.1)
    answer = await gateway(hasty).deliver(worker_at(server.url), event())
    assert answer == WorkerAnswer(0, "127.0.0.1 did not answer in 0.1 s")
    await hasty.aclose()
    released.set()


async def test_a_worker_that_is_no_http_server_is_an_answer_of_status_0(client: HttpClient) -> None:
    async def talk(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as other:
        port = other.sockets[0].getsockname()[1]
        assert (await gateway(client).deliver(worker_at(f"http://127.0.0.1:{port}"), event())).status == 0


@pytest.mark.parametrize("endpoint", ["", "worker", "ftp://127.0.0.1/", "http://", "http://[::1", "http://1.2.3:x/"])
async def test_what_is_no_http_address_is_refused_for_good(client: HttpClient, endpoint: str) -> None:
    answer = await gateway(client).deliver(worker_at(endpoint), event())
    assert (answer.status, answer.refused) == (400, True)


UNENDED = {
    "cut off": b"HTTP/1.1 202 Accepted\r\ncontent-length: 10\r\n\r\nx",
    "chunk without an end": b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n5\r\nx",
    "no chunk at all": b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n",
    "until the connection closes": b"HTTP/1.1 202 Accepted\r\n\r\nx",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "no content, but a length": b"HTTP/1.1 204 No Content\r\ncontent-length: 10\r\n\r\n",
}


@contextlib.asynccontextmanager
async def saying(answer: bytes, *, hangs_up: bool) -> AsyncIterator[str]:
    """Serve one answer, byte by byte as it stands, and hang up or say nothing more."""
    over = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        await writer.drain()
        if not hangs_up:
            await over.wait()
        writer.close()

    async with await asyncio.start_server(talk, "127.0.0.1", 0) as other:
        try:
            yield f"http://127.0.0.1:{other.sockets[0].getsockname()[1]}/"
        finally:
            over.set()


@pytest.mark.parametrize("hangs_up", [True, False])
@pytest.mark.parametrize("body", UNENDED)
async def test_the_status_line_is_the_answer_of_workers_subscribers_and_sinks(
    client: HttpClient, body: str, *, hangs_up: bool
) -> None:
    async with saying(UNENDED[body], hangs_up=hangs_up) as url:
        answer, _, _ = await asyncio.gather(
            gateway(client).deliver(worker_at(url), event()),
            HttpBroker(client, url).publish([event()]),
            HttpTelemetrySink(client, url).send([event()]),
        )
    assert answer.accepted


async def test_a_body_without_an_end_is_not_waited_for_as_long_as_an_answer() -> None:
    patient = HttpClient(timeout_seconds=3600)
    async with saying(UNENDED["cut off"], hangs_up=False) as url, asyncio.timeout(60):
        assert (await gateway(patient).deliver(worker_at(url), event())).accepted
    await patient.aclose()


async def test_no_more_of_an_answer_is_read_than_anybody_needs(server: Loopback, client: HttpClient) -> None:
    server.answer = answering(200, b"x" * (ANSWER_LIMIT * 20))
    reply = await client.post(server.url, {}, b"")
    assert reply.body == b"x" * ANSWER_LIMIT
    assert len((await gateway(client).deliver(worker_at(server.url), event())).detail) == 500


async def test_an_answer_of_the_size_of_the_limit_keeps_the_connection(server: Loopback, client: HttpClient) -> None:
    for size in (0, 1, ANSWER_LIMIT - 1):
        server.answer = answering(200, b"x" * size)
        assert len((await client.post(server.url, {}, b"")).body) == size
    assert len({request.client for request in server.requests}) == 1


async def test_the_client_opens_again_after_it_was_closed(server: Loopback, client: HttpClient) -> None:
    for _ in range(2):
        assert (await client.post(server.url, {}, b"")).ok
        await client.aclose()
    await client.aclose()


async def test_header_injection_is_refused(server: Loopback, client: HttpClient) -> None:
    with pytest.raises(Rejected) as refusal:
        await client.post(server.url, {"authorization": "secret\r\nx: y"}, b"")
    assert "secret" not in str(refusal.value)
    assert server.requests == []


FORBIDDEN = [
    "169.254.169.254",
    "169.254.170.2",
    "[fe80::1]",
    "[fe80::1%25eth0]",
    "[febf::1]",
    "[fd00:ec2::254]",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[64:ff9b:1::a9fe:a9fe]",
    "[64:ff9b:1:a9fe:a9:fe00::]",
    "[64:ff9b:1:a9:fe:a9fe::]",
    "[64:ff9b:1:ffff:a9:fea9:fe00:0]",
    "[64:ff9b:1:1:2:3:6464:64c8]",
    "[2002:a9fe:a9fe::1]",
    "[::169.254.169.254]",
    "[::ffff:0:169.254.169.254]",
    "[2001:0:4136:e378:8000:63bf:5601:5601]",
    "[2001:db8::200:5efe:a9fe:a9fe]",
    "[fe80::200:5efe:a00:1]",
    "2852039166",
    "0xa9fea9fe",
    "0xa9.254.0251.0xfe",
    "169.254.43518",
    "metadata.google.internal",
    "METADATA.google.internal.",
    "user:pass@169.254.169.254",
    "\uff11\uff16\uff19.254.169.254",  # full-width digits
    "100.100.100.200",
]


@pytest.mark.parametrize("host", FORBIDDEN)
async def test_link_local_and_metadata_addresses_are_never_called(client: HttpClient, host: str) -> None:
    answer = await gateway(client).deliver(worker_at(f"http://{host}:1/latest"), event())
    assert (answer.status, answer.refused) == (403, True)
    assert "never called" in answer.detail


@pytest.mark.parametrize("address", ["169.254.169.254", "fe80::1", "fd00:ec2::254"])
async def test_a_name_that_leads_to_such_an_address_is_not_called_either(
    client: HttpClient, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def resolve(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(family, socket.SOCK_STREAM, 6, "", (address, 80))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    answer = await gateway(client).deliver(worker_at("http://innocent.test/"), event())
    assert answer.status == 403


async def test_a_name_of_this_machine_is_called(server: Loopback, client: HttpClient) -> None:
    answer = await gateway(client).deliver(worker_at(f"http://localhost:{server.port}/"), event())
    assert answer.accepted


async def test_a_subscriber_gets_the_events_in_order(server: Loopback, client: HttpClient) -> None:
    await HttpBroker(client, f"{server.url}/sink").publish([event(n) for n in range(5)])
    assert [request.path for request in server.requests] == ["/sink"] * 5
    assert received(server.requests) == [event(n) for n in range(5)]


@pytest.mark.parametrize("status", [404, 408, 409, 429, 500, 503])
async def test_a_subscriber_that_may_take_it_later_is_unavailable(
    server: Loopback, client: HttpClient, status: int
) -> None:
    server.answer = answering(status)
    with pytest.raises(Unavailable, match=str(status)):
        await HttpBroker(client, server.url).publish([event(1), event(2)])
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [301, 400, 401, 403, 410, 413, 415, 422])
async def test_what_a_subscriber_will_never_take_is_rejected(server: Loopback, client: HttpClient, status: int) -> None:
    server.answer = answering(status)
    with pytest.raises(Rejected) as refusal:
        await HttpBroker(client, server.url).publish([event()])
    assert refusal.value.status == status


async def test_a_subscriber_that_is_not_there_is_unavailable(client: HttpClient) -> None:
    with pytest.raises(Unavailable):
        await HttpBroker(client, f"http://127.0.0.1:{unused_port()}/").publish([event()])
