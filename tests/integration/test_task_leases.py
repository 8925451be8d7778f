"""Workers that ask for their tickets: nothing is sent to them, what they are given is theirs, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.placement.leasing import LeaseRequest
from functions._core.records.values import TicketStatus
from functions._core.records.worker import Answer
from tests.support.http_api import Api, problem_of, running_api
from tests.support.pulling import ask, done, leased, register_pulling, running
from tests.support.world import decision, task, until


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running_one:
        yield running_one


async def assigned(api: Api, flow_id: str, count: int = 1) -> None:
    """Wait until so many tickets of a flow have a worker."""

    async def have() -> bool | None:
        tickets = (await api.world.tickets(flow_id)).values()
        return sum(ticket.status is TicketStatus.ASSIGNED for ticket in tickets) >= count or None

    await until(have, f"{count} tickets to be assigned")


async def test_a_worker_that_cannot_be_reached_does_a_flow(api: Api) -> None:
    registered = await register_pulling(api, slots=2)
    assert (registered["endpoint"], registered["delivery"]) == ("", "pull")
    flow_id = await api.submit(decision(task("a"), task("b", "a", parameters={"x": {"$output": "a"}})))
    [a] = await leased(api, wait_seconds=30)
    assert (a["task_id"], a["attempt"], a["worker_id"]) == ("a", 1, "p1")
    assert (await done(api, a, output={"n": 1}))["result"] == "recorded"
    [b] = await leased(api, wait_seconds=30)
    assert b["parameters"] == {"x": {"n": 1}}
    await done(api, b)
    assert (await api.world.ended(flow_id)).status == "COMPLETED"
    assert api.world.workers.assignments == []
    assert [kind for kind, of in await api.world.transitions(flow_id) if of == "b"][-2:] == [
        "ticket.assigned",
        "ticket.completed",
    ]


async def test_an_assignment_wakes_the_request_that_waits(api: Api) -> None:
    await register_pulling(api)
    waiting = asyncio.create_task(leased(api, wait_seconds=30))
    leases = api.world.platform.task_leases
    await until(lambda: _when(leases.waiting == 1), "the request to wait")
    await api.submit(decision(task("a")))
    [a] = await waiting
    assert a["task_id"] == "a"
    assert leases.waiting == 0
    text = api.world.platform.metrics.text().decode()
    assert 'flowc_leases_total{result="given"} 1' in text
    assert 'flowc_leased_tickets_total{time="first"} 1' in text


async def test_an_answer_that_was_lost_is_given_again_and_one_that_was_not_is_not(api: Api) -> None:
    await register_pulling(api, slots=3)
    flow_id = await api.submit(decision(task("a"), task("b")))
    await assigned(api, flow_id, 2)
    first = await leased(api, limit=2)
    history = await api.world.history(flow_id)
    assert await leased(api, limit=2) == [], "without a word on what it has nothing is given again"
    assert await leased(api, limit=2, running=running(first)) == []
    again = await leased(api, limit=2, running=running(first[:1]))
    assert [one["ticket_id"] for one in again] == [first[1]["ticket_id"]]
    assert again[0]["attempt"] == 1
    assert await api.world.history(flow_id) == history
    for one in (first[0], again[0]):
        await done(api, one)
    assert (await api.world.ended(flow_id)).status == "COMPLETED"


async def test_a_task_that_must_not_be_done_twice_is_not_given_again_to_a_worker_that_was_started_again(
    api: Api,
) -> None:
    await register_pulling(api)
    flow_id = await api.submit(decision(task("a", idempotent=False)))
    [a] = await leased(api, wait_seconds=30)
    assert running(await leased(api, running=[])) == running([a]), "the same process knows what it has begun"
    await asyncio.sleep(0.01)  # another millisecond: times of registrations have no finer grain
    await register_pulling(api)
    assert await leased(api, running=[]) == []
    await done(api, a)
    assert (await api.world.ended(flow_id)).status == "COMPLETED"


async def test_a_ticket_that_is_not_asked_for_goes_to_the_next_worker(tmp_path: Path) -> None:
    limits = {"unreachable": timedelta(seconds=0.2)}
    async with running_api(tmp_path, limits=limits) as api:
        await register_pulling(api, "p1")
        flow_id = await api.submit(decision(task("a", idempotent=False)))
        await assigned(api, flow_id)
        why = (await api.get(f"/api/v1/why/{(await api.world.tickets(flow_id))['a'].ticket_id}"))["text"]
        assert "waits for worker p1 to ask for it" in why[0]
        await api.world.register("w1")
        flow = await api.world.ended(flow_id)
        assert flow.status == "COMPLETED"
        ticket = (await api.world.tickets(flow_id))["a"]
        assert (ticket.worker_id, ticket.retry_count) == ("w1", 0)
        [moved] = [entry for entry in await api.world.history(flow_id) if entry["type"] == "ticket.reassigned"][:1]
        assert (moved["cause"], moved["worker_id"]) == ("not_asked_for", "p1")


async def test_a_worker_that_never_asks_gets_nothing_for_a_while(tmp_path: Path) -> None:
    limits = {"unreachable": timedelta(seconds=0.05), "breaker_failures": 2}
    async with running_api(tmp_path, limits=limits) as api:
        await register_pulling(api)
        await api.submit(decision(*(task(f"t{number}") for number in range(5))))

        async def suspended() -> dict[str, Any] | None:
            worker: dict[str, Any] = await api.get("/api/v1/workers/p1")
            return worker if worker["suspended_until"] else None

        worker = await until(suspended, "its circuit breaker to open")
        assert worker["doubt"] == "not_asked_for"


async def test_of_several_requests_of_a_worker_the_newest_waits(api: Api) -> None:
    await register_pulling(api)
    leases = api.world.platform.task_leases
    older = asyncio.create_task(leased(api, wait_seconds=30))
    await until(lambda: _when(leases.waiting == 1), "the first request to wait")
    newer = asyncio.create_task(leased(api, wait_seconds=30))
    assert await older == []
    assert leases.waiting == 1
    await api.submit(decision(task("a")))
    assert [one["task_id"] for one in await newer] == ["a"]


async def test_a_cancellation_reaches_a_worker_that_waits(api: Api) -> None:
    await register_pulling(api)
    flow_id = await api.submit(decision(task("a")))
    [a] = await leased(api, wait_seconds=30)
    waiting = asyncio.create_task(ask(api, wait_seconds=30, running=running([a])))
    await until(lambda: _when(api.world.platform.task_leases.waiting == 1), "the request to wait")
    await api.world.cancel(flow_id)
    assert (await waiting).json() == {"assignments": [], "cancel": [a["ticket_id"]]}
    assert api.world.workers.cancellations == []


async def test_what_comes_while_nobody_listens_stays_for_the_next_request(api: Api) -> None:
    await register_pulling(api)
    left = asyncio.Event()

    async def gone() -> bool:
        return left.is_set()

    request = LeaseRequest(worker_id="p1", wait_seconds=30)
    waiting = asyncio.create_task(api.world.platform.lease(request, gone))
    await until(lambda: _when(api.world.platform.task_leases.waiting == 1), "the request to wait")
    left.set()
    flow_id = await api.submit(decision(task("a")))
    assert (await waiting).assignments == ()
    await assigned(api, flow_id)
    assert [one["task_id"] for one in await leased(api)] == ["a"]


async def test_to_ask_is_a_heartbeat(tmp_path: Path) -> None:
    async with running_api(tmp_path, heartbeat_seconds=1) as api:
        registered = await register_pulling(api)

        async def heard() -> bool | None:
            await leased(api)
            return ((await api.get("/api/v1/workers/p1"))["last_seen"] > registered["last_seen"]) or None

        await until(heard, "the registry to note it")


async def test_what_a_worker_has_lost_goes_to_another_one(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits={"redeliver": timedelta(seconds=0.05)}) as api:
        await register_pulling(api)
        flow_id = await api.submit(decision(task("a")))
        [a] = await leased(api, wait_seconds=30)
        await done(api, a, "RUNNING")

        async def moved() -> bool | None:
            await leased(api, running=[])
            return (("ticket.reassigned", "a") in await api.world.transitions(flow_id)) or None

        await until(moved, "the ticket to be taken from it")


async def test_push_pull_and_claim_at_once_and_each_ticket_runs_once(api: Api) -> None:
    starts: list[tuple[str, int]] = []

    def sent(one: Mapping[str, Any]) -> Mapping[str, Any]:
        starts.append((one["task_id"], one["attempt"]))
        return {"status": "COMPLETED"}

    api.world.workers.behave = sent
    await api.world.register("w1", "python", slots=2)
    await register_pulling(api, slots=2)
    shared = [task(f"shared-{number}") for number in range(20)]
    claimed = [task(f"claimed-{number}", required_capabilities=["rare"]) for number in range(5)]
    flow_id = await api.submit(decision(*shared, *claimed))

    async def pulls() -> None:
        while not (await api.world.flow(flow_id)).ended_at:  # type: ignore[union-attr] # it was admitted
            for one in await leased(api, limit=2, wait_seconds=0.1, running=[]):
                starts.append((one["task_id"], one["attempt"]))
                await done(api, one)

    async def claims(worker_id: str) -> None:
        while not (await api.world.flow(flow_id)).ended_at:  # type: ignore[union-attr] # it was admitted
            page = await api.get("/api/v1/tickets", flow_id=flow_id, status="PENDING", limit=100)
            for ticket in page["items"]:
                path = f"/api/v1/tickets/{ticket['ticket_id']}/status"
                answer = await api.client.patch(path, json={"status": "RUNNING", "worker_id": worker_id})
                if answer.status_code == 200:
                    starts.append((ticket["task_id"], answer.json()["attempt"]))
                    body = {"status": "COMPLETED", "attempt": answer.json()["attempt"], "worker_id": worker_id}
                    assert (await api.client.patch(path, json=body)).status_code == 200
            await asyncio.sleep(0.01)

    await asyncio.gather(pulls(), claims("c1"), claims("c2"))
    assert (await api.world.ended(flow_id)).status == "COMPLETED"
    assert len(starts) == len(set(starts)) == 25
    assert {name for name, _ in starts} == {one["task_id"] for one in (*shared, *claimed)}
    by = {ticket.worker_id for ticket in (await api.world.tickets(flow_id)).values()}
    assert {"w1", "p1"} <= by
    assert by & {"c1", "c2"}


async def test_who_is_sent_tickets_or_is_not_known_cannot_ask(api: Api) -> None:
    problem_of(await ask(api, "nobody"), 404, "unknown_worker")
    await api.world.register("w1")
    problem_of(await ask(api, "w1"), 409, "not_pulling")


async def test_a_worker_that_asks_now_is_not_sent_what_was_to_be_sent(api: Api) -> None:
    """It registers for the other way between the choice and the sending."""
    asked = asyncio.Event()

    def away(_worker: object, _event: object) -> Answer:
        asked.set()
        return Answer(503)

    api.world.workers.answer = away
    await api.world.register("p1")
    flow_id = await api.submit(decision(task("a")))
    await asked.wait()
    await register_pulling(api)
    [a] = await leased(api, wait_seconds=30)
    assert (a["task_id"], a["attempt"]) == ("a", 1)
    await done(api, a)
    assert (await api.world.ended(flow_id)).status == "COMPLETED"


async def test_a_push_worker_needs_an_endpoint_and_a_pulling_one_has_few_slots(api: Api) -> None:
    answer = await api.client.post("/api/v1/workers", json={"worker_id": "w"})
    assert "body.endpoint" in problem_of(answer, 422, "invalid_data")["detail"]
    answer = await api.client.post("/api/v1/workers", json={"worker_id": "w", "delivery": "pull", "slots": 1001})
    assert "body.slots" in problem_of(answer, 422, "invalid_data")["detail"]
    answer = await api.client.post("/api/v1/workers", json={"worker_id": "w", "delivery": "carrier pigeon"})
    assert "body.delivery" in problem_of(answer, 422, "invalid_data")["detail"]


async def _when(value: bool) -> bool | None:
    return value or None
