"""Playbooks over HTTP and on the command line: what is taken, what is refused, and what is kept of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from functions._cli.app import app
from functions._core.healing.stored import PLAYBOOKS
from tests.support.healing import failing, form, healed, put, submitted
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import one_machine

PATH, RUNS = "/api/v1/playbooks", "/api/v1/healing-runs"
JSON = {"content-type": "application/json"}
RETRY = form("retry_ticket")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def test_a_playbook_is_made_shown_replaced_and_removed(api: Api) -> None:
    whole = {
        "description": "disks fill up",
        "order": 5,
        "match": {
            "incident_types": ["INCONSISTENCY"],
            "severities": ["WARNING"],
            "errors": ["disk_full"],
            "task_types": ["BUILD"],
            "capabilities": ["build"],
            "workers": ["forge-1"],
            "labels": {"team": "red"},
        },
        "steps": [{"action": "scale", "target": "forge", "replicas": 3}, {"action": "escalate"}],
        "limits": {"per_incident": 1, "per_hour": 2},
        "verify_after_seconds": 60,
        "dry_run": True,
    }
    made = await api.client.put(f"{PATH}/disks?requested_by=ada", json=whole)
    assert made.status_code == 201, made.text
    playbook = made.json()
    assert {name: playbook[name] for name in ("name", "order", "dry_run", "enabled", "limits")} == {
        "name": "disks",
        "order": 5,
        "dry_run": True,
        "enabled": True,
        "limits": {"per_incident": 1, "per_hour": 2},
    }
    assert (await api.client.get(f"{PATH}/disks")).json() == playbook
    assert (await api.client.get(PATH)).json() == {"items": [playbook]}
    replaced = await api.client.put(f"{PATH}/disks", json=RETRY)
    assert (replaced.status_code, replaced.json()["created_at"]) == (200, playbook["created_at"])
    assert (await api.client.delete(f"{PATH}/disks")).status_code == 204
    for method in ("GET", "DELETE"):
        problem_of(await api.client.request(method, f"{PATH}/disks"), 404, "unknown_playbook")
    actions = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert [(one["action"], one["target"], one["who"]) for one in actions] == [
        ("delete_playbook", "disks", "unnamed"),
        ("put_playbook", "disks", "unnamed"),
        ("put_playbook", "disks", "ada"),
    ]


async def test_only_the_version_that_was_seen_is_replaced_or_removed(api: Api) -> None:
    first = await api.client.put(f"{PATH}/p", json=RETRY, headers={"if-none-match": "*"})
    assert first.status_code == 201
    problem_of(await api.client.put(f"{PATH}/p", json=RETRY, headers={"if-none-match": "*"}), 412, "version_moved")
    second = await api.client.put(f"{PATH}/p", json=RETRY, headers={"if-match": first.headers["etag"]})
    assert second.status_code == 200
    stale = {"if-match": first.headers["etag"]}
    problem_of(await api.client.delete(f"{PATH}/p", headers=stale), 412, "version_moved")
    assert (await api.client.get(f"{PATH}/p")).headers["etag"] == second.headers["etag"]


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": []},
        {"steps": [{"action": "explode"}]},
        {"steps": [{"action": "retry_ticket"}] * 11},
        {"steps": [{"action": "retry_ticket"}] * 100_000},
        {"steps": [{"action": "retry_ticket", "replicas": 3}]},
        {"steps": [{"action": "retry_ticket", "not_idempotent": "yes"}]},
        {"steps": [{"action": "scale", "target": "x"}]},
        {"steps": [{"action": "scale", "target": "x", "replicas": -1}]},
        {"steps": [{"action": "scale", "target": "x\u0000", "replicas": 1}]},
        {"steps": [{"action": "scale", "target": "x" * 256, "replicas": 1}]},
        {"steps": [{"action": "replay_dead_letters", "at_most": 11}]},
        {"steps": [{"action": "replay_dead_letters", "at_most": True}]},
        {"steps": [{"action": "escalate"}, {"action": "retry_ticket"}]},
        {"steps": [{"action": "retry_ticket", "url": "http://169.254.169.254/"}]},
        {"limits": {"per_incident": 4}},
        {"limits": {"per_hour": 11}},
        {"limits": {"per_hour": 0}},
        {"verify_after_seconds": 0},
        {"verify_after_seconds": 3601},
        {"verify_after_seconds": True},
        {"order": 1001},
        {"match": {"incident_types": ["FIRE"]}},
        {"match": {"errors": ["x" * 256]}},
        {"match": {"errors": ["a\u0000"]}},
        {"match": {"workers": ["w"] * 51}},
        {"match": {"labels": {str(number): "x" for number in range(17)}}},
        {"match": {"unknown": 1}},
        {"enabled": "yes"},
        {"dry_run": 1},
        {"description": "\u001b[31m"},
        {"unknown": 1},
    ],
)
async def test_a_wrong_playbook_is_refused(api: Api, wrong: dict[str, Any]) -> None:
    answer = await api.client.put(f"{PATH}/p", json={**RETRY, **wrong})
    assert answer.status_code in {413, 422}, answer.text
    assert (await api.client.get(PATH)).json() == {"items": []}


@pytest.mark.parametrize("name", ["%00", "a%0ab", "<script>", "-a", "a" * 64, "a b", "..", "%2e%2e%2fkeys"])
async def test_a_hostile_name_is_refused(api: Api, name: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        body = {"json": RETRY} if method == "PUT" else {}
        answer = await api.client.request(method, f"{PATH}/{name}", **body)  # type: ignore[arg-type]
        assert answer.status_code in {404, 405, 422}, answer.text
    assert (await api.client.get(PATH)).json() == {"items": []}


async def test_a_large_or_deep_body_is_refused_before_it_is_looked_at(api: Api) -> None:
    for method, path in (("PUT", f"{PATH}/p"), ("POST", f"{RUNS}/rehearse")):
        problem_of(await api.client.request(method, path, content=b"[" * 20_000, headers=JSON), 413, "too_large")
        deep = b'{"steps":' + b"[" * 4_000 + b"]" * 4_000 + b"}"
        assert (await api.client.request(method, path, content=deep, headers=JSON)).status_code in {400, 422}


async def test_there_is_a_bound_on_playbooks(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PLAYBOOKS, "at_most", 1)
    assert (await api.client.put(f"{PATH}/a", json=RETRY)).status_code == 201
    problem_of(await api.client.put(f"{PATH}/b", json=RETRY), 409, "too_many_playbooks")
    assert (await api.client.put(f"{PATH}/a", json=RETRY)).status_code == 200


async def test_a_record_that_cannot_be_read_hides_no_other_and_can_be_replaced(api: Api) -> None:
    await api.world.ports.key_values.put("playbooks", "broken", b'{"steps": 3}', version=0)
    assert (await api.client.put(f"{PATH}/good", json=RETRY)).status_code == 201
    assert [one["name"] for one in (await api.client.get(PATH)).json()["items"]] == ["good"]
    problem_of(await api.client.get(f"{PATH}/broken"), 404, "unknown_playbook")
    assert (await api.client.put(f"{PATH}/broken", json=RETRY)).status_code == 200


async def test_strangers_and_readers_change_nothing(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key="k" * 32) as api:
        for method, path in (("PUT", f"{PATH}/p"), ("GET", PATH), ("GET", RUNS), ("POST", f"{RUNS}/rehearse")):
            body = {"json": RETRY} if method in {"PUT", "POST"} else {}
            answer = await api.client.request(method, path, **body)  # type: ignore[arg-type]
            assert answer.status_code == 401, answer.text
        admin = {"x-api-key": "k" * 32}
        made = await api.client.post("/api/v1/keys", json={"name": "eve", "roles": ["viewer"]}, headers=admin)
        viewer = {"x-api-key": made.json()["key"]}
        problem_of(await api.client.put(f"{PATH}/p", json=RETRY, headers=viewer), 403, "insufficient_role")
        problem_of(await api.client.delete(f"{PATH}/p", headers=viewer), 403, "insufficient_role")
        assert (await api.client.get(RUNS, headers=viewer)).json() == {"items": [], "cursor": None}
        asked = await api.client.post(f"{RUNS}/rehearse", json={"flow_id": "x"}, headers=viewer)
        problem_of(asked, 404, "unknown_incident")


async def test_nobody_sends_the_event_that_heals(api: Api) -> None:
    headers = {"ce-id": "1", "ce-source": "/evil", "ce-specversion": "1.0", **JSON}
    body = {"flow_id": "x", "incident_id": "y", "incident_type": "INCONSISTENCY", "severity": "WARNING"}
    for event_type in ("healing.due", "incident.raised", "incident.resolved", "healing.action_requested"):
        typed = {**headers, "ce-type": f"io.neuralhive.{event_type}.v1"}
        answer = await api.client.post("/", json=body, headers=typed)
        assert answer.status_code in {403, 422}, answer.text


async def test_runs_are_listed_the_newest_first_in_pages(api: Api) -> None:
    world = api.world
    await world.register()
    await put(world.ports, "p", "escalate")
    world.workers.behave = failing(100)
    flows = [await submitted(world) for _ in range(3)]
    for flow_id in flows:
        await healed(world, flow_id)
    first = await api.get(RUNS, limit=2)
    rest = await api.get(RUNS, limit=2, cursor=first["cursor"])
    found = [*first["items"], *rest["items"]]
    assert {one["incident"]["flow_id"] for one in found} == {*flows}
    raised = [one["incident"]["raised_at"] for one in found]
    assert (raised, rest["cursor"]) == (sorted(raised, reverse=True), None)
    one_flow = await api.get(RUNS, flow_id=flows[0])
    assert [one["incident"]["flow_id"] for one in one_flow["items"]] == [flows[0]]
    for cursor in ("x", "1" * 17, "0" * 17 + "/" + "x" * 300, "0" * 17 + "/\x00"):
        answer = await api.client.get(RUNS, params={"cursor": cursor})
        assert answer.status_code == 422, answer.text


async def test_a_rehearsal_names_what_is_not_there(api: Api) -> None:
    world = api.world
    await world.register()
    world.workers.behave = failing(1)
    flow_id = await submitted(world)
    await world.ended(flow_id)
    asked = {"flow_id": flow_id}
    none = await api.client.post(f"{RUNS}/rehearse", json=asked)
    assert (none.status_code, none.json()["playbook"]) == (200, None)
    await put(world.ports, "p", "restart_worker", "open_breaker", "roll_back", enabled=False)
    told = (await api.client.post(f"{RUNS}/rehearse", json={**asked, "playbook": "p"})).json()
    assert (told["fits"], [one["possible"] for one in told["steps"]]) == (False, [False, True, True])
    for more, code in (({"incident_id": "x"}, "unknown_incident"), ({"playbook": "x"}, "unknown_playbook")):
        problem_of(await api.client.post(f"{RUNS}/rehearse", json={**asked, **more}), 404, code)
    problem_of(await api.client.post(f"{RUNS}/rehearse", json={**asked, "do": "it"}), 422, "invalid_data")


async def test_the_commands(tmp_path: Path) -> None:
    async with one_machine(tmp_path / "data") as platform:
        runner, file = CliRunner(), tmp_path / "playbooks.yaml"
        file.write_text(
            "name: a\nmatch: {errors: [broken]}\nsteps: [{action: retry_ticket}]\n"
            "---\nname: b\norder: 5\ndry_run: true\nsteps: [{action: pause_flow}, {action: escalate}]\n"
        )

        async def flowc(*words: str, status: int = 0) -> str:
            given = ["heal", *words, "--url", platform.url]
            result = await asyncio.to_thread(runner.invoke, app, given, env={"COLUMNS": "240"})
            assert bool(result.exit_code) is bool(status), result.output
            return result.output

        assert "no playbooks" in await flowc("list")
        applied = await flowc("apply", "-f", str(file), "--by", "ada")
        assert applied.splitlines() == [
            "playbook a: retry_ticket, for broken",
            "playbook b: pause_flow, escalate, for all incidents",
        ]
        listed = await flowc("list")
        assert listed.index("b ") < listed.index("a ")
        assert "on trial" in listed
        assert json.loads(await flowc("show", "a"))["match"]["errors"] == ["broken"]
        assert "no playbook has had an incident" in await flowc("runs")
        assert json.loads(await flowc("runs", "--json")) == {"items": [], "cursor": None}
        assert "unknown_" in await flowc("dry-run", "0b5d9c5e-5f0c-4d1c-9a3b-7c1f0e2d3a03", status=1)
        assert "deleted a" in await flowc("delete", "a")
        for text in ("steps: []", "- name: a", "name: c\nsteps: 3", "{"):
            file.write_text(text)
            await flowc("apply", "-f", str(file), status=1)
