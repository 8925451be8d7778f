"""Events of users at the door of the platform, and the commands of docs/guides/events-in.md as they stand there."""

import asyncio
import re
import shlex
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from functions._cli.app import app
from functions._core.events.catalogue import CATALOGUE
from functions._core.events.envelope import type_of
from functions._core.placement.event_waits import EVENT_BYTES
from functions._core.records.control import Control, Wait
from functions._core.records.models import Ticket
from functions._core.records.values import TaskType, TicketStatus, Waiting
from tests.conftest import ROOT
from tests.support.builders import make_flow, make_step, make_ticket
from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.one_machine import OneMachine, one_machine
from tests.support.waiting import TYPE, about, users_event
from tests.support.world import until

KEY = "a-key-that-nobody-guesses"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running_one:
        yield running_one


async def waiting_ticket(api: Api, order: int) -> Ticket:
    """Commit a ticket that waits as C3 does, and tell what follows commits of it."""
    flow = make_flow(order, status="EXECUTING")
    ticket = make_ticket(
        flow,
        task_type=TaskType.WAIT,
        status=TicketStatus.WAITING,
        waiting=Waiting.EVENT,
        waiting_since=api.world.ports.clock.now(),
        control=Control(wait=Wait(event=about(order))),
        next_wakeup_at=None,
    )
    step = make_step(flow.but(next_wakeup_at=None), ticket, decision=b"{}")
    await api.world.ports.store.commit(step)
    for act in api.world.platform.after_commit:
        act(step)
    return ticket


async def test_an_event_is_kept_and_listed_and_known_again(api: Api) -> None:
    first = (await api.post(users_event(7))).json()
    assert first.keys() == {"result", "kept_until"}
    assert first["result"] == "kept"
    again = await api.post(users_event(7))
    assert (again.status_code, again.json()) == (202, {**first, "result": "duplicate"})
    (kept,) = (await api.get("/api/v1/kept-events"))["items"]
    assert (kept["id"], kept["type"], kept["result"], kept["ticket_id"]) == ("e-7", TYPE, "kept", None)
    assert "data" not in kept
    assert (await api.get("/api/v1/flows"))["items"] == []


async def test_a_wait_that_a_commit_begins_is_listed_with_what_it_asks_for(api: Api) -> None:
    tickets = [await waiting_ticket(api, order) for order in (1, 2, 3)]

    async def listed() -> Any:
        page = await api.get("/api/v1/event-waits")
        return page if len(page["items"]) == len(tickets) else None

    page = await until(listed, "the waits")
    assert {wait["by"]["ticket_id"] for wait in page["items"]} == {ticket.ticket_id for ticket in tickets}
    assert {wait["wanted"]["correlation"]["equals"] for wait in page["items"]} == {1, 2, 3}
    assert (await api.get(f"/api/v1/event-waits?type={TYPE}"))["items"] == page["items"]
    assert (await api.get("/api/v1/event-waits?type=another"))["items"] == []
    one, found = await api.get("/api/v1/event-waits?limit=2"), []
    found += one["items"]
    found += (await api.get(f"/api/v1/event-waits?after={one['after']}"))["items"]
    assert found == page["items"]


async def test_of_a_batch_each_event_is_answered(api: Api) -> None:
    answer = (await api.post(users_event(1), users_event(2), users_event(1), batch=True)).json()
    assert [one["result"] for one in answer["taken"]] == ["kept", "kept", "duplicate"]
    assert answer["flows"] == []


@pytest.mark.parametrize("spoofed", [f"IO.NeuralHive.{'ticket.reported'}.v1", "io.neuralhive.", "io.neuralhive.mine"])
async def test_no_type_that_looks_like_the_platforms_own_is_taken(api: Api, spoofed: str) -> None:
    problem_of(await api.post(users_event(event_type=spoofed)), 422, "unknown_type")


