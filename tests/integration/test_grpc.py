"""gRPC answers as the HTTP API does, and its door is no wider."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf.json_format import MessageToDict

from infra.generate.protos import COMPILED, compiled
from tests.support.certificates import Authority
from tests.support.grpc_client import NO_PROXY, channel, modules, port_of, refusal
from tests.support.one_machine import OneMachine, one_machine

KEY = "a-key-that-nobody-guesses"
messages, stubs = modules("ticket_service")
health, health_stubs = modules("health")
Code = grpc.StatusCode


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path, grpc_port=0) as running_one:
        yield running_one


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path, grpc_port=0, api_key=KEY) as running_one:
        running_one.client.headers["x-api-key"] = KEY
        yield running_one


@pytest.fixture
async def stub(world: OneMachine) -> AsyncIterator[Any]:
    async with channel(port_of(world)) as opened:
        yield stubs.TicketServiceStub(opened)


async def ticket(world: OneMachine, **more: object) -> Any:
    new = {"plan_id": "a-plan", "intent_id": "an-intent", "task_type": "EXECUTE", "description": "work", **more}
    answer = await world.client.post("/api/v1/tickets", json=new)
    assert answer.status_code in {200, 201}, answer.text
    return answer.json()


def said(error: grpc.aio.AioRpcError) -> dict[str, Any]:
    return dict(error.trailing_metadata() or ())


def test_the_descriptors_are_those_of_the_protos() -> None:
    assert COMPILED.read_bytes() == compiled(), "run `make protos`"


async def test_a_ticket_has_what_its_route_answers(world: OneMachine, stub: Any) -> None:
    made = await ticket(world, parameters={"deep": [1, {"b": None, "c": "ü"}]}, required_capabilities=["python"])
    twin = (await world.client.get(f"/api/v1/tickets/{made['ticket_id']}")).json()
    answer = await stub.GetTicket(messages.GetTicketRequest(ticket_id=made["ticket_id"]))
    seen = MessageToDict(answer.ticket, preserving_proto_field_name=True)
    assert int(seen["created_at"]) / 1000 == pytest.approx(_seconds(twin["created_at"]))
    same = {name: value for name, value in seen.items() if not name.endswith(("_at", "_ms"))}
    assert len(same) > 20
    assert {name: twin[name] for name in same} == same | {"version": int(same["version"])} | {
        "version": twin["version"]
    }


def test_every_field_of_a_view_that_is_plain_is_in_the_message() -> None:
    from functions.api.views import TicketView

    inner = {  # how a ticket is worked on: `why` tells it
        "acknowledged_at", "announced", "asked", "candidates", "compensates", "critical", "dependants", "domain",
        "emissions", "excluded_workers", "freeze_exception", "guard_release", "hedge", "heartbeat_timeout_ms",
        "idempotent", "late", "latest_start", "level", "runs",
        "log_bytes", "open_dependencies", "perhaps_begun", "ready_at", "reason", "refusals", "refused_by", "retry",
        "schedule_to_start_ms", "skipped", "tail_ms", "turn", "undo", "until", "waiting", "waiting_since", "log",
        "next_wakeup_at", "prediction", "children", "control", "index", "item", "labels", "parent", "scope",
    }  # fmt: skip
    fields = {field.name for field in messages.ExecutionTicketProto.DESCRIPTOR.fields}
    assert set(TicketView.__struct_fields__) - fields <= inner
    assert fields <= set(TicketView.__struct_fields__)


async def test_tickets_are_listed_by_filters_pages_and_an_offset(world: OneMachine, stub: Any) -> None:
    made = [await ticket(world, plan_id="listed", description=f"number {i}") for i in range(5)]
    await ticket(world, plan_id="another")
    ids = [one["ticket_id"] for one in made]
    first = await stub.ListTickets(messages.ListTicketsRequest(plan_id="listed", limit=2))
    assert [one.ticket_id for one in first.tickets] == ids[:2]
    assert first.total == 5
    then = await stub.ListTickets(messages.ListTicketsRequest(plan_id="listed", cursor=first.next_cursor))
    assert [one.ticket_id for one in then.tickets] == ids[2:]
    assert then.next_cursor == ""
    behind = await stub.ListTickets(messages.ListTicketsRequest(plan_id="listed", offset=3, limit=100))
    assert [one.ticket_id for one in behind.tickets] == ids[3:]
    nothing = await stub.ListTickets(messages.ListTicketsRequest(plan_id="listed", offset=5))
    assert (len(nothing.tickets), nothing.total) == (0, 5)
    for wrong in ({"offset": 10_001}, {"offset": -1}, {"offset": 1, "cursor": "x"}, {"status": "FROBNICATED"}):
        error = await refusal(stub.ListTickets(messages.ListTicketsRequest(**wrong)))
        assert error.code() is Code.INVALID_ARGUMENT, wrong


async def test_a_worker_claims_does_and_reports(world: OneMachine, stub: Any) -> None:
    made = await ticket(world)
    named = {"ticket_id": made["ticket_id"]}
    claimed = await stub.UpdateTicketStatus(
        messages.UpdateTicketStatusRequest(**named, status="RUNNING", worker_id="w-1")
    )
    assert (claimed.ticket.status, claimed.ticket.attempt, claimed.ticket.worker_id) == ("RUNNING", 1, "w-1")
    token = await stub.GenerateToken(messages.GenerateTokenRequest(**named))
    assert token.access_token.count(".") == 2
    assert token.expires_at > claimed.ticket.created_at
    done = messages.UpdateTicketStatusRequest(**named, status="completed", attempt=1)
    done.output.struct_value.update({"answer": 42})
    ended = await stub.UpdateTicketStatus(done)
    assert ended.ticket.status == "COMPLETED"
    assert MessageToDict(ended.ticket.output) == {"answer": 42}
    again = await stub.UpdateTicketStatus(done)
    assert again.ticket.version == ended.ticket.version, "the same report again changes nothing"
    claim = messages.UpdateTicketStatusRequest(**named, status="RUNNING", worker_id="w-2")
    error = await refusal(stub.UpdateTicketStatus(claim))
    assert (error.code(), said(error)["code"]) == (Code.FAILED_PRECONDITION, "invalid_transition")


async def test_a_refusal_has_the_status_the_code_and_the_document(world: OneMachine, stub: Any) -> None:
    error = await refusal(stub.GetTicket(messages.GetTicketRequest(ticket_id="nobody has?this")))
    twin = (await world.client.get("/api/v1/tickets/nobody%20has%3Fthis")).json()
    assert (error.code(), said(error)["code"]) == (Code.NOT_FOUND, "unknown_ticket")
    assert json.loads(said(error)["problem-bin"]) == twin
    assert error.details() == twin["detail"]
    empty = await refusal(stub.GetTicket(messages.GetTicketRequest()))
    assert empty.code() is Code.INVALID_ARGUMENT
    made = await ticket(world)
    sly = await refusal(stub.GetTicket(messages.GetTicketRequest(ticket_id=f"{made['ticket_id']}/history")))
    assert sly.code() is Code.NOT_FOUND
    stale = messages.UpdateTicketStatusRequest(ticket_id=made["ticket_id"], status="CANCELLED", version=999)
    assert (await refusal(stub.UpdateTicketStatus(stale))).code() is Code.ABORTED


async def test_health_is_that_of_the_platform(world: OneMachine) -> None:
    async with channel(port_of(world)) as opened:
        stub = health_stubs.HealthStub(opened)
        for name in ("", "ticket_service.TicketService"):
            answer = await stub.Check(health.HealthCheckRequest(service=name))
            assert answer.status == health.HealthCheckResponse.SERVING
        error = await refusal(stub.Check(health.HealthCheckRequest(service="nobody")))
        assert error.code() is Code.NOT_FOUND


async def test_keys_and_roles_hold_as_over_http(guarded: OneMachine) -> None:
    made = await ticket(guarded)
    viewer = (await guarded.client.post("/api/v1/keys", json={"name": "a viewer", "roles": ["viewer"]})).json()
    asked = messages.GetTicketRequest(ticket_id=made["ticket_id"])
    claim = messages.UpdateTicketStatusRequest(ticket_id=made["ticket_id"], status="RUNNING", worker_id="w")
    async with channel(port_of(guarded)) as opened:
        stub = stubs.TicketServiceStub(opened)
        assert (await refusal(stub.GetTicket(asked))).code() is Code.UNAUTHENTICATED
        wrong = (("x-api-key", "some other key that is long"),)
        assert (await refusal(stub.GetTicket(asked, metadata=wrong))).code() is Code.UNAUTHENTICATED
        for proof in ((("x-api-key", KEY),), (("authorization", f"Bearer {KEY}"),)):
            assert (await stub.GetTicket(asked, metadata=proof)).ticket.ticket_id == made["ticket_id"]
        looking = (("x-api-key", viewer["key"]),)
        assert (await stub.GetTicket(asked, metadata=looking)).ticket.status == "PENDING"
        assert (await refusal(stub.UpdateTicketStatus(claim, metadata=looking))).code() is Code.PERMISSION_DENIED


async def test_calls_count_against_the_limits_of_their_key(tmp_path: Path) -> None:
    limits = "read=1/3"
    async with (
        one_machine(tmp_path, grpc_port=0, api_key=KEY, rate_limits=limits) as world,
        channel(port_of(world)) as opened,
    ):
        stub = stubs.TicketServiceStub(opened)
        refused = []
        for _ in range(10):
            try:
                await stub.ListTickets(messages.ListTicketsRequest(), metadata=(("x-api-key", KEY),))
            except grpc.aio.AioRpcError as error:
                refused.append(error)
        assert {error.code() for error in refused} == {Code.RESOURCE_EXHAUSTED}
        assert int(said(refused[0])["retry-after"]) >= 1


async def test_garbage_is_refused_and_the_next_call_is_answered(guarded: OneMachine) -> None:
    async with channel(port_of(guarded)) as opened:
        method = "/ticket_service.TicketService/UpdateTicketStatus"
        raw: Any = opened.unary_unary(method)
        deep = b""
        for _ in range(5_000):  # lists in lists
            deep = b"\x0a" + _varint(len(deep) + 1 + len(_varint(len(deep)))) + b"\x32" + _varint(len(deep)) + deep
            if len(deep) > 50_000:
                break
        nested = b"\x3a" + _varint(len(deep) + 1 + len(_varint(len(deep)))) + b"\x32" + _varint(len(deep)) + deep
        for body in (b"\xff" * 100, b"\x0a\xff\xff\xff\xff\x0f", nested, b"\x0a\x02\xff\xfe"):
            assert (await refusal(raw(body))).code() is Code.INVALID_ARGUMENT
        # A message that can be read is nobody's before its sender is known.
        assert (await refusal(raw(b""))).code() in {Code.INVALID_ARGUMENT, Code.UNAUTHENTICATED}
        assert (await refusal(raw(b"\x0a\x01x"))).code() is Code.UNAUTHENTICATED
        assert (await refusal(raw(b"\x0a" + _varint(70_000) + b"x" * 70_000))).code() is Code.RESOURCE_EXHAUSTED
        unknown: Any = opened.unary_unary("/ticket_service.TicketService/DropAll")
        assert (await refusal(unknown(b""))).code() is Code.UNIMPLEMENTED
        stub = stubs.TicketServiceStub(opened)
        proof = (("x-api-key", KEY),)
        assert (await stub.ListTickets(messages.ListTicketsRequest(), metadata=proof)).total == 0


async def test_a_call_that_is_given_up_leaves_the_server_in_order(stub: Any) -> None:
    calls = [stub.ListTickets(messages.ListTicketsRequest()) for _ in range(50)]
    for call in calls:
        call.cancel()
    await asyncio.gather(*(asyncio.ensure_future(_ended(call)) for call in calls))
    assert (await stub.ListTickets(messages.ListTicketsRequest())).total == 0


async def _ended(call: Any) -> None:
    try:
        await call
    except (asyncio.CancelledError, grpc.aio.AioRpcError):
        return


def _varint(number: int) -> bytes:
    coded = bytearray()
    while number > 0x7F:
        coded.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*coded, number])


def _seconds(moment: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(moment).timestamp()


async def test_a_platform_with_a_certificate_takes_tls_alone(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    authority.issue(certificate, key)
    check = health.HealthCheckRequest()
    async with one_machine(tmp_path / "data", grpc_port=0, tls_cert=str(certificate), tls_key=str(key)) as world:
        trusted = grpc.ssl_channel_credentials(authority.file.read_bytes())
        target = f"127.0.0.1:{port_of(world)}"
        async with grpc.aio.secure_channel(target, trusted, options=NO_PROXY) as opened:
            answer = await health_stubs.HealthStub(opened).Check(check)
            assert answer.status == health.HealthCheckResponse.SERVING
        async with channel(port_of(world)) as plain:
            assert (await refusal(health_stubs.HealthStub(plain).Check(check))).code() is Code.UNAVAILABLE
