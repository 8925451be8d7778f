"""Flow SLA policies over HTTP and on the command line: what is taken, what is refused, and what is kept of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from functions._cli.app import app
from functions._core.slo.stored_policies import FLOW_POLICIES
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import one_machine

PATH = "/api/v1/flow-sla-policies"
JSON = {"content-type": "application/json"}
CANCEL = {"on": "at_risk", "actions": [{"action": "cancel"}]}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def test_a_policy_is_made_shown_replaced_and_removed(api: Api) -> None:
    form = {
        "description": "batch work gives way",
        "on": "at_risk",
        "of": "ticket",
        "selector": {
            "plan_id": "p1",
            "labels": {"team": "red"},
            "risk_band": "high",
            "priority": "HIGH",
            "tenant_id": "t",
        },
        "actions": [
            {"action": "notify"},
            {"action": "raise_priority", "to": "CRITICAL"},
            {"action": "pause_others", "labels": {"kind": "batch"}, "at_most": 5},
            {"action": "ask", "note": "Shall it go on?"},
        ],
    }
    made = await api.client.put(f"{PATH}/urgent?requested_by=ada", json=form)
    assert made.status_code == 201, made.text
    policy = made.json()
    assert {name: policy[name] for name in ("name", "enabled", "description", "on", "of")} == {
        "name": "urgent",
        "enabled": True,
        "description": "batch work gives way",
        "on": "at_risk",
        "of": "ticket",
    }
    assert [one["action"] for one in policy["actions"]] == ["notify", "raise_priority", "pause_others", "ask"]
    assert (await api.client.get(f"{PATH}/urgent")).json() == policy
    assert (await api.client.get(PATH)).json() == {"items": [policy]}
    replaced = await api.client.put(f"{PATH}/urgent", json=CANCEL)
    assert (replaced.status_code, replaced.json()["created_at"]) == (200, policy["created_at"])
    assert (await api.client.delete(f"{PATH}/urgent")).status_code == 204
    for method in ("GET", "DELETE"):
        problem_of(await api.client.request(method, f"{PATH}/urgent"), 404, "unknown_flow_policy")
    actions = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert [(one["action"], one["target"], one["who"]) for one in actions] == [
        ("delete_flow_sla_policy", "urgent", "unnamed"),
        ("put_flow_sla_policy", "urgent", "unnamed"),
        ("put_flow_sla_policy", "urgent", "ada"),
    ]


async def test_only_the_version_that_was_seen_is_replaced_or_removed(api: Api) -> None:
    async def put(**headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await api.client.put(f"{PATH}/p", json=CANCEL, headers=named)

    problem_of(await put(if_match="*"), 412, "version_moved")
    first = await put(if_none_match="*")
    assert first.status_code == 201
    problem_of(await put(if_none_match="*"), 412, "version_moved")
    seen = first.headers["etag"]
    second = await put(if_match=seen)
    assert (second.status_code, second.headers["etag"] != seen) == (200, True)
    problem_of(await put(if_match=seen), 412, "version_moved")
    problem_of(await put(if_match="no tag"), 400, "malformed_etag")
    unchanged = await api.client.get(f"{PATH}/p", headers={"if-none-match": second.headers["etag"]})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    problem_of(await api.client.delete(f"{PATH}/p", headers={"if-match": seen}), 412, "version_moved")
    assert (await api.client.delete(f"{PATH}/p", headers={"if-match": second.headers["etag"]})).status_code == 204


@pytest.mark.parametrize(
    "wrong",
    [
        {"on": "on_track"},
        {"on": "later"},
        {"of": "worker"},
        {"actions": []},
        {"actions": [{"action": "explode"}]},
        {"actions": [{"action": "notify"}] * 2},
        {"actions": [{"action": "notify"}] * 100_000},
        {"actions": [{"action": "raise_priority"}]},
        {"actions": [{"action": "raise_priority", "to": "LOW"}]},
        {"actions": [{"action": "cancel", "to": "HIGH"}]},
        {"actions": [{"action": "notify", "note": "x"}]},
        {"actions": [{"action": "ask", "note": ""}]},
        {"actions": [{"action": "ask", "note": "a\u0000b"}]},
        {"actions": [{"action": "ask", "note": "x" * 501}]},
        {"actions": [{"action": "pause_others", "at_most": 0}]},
        {"actions": [{"action": "pause_others", "at_most": 21}]},
        {"actions": [{"action": "pause_others", "at_most": True}]},
        {"actions": [{"action": "pause_others", "labels": {"a b": "c"}}]},
        {"actions": [{"action": "ask"}, {"action": "cancel"}]},
        {"actions": [{"action": "cancel"}, {"action": "cancel_and_compensate"}]},
        {"on": "breached", "actions": [{"action": "ask"}]},
        {"on": "breached", "of": "ticket", "actions": [{"action": "ask"}]},
        {"on": "breached", "actions": [{"action": "cancel"}]},
        {"on": "breached", "actions": [{"action": "raise_priority", "to": "HIGH"}]},
        {"selector": {"labels": {str(number): "x" for number in range(17)}}},
        {"selector": {"labels": {"<script>": "x"}}},
        {"selector": {"plan_id": "x" * 201}},
        {"selector": {"tenant_id": "\u0000"}},
        {"selector": {"unknown": 1}},
        {"enabled": "yes"},
        {"description": "\u001b[31m"},
        {"unknown": 1},
    ],
)
async def test_a_wrong_policy_is_refused(api: Api, wrong: dict[str, Any]) -> None:
    answer = await api.client.put(f"{PATH}/p", json={**CANCEL, **wrong})
    assert answer.status_code in {413, 422}, answer.text
    assert (await api.client.get(PATH)).json() == {"items": []}


@pytest.mark.parametrize("name", ["%00", "a%0ab", "<script>", "-a", "a" * 64, "a b", "..", "%2e%2e%2fkeys"])
async def test_a_hostile_name_is_refused(api: Api, name: str) -> None:
    for method in ("PUT", "GET", "DELETE"):
        body = {"json": CANCEL} if method == "PUT" else {}
        answer = await api.client.request(method, f"{PATH}/{name}", **body)  # type: ignore[arg-type]
        assert answer.status_code in {404, 405, 422}, answer.text
    assert (await api.client.get(PATH)).json() == {"items": []}


async def test_a_large_or_deep_body_is_refused_before_it_is_looked_at(api: Api) -> None:
    problem_of(await api.client.put(f"{PATH}/p", content=b"[" * 10_000, headers=JSON), 413, "too_large")
    deep = b'{"on":' + b"[" * 4_000 + b"]" * 4_000 + b"}"
    assert (await api.client.put(f"{PATH}/p", content=deep, headers=JSON)).status_code in {400, 422}
    problem_of(
        await api.client.put(f"{PATH}/p", content=b"{}", headers={"content-type": "text/plain"}), 415, "not_json"
    )


async def test_there_is_a_bound_on_policies(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FLOW_POLICIES, "at_most", 2)
    for name in ("a", "b"):
        assert (await api.client.put(f"{PATH}/{name}", json=CANCEL)).status_code == 201
    problem_of(await api.client.put(f"{PATH}/c", json=CANCEL), 409, "too_many_policies")
    assert (await api.client.put(f"{PATH}/a", json=CANCEL)).status_code == 200


async def test_a_record_that_cannot_be_read_hides_no_other_and_can_be_replaced(api: Api) -> None:
    await api.world.ports.key_values.put("flow-sla-policies", "broken", b'{"on": 3}', version=0)
    assert (await api.client.put(f"{PATH}/good", json=CANCEL)).status_code == 201
    items = (await api.client.get(PATH)).json()["items"]
    assert [one["name"] for one in items] == ["good"]
    problem_of(await api.client.get(f"{PATH}/broken"), 404, "unknown_flow_policy")
    assert (await api.client.put(f"{PATH}/broken", json=CANCEL)).status_code == 200
    assert (await api.client.delete(f"{PATH}/broken")).status_code == 204


async def test_strangers_and_readers_change_nothing(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key="k" * 32) as api:
        for method in ("PUT", "GET", "DELETE"):
            body = {"json": CANCEL} if method == "PUT" else {}
            answer = await api.client.request(method, f"{PATH}/p", **body)  # type: ignore[arg-type]
            assert answer.status_code == 401, answer.text
        admin = {"x-api-key": "k" * 32}
        made = await api.client.post("/api/v1/keys", json={"name": "eve", "roles": ["viewer"]}, headers=admin)
        viewer = {"x-api-key": made.json()["key"]}
        refused = await api.client.put(f"{PATH}/p", json=CANCEL, headers=viewer)
        problem_of(refused, 403, "insufficient_role")
        problem_of(await api.client.delete(f"{PATH}/p", headers=viewer), 403, "insufficient_role")
        assert (await api.client.get(PATH, headers=viewer)).json() == {"items": []}
        assert (await api.client.get("/api/v1/hot-list", headers=viewer)).status_code == 200
        assert (await api.client.get("/api/v1/hot-list")).status_code == 401


async def test_nobody_sends_the_event_that_applies_policies(api: Api) -> None:
    headers = {
        "ce-id": "1",
        "ce-source": "/evil",
        "ce-specversion": "1.0",
        "ce-type": "io.neuralhive.sla.policy.due.v1",
        **JSON,
    }
    body = {"flow_id": "x", "on": "at_risk", "at": "2026-01-01T00:00:00Z", "key": "flow/at_risk/x"}
    answer = await api.client.post("/", json=body, headers=headers)
    assert answer.status_code in {403, 422}, answer.text


async def test_the_commands(tmp_path: Path) -> None:
    async with one_machine(tmp_path) as platform:
        runner = CliRunner()

        async def flowc(*words: str, status: int = 0) -> str:
            given = ["sla", "policy", *words, "--url", platform.url]
            result = await asyncio.to_thread(runner.invoke, app, given, env={"COLUMNS": "240"})
            assert result.exit_code == status, result.output
            return result.output

        assert "no policies" in await flowc("list")
        made = await flowc(
            *("put", "urgent", "--plan", "p1", "--label", "team=red", "--risk", "high"),
            *(
                "--do",
                "notify",
                "--do",
                "raise_priority=HIGH",
                "--do",
                "pause_others=3",
                "--others-label",
                "kind=batch",
            ),
        )
        wanted = "notify, raise_priority=HIGH, pause_others=3 kind=batch"
        assert made.strip() == f"policy urgent: on at_risk (flow), of plan_id=p1 risk_band=high team=red: {wanted}"
        assert wanted in await flowc("list")
        shown = json.loads(await flowc("show", "urgent", "--json"))
        assert [one["action"] for one in shown["actions"]] == ["notify", "raise_priority", "pause_others"]
        assert "urgent, disabled" in await flowc("put", "urgent", "--do", "ask=Go on?", "--disabled")
        assert "ask=Go on?" in await flowc("show", "urgent")
        assert "deleted urgent" in await flowc("delete", "urgent")
        assert "there is no flow policy" in await flowc("show", "urgent", status=1)
        for words in (("--do", "explode"), ("--do", "cancel=1"), ("--do", "cancel", "--label", "red")):
            await flowc("put", "x", *words, status=2)
