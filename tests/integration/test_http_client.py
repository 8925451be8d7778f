"""What a server may do to the HTTP client: each test is a server that does it, over both event loops."""

import asyncio
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import uvloop

from functions._adapters.http import dialing, session
from functions._adapters.http.addresses import EVERY_NETWORK, checked_url
from functions._adapters.http.client import HttpClient
from functions._adapters.http.connection import HEAD_LIMIT, HEADER_LIMIT, HEADERS_LIMIT
from functions._adapters.http.reply import ANSWER_LIMIT, NotReached, Reply
from functions._core.errors import Rejected, Unavailable
from tests.conftest import require
from tests.support.world import PATIENCE_S, until

T = TypeVar("T")
Run = Callable[[Coroutine[Any, Any, T]], T]
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

ANSWER = b"HTTP/1.1 202 Accepted\r\nx-a: b\r\ncontent-length: 2\r\n\r\n{}"
CHUNKED = b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n1;x=y\r\n{\r\n1\r\n}\r\n0\r\nx-after: c\r\n\r\n"


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run[Any]:
    """Run a coroutine to its end, in an event loop of its own."""
    return request.param  # type: ignore[no-any-return]


class Server:
    """Speaks to each connection by `talk`, and knows how many there were and are."""

    def __init__(self, talk: Talk) -> None:
        self.connections = 0
        self.open = 0
        self.most = 0
        self.url = ""
        self._talk = talk

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self.most = max(self.most, self.open)
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            self.open -= 1
            writer.close()

    @asynccontextmanager
    async def serving(self, context: ssl.SSLContext | None = None) -> AsyncIterator["Server"]:
        listener = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=context)
        self.url = f"http{'s' if context else ''}://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"
        async with listener:
            yield self
            listener.close()
            await self.gone()

    async def gone(self, left: int = 0) -> None:
        """Wait until no more than `left` connections are open."""

        async def probe() -> bool | None:
            return self.open <= left or None

        await until(probe, f"{left} connections")


@asynccontextmanager
async def calling(timeout_seconds: float = PATIENCE_S) -> AsyncIterator[HttpClient]:
    client = HttpClient(timeout_seconds=timeout_seconds)
    yield client
    await client.aclose()


async def request_of(reader: asyncio.StreamReader) -> bytes:
    """Read one request."""
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    return head + await reader.readexactly(length)


def each(answer: bytes) -> Talk:
    """Give this answer to every request, and close the connection with the client."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            writer.write(answer)

    return talk


def once(answer: bytes) -> Talk:
    """Give this answer to the first request and close the connection."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(answer)

    return talk