async def test_every_type_of_the_platform_is_closed_to_users_events_with_and_without_its_prefix(api: Api) -> None:
    for entry in CATALOGUE:
        problem_of(await api.post(users_event(event_type=entry.event_type)), 422, "unknown_type")
        if not entry.outside:
            problem_of(await api.post(users_event(event_type=type_of(entry.event_type))), 403, "internal_type")
    assert (await api.get("/api/v1/kept-events"))["items"] == []


async def test_what_is_too_large_or_too_long_is_refused_and_nothing_is_kept(api: Api) -> None:
    problem_of(await api.post(users_event(data="x" * EVENT_BYTES)), 413, "event_too_large")
    problem_of(await api.post(users_event(event_type="t" * 256)), 422, "type_too_long")
    problem_of(await api.post(users_event(extensions={"expirytime": "soon"})), 422, "invalid_expirytime")
    problem_of(await api.post(users_event(extensions={"expirytime": "2001-01-01T00:00:00Z"})), 422, "event_expired")
    assert (await api.get("/api/v1/kept-events"))["items"] == []
    assert (await api.post(users_event(event_type="t" * 255))).json()["result"] == "kept"


async def test_an_event_takes_a_role_as_a_decision_does(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key=KEY) as api:
        problem_of(await api.post(users_event()), 401, "missing_key")
        admin = bearer(KEY)
        codes = {}
        for role in ("viewer", "worker", "operator"):
            made = await api.client.post("/api/v1/keys", json={"name": role, "roles": [role]}, headers=admin)
            codes[role] = (await api.post(users_event(role), token=made.json()["key"])).status_code
            refused = await api.client.get("/api/v1/kept-events", headers=bearer(made.json()["key"]))
            assert (refused.status_code == 200) == (role != "worker"), role
        assert codes == {"viewer": 403, "worker": 403, "operator": 202}


@pytest.mark.parametrize("asked", ["after=%00", "after=" + "a" * 300, "limit=0", "type=" + "t" * 300, "kind=x"])
async def test_a_listing_refuses_what_it_does_not_know(api: Api, asked: str) -> None:
    answer = await api.client.get(f"/api/v1/event-waits?{asked}")
    assert answer.status_code in {400, 422}


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path) as running:
        yield running


async def flowc(platform: OneMachine, *words: str) -> str:
    result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--url", platform.url], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return result.output


async def test_the_commands_of_the_guide_do_what_it_says(platform: OneMachine) -> None:
    guide = (ROOT / "docs/guides/events-in.md").read_text(encoding="utf-8")
    commands = [line for block in re.findall(r"```sh\n(.*?)```", guide, re.DOTALL) for line in block.splitlines()]
    told = [
        await flowc(platform, *shlex.split(line)[1:]) for line in commands if line.startswith(("flowc s", "flowc e"))
    ]
    assert len(told) == 4
    assert told[0].startswith("kept: no ticket waits for it yet")
    assert "no ticket waits for an event" in told[1]
    assert "payment-7" in told[2]
    assert '"items": []' in told[3]


async def test_a_signal_has_data_from_a_file_and_any_attribute(platform: OneMachine, tmp_path: Path) -> None:
    (tmp_path / "data.json").write_text('{"order": 7}', encoding="utf-8")
    words = ("signal", TYPE, "--id", "1", "--subject", "s", "-a", "tenant=t", "--data", f"@{tmp_path}/data.json")
    assert '"result": "kept"' in await flowc(platform, *words, "--json")
    assert "duplicate" in await flowc(platform, *words)
    assert '"subject": "s"' in await flowc(platform, "events-in", "--kept", "--json")


@pytest.mark.parametrize(
    "words",
    [
        ("signal", "t", "--data", "{"),
        ("signal", "t", "--data", "@/no/such/file"),
        ("signal", "t", "-a", "tenant"),
        ("signal", "t", "-a", "=x"),
        ("signal", "io.neuralhive.ticket.ready.v1", "--data", "{}"),
        ("events-in", "--kept", "--type", "t"),
    ],
)
async def test_a_wrong_signal_is_wrong_use(platform: OneMachine, words: tuple[str, ...]) -> None:
    result = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--url", platform.url])
    assert result.exit_code in {1, 2}
