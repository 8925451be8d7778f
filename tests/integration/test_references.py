"""How people name flows over HTTP, and what tasks wrote."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from functions._core.events.reports import LOG_LIMIT
from functions._core.records.values import flow_id_of, ticket_id_of
from functions.api import references
from tests.support.http_api import Api, running_api
from tests.support.world import decision, task

RESOLVE = "/api/v1/flows/resolve"
IMPOSSIBLE = task("a", required_capabilities=["telepathy"])


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def meant(api: Api, ref: str) -> str:
    found: str = (await api.get(RESOLVE, ref=ref))["flow_id"]
    return found


async def refused(api: Api, ref: str) -> tuple[int, str, str]:
    answer = await api.client.get(RESOLVE, params={"ref": ref})
    return answer.status_code, answer.json()["code"], answer.json()["detail"]


async def test_a_flow_is_named_by_its_id_the_beginning_of_it_its_decision_or_its_plan(api: Api) -> None:
    flow_id = await api.world.submit(decision(IMPOSSIBLE, decision_id="release/7 & more"))
    for ref in (flow_id, flow_id[:4], flow_id[:13].upper(), "release/7 & more", "plan-of-release/7 & more"):
        assert await meant(api, ref) == flow_id
    found = await api.get(RESOLVE, ref=flow_id)
    assert (found["decision_id"], found["plan_id"]) == ("release/7 & more", "plan-of-release/7 & more")


async def test_what_names_no_flow_is_not_found(api: Api) -> None:
    flow_id = await api.world.submit(decision(IMPOSSIBLE))
    for ref in (flow_id[:3], f"{flow_id}0", "nope", "a\x00b", "é"):
        assert (await refused(api, ref))[:2] == (404, "unknown_flow")
    assert (await api.client.get(RESOLVE)).status_code == 422


async def test_what_may_mean_several_flows_names_them_the_newest_first(api: Api) -> None:
    data = decision(IMPOSSIBLE, decision_id="first")
    first = await api.world.submit(data)
    second = await api.world.submit(data | {"decision_id": "second"})
    status, code, detail = await refused(api, "plan-of-first")
    assert (status, code) == (409, "ambiguous_reference")
    assert 0 < detail.index(second) < detail.index(first)
    assert "decision 'first'" in detail


async def test_an_exact_id_comes_before_a_plan_of_that_name(api: Api) -> None:
    data = decision(IMPOSSIBLE, decision_id="one")
    await api.world.submit(data)
    plan = data["cognitive_plan"] | {"plan_id": "one"}
    await api.world.submit(data | {"decision_id": "two", "plan_id": "one", "cognitive_plan": plan})
    assert await meant(api, "one") == flow_id_of("one")


async def test_the_plan_of_a_flow_that_is_not_among_the_newest_is_found_by_its_tickets(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    await api.world.register()
    flow = await api.world.run(task("a"), decision_id="old")
    await api.world.submit(decision(IMPOSSIBLE))
    monkeypatch.setattr(references, "PAGE", 1)
    monkeypatch.setattr(references, "LOOKED_AT", 1)
    assert await meant(api, "plan-of-old") == flow.flow_id
    assert (await refused(api, flow.flow_id[:6]))[0] == 404


async def test_what_a_task_wrote_is_kept_by_itself_and_is_in_no_event(api: Api) -> None:
    await api.world.register()
    wrote = f"words\0{'é' * LOG_LIMIT}!"
    api.world.workers.behave = lambda _: {"status": "COMPLETED", "output": 1, "log": wrote}
    flow = await api.world.run(task("a"))
    ticket_id = ticket_id_of(flow.flow_id, "a")
    log = await api.get(f"/api/v1/tickets/{ticket_id}/logs")
    assert (log["task_id"], log["attempt"], log["text"][-2:]) == ("a", 1, "é!")
    assert LOG_LIMIT - 2 <= len(log["text"].encode()) <= LOG_LIMIT
    [ticket] = (await api.get(f"/api/v1/flows/{flow.flow_id}/tickets"))["items"]
    assert "log" not in ticket
    assert ticket["log_bytes"] == len(log["text"].encode())
    told = [(await api.client.get(f"/api/v1/{path}")).text for path in ("events", f"why/{ticket_id}", "audits")]
    told.append(str(api.world.sink.events))
    assert not any("éé" in text or "\\u00e9" in text for text in told)


async def test_the_log_is_that_of_the_newest_attempt_that_told_one(api: Api) -> None:
    await api.world.register()
    quick = {"max_retries": 2, "initial_ms": 1, "max_ms": 1, "jitter": 0}
    said = {1: {"log": "first\n"}, 2: {"log": "second\0\n"}, 3: {}}

    def behave(assignment: object) -> dict[str, object]:
        attempt = assignment["attempt"]  # type: ignore[index]
        return {"status": "FAILED", "error": "no", **said[attempt]}

    api.world.workers.behave = behave
    flow = await api.world.run(task("a", retry=quick))
    log = await api.get(f"/api/v1/tickets/{ticket_id_of(flow.flow_id, 'a')}/logs")
    assert (log["attempt"], log["text"]) == (2, "second?\n")


async def test_a_task_that_wrote_nothing_has_an_empty_log_and_an_unknown_one_none(api: Api) -> None:
    await api.world.register()
    flow = await api.world.run(task("a"))
    assert (await api.get(f"/api/v1/tickets/{ticket_id_of(flow.flow_id, 'a')}/logs"))["text"] == ""
    assert (await api.client.get("/api/v1/tickets/nope/logs")).status_code == 404
