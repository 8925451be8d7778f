"""Schedules over HTTP: what is taken, what is refused, what is shown, and what is kept of it."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._core.schedules import course, stored
from functions._core.schedules.record import SPACE
from functions._core.schedules.wakeups import WAKEUPS
from functions.api import schedules
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision, task

PATH = "/api/v1/schedules"
JSON = {"content-type": "application/json"}
DECISION = {key: value for key, value in decision(task("a")).items() if key != "decision_id"}
HOURLY = {"cron": "0 * * * *", "decision": DECISION}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def put(api: Api, name: str = "nightly", **form: Any) -> dict[str, Any]:
    answer = await api.client.put(f"{PATH}/{name}", json={**HOURLY, **form})
    assert answer.status_code in {200, 201}, answer.text
    schedule: dict[str, Any] = answer.json()
    return schedule


async def test_a_schedule_is_made_shown_replaced_and_removed(api: Api) -> None:
    made = await api.client.put(f"{PATH}/nightly", json={**HOURLY, "zone": "Europe/Berlin", "jitter_seconds": 60})
    assert (made.status_code, made.json()["state"]) == (201, "ACTIVE")
    shown = (await api.client.get(f"{PATH}/nightly")).json()
    assert shown["next_runs"] == made.json()["next_runs"]
    assert (len(shown["next_runs"]), shown["decision"]) == (5, DECISION)
    assert shown["why"] == f"the next run begins at {shown['next_runs'][0]}"
    replaced = await api.client.put(f"{PATH}/nightly", json={"every_seconds": 60, "decision": DECISION})
    assert (replaced.status_code, replaced.json()["cron"]) == (200, None)
    (line,) = (await api.client.get(PATH)).json()["items"]
    assert (line["name"], line["every_seconds"], line["state"]) == ("nightly", 60, "ACTIVE")
    assert "decision" not in line
    assert (await api.client.delete(f"{PATH}/nightly", headers=JSON)).status_code == 204
    assert await api.world.ports.key_values.page(WAKEUPS, None, 9) == []
    for method, path in (("GET", ""), ("GET", "/runs"), ("DELETE", ""), ("POST", "/pause"), ("POST", "/run")):
        answer = await api.client.request(method, f"{PATH}/nightly{path}", headers=JSON)
        problem_of(answer, 404, "unknown_schedule")


async def test_schedules_are_listed_in_pages(api: Api) -> None:
    for name in ("a", "b", "c"):
        await put(api, name)
    first = (await api.client.get(f"{PATH}?limit=2")).json()
    second = (await api.client.get(f"{PATH}?limit=2&cursor={first['cursor']}")).json()
    assert [one["name"] for one in (*first["items"], *second["items"])] == ["a", "b", "c"]
    assert (first["cursor"], second["cursor"]) == ("b", None)


async def test_a_paused_schedule_says_so_and_goes_on_with_the_moments_to_come(api: Api) -> None:
    await put(api)
    paused = (await api.client.post(f"{PATH}/nightly/pause", json={"note": "the disk is full"})).json()
    assert (paused["state"], paused["paused"]) == ("PAUSED", True)
    assert paused["why"] == "it is paused: the disk is full; it goes on when it is resumed"
    assert (await put(api))["paused"], "a schedule that is replaced stays paused"
    resumed = (await api.client.post(f"{PATH}/nightly/resume", headers=JSON)).json()
    assert (resumed["state"], resumed["note"]) == ("ACTIVE", None)


async def test_a_schedule_says_what_keeps_it_from_running(api: Api) -> None:
    years = [f"{year}-01-01/{year}-12-31" for year in range(2026, 2100)]
    assert (await put(api, exceptions=years))["why"] == "no moment is left"
    assert (await put(api, enabled_until="2026-01-01T00:00:00Z"))["state"] == "OVER"
    later = await put(api, enabled_from="2090-01-01T00:00:00Z")
    assert later["why"].startswith("it is enabled from 2090-01-01T00:00:00.000Z on; the next run begins at 2090")
    now = api.world.ports.clock.now()
    excepted = await put(api, exceptions=[f"{now:%Y-%m-%d}/{now.year + 1}-12-31"])
    assert "is in its exceptions; the next run begins at" in excepted["why"]


async def test_a_run_is_made_now_and_shown_with_its_flow(api: Api) -> None:
    await put(api)
    started = await api.client.post(f"{PATH}/nightly/run?requested_by=ada", headers=JSON)
    assert started.status_code == 202
    flow_id = started.json()["flow_id"]
    flow = (await api.client.get(f"/api/v1/flows/{flow_id}")).json()
    assert flow["decision_id"].startswith("schedule:nightly:")
    (run,) = (await api.client.get(f"{PATH}/nightly/runs")).json()["items"]
    assert (run["flow_id"], run["result"], run["reason"]) == (flow_id, "STARTED", "wanted by ada")
    assert run["status"] == (await api.client.get(f"/api/v1/flows/{flow_id}")).json()["status"]


async def test_a_schedule_names_a_stored_plan(api: Api) -> None:
    plan = {"tasks": [task("extract"), task("load", "extract")]}
    assert (await api.client.put("/api/v1/plans/nightly/versions/1.0.0", json=plan)).status_code == 201
    given = {key: value for key, value in DECISION.items() if key != "plan_id"}
    named = {**given, "cognitive_plan": {"plan": "nightly@1.0.0"}}
    assert (await put(api, decision=named))["decision"] == named, "it is kept as it was given"
    flow_id = (await api.client.post(f"{PATH}/nightly/run", headers=JSON)).json()["flow_id"]
    kept = (await api.client.get(f"/api/v1/flows/{flow_id}/decision")).json()
    assert (kept["plan_id"], len(kept["cognitive_plan"]["tasks"])) == ("nightly@1.0.0", 2)
    for wrong, code in (("nightly@2.0.0", "unknown_plan"), ("../nightly", "invalid_plan_reference")):
        form = {**HOURLY, "decision": {**given, "cognitive_plan": {"plan": wrong}}}
        problem_of(await api.client.put(f"{PATH}/other", json=form), 422, code)
    wrong_risk = {**HOURLY, "decision": {**named, "risk_band": "none"}}
    problem_of(await api.client.put(f"{PATH}/other", json=wrong_risk), 422, "invalid_data")
    assert [one["name"] for one in (await api.client.get(PATH)).json()["items"]] == ["nightly"]


async def test_a_backfill_makes_the_runs_of_the_past(api: Api) -> None:
    await api.world.register()
    await put(api, cron=None, moments=["2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z", "2026-01-03T00:00:00Z"])
    span = {"first": "2026-01-01T12:00:00Z", "last": "2026-01-03T00:00:00Z", "at_once": 2}
    begun = await api.client.post(f"{PATH}/nightly/backfill", json=span)
    assert (begun.status_code, begun.json()) == (202, {"runs": 2})
    problem_of(await api.client.post(f"{PATH}/nightly/backfill", json=span), 409, "backfill_under_way")
    await api.world.platform.schedules.round()
    runs = (await api.client.get(f"{PATH}/nightly/runs")).json()["items"]
    assert [run["moment"] for run in runs] == ["2026-01-03T00:00:00.000Z", "2026-01-02T00:00:00.000Z"]
    stopped = await api.client.delete(f"{PATH}/nightly/backfill", headers=JSON)
    assert (stopped.json()["backfill"], stopped.json()["state"]) == (None, "OVER")


@pytest.mark.parametrize(
    ("span", "code"),
    [
        ({"first": "2026-01-01T00:00:00Z", "last": "2026-01-01T00:30:00Z"}, None),
        ({"first": "2026-01-01T00:10:00Z", "last": "2026-01-01T00:30:00Z"}, "bad_number_of_runs"),
        ({"first": "2026-01-01T00:00:00Z", "last": "2026-11-01T00:00:00Z"}, "bad_number_of_runs"),
        ({"first": "2026-01-02T00:00:00Z", "last": "2026-01-01T00:00:00Z"}, "invalid_data"),
        ({"first": "2026-01-01T00:00:00Z", "last": "2999-01-01T00:00:00Z"}, "invalid_data"),
        ({"first": "0001-01-01T00:00:00Z", "last": "2026-01-01T00:00:00Z"}, "invalid_data"),
        ({"first": "2026-01-01T00:00:00Z", "last": "2026-01-01T01:00:00Z", "at_once": 99}, "invalid_data"),
        ({}, "invalid_data"),
    ],
)
async def test_the_bounds_of_a_backfill(api: Api, span: dict[str, Any], code: str | None) -> None:
    await put(api)
    answer = await api.client.post(f"{PATH}/nightly/backfill", json=span)
    if code is None:
        assert answer.json() == {"runs": 1}
    else:
        problem_of(answer, 422, code)


@pytest.mark.parametrize(
    ("wrong", "where", "says"),
    [
        ({"cron": "61 * * * *"}, "body.cron", "the field minute"),
        ({"cron": "* * * * * *"}, "body.cron", "five fields"),
        ({"cron": "*," * 150 + "*"}, "body.cron", "at most 200 characters"),
        ({"zone": "Europe/Bern"}, "body.zone", "no time zone"),
        ({"zone": "../../etc/passwd"}, "body.zone", "pattern"),
        ({"every_seconds": 60}, "body", "exactly one of"),
        ({"cron": None}, "body", "exactly one of"),
        ({"cron": None, "every_seconds": 0}, "body.every_seconds", "greater than or equal to 1"),
        ({"cron": None, "moments": ["2026-01-01T00:00:00Z"] * 1001}, "body.moments", "at most 1000"),
        ({"exceptions": ["2026-13-01"]}, "body.exceptions", "no date"),
        ({"exceptions": ["2026-02-02/2026-02-01"]}, "body.exceptions", "ends before it begins"),
        ({"exceptions": ["2026-01-01"] * 367}, "body.exceptions", "at most 366"),
        ({"jitter_seconds": 100_000}, "body.jitter_seconds", "less than or equal"),
        ({"overlap": "allow"}, "body.overlap", "'skip', 'queue' or 'cancel_oldest'"),
        ({"catch_up": {"runs": 101}}, "body.catch_up.runs", "less than or equal"),
        ({"catch_up": {"days": 1}}, "body.catch_up.days", "not permitted"),
        ({"sla_seconds": 0}, "body.sla_seconds", "greater than 0"),
        ({"enabled_from": "2027-01-01T00:00:00Z", "enabled_until": "2026-01-01T00:00:00Z"}, "body", "is later than"),
        ({"decision": {**DECISION, "decision_id": "x"}}, "body.decision", "has no decision_id"),
        ({"decision": {**DECISION, "plan_id": "other"}}, "body.decision.cognitive_plan.plan_id", "is about plan"),
        ({"decision": {}}, "body.decision.plan_id", "is missing"),
        ({"decision": []}, "body.decision", "valid dictionary"),
        ({"unknown": 1}, "body.unknown", "not permitted"),
        ({"note": "x", "next_at": "2026-01-01T00:00:00Z"}, "body.note", "not permitted"),
    ],
)
async def test_a_wrong_schedule_is_refused_with_the_field_named(
    api: Api, wrong: dict[str, Any], where: str, says: str
) -> None:
    answer = await api.client.put(f"{PATH}/nightly", json={**HOURLY, **wrong})
    errors = problem_of(answer, 422, "invalid_data")["errors"]
    assert any(error["where"] == where and says in error["message"] for error in errors), errors
    assert (await api.client.get(PATH)).json()["items"] == []


@pytest.mark.parametrize("name", ["-", "a b", "a:b", "ä", "a" * 64, "a%0a", "a%00b", ".", "a."])
async def test_a_name_is_a_label(api: Api, name: str) -> None:
    answer = await api.client.put(f"{PATH}/{name}", json=HOURLY)
    assert answer.status_code in {404, 405, 422}, answer.text
    if answer.status_code == 422:
        problem_of(answer, 422, "bad_name")


async def test_a_large_or_deep_body_is_refused_before_it_is_looked_at(api: Api) -> None:
    body = json.dumps({**HOURLY, "x": "a" * schedules.MAX_FORM}).encode()
    problem_of(await api.client.put(f"{PATH}/nightly", content=body, headers=JSON), 413, "too_large")
    moments = [946_684_800_000 + 1000 * number for number in range(1000)]
    wide = {**HOURLY, "cron": None, "moments": moments, "decision": {**DECISION, "x": "a" * 12_000}}
    problem_of(await api.client.put(f"{PATH}/nightly", json=wide), 413, "too_large")
    deep = b'{"decision":' + b"[" * 20_000
    assert (await api.client.put(f"{PATH}/nightly", content=deep, headers=JSON)).status_code in {400, 413, 422}


async def test_there_are_so_many_schedules_and_no_more(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedules, "MAX_SCHEDULES", 2)
    await put(api, "a")
    await put(api, "b")
    problem_of(await api.client.put(f"{PATH}/c", json=HOURLY), 409, "too_many_schedules")
    assert (await put(api, "a", jitter_seconds=1))["jitter_seconds"] == 1, "one that is there can be replaced"


async def test_the_largest_schedule_with_the_longest_history_can_be_stored(api: Api) -> None:
    """Else a schedule would stop to run when its history has grown."""
    await put(api, decision={**DECISION, "x": "a" * (schedules.MAX_FORM - 2000)})
    schedule, _ = await stored.read(api.world.ports.key_values, "nightly")
    assert schedule is not None
    now = api.world.ports.clock.now()
    for number in range(60):
        moment = now.replace(year=2000, microsecond=0, minute=number)
        schedule = course.started_by(schedule, moment, now, "ä" * 255)
    full = schedule.but(queue=(now,) * course.MAX_QUEUED, note="ä" * 500, paused=True)
    await stored.changed(api.world.ports.key_values, "nightly", lambda _before: full)


async def test_what_people_do_is_kept(api: Api) -> None:
    await put(api)
    await api.client.post(f"{PATH}/nightly/pause?requested_by=ada", json={"note": "full"})
    await api.client.delete(f"{PATH}/nightly?requested_by=bob", headers=JSON)
    actions = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert [(action["action"], action["target"], action["who"], action["why"]) for action in actions] == [
        ("delete_schedule", "nightly", "bob", "no reason given"),
        ("pause_schedule", "nightly", "ada", "full"),
        ("put_schedule", "nightly", "unnamed", "no reason given"),
    ]


async def test_a_record_that_cannot_be_read_is_replaced_or_removed(api: Api) -> None:
    await put(api)
    entry = await api.world.ports.key_values.get(SPACE, "nightly")
    assert entry is not None
    await api.world.ports.key_values.put(SPACE, "nightly", b"{}", version=entry.version)
    problem_of(await api.client.get(f"{PATH}/nightly"), 500, "unreadable_record")
    assert (await api.client.get(PATH)).json()["items"] == []
    assert (await put(api))["state"] == "ACTIVE"
