"""The changes of flows as a stream: from now on or from a number on, by one reader for all, within bounds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._adapters.stores import Stores
from functions._core.errors import Rejected, Unavailable
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow
from functions.api import change_feed, history
from functions.api.change_feed import MOST_BEHIND, ChangeFeed, Follower, messages, missed
from functions.api.services import Watchers
from tests.support.builders import later, make_flow, make_history, make_step
from tests.support.every_store import OnDynamo, OnMemory, OnPostgres, OnSqlite
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import one_machine
from tests.support.world import decision, task, until

EVENTS = "/api/v1/events"
STREAM = {"accept": "text/event-stream"}


@dataclass
class Message:
    """One server-sent event."""

    id: str | None = None
    event: str = "message"
    data: Any = None


async def read(answer: httpx.Response) -> AsyncIterator[Message]:
    """Yield the messages of a stream as a browser takes them apart."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    message = Message()
    async for line in answer.aiter_lines():
        name, _, value = line.partition(": ")
        if not line:
            yield message
            message = Message()
        elif name == "data":
            message.data = json.loads(value)
        elif name in {"id", "event"}:
            setattr(message, name, value)


@asynccontextmanager
async def following(client: httpx.AsyncClient, **asked: Any) -> AsyncIterator[AsyncIterator[Message]]:
    """Give a stream that has begun."""
    headers = STREAM | asked.pop("headers", {})
    async with client.stream("GET", EVENTS, params=asked, headers=headers) as answer:
        messages = read(answer)
        first = await anext(messages)
        assert (first.data, first.event) == (None, "message")
        yield messages


async def told_of(messages: AsyncIterator[Message], flow_id: str) -> list[Any]:
    """Return the changes that a stream tells up to the end of a flow."""
    told = []
    async for message in messages:
        if message.data is not None:
            told.append(message.data)
            if (message.data["flow_id"], message.data["to_status"]) == (flow_id, "CANCELLED"):
                return told
    raise AssertionError(told)


async def cancelled(api: Any) -> str:
    """Submit a decision and cancel its flow; return the flow's id once it has ended."""
    flow_id = str(await api.submit(decision(task("a"))))
    await api.send(f"/api/v1/flows/{flow_id}/cancel", {"requested_by": "test", "reason": "enough"})

    async def has_ended() -> bool | None:
        flow = await api.get(f"/api/v1/flows/{flow_id}")
        return flow["ended_at"] is not None or None

    await until(has_ended, "the flow to end")
    return flow_id


async def test_a_stream_tells_from_now_on_and_goes_on_behind_its_last_message(tmp_path: Path) -> None:
    async with one_machine(tmp_path) as at:
        before = await cancelled(at)
        async with following(at.client) as messages:
            flow_id = await cancelled(at)
            told = await told_of(messages, flow_id)
        assert {one["flow_id"] for one in told} == {flow_id}
        history = await at.history(flow_id)
        assert [one["seq"] for one in told] == [one["seq"] for one in history if one["seq"] <= told[-1]["seq"]]
        assert told[0].keys() == {
            *("seq", "type", "flow_id", "ticket_id", "task_id", "from_status", "to_status", "occurred_at")
        }
        async with following(at.client, headers={"last-event-id": str(told[1]["seq"])}, after=0) as messages:
            assert await told_of(messages, flow_id) == told[2:]
        async with following(at.client, after=0, flow_id=before) as messages:
            again = await told_of(messages, before)
            assert {one["flow_id"] for one in again} == {before}
            assert again[0]["seq"] < told[0]["seq"]


async def test_a_hundred_streams_ask_the_store_as_often_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_machine(tmp_path) as at, AsyncExitStack() as stack:
        limits = httpx.Limits(max_connections=None)
        client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=at.url, trust_env=False, timeout=60, limits=limits)
        )
        views, asked = at.running.ports.views, 0
        look = views.history

        async def counted(*given: Any) -> Any:
            nonlocal asked
            asked += 1
            return await look(*given)

        first = await stack.enter_async_context(following(client))
        streams = [first, *[await stack.enter_async_context(following(client)) for _ in range(99)]]
        monkeypatch.setattr(views, "history", counted)
        flow_id = await cancelled(at)
        alone = await told_of(first, flow_id)
        for messages in streams[1:]:
            assert await told_of(messages, flow_id) == alone
        begun, at_first = asyncio.get_running_loop().time(), asked
        await asyncio.sleep(2)  # nothing happens: so often one reader looks
        looks = asked - at_first
        assert looks <= 2 + (asyncio.get_running_loop().time() - begun) / change_feed.PAUSE