def without_end(start: bytes, part: bytes) -> Talk:
    """Answer without an end, for as long as the client takes it."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(start)
        while True:
            writer.write(part)
            await writer.drain()

    return talk


async def asked(talk: Talk, *, timeout_seconds: float = PATIENCE_S, body: bytes = b"") -> Reply:
    """Return what one POST to such a server brings; the connection ends with it."""
    async with Server(talk).serving() as server, calling(timeout_seconds) as client:
        return await client.post(server.url, {}, body)


async def asked_twice(talk: Talk, body: bytes = b"") -> int:
    """Return how many connections two POSTs, one after the other, need; both have to be answered."""
    async with Server(talk).serving() as server, calling() as client:
        for _ in range(2):
            assert (await client.post(server.url, {}, body)).status == 202
        return server.connections


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"HTTP/1.1 202 Accepted\r\n", b"x: y\r\n" * 50),
        (b"HTTP/1.1 202 Accepted\r\nx: ", b"y" * 1000),
        (b"HTTP/1.1 202 Accepted\r\n", b"y" * 1000),
        (b"HTTP/1.1 202 ", b"y" * 1000),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 50),
        (b"", b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 50),
        (b"", b"\r\n" * 100),
        (b"", b"\0" * 100),
    ],
)
def test_a_head_without_end_is_no_answer_and_is_read_to_a_limit(run: Run[Reply], start: bytes, part: bytes) -> None:
    with pytest.raises(Unavailable, match="answer") as failure:
        run(asked(without_end(start, part)))
    assert not isinstance(failure.value, NotReached)


@pytest.mark.parametrize(
    ("start", "part"),
    [
        (b"HTTP/1.1 202 Accepted\r\n\r\n", b"x" * 1000),
        (b"HTTP/1.1 202 Accepted\r\ncontent-length: 9999999999\r\n\r\n", b"x" * 1000),
        (b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 100),
        (b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n", b"5\r\nxxxxx\r\n" * 1000),
        (b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n1;", b"x" * 1000),
        (b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n0\r\n", b"x: y\r\n" * 100),
        (b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: ", b"y" * 1000),
    ],
)
def test_a_body_without_end_is_read_to_a_limit(
    run: Run[Reply], monkeypatch: pytest.MonkeyPatch, start: bytes, part: bytes
) -> None:
    monkeypatch.setattr(session, "BODY_SECONDS", PATIENCE_S)
    reply = run(asked(without_end(start, part)))
    assert reply.status == 202
    assert len(reply.body) <= ANSWER_LIMIT
    assert set(reply.body) <= set(b"x")


def test_an_answer_that_does_not_begin_is_waited_for_as_long_as_the_client_says(run: Run[Reply]) -> None:
    async def talk(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    with pytest.raises(Unavailable, match=r"did not answer in 0.1 s"):
        run(asked(talk, timeout_seconds=0.1))


@pytest.mark.parametrize(("body_seconds", "timeout_seconds"), [(0.1, PATIENCE_S), (PATIENCE_S, 0.5)])
def test_a_body_that_does_not_end_is_waited_for_no_longer_than_the_whole_call(
    run: Run[Reply], monkeypatch: pytest.MonkeyPatch, body_seconds: float, timeout_seconds: float
) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(b"HTTP/1.1 202 Accepted\r\nretry-after: 7\r\ncontent-length: 10\r\n\r\nab")
        await reader.read()

    monkeypatch.setattr(session, "BODY_SECONDS", body_seconds)
    reply = run(asked(talk, timeout_seconds=timeout_seconds))
    assert (reply.status, reply.body, reply.headers["retry-after"]) == (202, b"ab", "7")


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"<html></html>",
        b"HTTP/1.1 abc\r\n\r\n",
        b"HTTP/1.1 99 x\r\n\r\n",
        b"HTTP/9.9 202 Accepted\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nx y\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxy",
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 99999999999999999999999\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nHTTP/1.1 202 Accepted\r\n\r\n",
        b"HTTP/1.1 202 Accepted\r\nx: %b\r\n\r\n" % (b"y" * (HEADER_LIMIT + 1)),
        b"HTTP/1.1 202 Accepted\r\n%b\r\n" % (b"x: y\r\n" * (HEADERS_LIMIT + 1)),
        b"HTTP/1.1 202 Accepted\r\n%b\r\n" % (b"x: %b\r\n" % (b"y" * HEADER_LIMIT) * (HEAD_LIMIT // HEADER_LIMIT + 9)),
        b"",
    ],
)
def test_what_is_no_answer_is_an_error_of_a_server_that_was_reached(run: Run[Reply], answer: bytes) -> None:
    with pytest.raises(Unavailable, match="cannot be reached") as failure:
        run(asked(once(answer)))
    assert not isinstance(failure.value, NotReached)


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED])
def test_an_answer_that_ends_early_counts_from_the_end_of_its_head_on(run: Run[None], answer: bytes) -> None:
    head = answer.index(b"\r\n\r\n") + 4

    async def all_ends() -> None:
        ends = iter(range(len(answer)))

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await request_of(reader)
            writer.write(answer[: next(ends)])

        async with Server(talk).serving() as server, calling() as client:
            for end in range(len(answer)):
                if end < head:
                    with pytest.raises(Unavailable):
                        await client.post(server.url, {}, b"")
                else:
                    reply = await client.post(server.url, {}, b"")
                    assert (reply.status, b"{}".startswith(reply.body)) == (202, True)

    run(all_ends())


@pytest.mark.parametrize("answer", [ANSWER, CHUNKED, b"HTTP/1.1 100 Continue\r\nx-a: z\r\n\r\n" + ANSWER])
def test_an_answer_in_single_bytes_is_the_same_and_keeps_the_connection(run: Run[None], answer: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await request_of(reader)
            for byte in answer:
                writer.write(bytes([byte]))
                await asyncio.sleep(0)

    async def both() -> None:
        async with Server(talk).serving() as server, calling() as client:
            for _ in range(2):
                reply = await client.post(server.url, {}, b"")
                assert (reply.status, reply.body, reply.headers.get("x-a", "b")) == (202, b"{}", "b")
            assert server.connections == 1

    run(both())


@pytest.mark.parametrize(
    "answer",
    [
        ANSWER,
        CHUNKED,
        b"HTTP/1.1 204 No Content\r\ncontent-length: 10\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + ANSWER,
        b"HTTP/1.0 202 Accepted\r\nconnection: keep-alive\r\ncontent-length: 0\r\n\r\n",
    ],
)
def test_a_connection_is_used_again_after_an_answer_with_an_end(run: Run[int], answer: bytes) -> None:
    async def statuses() -> int:
        async with Server(each(answer)).serving() as server, calling() as client:
            assert {(await client.post(server.url, {}, b"x")).status for _ in range(5)} <= {202, 204}
            return server.connections

    assert run(statuses()) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 202 Accepted\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}",
        b"HTTP/1.0 202 Accepted\r\ncontent-length: 2\r\n\r\n{}",
        ANSWER + b"x",
        ANSWER + b"HTTP/1.1 500 Of somebody else\r\ncontent-length: 0\r\n\r\n",
        ANSWER + ANSWER,
        b"HTTP/1.1 202 Accepted\r\ncontent-length: 9999999\r\n\r\n" + b"x" * 9_999_999,
        b"HTTP/1.1 202 Accepted\r\ntransfer-encoding: chunked\r\n\r\nnot a chunk",
    ],
)
def test_a_connection_with_anything_left_on_it_is_not_used_again(run: Run[int], answer: bytes) -> None:
    assert run(asked_twice(each(answer))) == 2


@pytest.mark.parametrize("said", [b"HTTP/1.1 500 Of somebody else\r\ncontent-length: 0\r\n\r\n", b"x", b""])
def test_what_comes_on_an_idle_connection_is_no_answer_to_the_next_request(run: Run[None], said: bytes) -> None:
    """A server that says something unasked, or closes, loses the connection."""
    idle: asyncio.Event

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(ANSWER)
        await writer.drain()
        await idle.wait()
        writer.write(said)
        if said:
            await reader.read()

    async def both() -> None:
        nonlocal idle
        idle = asyncio.Event()
        async with Server(talk).serving() as server, calling() as client:
            assert (await client.post(server.url, {}, b"")).status == 202
            idle.set()
            await server.gone()
            assert (await client.post(server.url, {}, b"")).status == 202
            assert server.connections == 2

    run(both())


def test_a_request_on_a_connection_that_the_server_closes_may_have_been_read(run: Run[None]) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_of(reader)
        writer.write(ANSWER)
        await request_of(reader)

    async def both() -> None:
        async with Server(talk).serving() as server, calling() as client:
            assert (await client.post(server.url, {}, b"")).status == 202
            with pytest.raises(Unavailable, match="closed") as failure:
                await client.post(server.url, {}, b"")
            assert not isinstance(failure.value, NotReached)
            assert server.connections == 1

    run(both())


def test_a_server_that_answers_before_it_has_read_is_heard_and_its_connection_closed(run: Run[int]) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(ANSWER)
        await writer.drain()
        while await reader.read(2**16):
            await asyncio.sleep(0)

    assert run(asked_twice(talk, b"x" * 2**24)) == 2


def test_an_idle_connection_is_closed_before_its_server_would(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "KEEP_ALIVE_SECONDS", 0.2)

    async def idle() -> None:
        async with Server(each(ANSWER)).serving() as server, calling() as client:
            for connections in (3, 6):
                await asyncio.gather(*(client.post(server.url, {}, b"") for _ in range(3)))
                assert server.connections == connections
                await server.gone()

    run(idle())


def test_one_host_has_its_share_of_the_connections(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECTIONS_PER_HOST", 2)
    monkeypatch.setattr(session, "CONNECTIONS", 3)

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def many() -> None:
        async with Server(hang).serving() as stuck, Server(each(ANSWER)).serving() as other, calling(1) as client:
            waiting = [asyncio.create_task(client.post(stuck.url, {}, b"")) for _ in range(10)]
            replies = await asyncio.gather(*(client.post(other.url, {}, b"") for _ in range(10)))
            assert [reply.status for reply in replies] == [202] * 10
            ends = await asyncio.gather(*waiting, return_exceptions=True)
            assert {type(end) for end in ends} == {Unavailable}
            assert (stuck.most, other.most) == (2, 1)

    run(many())


def test_idle_connections_make_room_for_others(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECTIONS", 2)

    async def many() -> None:
        async with (
            Server(each(ANSWER)).serving() as first,
            Server(each(ANSWER)).serving() as second,
            Server(each(ANSWER)).serving() as third,
            calling() as client,
        ):
            for server in (first, second, first, third):
                assert (await client.post(server.url, {}, b"")).ok
            await second.gone()
            assert (first.open, third.open) == (1, 1)

    run(many())


def test_a_call_that_is_given_up_frees_its_connection(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "CONNECTIONS_PER_HOST", 1)
    answering = False

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await request_of(reader):
            if answering:
                writer.write(ANSWER)

    async def given_up() -> None:
        nonlocal answering
        async with Server(talk).serving() as server, calling() as client:
            call = asyncio.create_task(client.post(server.url, {}, b""))
            while not server.open:
                await asyncio.sleep(0.001)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            answering = True
            assert (await client.post(server.url, {}, b"")).ok
            assert server.connections == 2

    run(given_up())


def test_a_client_that_closes_ends_its_calls(run: Run[None]) -> None:
    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async def closed() -> None:
        async with Server(hang).serving() as server, calling() as client:
            call = asyncio.create_task(client.post(server.url, {}, b""))
            while not server.open:
                await asyncio.sleep(0.001)
            await client.aclose()
            with pytest.raises(Unavailable):
                await call

    run(closed())


def test_a_client_that_closes_while_it_connects_makes_no_call(run: Run[None], monkeypatch: pytest.MonkeyPatch) -> None:
    connecting, go_on = asyncio.Event(), asyncio.Event()
    connect = dialing.Dialer.connect

    async def slow(dialer: dialing.Dialer, *given: Any) -> Any:
        connection = await connect(dialer, *given)
        connecting.set()
        await go_on.wait()
        return connection

    monkeypatch.setattr(dialing.Dialer, "connect", slow)

    async def closed() -> None:
        async with Server(each(ANSWER)).serving() as server, calling() as client:
            call = asyncio.create_task(client.post(server.url, {}, b""))
            await connecting.wait()
            await client.aclose()
            go_on.set()
            with pytest.raises(Unavailable):
                await call

    run(closed())


@pytest.mark.parametrize(
    "headers", [{"a": "b\r\nc: d"}, {"a": "b\nc: d"}, {"a": "b\rc"}, {"a": "b\0"}, {"a\r\nb": "c"}, {"a": "\ud800"}]
)
def test_a_header_that_would_be_two_is_not_sent(run: Run[None], headers: dict[str, str]) -> None:
    async def refused() -> None:
        async with Server(each(ANSWER)).serving() as server, calling() as client:
            with pytest.raises(Rejected, match="cannot be made"):
                await client.post(server.url, headers, b"")
            assert server.connections == 0

    run(refused())


def test_a_request_is_one_that_servers_understand(run: Run[None]) -> None:
    requests = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await request_of(reader))
        writer.write(b"HTTP/1.1 202 Accepted\r\nset-cookie: a=b\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")

    async def sent() -> None:
        async with Server(talk).serving() as server, calling() as client:
            url = server.url.replace("//", "//me:p%40ss@")
            for _ in range(2):
                await client.request("PUT", f"{url}a b/\u00e9%2f?c=\u20ac&d=/?#e", {"x-a": "1"}, b"body")
            port = server.url.rsplit(":", 1)[1].strip("/")
            lines = [
                "PUT /a%20b/%C3%A9%2f?c=%E2%82%AC&d=/? HTTP/1.1",
                f"host: 127.0.0.1:{port}",
                "accept: */*",
                "accept-encoding: identity",
                "user-agent: flowc",
                "content-length: 4",
                "x-a: 1",
                "authorization: Basic bWU6cEBzcw==",
                "",
                "body",
            ]
            assert requests == ["\r\n".join(lines).encode()] * 2

    run(sent())


@pytest.mark.parametrize(
    ("url", "host", "port", "authority", "path"),
    [
        ("HTTP://Worker.Example", "worker.example", 80, "worker.example", "/"),
        ("https://w.example:8443?x", "w.example", 8443, "w.example:8443", "/?x"),
        ("https://[2001:DB8::1]/", "2001:db8::1", 443, "[2001:db8::1]", "/"),
        ("http://b\u00fccher.example/", "xn--bcher-kva.example", 80, "xn--bcher-kva.example", "/"),
        ("http://a_b.c.", "a_b.c.", 80, "a_b.c.", "/"),
    ],
)
def test_a_url_is_taken_apart(url: str, host: str, port: int, authority: str, path: str) -> None:
    target = checked_url(url, EVERY_NETWORK)
    assert (target.host, target.port, target.authority, target.path) == (host, port, authority, path)


@pytest.mark.parametrize(
    "url", ["http://a b/", "http://a..b/", "http:///x", f"http://{'a' * 64}/", "http://a:70000/", "http://[1::2::3]/",
            "http://a%62/", "http://a\\@b c/", "//a/", "http://\ud800/", "http://a/\ud800"]
)  # fmt: skip
def test_a_url_that_names_no_host_is_refused(url: str) -> None:
    with pytest.raises(Rejected, match="not an HTTP address"):
        checked_url(url, EVERY_NETWORK)


def leading_to(*addresses: str) -> Callable[..., list[tuple[Any, ...]]]:
    """Return a resolver in which every name leads to these addresses."""
    genuine = socket.getaddrinfo

    def resolve(host: str, port: int, *arguments: Any, **options: Any) -> list[tuple[Any, ...]]:
        if not host.endswith(".test"):
            return list(genuine(host, port, *arguments, **options))
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return resolve


def test_the_addresses_of_a_name_are_tried_one_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second address refuses; the first takes no connection, as its queue is full, and refuses none either."""
    monkeypatch.setattr(socket, "getaddrinfo", leading_to("127.0.0.2", "127.0.0.3", "127.0.0.1"))
    monkeypatch.setattr(dialing, "HEAD_START_SECONDS", 0.01)

    async def tried() -> None:
        async with Server(each(ANSWER)).serving() as server, calling() as client:
            port = int(server.url.rsplit(":", 1)[1].strip("/"))
            with socket.create_server(("127.0.0.2", port), backlog=0), socket.create_connection(("127.0.0.2", port)):
                assert (await client.post(f"http://many.test:{port}/", {}, b"")).ok
            with pytest.raises(NotReached):
                await client.post("http://many.test:1/", {}, b"")

    asyncio.run(tried())


