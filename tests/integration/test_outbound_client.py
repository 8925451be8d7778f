"""URLs that a stranger names: where they may lead, and what the server behind them may do."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from functions._adapters.http import dialing
from functions._adapters.http.addresses import EVERY_NETWORK, Networks
from functions._adapters.http.outbound import OutboundClient
from functions._core.errors import Rejected, Unavailable
from tests.support.loopback import Answer, Loopback
from tests.support.world import PATIENCE_S, until

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PUBLIC: Networks = frozenset({"public"})

LOOPBACK = [
    *("127.0.0.1", "127.1", "0177.0.0.1", "0x7f000001", "2130706433", "017700000001", "0x7f.0.0.1", "127.0.0.1."),
    *("0", "0.0.0.0", "localhost", "LOCALHOST.", "a.localhost", "\uff11\uff12\uff17.0.0.1", "127\u3002" + "0.0.1"),  # noqa: S104 nothing is bound
    *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]"),
    *("[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]"),
    *("[64:ff9b:1:7f00:0:100::]", "[2002:7f00:1::]", "[2001:db8::5efe:127.0.0.1]"),
]
PRIVATE = [
    *("10.0.0.1", "10.1", "0xa000001", "167772161", "012.0.0.1", "172.16.0.1", "192.168.1.1", "192.168.257"),
    *("100.64.0.1", "[fd12::1]", "[fec0::1]", "[::ffff:10.0.0.1]", "[64:ff9b::10.0.0.1]", "[64:ff9b::c0a8:101]"),
    *("[64:ff9b:1::808:808]", "[64:ff9b:1:ffff::1]", "[2002:a00:1::1]"),
]
LINK_LOCAL = [
    *("169.254.169.254", "169.254.1", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "0xa9.0xfea9fe"),
    *("[fe80::1]", "[fe80::1%25eth0]", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[64:ff9b::a9fe:a9fe]"),
    *("[64:ff9b::169.254.169.254]", "[64:ff9b:1::a9fe:a9fe]", "[64:ff9b:1:a9fe:a9:fe00::]", "[2002:a9fe:a9fe::]"),
    *("[fd00:ec2::254]", "100.100.100.200", "168.63.129.16", "metadata.google.internal", "metadata", "224.0.0.1"),
    *("[ff02::1]", "169\u3002254\u3002169\u3002254", "[fe80::5efe:127.0.0.1]"),
]
NO_ADDRESS = ["", "127.0.0.1", "//127.0.0.1/", "ftp://example.com/", "file:///etc/passwd", "gopher://example.com/",
              "javascript:alert(1)", "data:text/plain,x", "http://", "http:///path", "https://:443/", "http://[::1",
              "http://example.com:0x50/", "http://example.com:65536/", "http://example.com:-1/", "http://a b/",
              "http://a\r\nhost: b/", "http://a/\r\n\r\nGET / HTTP/1.1", "http://a/\0", "http://a\\@127.0.0.1/",
              "unix:///run/x.sock", "http://a%0d%0a/", "http://*.example.com/"]  # fmt: skip
CREDENTIALS = ["http://user:word@example.com/", "http://user@example.com/", "https://@example.com/", "http://a:b@8.8.8.8/",
               "http://example.com%40evil@8.8.8.8/"]  # fmt: skip
DISGUISED = ["http://example.com@127.0.0.1/", "http://example.com:80@127.0.0.1:1/", "http://8.8.8.8#@127.0.0.1/",
             "http://127.0.0.1#@8.8.8.8/", "http://8.8.8.8?@127.0.0.1/", "http://127.0.0.1:80\\@8.8.8.8/"]  # fmt: skip


@pytest.fixture
async def client() -> AsyncIterator[OutboundClient]:
    made = OutboundClient(EVERY_NETWORK)
    yield made
    await made.aclose()


@pytest.fixture
async def guarded() -> AsyncIterator[OutboundClient]:
    made = OutboundClient(PUBLIC)
    yield made
    await made.aclose()


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    async with Loopback() as running:
        yield running


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """Serve each connection by `talk`; give the URL."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the client has left
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/"