class LiveSuite:
    @pytest.fixture
    async def api(self, stores: Stores, tmp_path: Path) -> AsyncIterator[Api]:
        async with running_api(tmp_path, stores=stores) as running:
            yield running

    async def test_now_is_behind_all_that_has_happened_and_before_all_that_comes(self, api: Api) -> None:
        flow = quiet_flow(1)
        store = api.world.ports.store
        await store.commit(make_step(flow, history=[make_history(flow)]))

        async def settled() -> int | None:
            now: int = (await api.get(f"{EVENTS}?after=now"))["after"]
            return now if now >= (await api.get(f"{EVENTS}?after=0"))["after"] else None

        now = await until(settled, "what has happened is settled")
        assert (await api.get(f"{EVENTS}?after={now}"))["items"] == []
        flow = later(flow)
        await store.commit(make_step(flow, history=[make_history(flow, 2, type="flow.paused")]))
        page = await api.get(f"{EVENTS}?after={now}")
        assert [one["type"] for one in page["items"]] == ["io.neuralhive.flow.paused.v1"]
        assert (await api.get(f"{EVENTS}?after={now}&flow_id={flow.flow_id}")) == page

    async def test_the_feed_tells_each_follower_once_what_comes_behind_its_number(self, api: Api) -> None:
        views, store, feed = api.world.ports.views, api.world.ports.store, ChangeFeed()
        one, two = quiet_flow(1), quiet_flow(2)
        await store.commit(make_step(one, history=[make_history(one)]))
        all_of_them, at = await feed.follow(views, pause, None, 0)
        only_two, _ = await feed.follow(views, pause, two.flow_id, 0)
        assert len(await missed(views, None, 0, max(at, (await views.history(None, 0, 10))[-1].seq)) or ()) == 1
        await store.commit(make_step(two, history=[make_history(two), make_history(two, 2)]))
        told = b""
        while told.count(b"data:") < 2:
            told += (await only_two.next(60)).replace(one.flow_id.encode(), b"?")
        assert b"?" not in told
        everything = b""
        while everything.count(two.flow_id.encode()) < 2:
            everything += await all_of_them.next(60)
        for follower in (all_of_them, only_two):
            feed.leave(follower)
        assert feed.following == 0


def quiet_flow(number: int) -> Flow:
    """Build a flow that the platform leaves alone."""
    far = datetime(2100, 1, 1, tzinfo=UTC)
    return make_flow(number, next_wakeup_at=far, sla_deadline=far)


async def pause(_key: str, _seconds: float) -> None:
    await asyncio.sleep(0.02)


class TestOnMemory(OnMemory, LiveSuite): ...


class TestOnSqlite(OnSqlite, LiveSuite): ...


class TestOnPostgres(OnPostgres, LiveSuite): ...


class TestOnDynamo(OnDynamo, LiveSuite): ...


def entry(seq: int, flow: int = 1) -> HistoryEntry:
    return make_history(make_flow(flow), seq=seq)


def test_the_last_message_of_a_number_has_it_as_id() -> None:
    told = [message.startswith(b"id: ") for _, _, message in messages([entry(1), entry(2), entry(2), entry(3)])]
    assert told == [True, False, True, True]


async def test_a_follower_that_does_not_read_is_dropped_and_keeps_nothing() -> None:
    slow = Follower(None, 0)
    for seq in range(1, MOST_BEHIND + 3):
        slow.tell(messages([entry(seq)]))
    assert slow.ended
    assert await slow.next(1) == b""