def test_one_address_that_may_not_be_called_is_enough_to_call_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", leading_to("127.0.0.1", "169.254.169.254"))

    async def refused() -> None:
        async with Server(each(ANSWER)).serving() as server, calling() as client:
            url = server.url.replace("127.0.0.1", "both.test")
            for _ in range(2):
                with pytest.raises(Rejected, match="never called"):
                    await client.post(url, {}, b"")
            assert server.connections == 0

    asyncio.run(refused())


def test_many_connections_to_a_name_are_one_lookup(monkeypatch: pytest.MonkeyPatch) -> None:
    lookups = []
    resolve = leading_to("127.0.0.1")

    def counted(host: str, *arguments: Any, **options: Any) -> list[tuple[Any, ...]]:
        lookups.append(host)
        return resolve(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", counted)

    async def many() -> None:
        async with Server(each(ANSWER)).serving() as server, calling() as client:
            url = server.url.replace("127.0.0.1", "one.test")
            await asyncio.gather(*(client.post(url, {}, b"") for _ in range(20)))
            assert server.most > 1
            assert lookups.count("one.test") == 1

    asyncio.run(many())


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with the key and the certificate of 127.0.0.1, which is its own authority."""
    openssl = shutil.which("openssl") or ""
    require(bool(openssl), "apt-get install openssl")
    folder = tmp_path_factory.mktemp("tls")
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
            "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1",
            "-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    return both


def test_a_server_over_tls_has_to_prove_its_name(
    run: Run[None], certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)

    async def proven() -> None:
        async with Server(each(ANSWER)).serving(context) as server:
            async with calling() as stranger:
                with pytest.raises(NotReached, match="certificate"):
                    await stranger.post(server.url, {}, b"")
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
            async with calling() as client:
                with pytest.raises(NotReached, match="certificate"):
                    await client.post(server.url.replace("127.0.0.1", "localhost"), {}, b"")
                before = server.connections
                for _ in range(3):
                    assert (await client.post(server.url, {}, b"x" * 100_000)).body == b"{}"
                assert server.connections == before + 1
            with pytest.raises(Unavailable):
                async with calling() as plain:
                    await plain.post(server.url.replace("https", "http"), {}, b"")

    run(proven())
