"""What goes wrong on the way to DynamoDB, and how its limits are kept."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from botocore.exceptions import ClientError

from functions._adapters.aws.client import Client
from functions._adapters.dynamodb import DynamoStore, keys, vocabulary
from functions._adapters.dynamodb.client import RequestRefused, connected, meaning
from functions._adapters.dynamodb.schema import create_table
from functions._adapters.stores import Stores
from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.records.change_set import ChangeSet
from functions._core.records.values import TicketStatus
from functions._cost.capacity import size
from functions._engine.clock import SystemClock
from tests.conformance import suites
from tests.conformance.dynamodb_clients import WRITES, Ahead, Answer, Arguments, Between, Call, Counting
from tests.support.builders import (
    T0,
    later,
    make_audit,
    make_event,
    make_flow,
    make_history,
    make_plan,
    make_step,
    make_ticket,
    seconds,
)
from tests.support.world import PATIENCE_S

OpenStores = Callable[..., Stores]

NOISE = "".join(f"{number * 7919 % 65_537:05x}" for number in range(40_000))
"""200 KB that do not become much smaller."""


@pytest.fixture
def open_stores(dynamodb_client: Client, dynamodb_table: str) -> OpenStores:
    """Give `open_stores(client, owner)`: the ports of another process on the same table."""

    def opened(client: Client = dynamodb_client, owner: str = "process-1", settle: float = 0.01) -> Stores:
        return DynamoStore(client, dynamodb_table, owner, SystemClock(), settle=settle).stores

    return opened


class TestByThreads(suites.RegistrySuite, suites.TicketCountsSuite):
    """The other SDK, behind the same adapter."""

    @pytest.fixture
    async def stores(self, dynamodb_table: str) -> Any:
        async with connected(threads=True) as client:
            yield DynamoStore(client, dynamodb_table, None, SystemClock(), settle=0.01).stores


async def test_a_store_is_opened_and_closed_by_the_environment(dynamodb_table: str) -> None:
    for threads in (False, True):
        store = await DynamoStore.open(dynamodb_table, "process-1", SystemClock(), threads=threads)
        await store.check()
        assert await store.stores.registry.workers() == []
        await store.close()


async def test_what_is_not_there_or_does_not_answer_is_unavailable(
    dynamodb_client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Unavailable):
        await DynamoStore(dynamodb_client, "no-such-table", "me", SystemClock()).check()
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with pytest.raises(Unavailable):
        await DynamoStore.open("no-such-table", "me", SystemClock())


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("ProvisionedThroughputExceededException", Unavailable),
        ("ThrottlingException", Unavailable),
        ("RequestLimitExceeded", Unavailable),
        ("InternalServerError", Unavailable),
        ("ResourceNotFoundException", Unavailable),
        ("TransactionInProgressException", Unavailable),
        ("TransactionConflictException", RequestRefused),
        ("ConditionalCheckFailedException", RequestRefused),
        ("ValidationException", Rejected),
    ],
)
def test_errors_mean_the_same_to_callers_as_those_of_other_stores(code: str, kind: type[Exception]) -> None:
    error = ClientError({"Error": {"Code": code, "Message": "no"}}, "UpdateItem")
    assert type(meaning(error)) is kind


async def test_a_transition_of_one_record_is_one_conditional_write(
    dynamodb_client: Client, open_stores: OpenStores
) -> None:
    flow = make_flow()
    ticket = make_ticket(flow)
    await open_stores().store.commit(make_step(flow, ticket))
    counting = Counting(dynamodb_client)
    stores = open_stores(counting)
    assert await stores.store.tickets([ticket.ticket_id], flow.flow_id) == {ticket.ticket_id: ticket}
    counting.calls.clear()
    changed = later(ticket, status=TicketStatus.COMPLETED, next_wakeup_at=None)
    entry = make_history(flow, 1, ticket_id=ticket.ticket_id)
    step = ChangeSet(flow_id=flow.flow_id, tickets=(changed,), history=(entry,), events=(make_event(1), make_event(2)))
    await stores.store.commit(step)
    assert counting.calls == {"update_item": 1}
    assert [queued.event.id for queued in await stores.queue.pending(0, 9)] == ["event-1", "event-2"]
    assert [one.cause for one in await stores.views.history(flow.flow_id, 0, 9)] == ["event-1"]


async def test_a_ticket_with_its_history_is_paid_for_as_one_unit(
    dynamodb_client: Client, open_stores: OpenStores, dynamodb_table: str
) -> None:
    flow = make_flow()
    ticket = make_ticket(flow, description="Build the thing and say so.", required_capabilities=("python", "docker"))
    for number in range(1, 5):
        entry = make_history(flow, number, ticket_id=ticket.ticket_id, type="ticket.assigned", worker_id="worker-1")
        await open_stores().store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(ticket,), history=(entry,)))
        ticket = later(ticket, attempt=number)
    page = await dynamodb_client.call("scan", {"TableName": dynamodb_table})
    sizes = [size(item) for item in page["Items"] if item["sk"]["S"].startswith("T#")]
    assert len(sizes) == 1
    assert sizes[0] < 1024


async def test_a_small_record_whose_answer_was_lost_was_put(dynamodb_client: Client, open_stores: OpenStores) -> None:
    async def twice(call: Call, operation: str, arguments: Arguments) -> Answer:
        if operation in WRITES:
            await call(operation, arguments)  # its answer is lost, so the SDK sends it again
        return await call(operation, arguments)

    entries = open_stores(Between(dynamodb_client, twice)).key_values(SystemClock())
    first = await entries.put("space", "key", b"1", version=0)
    second = await entries.put("space", "key", b"2", version=first.version)
    assert await entries.get("space", "key") == second
    with pytest.raises(Conflict):
        await entries.put("space", "key", b"2", version=first.version)


async def test_what_has_expired_is_told_to_the_table(
    dynamodb_client: Client, open_stores: OpenStores, dynamodb_table: str
) -> None:
    entries = open_stores().key_values(Ahead(T0))
    entry = await entries.put("space", "key", b"1", version=0, expires_at=T0 + seconds(0.5))
    page = await dynamodb_client.call("scan", {"TableName": dynamodb_table})
    assert page["Items"][0]["ttl"] == {"N": str(int(T0.timestamp()) + 1)}
    await entries.put("space", "key", b"1", version=entry.version)
    page = await dynamodb_client.call("scan", {"TableName": dynamodb_table})
    assert not {"ttl", "x"} & page["Items"][0].keys()


@pytest.mark.parametrize("tickets", [1, 3])
async def test_a_commit_whose_answer_was_lost_is_a_commit(
    dynamodb_client: Client, open_stores: OpenStores, tickets: int
) -> None:
    async def twice(call: Call, operation: str, arguments: Arguments) -> Answer:
        if operation in {"update_item", "transact_write_items"}:
            await call(operation, arguments)  # its answer is lost, so the SDK sends it again
        return await call(operation, arguments)

    stores = open_stores(Between(dynamodb_client, twice))
    plan = make_plan(make_flow(), tickets)
    await stores.store.commit(ChangeSet(flow_id=plan[0].flow_id, tickets=plan))
    again = tuple(later(ticket, attempt=1) for ticket in plan)
    await stores.store.commit(ChangeSet(flow_id=plan[0].flow_id, tickets=again))
    assert await stores.store.tickets_of(plan[0].flow_id) == list(again)


def refusing(client: Client, times: int, code: str) -> Between:
    left = [times]

    async def refuse(call: Call, operation: str, arguments: Arguments) -> Answer:
        if operation in {"update_item", "transact_write_items"} and left[0]:
            left[0] -= 1
            raise RequestRefused({"CancellationReasons": [{"Code": code} for _ in arguments.get("TransactItems", [0])]})
        return await call(operation, arguments)

    return Between(client, refuse)


@pytest.mark.parametrize("code", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
async def test_a_busy_item_is_tried_again_a_bounded_number_of_times(
    dynamodb_client: Client, open_stores: OpenStores, code: str
) -> None:
    flow = make_flow()
    await open_stores(refusing(dynamodb_client, 3, code)).store.commit(make_step(flow, make_ticket(flow)))
    with pytest.raises(Unavailable):
        await open_stores(refusing(dynamodb_client, 10**9, code)).store.commit(make_step(later(flow)))
    assert await open_stores().store.flow(flow.flow_id) == flow


async def test_what_a_batch_leaves_over_is_asked_for_again(dynamodb_client: Client, open_stores: OpenStores) -> None:
    left_over = 0

    async def a_few(call: Call, operation: str, arguments: Arguments) -> Answer:
        nonlocal left_over
        if operation not in {"batch_get_item", "batch_write_item"}:
            return await call(operation, arguments)
        ((table, wanted),) = arguments["RequestItems"].items()
        reads = operation == "batch_get_item"
        some, rest = (wanted["Keys"][:3], wanted["Keys"][3:]) if reads else (wanted[:3], wanted[3:])
        answer = dict(await call(operation, {"RequestItems": {table: {**wanted, "Keys": some} if reads else some}}))
        left_over += bool(rest)
        name = "UnprocessedKeys" if reads else "UnprocessedItems"
        answer[name] = {table: {**wanted, "Keys": rest} if reads else rest} if rest else {}
        return answer

    plan = make_plan(make_flow(), 12)
    await open_stores(Between(dynamodb_client, a_few)).store.commit(ChangeSet(flow_id=plan[0].flow_id, tickets=plan))
    found = await open_stores(Between(dynamodb_client, a_few)).store.tickets([ticket.ticket_id for ticket in plan])
    assert found == {ticket.ticket_id: ticket for ticket in plan}
    assert left_over >= 2


async def test_a_batch_that_is_never_done_is_unavailable(dynamodb_client: Client, open_stores: OpenStores) -> None:
    async def nothing(call: Call, operation: str, arguments: Arguments) -> Answer:
        if operation == "batch_get_item":
            return {"Responses": {}, "UnprocessedKeys": arguments["RequestItems"]}
        return await call(operation, arguments)

    ids = [ticket.ticket_id for ticket in make_plan(make_flow(), 2)]
    with pytest.raises(Unavailable):
        await open_stores(Between(dynamodb_client, nothing)).store.tickets(ids)


async def test_answers_of_many_pages_are_read_to_their_end(open_stores: OpenStores) -> None:
    stores = open_stores()
    flow = make_flow()
    plan = make_plan(flow, 60, parameters={"noise": NOISE[:100_000]})
    for ticket in plan:
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(ticket,)))
    assert await stores.store.tickets_of(flow.flow_id) == list(plan)
    assert (await stores.views.counts())["tickets"] == {"PENDING": 60}
    found = await stores.store.tickets([ticket.ticket_id for ticket in plan])
    assert len(found) == 60


async def test_a_document_of_more_than_an_item_holds_is_cut_and_goes_with_its_flow(
    dynamodb_client: Client, open_stores: OpenStores, dynamodb_table: str
) -> None:
    stores = open_stores()
    flow = make_flow(ended_at=make_flow().received_at)
    ticket = make_ticket(flow, output={"noise": [NOISE, NOISE[::-1], NOISE[1::2], NOISE[::3]] * 2})
    await stores.store.commit(make_step(flow, ticket, decision=(NOISE[::-1] + NOISE).encode()))
    assert await stores.store.tickets([ticket.ticket_id]) == {ticket.ticket_id: ticket}
    assert await stores.store.decision(flow.flow_id) == (NOISE[::-1] + NOISE).encode()
    assert await stores.retention.forget_ended(flow.received_at + seconds(1), 100) == 3
    left = await dynamodb_client.call("scan", {"TableName": dynamodb_table})
    assert [item["pk"]["S"] for item in left["Items"]] == []


async def test_long_history_moves_out_of_its_record_and_stays_in_order(
    dynamodb_client: Client, open_stores: OpenStores, dynamodb_table: str
) -> None:
    stores = open_stores()
    flow = make_flow()
    ticket = make_ticket(flow)
    await stores.store.commit(make_step(flow, ticket))
    for number in range(1, 41):
        ticket = later(ticket, attempt=number)
        entry = make_history(flow, number, ticket_id=ticket.ticket_id, detail={"noise": NOISE[number : 4000 + number]})
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(ticket,), history=(entry,)))
    entries = await stores.views.history(flow.flow_id, 0, 100)
    assert [entry.cause for entry in entries] == [f"event-{number}" for number in range(1, 41)]
    page = await dynamodb_client.call("scan", {"TableName": dynamodb_table})
    kept = [item for item in page["Items"] if item["sk"]["S"].startswith("T#")]
    assert all(int(item["hn"]["N"]) < 40_000 for item in kept)
    assert any(item["sk"]["S"].startswith("H#") for item in page["Items"])


async def test_who_follows_history_misses_nothing_that_was_written_late(
    dynamodb_client: Client, open_stores: OpenStores
) -> None:
    async def late(call: Call, operation: str, arguments: Arguments) -> Answer:
        if operation in WRITES:
            await asyncio.sleep(0.15)
        return await call(operation, arguments)

    flow = make_flow()
    slow, quick = open_stores(Between(dynamodb_client, late), "slow"), open_stores(owner="quick")
    reader = open_stores(owner="reader", settle=0.5)
    seen: list[str] = []

    async def follow() -> None:
        after = 0
        while len(seen) < 12:
            entries = await reader.views.history(flow.flow_id, after, 100)
            seen.extend(entry.cause for entry in entries)
            after = entries[-1].seq if entries else after

    async def write(stores: Stores, numbers: range) -> None:
        for number in numbers:
            await stores.store.commit(ChangeSet(flow_id=flow.flow_id, history=(make_history(flow, number),)))

    async with asyncio.timeout(PATIENCE_S):
        await asyncio.gather(follow(), write(slow, range(6)), write(quick, range(6, 12)))
    assert sorted(seen) == sorted(f"event-{number}" for number in range(12))


async def test_what_comes_after_is_numbered_after_however_wrong_a_clock_is(
    dynamodb_client: Client, dynamodb_table: str
) -> None:
    class Slow(SystemClock):
        def now(self) -> Any:
            return super().now() - seconds(3600)

    flow = make_flow()
    right = DynamoStore(dynamodb_client, dynamodb_table, "right", SystemClock(), settle=0).stores
    wrong = DynamoStore(dynamodb_client, dynamodb_table, "wrong", Slow(), settle=0).stores
    for number, stores in enumerate((right, wrong, right, wrong)):
        known = await stores.store.flow(flow.flow_id)
        flow = later(known) if known else flow
        await stores.store.commit(make_step(flow, history=(make_history(flow, number),)))
    causes = [entry.cause for entry in await right.views.history(flow.flow_id, 0, 9)]
    assert causes == ["event-0", "event-1", "event-2", "event-3"]


async def test_events_of_a_process_that_left_or_died_are_taken_over_once(
    dynamodb_client: Client, dynamodb_table: str
) -> None:
    class Later(SystemClock):
        def now(self) -> Any:
            return super().now() + seconds(60)

    first = DynamoStore(dynamodb_client, dynamodb_table, "first", SystemClock())
    second = DynamoStore(dynamodb_client, dynamodb_table, "second", SystemClock())
    third = DynamoStore(dynamodb_client, dynamodb_table, "third", Later())
    await first.queue.enter()
    await second.queue.enter()
    flow = make_flow()
    await first.stores.store.commit(make_step(flow, events=(make_event(1), make_event(2))))
    assert await second.stores.queue.take_over() == 0
    assert await second.stores.queue.pending(0, 9) == []
    assert await second.stores.queue.depth() == 2
    await first.queue.leave()
    assert await second.stores.queue.take_over() == 2
    assert await first.stores.queue.pending(0, 9) == []
    assert await third.stores.queue.take_over() == 2
    assert await third.stores.queue.take_over() == 0
    assert [queued.event.id for queued in await third.stores.queue.pending(0, 9)] == ["event-1", "event-2"]
    await third.stores.store.commit(ChangeSet(flow_id="", handled="event-1"))
    assert [queued.event.id for queued in await third.stores.queue.pending(0, 9)] == ["event-2"]
    assert await third.stores.store.flow(flow.flow_id) == flow


async def test_events_too_large_for_a_record_get_items_of_their_own(open_stores: OpenStores) -> None:
    stores = open_stores()
    flow = make_flow()
    events = tuple(make_event(number, data={"noise": NOISE[number : 9_000 + number]}) for number in range(1, 8))
    await stores.store.commit(make_step(flow, events=events))
    for number in range(1, 8):
        (queued, *_) = await stores.queue.pending(0, 1)
        assert queued.event == events[number - 1]
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, handled=queued.event.id))
    assert await stores.queue.depth() == 0


async def test_two_processes_that_handle_events_of_one_record_do_not_lose_any(open_stores: OpenStores) -> None:
    flow = make_flow()
    stores = open_stores()
    await stores.store.commit(make_step(flow, events=tuple(make_event(number) for number in range(8))))
    others = [open_stores() for _ in range(4)]
    await asyncio.gather(
        *(
            others[number % 4].store.commit(ChangeSet(flow_id=flow.flow_id, handled=f"event-{number}"))
            for number in range(0, 8, 2)
        )
    )
    left = [queued.event.id for queued in await stores.queue.pending(0, 9)]
    assert left == [f"event-{number}" for number in range(1, 8, 2)]


def test_the_vocabulary_of_stored_documents_never_changes() -> None:
    assert list(vocabulary.BY_CHECKSUM) == [3938474008, 3687765816, 2059674572, 3917829551, 1520203269, 1299092629]


def test_a_capability_of_the_table_is_paid_for_only_where_it_is_used() -> None:
    table = create_table("flowc")
    assert table["BillingMode"] == "PAY_PER_REQUEST"
    projections = [index["Projection"]["ProjectionType"] for index in table["GlobalSecondaryIndexes"]]
    assert "ALL" not in projections


@pytest.mark.parametrize("tickets", [0, 2])
async def test_a_conflict_is_no_reason_to_try_again(
    dynamodb_client: Client, open_stores: OpenStores, tickets: int
) -> None:
    tries = 0

    async def count(call: Call, operation: str, arguments: Arguments) -> Answer:
        nonlocal tries
        tries += operation in {"update_item", "transact_write_items"}
        return await call(operation, arguments)

    flow = make_flow()
    await open_stores().store.commit(make_step(flow))
    with pytest.raises(Conflict):
        await open_stores(Between(dynamodb_client, count)).store.commit(make_step(flow, *make_plan(flow, tickets)))
    assert tries == 1


async def test_what_two_processes_put_at_one_position_is_kept_twice(
    dynamodb_client: Client, dynamodb_table: str
) -> None:
    class Still(SystemClock):
        """Stands still, so that two processes that do the same give the same positions."""

        def now(self) -> Any:
            return T0

    flow = make_flow()
    for number in range(3):
        stores = DynamoStore(dynamodb_client, dynamodb_table, None, Still(), settle=0).stores
        parts = {"history": (make_history(flow, number),), "telemetry": (make_event(number),)}
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, audit=(make_audit(flow, number),), **parts))  # type: ignore[arg-type]
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, history=(make_history(flow, 10 + number),)))
    assert len(await stores.views.history(flow.flow_id, 0, 100)) == 6
    assert len(await stores.views.audits(flow.flow_id, 100)) == 3
    assert await stores.telemetry_buffer.size() == 3


async def test_processes_that_nobody_names_as_owners_give_positions_of_their_own(
    dynamodb_client: Client, dynamodb_table: str
) -> None:
    flow, clock = make_flow(), Ahead(T0)
    for number in range(5):
        name = f"environment-{number}"
        stores = DynamoStore(dynamodb_client, dynamodb_table, None, clock, name=name, settle=0).stores
        ticket = make_ticket(flow, number)
        entry = make_history(flow, number, ticket_id=ticket.ticket_id)
        await stores.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=(ticket,), history=(entry,)))
    assert len({entry.seq for entry in await stores.views.history(flow.flow_id, 0, 100)}) == 5


def test_where_held_tickets_are_found_never_changes() -> None:
    assert [keys.held_by(name) for name in ("worker-1", "worker-4")] == ["HELD#0", "HELD#1"]
