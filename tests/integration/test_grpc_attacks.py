"""Attacks on the gRPC port: no message keeps the loop, and none that is missing or not read keeps others out."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from functions._hosts.grpc.server import MAX_MESSAGE, MAX_METADATA
from tests.integration.test_attacks import LONGEST_SECONDS, WORK_SECONDS, work_seconds
from tests.support.grpc_client import NO_PROXY, channel, modules, port_of
from tests.support.one_machine import OneMachine, one_machine
from tests.support.turns import measured_turns
from tests.support.world import until

KEY = "a-key-that-nobody-guesses"
messages, stubs = modules("service_registry")
health, health_stubs = modules("health")
Code = grpc.StatusCode
REGISTRY, TICKETS = "/neural_hive.service_registry.ServiceRegistry", "/ticket_service.TicketService"


@asynccontextmanager
async def served(folder: Path, **settings: Any) -> AsyncIterator[tuple[OneMachine, int]]:
    async with one_machine(folder, grpc_port=0, api_key=KEY, rate_limits="off", **settings) as world:
        world.client.headers["x-api-key"] = KEY
        yield world, port_of(world)


async def code_of(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return Code.OK


async def test_messages_that_never_arrive_keep_nobody_out_for_long(tmp_path: Path) -> None:
    async with served(tmp_path, connections=4, request_seconds=1) as (_, port), AsyncExitStack() as stack:
        slow, other = [await stack.enter_async_context(channel(port)) for _ in range(2)]
        check = health_stubs.HealthStub(other).Check
        calls: list[Any] = []

        async def refused() -> bool | None:  # on a busy machine the first of them may have been given up already
            calls.extend(slow.stream_unary(f"{TICKETS}/GetTicket")() for _ in range(4))
            return await code_of(check(health.HealthCheckRequest())) is Code.RESOURCE_EXHAUSTED or None

        async def answered() -> bool | None:
            return await code_of(check(health.HealthCheckRequest())) is Code.OK or None

        await until(refused, "the calls to be as many as there may be")
        await until(answered, "them to be given up")
        codes = [await call.code() for call in calls]
        assert codes.count(Code.DEADLINE_EXCEEDED) >= 4, "as many as there may be were taken, and given up"
        assert set(codes) <= {Code.DEADLINE_EXCEEDED, Code.RESOURCE_EXHAUSTED}
        streams: Any = slow.stream_stream(f"{REGISTRY}/WatchAgents")()
        assert await streams.code() is Code.DEADLINE_EXCEEDED
        empty: Any = slow.stream_unary(f"{TICKETS}/GetTicket")(iter(()))
        assert await empty.code() is Code.INVALID_ARGUMENT


async def test_of_those_who_do_not_read_so_many_are_told(tmp_path: Path) -> None:
    small = (*NO_PROXY, ("grpc.http2.bdp_probe", 0))
    async with served(tmp_path) as (world, port), grpc.aio.insecure_channel(f"127.0.0.1:{port}", small) as opened:
        for number in range(12):
            agent = {"agent_id": f"a{number}", "delivery": "pull", "metadata": {"text": "x" * 8_000}}
            assert (await world.client.post("/api/v1/agents", json=agent)).status_code == 201
        asked = messages.WatchAgentsRequest(from_revision=0)
        watch = stubs.ServiceRegistryStub(opened).WatchAgents
        calls = []
        for _ in range(20):
            calls.append(watch(asked, metadata=(("x-api-key", KEY),)))
            await calls[-1].initial_metadata()  # it is told something, or refused
        assert [await call.code() for call in calls[16:]] == [Code.UNAVAILABLE] * 4
        assert [call.done() for call in calls[:16]] == [False] * 16
        for call in calls:
            call.cancel()

        async def room() -> bool | None:
            call = watch(asked, metadata=(("x-api-key", KEY),))
            try:
                return await call.read() is not grpc.aio.EOF or None
            except grpc.aio.AioRpcError:
                return None
            finally:
                call.cancel()

        assert await until(room, "room for another")


def strings(field: int, text: bytes = b"") -> bytes:
    one = bytes([field << 3 | 2, len(text)]) + text
    return one * ((MAX_MESSAGE - 64) // len(one))


def pairs(field: int) -> bytes:
    found = bytearray()
    for number in range((MAX_MESSAGE - 64) // 8):
        entry = b"\x0a\x04" + f"{number:04x}".encode()
        found += bytes([field << 3 | 2, len(entry)]) + entry
    return bytes(found[: (MAX_MESSAGE - 64) // 8 * 8])


NAMED = b"\x0a\x01x"
EXCLUDED = b"x," * ((MAX_MESSAGE - 64) // 2)
LENGTH = bytes([len(EXCLUDED) & 0x7F | 0x80, len(EXCLUDED) >> 7 & 0x7F | 0x80, len(EXCLUDED) >> 14])
INNER = b"\x0a\x07exclude\x12" + LENGTH + EXCLUDED
OUTER = bytes([len(INNER) & 0x7F | 0x80, len(INNER) >> 7 & 0x7F | 0x80, len(INNER) >> 14])
BOMBS: Mapping[str, tuple[str, bytes]] = {
    "capabilities of one that registers": (f"{REGISTRY}/Register", strings(2)),
    "metadata of one that registers": (f"{REGISTRY}/Register", pairs(3)),
    "capabilities looked for": (f"{REGISTRY}/DiscoverAgents", strings(1)),
    "filters of discovery": (f"{REGISTRY}/DiscoverAgents", pairs(2)),
    "excluded agents": (f"{REGISTRY}/DiscoverAgents", b"\x12" + OUTER + INNER),
    "filters of a list": (f"{REGISTRY}/ListAgents", pairs(2)),
    "the same field": (f"{REGISTRY}/GetAgent", strings(1, b"x")),
    "fields that nobody knows": (f"{REGISTRY}/Heartbeat", NAMED + b"\xf8\x7f\x01" * 21_000),
    "an empty output": (f"{TICKETS}/UpdateTicketStatus", NAMED + strings(7)),
    "a long id": (f"{TICKETS}/GetTicket", b"\x0a" + LENGTH + EXCLUDED),
    "garbage": (f"{TICKETS}/ListTickets", b"\xff" * (MAX_MESSAGE - 64)),
}


@pytest.mark.parametrize("key", [None, KEY])
async def test_no_message_keeps_the_loop(tmp_path: Path, key: str | None) -> None:
    async with served(tmp_path) as (_, port), channel(port) as opened:
        proof = (("x-api-key", key),) if key else ()
        first = messages.RegisterRequest(agent_id="first")  # what is only done once is no attack
        await code_of(stubs.ServiceRegistryStub(opened).Register(first, metadata=proof))
        longest: dict[str, float] = {}
        for name, (method, body) in BOMBS.items():
            raw: Any = opened.unary_unary(method)
            with measured_turns() as turns:
                code = await code_of(raw(body, metadata=proof))
            longest[name] = turns.longest
            known = {Code.UNAUTHENTICATED, Code.INVALID_ARGUMENT, Code.NOT_FOUND} | ({Code.OK} if key else set())
            assert code in known, (name, code)
        limit = LONGEST_SECONDS * max(1.0, work_seconds() / WORK_SECONDS)
        assert {name: took for name, took in longest.items() if took >= limit} == {}


async def test_metadata_has_a_bound_and_the_next_call_is_answered(tmp_path: Path) -> None:
    async with served(tmp_path) as (_, port), channel(port) as opened:
        raw: Any = opened.unary_unary("/grpc.health.v1.Health/Check")
        for bomb in (
            [("x-api-key", "k" * 2 * MAX_METADATA)],
            [(f"m-{number}", "v" * 20) for number in range(2_000)],
            [("x-api-key", "k" * 30)] * 1_000,
            [("traceparent", "00-" + "f" * 4_000), ("tracestate", "," * 4_000)],
            [("authorization", "Bearer " + "." * 8_000)],
            [("x-bin", bytes(range(256)) * 20)],
        ):
            assert await code_of(raw(b"", metadata=bomb)) in {Code.RESOURCE_EXHAUSTED, Code.UNAUTHENTICATED, Code.OK}
        assert await code_of(raw(b"")) is Code.OK