def resolving(monkeypatch: pytest.MonkeyPatch, *answers: str) -> list[str]:
    """Let names lead to one address after the other, the last one for ever; return the names that were looked up."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def resolve(host: str, port: int, *rest: Any, **named: Any) -> Any:
        if not host.endswith(".test"):
            return real(host, port, *rest, **named)
        asked.append(host)
        return real(answers[min(len(asked), len(answers)) - 1], port, *rest, **named)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return asked


async def refused(client: OutboundClient, url: str) -> str:
    """Return the code of the refusal, which comes at once and from the check alone, too."""
    with pytest.raises(Rejected) as checked:
        client.check(url)
    with pytest.raises(Rejected) as called:
        await client.request("GET", url)
    assert checked.value.code == called.value.code
    return called.value.code


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_no_notation_of_an_address_within_is_called(guarded: OutboundClient, scheme: str) -> None:
    codes = {host: await refused(guarded, f"{scheme}://{host}:1/") for host in (*LOOPBACK, *PRIVATE, *LINK_LOCAL)}
    assert {host: code for host, code in codes.items() if code != "forbidden_address"} == {}


async def test_link_local_and_metadata_are_called_by_nobody(client: OutboundClient) -> None:
    codes = {host: await refused(client, f"http://{host}/latest/meta-data") for host in LINK_LOCAL}
    assert {host: code for host, code in codes.items() if code != "forbidden_address"} == {}


async def test_what_is_no_http_address_is_refused(client: OutboundClient) -> None:
    codes = {url: await refused(client, url) for url in (*NO_ADDRESS, *CREDENTIALS)}
    assert {url: code for url, code in codes.items() if code != "bad_address"} == {}


async def test_an_address_behind_a_disguise_is_refused(guarded: OutboundClient) -> None:
    for url in DISGUISED:
        try:
            guarded.check(url)
        except Rejected:
            continue
        # Whatever stands behind a `#` or `?` is not the host.
        assert url.startswith("http://8.8.8.8")


async def test_a_stranger_s_redirect_is_an_answer_and_is_not_followed(client: OutboundClient, server: Loopback) -> None:
    async def elsewhere(_: object) -> Answer:
        return Answer(302, b"", {"location": f"{server.url}/inside"})

    server.answer = elsewhere
    answer = await client.request("GET", f"{server.url}/hook")
    assert (answer.status, answer.headers["location"]) == (302, f"{server.url}/inside")
    assert [request.path for request in server.requests] == ["/hook"]


async def test_a_request_goes_out_as_it_was_made(client: OutboundClient, server: Loopback) -> None:
    answer = await client.request("PUT", f"{server.url}/a?b=c", headers={"x-a": "b"}, body=b"{}")
    assert (answer.status, answer.body, answer.complete) == (202, b"{}", True)
    (request,) = server.requests
    assert (request.method, request.path, request.query, request.body) == ("PUT", "/a", {"b": "c"}, b"{}")
    assert request.headers["x-a"] == "b"


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "inside"},
        {"content-length": "0"},
        {"Transfer-Encoding": "chunked"},
        {"connection": "upgrade"},
        {"expect": "100-continue"},
        {"x-a": "b\r\nhost: inside"},
        {"x-a\r\nhost: inside": "b"},
        {"x-a: b": "c"},
        {"x a": "b"},
        {"": "b"},
        {"x-a": "b\0"},
        {"x-a": "\ud800"},
    ],
)
async def test_a_header_cannot_change_the_request(
    client: OutboundClient, server: Loopback, headers: dict[str, str]
) -> None:
    with pytest.raises(Rejected) as refusal:
        await client.request("POST", server.url, headers=headers)
    assert refusal.value.code == "bad_request"
    assert server.requests == []


@pytest.mark.parametrize("method", ["HEAD", "CONNECT", "TRACE", "get", "GET / HTTP/1.1\r\nx:", ""])
async def test_other_methods_are_not_sent(client: OutboundClient, server: Loopback, method: str) -> None:
    with pytest.raises(Rejected, match="method"):
        await client.request(method, server.url)
    assert server.requests == []


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 100000000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffff\r\n",
    ],
)
async def test_a_body_without_end_is_cut_at_the_limit(client: OutboundClient, head: bytes) -> None:
    sent = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(head)
        while True:
            writer.write(bytes(10_000))
            sent += 10_000
            await writer.drain()

    async with talking(pour) as url:
        answer = await client.request("GET", url, timeout=PATIENCE_S, limit=1000)
        assert (answer.status, answer.body, answer.complete) == (200, bytes(1000), False)
        await stops(lambda: sent)


async def test_a_body_of_the_limit_is_whole_and_one_byte_more_is_not(client: OutboundClient, server: Loopback) -> None:
    for length, complete in ((100_000, True), (100_001, False)):

        async def long(_: object, length: int = length) -> Answer:
            return Answer(200, b"x" * length)

        server.answer = long
        answer = await client.request("GET", server.url, limit=100_000)
        assert (len(answer.body), answer.complete) == (100_000, complete)


@pytest.mark.parametrize("framed", [b"", b"content-length: 5\r\n"])
async def test_a_body_that_ends_with_its_connection_is_whole_where_it_says_nothing_else(
    client: OutboundClient, framed: bytes
) -> None:
    async def leave(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + framed + b"\r\n{}")

    async with talking(leave) as url:
        answer = await client.request("GET", url)
    assert (answer.body, answer.complete) == (b"{}", not framed)


async def test_a_body_that_trickles_takes_no_longer_than_the_call_may(client: OutboundClient) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with talking(trickle) as url, asyncio.timeout(PATIENCE_S):
        answer = await client.request("GET", url, timeout=0.2)
    assert (answer.status, answer.complete) == (200, False)


async def test_a_head_that_trickles_is_no_answer(client: OutboundClient) -> None:
    async def trickle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nx-a: ")
        while True:
            writer.write(b"x")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with talking(trickle) as url, asyncio.timeout(PATIENCE_S):
        with pytest.raises(Unavailable):
            await client.request("GET", url, timeout=0.2)


@pytest.mark.parametrize("part", [b"x-a: b\r\n", b"x" * 1000, b"HTTP/1.1 103 Early\r\n\r\n"])
async def test_a_head_without_end_is_no_answer(client: OutboundClient, part: bytes) -> None:
    sent = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nx-a: b" if part[:4] != b"HTTP" else b"")
        while True:
            writer.write(part)
            sent += len(part)
            await writer.drain()

    async with talking(pour) as url:
        with pytest.raises(Unavailable):
            await client.request("GET", url, timeout=PATIENCE_S)
        await stops(lambda: sent)


async def stops(sent: Callable[[], int]) -> None:
    """Wait until a server has found out that nobody reads on."""
    before = -1

    async def probe() -> bool | None:
        nonlocal before
        before, last = sent(), before
        return before == last or None

    await until(probe, "the end of the stream")


async def test_a_name_is_called_where_its_check_has_led_and_looked_up_once(
    client: OutboundClient, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The second answer, were it asked for between check and connection, would be an address within.
    asked = resolving(monkeypatch, "127.0.0.1", "169.254.169.254")
    answer = await client.request("GET", f"http://changes.test:{server.port}/")
    assert (answer.status, asked) == (202, ["changes.test"])
    assert server.requests[0].headers["host"] == f"changes.test:{server.port}"


async def test_a_name_that_leads_within_later_is_refused_then(
    client: OutboundClient, server: Loopback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "LOOKUP_SECONDS", 0)
    asked = resolving(monkeypatch, "127.0.0.1", "169.254.169.254")
    assert (await client.request("GET", f"http://changes.test:{server.port}/")).status == 202
    await client.aclose()  # and with it the connection, which leads to where the first check has led
    with pytest.raises(Rejected) as refusal:
        await client.request("GET", f"http://changes.test:{server.port}/")
    assert (refusal.value.code, len(asked), len(server.requests)) == ("forbidden_address", 2, 1)


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::ffff:10.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"])
async def test_a_name_that_leads_within_is_not_called(
    guarded: OutboundClient, monkeypatch: pytest.MonkeyPatch, address: str
) -> None:
    resolving(monkeypatch, address)
    guarded.check("http://innocent.test/")  # the name alone says nothing
    with pytest.raises(Rejected) as refusal:
        await guarded.request("GET", "http://innocent.test/")
    assert refusal.value.code == "forbidden_address"


async def test_nobody_there_is_no_answer(client: OutboundClient) -> None:
    async with Loopback() as gone:
        url = gone.url
    with pytest.raises(Unavailable):
        await client.request("GET", url)


async def test_a_url_of_any_length_costs_little(guarded: OutboundClient) -> None:
    for url in ("http://" + "a." * 500_000, "http://" + "%31" * 300_000, "http://[" + ":" * 900_000, "h" * 10**6):
        begun = time.process_time()
        with pytest.raises(Rejected):
            await guarded.request("GET", url)
        assert time.process_time() - begun < 0.05, url[:20]