async def test_the_feed_drops_a_slow_follower_and_tells_the_others(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        views, feed = api.world.ports.views, ChangeFeed()
        slow, _ = await feed.follow(views, pause, None, 0)
        quick, _ = await feed.follow(views, pause, None, 0)
        flow, told = quiet_flow(1), 0
        for _ in range(12):
            entries = [make_history(flow, number) for number in range(200)]
            await api.world.ports.store.commit(make_step(flow, history=entries))
            flow = later(flow)
            while told < 200 * (flow.version - 1):
                told += (await quick.next(60)).count(b"data:")
        assert (slow.ended, quick.ended, feed.following) == (True, False, 1)
        feed.leave(quick)


async def test_a_feed_ends_with_the_platform_and_begins_again(tmp_path: Path) -> None:
    async def stopping(_key: str, _seconds: float) -> None:
        raise Unavailable("the platform is stopping")

    async with running_api(tmp_path) as api:
        views, feed = api.world.ports.views, ChangeFeed()
        follower, _ = await feed.follow(views, stopping, None, 0)
        assert await follower.next(60) == b""
        assert follower.ended
        again, _ = await feed.follow(views, pause, None, 0)
        assert not again.ended
        feed.leave(again)


async def test_who_is_too_far_behind_is_told_to_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_feed, "MOST_BEHIND", 3)
    monkeypatch.setattr(change_feed, "PAGE", 2)
    monkeypatch.setattr(history, "LONGEST_STREAM", 0.2)
    async with running_api(tmp_path) as api:
        flow = quiet_flow(1)
        entries = [make_history(flow, number) for number in range(9)]
        await api.world.ports.store.commit(make_step(flow, history=entries))
        last = await api.world.ports.views.last_seq()
        answer = await api.client.get(f"{EVENTS}?after=0", headers=STREAM)
        assert answer.text.startswith(f'event: reset\nid: {last}\ndata: {{"seq": {last}}}\n\n')
        near = await api.client.get(f"{EVENTS}?after={last - 2}", headers=STREAM)
        assert near.text.count("data: {") == 2
        ahead = await api.client.get(f"{EVENTS}", headers={**STREAM, "last-event-id": str(last + 1_000)})
        assert ahead.text.startswith(f"event: reset\nid: {last}\n")


async def test_a_quiet_stream_says_that_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LONGEST_STREAM", 0.3)
    monkeypatch.setattr(history, "SIGN_OF_LIFE", 0.1)
    async with running_api(tmp_path) as api:
        answer = await api.client.get(EVENTS, headers=STREAM)
        assert answer.headers["cache-control"] == "no-store"
        assert "\n: \nid: 0\n\n" in answer.text


async def test_where_answers_cannot_last_the_page_comes_instead(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        api.app.state.services = replace(api.app.state.services, longest_wait=20.0)
        await api.world.submit(decision(task("a")))
        answer = await api.client.get(EVENTS, headers=STREAM)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json() == {"items": [], "after": await api.world.ports.views.last_seq()}
        assert (await api.client.get(f"{EVENTS}?after=0", headers=STREAM)).json()["items"]


async def test_streams_are_bounded_for_each_client_and_in_all(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api:
        full = Watchers(limit=2, of_one=1)
        api.app.state.services = replace(api.app.state.services, followers=full)
        with full.one(""):
            problem_of(await api.client.get(EVENTS, headers=STREAM), 503, "overloaded")
        with full.one("a"), full.one("b"), pytest.raises(Rejected):
            full.check("c")


@pytest.mark.parametrize(
    ("query", "headers", "status"),
    [
        ("after=-1", {}, 422),
        ("after=then", {}, 422),
        ("after=" + "9" * 30, {}, 422),
        ("after=1.5", {}, 422),
        ("flow_id=nobody", {}, 404),
        ("flow_id=%00", {}, 422),
        ("flow_id=" + "x" * 300, {}, 422),
        ("filter=1", {}, 400),
        ("", {"last-event-id": "x"}, 400),
        ("", {"last-event-id": "9" * 30}, 400),
        ("", {"last-event-id": "-1"}, 400),
        ("", {"last-event-id": "now"}, 400),
    ],
)
async def test_hostile_questions_are_refused(tmp_path: Path, query: str, headers: dict[str, str], status: int) -> None:
    async with running_api(tmp_path) as api:
        for accept in ("application/json", "text/event-stream"):
            if accept == "application/json" and headers:
                continue
            answer = await api.client.get(f"{EVENTS}?{query}", headers={"accept": accept, **headers})
            assert answer.status_code == status, answer.text


async def test_a_number_that_was_never_given_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "LONGEST_STREAM", 0.2)
    async with running_api(tmp_path) as api:
        answer = await api.client.get(f"{EVENTS}?after={2**63 - 1}", headers=STREAM)
        assert answer.text.startswith("event: reset\nid: 0\n")


async def test_clients_that_leave_are_not_followed_up(tmp_path: Path) -> None:
    async with one_machine(tmp_path) as at:
        for _ in range(5):
            async with following(at.client):
                pass
        async with following(at.client) as messages:  # is still served, alone
            flow_id = await cancelled(at)
            await told_of(messages, flow_id)
