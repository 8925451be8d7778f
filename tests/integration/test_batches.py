"""Batches of assignments: who gets them, what is in them, and what a worker makes of them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from functions._adapters.http.client import HttpClient
from functions._adapters.http.cloudevents import BATCHED, read_events, write_batch
from functions._adapters.http.workers import HttpWorkerGateway
from functions._core.errors import Undeliverable
from functions._core.events.assignment import BATCH_BYTES, BATCH_SIZE
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.events.signatures import SignedMessage, message_id_of, signature_headers
from functions._core.placement.workers import Registration
from functions._core.planning.tickets import ticket_hash
from functions._core.records.change_set import ChangeSet, Delivery
from functions._core.records.models import Ticket
from functions._core.records.values import TicketStatus
from functions._core.records.worker import Answer as WorkerAnswer
from functions._core.records.worker import Worker
from functions._engine.assignment_sender import AssignmentSender
from functions._engine.clock import SystemClock
from functions._engine.tokens import JwtTokens
from tests.support.builders import T0, make_flow, make_plan, make_worker
from tests.support.http_api import problem_of, running_api
from tests.support.loopback import Answer, Loopback, Request
from tests.support.loopback import until as until_true
from tests.support.stand_in_platform import NOW, SECRET, Gate, StandIn, working
from tests.support.world import LocalWorld, running_world

TOKENS = JwtTokens(b"k" * 32, SystemClock())
ACCEPTED = WorkerAnswer(202)


@dataclass
class Recorder:
    """Takes what the gateway is asked to send, and what becomes of it."""

    answer: Callable[[Sequence[CloudEvent]], Awaitable[WorkerAnswer] | WorkerAnswer] = lambda _events: ACCEPTED
    sent: list[list[str]] = field(default_factory=list)
    answers: dict[str, WorkerAnswer] = field(default_factory=dict)
    unresolved: dict[str, str] = field(default_factory=dict)
    counted: list[int] = field(default_factory=list)

    async def deliver(self, worker: Worker, *events: CloudEvent) -> WorkerAnswer:  # noqa: ARG002 there is but one
        self.sent.append([event.subject or "" for event in events])
        answer = self.answer(events)
        return answer if isinstance(answer, WorkerAnswer) else await answer

    async def admits(self, worker: Worker, delivery: Delivery) -> bool:  # noqa: ARG002 a breaker that is closed
        return True

    async def answered(self, worker: Worker, delivery: Delivery, answer: WorkerAnswer) -> None:  # noqa: ARG002
        self.counted.append(answer.status)

    def took(self, delivery: Delivery, answer: WorkerAnswer) -> None:
        self.answers[delivery.ticket.ticket_id] = answer

    def gave_up(self, delivery: Delivery, why: Undeliverable) -> None:
        self.unresolved[delivery.ticket.ticket_id] = why.code

    @property
    def ended(self) -> int:
        return len(self.answers) + len(self.unresolved)


@asynccontextmanager
async def sending(
    tmp_path: Path, recorder: Recorder, *, limit: int = 8, batches: bool = True
) -> AsyncIterator[tuple[AssignmentSender, LocalWorld]]:
    """Run a sender to one worker, with one turn at a time for it."""
    async with running_world(tmp_path) as world:
        await world.platform.register(
            Registration(worker_id="w1", endpoint="http://127.0.0.1:9/", accepts_batches=batches)
        )
        sender = AssignmentSender(
            replace(world.ports, gateway=recorder),
            recorder,
            "http://127.0.0.1:1",
            limit,
            answered=recorder.took,
            unresolved=recorder.gave_up,
        )
        yield sender, world
        await sender.close()


async def owed(world: LocalWorld, number: int, size: int, **changes: object) -> list[Delivery]:
    """Store assigned tickets and return their deliveries."""
    plan = make_plan(
        make_flow(number), size, status=TicketStatus.ASSIGNED, worker_id="w1", attempt=1, assigned_at=T0, **changes
    )
    tickets = tuple(ticket.but(hash=ticket_hash(ticket)) for ticket in plan)
    await world.ports.store.commit(ChangeSet(flow_id=tickets[0].flow_id, tickets=tickets))
    return [Delivery(ticket, "w1", 1) for ticket in tickets]


def ids(deliveries: Sequence[Delivery]) -> list[str]:
    return [delivery.ticket.ticket_id for delivery in deliveries]


async def test_what_waits_for_a_worker_is_one_message_in_order(tmp_path: Path) -> None:
    recorder = Recorder()
    async with sending(tmp_path, recorder) as (sender, world):
        deliveries = await owed(world, 1, BATCH_SIZE * 2 + 50)
        sender.send(deliveries)
        await until_true(lambda: recorder.ended == len(deliveries), "all answers")
    assert recorder.sent == [ids(deliveries[n : n + BATCH_SIZE]) for n in range(0, len(deliveries), BATCH_SIZE)]
    assert {answer.status for answer in recorder.answers.values()} == {202}
    assert all(answer.registration for answer in recorder.answers.values())
    assert recorder.counted == [202] * 3


async def test_a_worker_that_has_not_said_so_gets_no_batch(tmp_path: Path) -> None:
    recorder = Recorder()
    async with sending(tmp_path, recorder, batches=False) as (sender, world):
        deliveries = await owed(world, 1, 5)
        sender.send(deliveries)
        await until_true(lambda: recorder.ended == 5, "all answers")
    assert recorder.sent == [[ticket_id] for ticket_id in ids(deliveries)]


async def test_a_batch_waits_for_nobody_and_takes_what_has_waited(tmp_path: Path) -> None:
    answering = asyncio.Event()

    async def answer(_: object) -> WorkerAnswer:
        await answering.wait()
        return ACCEPTED

    recorder = Recorder(answer)
    async with sending(tmp_path, recorder) as (sender, world):
        deliveries = await owed(world, 1, 4)
        sender.send(deliveries[:1])
        await until_true(lambda: recorder.sent, "the first one, at once and alone")
        sender.send(deliveries[1:])
        sender.send(deliveries)  # they are under way
        answering.set()
        await until_true(lambda: recorder.ended == 4, "all answers")
    assert recorder.sent == [ids(deliveries[:1]), ids(deliveries[1:])]


async def test_cancellations_are_messages_of_their_own(tmp_path: Path) -> None:
    recorder = Recorder()
    async with sending(tmp_path, recorder) as (sender, world):
        deliveries = await owed(world, 1, 4)
        deliveries[1] = replace(deliveries[1], cancelled=True)
        sender.send(deliveries)
        await until_true(lambda: len(recorder.sent) == 2, "both messages")
        await until_true(lambda: not sender.busy, "the end")
    assert recorder.sent == [ids([deliveries[0], *deliveries[2:]]), ids(deliveries[1:2])]


@pytest.mark.parametrize("status", [429, 503, 0])
async def test_the_answer_to_a_batch_is_that_to_each_ticket_and_counts_once(tmp_path: Path, status: int) -> None:
    recorder = Recorder(lambda _events: WorkerAnswer(status))
    async with sending(tmp_path, recorder) as (sender, world):
        deliveries = await owed(world, 1, 3)
        sender.send(deliveries)
        await until_true(lambda: recorder.ended == 3, "all answers")
    assert recorder.sent == [ids(deliveries)]
    assert [answer.status for answer in recorder.answers.values()] == [status] * 3
    assert recorder.counted == [status]


async def test_a_batch_that_is_refused_is_asked_again_ticket_by_ticket(tmp_path: Path) -> None:
    bad = ""

    def answer(events: Sequence[CloudEvent]) -> WorkerAnswer:
        return WorkerAnswer(422) if bad in [event.subject for event in events] else ACCEPTED

    recorder = Recorder(answer)
    async with sending(tmp_path, recorder) as (sender, world):
        deliveries = await owed(world, 1, 3)
        first, bad, last = ids(deliveries)
        sender.send(deliveries)
        await until_true(lambda: recorder.ended == 3, "all answers")
    assert recorder.sent == [[first, bad, last], [first], [bad], [last]]
    assert {i: answer.status for i, answer in recorder.answers.items()} == {first: 202, bad: 422, last: 202}
    assert recorder.counted == [202, 422, 202]


async def test_a_batch_has_only_tickets_that_still_hold(tmp_path: Path) -> None:
    recorder = Recorder()
    async with sending(tmp_path, recorder) as (sender, world):
        deliveries = await owed(world, 1, 5)

        async def change(ticket: Ticket, **changes: object) -> None:
            changed = ticket.but(**changes, version=ticket.version + 1)
            await world.ports.store.commit(ChangeSet(flow_id=ticket.flow_id, tickets=(changed,)))

        await change(deliveries[1].ticket, parameters={"amount": 1_000_000})
        await change(deliveries[2].ticket, status=TicketStatus.CANCELLED, completed_at=T0)
        unresolvable = {"x": {"$output": "nobody"}}
        wrong = deliveries[3].ticket.but(parameters=unresolvable)
        await change(wrong, hash=ticket_hash(wrong))
        sender.send(deliveries)
        await until_true(lambda: recorder.ended == 4, "all ends")
    assert recorder.sent == [ids([deliveries[0], deliveries[4]])]
    assert recorder.unresolved == {
        deliveries[1].ticket.ticket_id: "ticket_corrupted",
        deliveries[3].ticket.ticket_id: "unresolved_reference",
    }


async def test_a_batch_has_a_limit_of_bytes(tmp_path: Path) -> None:
    recorder = Recorder()
    async with sending(tmp_path, recorder) as (sender, world):
        deliveries = await owed(world, 1, 5, parameters={"text": "x" * (BATCH_BYTES // 3)})
        large = await owed(world, 2, 1, parameters={"text": "x" * (BATCH_BYTES + 1)})
        sender.send([*deliveries, *large])
        await until_true(lambda: recorder.ended == 6, "all answers")
    assert recorder.sent == [ids(deliveries[:2]), ids(deliveries[2:4]), ids(deliveries[4:]), ids(large)]


async def test_a_delivery_that_breaks_takes_none_after_it_along(tmp_path: Path) -> None:
    def answer(_: Sequence[CloudEvent]) -> WorkerAnswer:
        if len(recorder.sent) == 1:
            raise RuntimeError("the gateway broke")
        return ACCEPTED

    recorder = Recorder(answer)
    async with sending(tmp_path, recorder) as (sender, world):
        deliveries = await owed(world, 1, 3)
        sender.send(deliveries)
        await until_true(lambda: not sender.busy, "the end")
        assert recorder.ended == 0
        sender.send(deliveries)
        await until_true(lambda: recorder.ended == 3, "all answers")


async def test_a_batch_is_one_signed_post_without_its_tokens_in_the_answer() -> None:
    async def echo(_: Request) -> Answer:
        return Answer(202, b"I have got token-0, token-1 and token-2")

    events = [
        CloudEvent(id=f"e-{n}", source="/s", type=type_of("ticket.assigned"), time=NOW, data={"token": f"token-{n}"})
        for n in range(3)
    ]
    client = HttpClient()
    async with Loopback() as server:
        server.answer = echo
        gateway = HttpWorkerGateway(client, TOKENS, SystemClock())
        answer = await gateway.deliver(make_worker(endpoint=server.url, registration="r"), *events)
        await client.aclose()
    [request] = server.requests
    assert request.headers["content-type"] == BATCHED
    assert read_events(request.headers, request.body, received_at=NOW) == (events, True)
    message = SignedMessage.of(request.headers, datetime.now(UTC))
    assert message.message_id == message_id_of(*events) != message_id_of(*events[:2])
    assert message.verify(request.body, [TOKENS.worker_secret(make_worker().worker_id, "r")])
    assert answer == WorkerAnswer(202, "I have got [token], [token] and [token]")


async def test_workers_say_whether_they_take_batches(tmp_path: Path) -> None:
    said = {"worker_id": "w", "endpoint": "http://127.0.0.1:9/"}
    async with running_api(tmp_path) as api:
        for accepts in (True, False):
            await api.client.post("/api/v1/workers", json={**said, "accepts_batches": accepts})
            assert (await api.get("/api/v1/workers/w"))["accepts_batches"] is accepts
        await api.client.post("/api/v1/workers", json={**said, "accepts_batches": True})
        await api.client.post("/api/v1/workers", json=said)
        assert (await api.get("/api/v1/workers/w"))["accepts_batches"] is False
        for wrong in ("perhaps", 7, None):
            answer = await api.client.post("/api/v1/workers", json={**said, "accepts_batches": wrong})
            assert "accepts_batches" in str(problem_of(answer, 422, "invalid_data"))


class TestTheWorker:
    """The reference worker, over HTTP."""

    @pytest.fixture
    async def platform(self) -> AsyncIterator[StandIn]:
        async with StandIn() as stand_in:
            yield stand_in

    @staticmethod
    def batch(assignments: Sequence[object], event_type: str = "ticket.assigned") -> list[CloudEvent]:
        return [
            CloudEvent(id=f"e-{n}", source="/flowc/assign", type=type_of(event_type), time=NOW, data=data)
            for n, data in enumerate(assignments)
        ]

    @staticmethod
    def signed(events: Sequence[CloudEvent], name: str | None = None) -> tuple[dict[str, str], bytes]:
        headers, body = write_batch(events)
        return headers | signature_headers(SECRET, name or message_id_of(*events), datetime.now(UTC), body), body

    async def test_it_takes_all_or_none(self, platform: StandIn) -> None:
        gate = Gate()
        async with working(platform, gate, slots=4) as desk:
            assert platform.registrations[0].json["accepts_batches"] is True

            async def assign(*tickets: tuple[str, int]) -> int:
                events = self.batch([desk.assignment(ticket_id, attempt) for ticket_id, attempt in tickets])
                return (await desk.call("POST", "", *self.signed(events))).status

            assert await assign(("a", 1), ("b", 1)) == 202
            assert await assign(("c", 1), ("d", 1), ("e", 1)) == 429
            assert (await desk.health())["running"] == 2
            assert await assign(("a", 2), ("b", 1), ("c", 1)) == 202  # one anew, one known, one more
            assert await assign(("b", 1), ("a", 1)) == 202
            assert (await desk.health())["running"] == 3
            assert await assign(("d", 1), ("e", 1)) == 429
            gate.opened.set()
            reports = await platform.reported("COMPLETED", "COMPLETED", "COMPLETED")
        assert sorted((report["ticket_id"], report["attempt"]) for report in reports) == [("a", 2), ("b", 1), ("c", 1)]

    async def test_a_batch_with_anything_wrong_in_it_is_not_begun(self, platform: StandIn) -> None:
        gate = Gate()
        async with working(platform, gate, slots=500) as desk:
            good = [desk.assignment(f"t-{n}") for n in range(3)]

            async def status(events: Sequence[CloudEvent], name: str | None = None) -> int:
                return (await desk.call("POST", "", *self.signed(events, name))).status

            foreign = desk.assignment("t-9", callback_url="http://elsewhere.test/")
            assert await status(self.batch([*good, foreign])) == 403
            assert await status(self.batch([*good, {"ticket_id": "t-9"}])) == 400
            assert await status([*self.batch(good), *self.batch([good[0]], "ticket.cancelled")]) == 400
            assert await status(self.batch([desk.assignment(f"t-{n}") for n in range(BATCH_SIZE + 1)])) == 413
            assert await status([], "batch_") == 400
            assert await status(self.batch(good), message_id_of(*self.batch(good[:2]))) == 401
            headers, body = self.signed(self.batch(good))
            assert (await desk.call("POST", "", headers, body.replace(b'"n":7', b'"n":8'))).status == 401
            assert gate.log == []
