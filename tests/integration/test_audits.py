"""What people do is kept with their names and reasons, beside what validation found."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._core.events.envelope import CloudEvent, type_of
from tests.support.builders import T0, make_letter
from tests.support.command_line import Api as StandIn
from tests.support.http_api import Api, problem_of, running_api
from tests.support.loopback import Loopback
from tests.support.world import decision, task

AUDITS = "/api/v1/audits"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def actions(api: Api, **filters: str) -> list[tuple[str, ...]]:
    """Return action, target, who and why of the actions kept, the newest first."""
    kept = (await api.get(AUDITS, kind="Action", **filters))["items"]
    return [(action["action"], action["target"], action["who"], action["why"]) for action in kept]


async def test_a_cancelled_flow_says_by_whom_however_it_was_asked_for(api: Api) -> None:
    one, two = [await api.world.submit(decision(task("a"))) for _ in range(2)]
    body = {"requested_by": "ada", "reason": "wrong plan"}
    for _ in range(2):
        assert (await api.client.post(f"/api/v1/flows/{one}/cancel", json=body)).status_code == 202
    event = CloudEvent(
        id="c-1", source="/t", type=type_of("flow.cancel_requested"), time=T0, data={"flow_id": two, **body}
    )
    assert (await api.post(event)).status_code == 202
    assert await actions(api, flow_id=one) == [("cancel_flow", one, "ada", "wrong plan")]
    assert await actions(api, flow_id=two) == [("cancel_flow", two, "ada", "wrong plan")]


async def test_dropped_and_replayed_letters_are_kept_with_who_and_why(api: Api) -> None:
    letters = api.world.ports.dead_letters
    flow_id = await api.world.submit(decision(task("a")))
    event = {
        "specversion": "1.0",
        "id": "cancel/1",
        "source": "/tests",
        "type": type_of("flow.cancel_requested"),
        "time": "2026-03-01T12:00:00.000Z",
        "subject": flow_id,
        "data": {"flow_id": flow_id},
        "partitionkey": flow_id,
    }
    await letters.put(make_letter(letter_id="cancel/1", flow_id=flow_id, event=event))
    await letters.put(make_letter(letter_id="l-2"))
    said = {"requested_by": "ada", "reason": "mended"}
    assert (await api.client.post("/api/v1/dead-letters/cancel/1/replay", params=said)).status_code == 202
    assert (await api.client.delete("/api/v1/dead-letters/l-2")).status_code == 204
    await api.world.ended(flow_id)
    assert await actions(api, flow_id=flow_id) == [
        ("cancel_flow", flow_id, "a user", "no reason given"),
        ("replay_dead_letter", "cancel/1", "ada", "mended"),
    ]
    assert ("drop_dead_letter", "l-2", "unnamed", "no reason given") in await actions(api)


async def test_a_worker_taken_out_is_kept_with_who_and_why(api: Api) -> None:
    await api.world.register()
    said = {"requested_by": "ada", "reason": "its disk is full"}
    assert (await api.client.delete("/api/v1/workers/w1", params=said)).status_code == 204
    assert await actions(api) == [("deregister_worker", "w1", "ada", "its disk is full")]


async def test_what_was_not_there_leaves_no_trace(api: Api) -> None:
    problem_of(await api.client.delete("/api/v1/workers/w1"), 404, "unknown_worker")
    problem_of(await api.client.delete("/api/v1/dead-letters/x"), 404, "unknown_dead_letter")
    problem_of(await api.client.post("/api/v1/dead-letters/x/replay"), 404, "unknown_dead_letter")
    problem_of(await api.client.post("/api/v1/flows/x/cancel"), 404, "unknown_flow")
    wrong = {"requested_by": "a\nb"}
    problem_of(await api.client.delete("/api/v1/dead-letters/x", params=wrong), 422, "invalid_data")
    assert (await api.get(AUDITS))["items"] == []


async def test_audits_are_filtered_by_flow_kind_and_validity(api: Api) -> None:
    await api.world.register()
    good = await api.world.run(task("a"))
    bad = await api.world.run(task("a", "a"))
    await api.client.delete("/api/v1/workers/w1")

    async def found(**filters: Any) -> list[tuple[str, str]]:
        return [(audit["kind"], audit["flow_id"]) for audit in (await api.get(AUDITS, **filters))["items"]]

    action, valid, invalid = ("action", ""), ("validation", good.flow_id), ("validation", bad.flow_id)
    assert await found() == [action, invalid, valid]
    assert await found(kind="validation") == [invalid, valid]
    assert await found(kind="ACTION") == [action]
    assert await found(valid=True) == [valid]
    assert await found(valid="false") == [invalid]
    assert await found(valid=False, flow_id=good.flow_id) == []
    assert await found(limit=1) == [action]
    problem_of(await api.client.get(AUDITS, params={"kind": "rumour"}), 422, "invalid_data")


async def test_the_command_line_lists_audits_and_passes_filters_on(api: Api) -> None:
    await api.world.register()
    await api.world.run(task("a", "a"), decision_id="bad")
    await api.client.delete("/api/v1/workers/w1", params={"requested_by": "ada", "reason": "away"})
    async with Loopback() as server:
        stand_in = StandIn(server, {f"GET {AUDITS}": await api.get(AUDITS)})
        server.answer = stand_in.answer
        listed = await stand_in.flowc("audits")
        assert listed.exit_code == 0, listed.output
        head, first, second = listed.stdout.splitlines()
        assert head.split() == ["TIME", "WHAT", "ABOUT", "BY", "WHY"]
        assert first.split()[2:] == ["deregister_worker", "w1", "ada", "away"]
        assert "invalid" in second
        assert "cyclic_dependencies" in second or "self_dependency" in second
        filtered = await stand_in.flowc("audits", "--flow", "f-1", "--kind", "action", "--invalid", "-n", "7", "--json")
        assert filtered.exit_code == 0, filtered.output
        asked = server.requests[-1]
    assert asked.query == {"flow_id": "f-1", "kind": "action", "valid": "false", "limit": "7"}


async def test_the_command_line_says_who_drops_or_replays_a_letter_and_why() -> None:
    async with Loopback() as server:
        stand_in = StandIn(server, {})
        server.answer = stand_in.answer
        stand_in.answers = {"POST /api/v1/dead-letters/a/b/replay": {}, "DELETE /api/v1/dead-letters/a/b": {}}
        for command in ("replay", "drop"):
            result = await stand_in.flowc("dead-letters", command, "a/b", "--by", "ada", "--reason", "it's & old")
            assert result.exit_code == 0, result.output
        asked = [request.query for request in server.requests]
    assert asked == [{"requested_by": "ada", "reason": "it's & old"}] * 2
