"""Policies tried on the history: within bounds, over HTTP, by `flowc slo what-if`, and under attack."""

import asyncio
import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from functions._adapters.stores import Stores
from functions._cli.app import app
from functions._core.errors import Rejected
from functions._core.records.values import TaskType
from functions._core.slo import counting, replaying
from functions._core.slo.admission import AdmissionPolicy
from functions._core.slo.replaying import what_if_admission, what_if_freeze
from functions.api.services import OneAtATime
from tests.integration.test_attacks import BODIES, KEY, Target, attacked
from tests.support.builders import seconds
from tests.support.every_store import OnMemory
from tests.support.one_machine import OneMachine, one_machine
from tests.support.slo_history import NOW, ended_flow, policy, ports_of, slo, stored
from tests.support.slos import FORM, budget_at, freeze_of, put_budget, put_freeze
from tests.support.world import decision, task

DOOR = "/api/v1/slos/what-if"
LABELS = {"service": "orchestrator"}


def admission(action: str = "REFUSE", **fields: Any) -> AdmissionPolicy:
    form = {"name": "p", "created_at": NOW, "updated_at": NOW, "action": action}
    return AdmissionPolicy.model_validate({**form, **fields})


async def six_flows(stores: Stores) -> None:
    """Let a flow end each minute, 1 second after it came, the third one and the fifth one FAILED."""
    for number in range(1, 7):
        outcome = "FAILED" if number in {3, 5} else "COMPLETED"
        end = NOW - seconds(600 - 60 * number)
        got = {"assigned_at": end - seconds(0.5), "attempt": 1, "worker_id": "w", "status": "COMPLETED"}
        deploys = ({"task_type": TaskType.DEPLOY, "parameters": LABELS, **got},)
        await ended_flow(stores, number, end, outcome, labels=LABELS, tickets=deploys)


class TestReading(OnMemory):
    async def test_the_history_is_read_and_a_policy_tried_on_it(self, stores: Stores) -> None:
        ports, _ = ports_of(stores)
        await six_flows(stores)
        await ended_flow(stores, 7, NOW - seconds(20), "REJECTED", labels=LABELS)
        await ended_flow(stores, 8, NOW - seconds(10), "CANCELLED", labels=LABELS)
        await stored(ports, slo())
        found = await what_if_admission(ports, admission(), 1)
        assert (found.complete, found.flows, found.refused) == (True, 7, 4)  # of 3, 1 is bad; what follows is refused
        (one,) = found.slos
        assert (one.consumed, one.consumed_then, one.saved_at_most) == (333.333333, 333.333333, 166.666667)
        assert found.counted_since == NOW - timedelta(days=31)

    async def test_a_freeze_policy_reads_the_tickets_of_flows_under_way(self, stores: Stores) -> None:
        ports, _ = ports_of(stores)
        await six_flows(stores)
        await stored(ports, slo())
        found = await what_if_freeze(ports, policy(), 1)
        assert (len(found.freezes), found.tickets, found.held) == (1, 3, 3)
        assert found.freezes[0].since == NOW - seconds(420)
        assert found.slos[0].saved_at_most == 166.666667
        only_told = await what_if_freeze(ports, policy(actions=["ALERT_ONLY"]), 1)
        assert (len(only_told.freezes), only_told.tickets) == (1, 0)

    async def test_what_is_too_much_is_cut_and_said(self, stores: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
        ports, _ = ports_of(stores)
        await six_flows(stores)
        await stored(ports, slo())
        monkeypatch.setattr(counting, "PAGE", 3)
        for name, most in (("MAX_FLOWS", 2), ("MAX_COUNTS", 2)):
            with monkeypatch.context() as patch:
                patch.setattr(replaying, name, most)
                found = await what_if_admission(ports, admission(), 1)
            assert (found.complete, found.flows) == (False, 2)
            assert found.since == found.counted_since > NOW - seconds(360)
        monkeypatch.setattr(replaying, "MAX_FLOWS_OF_TICKETS", 2)
        cut = await what_if_freeze(ports, policy(), 1)
        assert (cut.complete, cut.tickets) == (False, 2)

    async def test_courses_and_freezes_are_read_as_they_were(self, stores: Stores) -> None:
        ports, _ = ports_of(stores)
        await six_flows(stores)
        measured = slo(sli_query={"query": "good / all"})
        await stored(ports, measured, policy("f", slo_selector={"slo_ids": ["s"]}))
        await put_budget(ports.key_values, budget_at(measured, NOW - seconds(7200), good=0.5))
        assert (await what_if_admission(ports, admission(), 1)).refused == 6
        freeze = freeze_of("orchestrator", NOW - seconds(290), policy_id="f", lasted=timedelta(seconds=60))
        await put_freeze(ports.key_values, freeze)
        held = await what_if_admission(ports, admission("HOLD", freeze_policies=["f"]), 1)
        assert [one.until for one in held.items] == [freeze.resolved_at]
        assert [one.slo_id for one in held.slos] == ["s"]

    async def test_a_policy_that_looks_at_too_much_is_refused(
        self, stores: Stores, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ports, _ = ports_of(stores)
        await stored(ports, slo("a"), slo("b", sli_query={"query": "good / all"}))
        monkeypatch.setattr(replaying, "MAX_HOURS", 47)
        with pytest.raises(Rejected, match="fewer days"):
            await what_if_admission(ports, admission(), 1)
        monkeypatch.setattr(replaying, "MAX_SLOS", 1)
        for trial in (what_if_admission(ports, admission(), 1), what_if_freeze(ports, policy(), 1)):
            with pytest.raises(Rejected, match="name a service"):
                await trial
        one = admission(slo_selector={"slo_ids": ["a"]})
        assert [found.slo_id for found in (await what_if_admission(ports, one, 1)).slos] == ["a"]


async def two_ended(platform: OneMachine) -> None:
    """Let two flows end one after the other without success: nobody does their tasks in time."""
    for _ in range(2):
        flow_id = await platform.submit(decision(task("a"), sla_deadline_seconds=1, labels={"service": "shop"}))
        await platform.reached(flow_id, "TIMED_OUT")


async def flowc(platform: OneMachine, *words: str) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, app, [*words, "--url", platform.url], env={"COLUMNS": "300"})


async def test_a_policy_is_tried_over_http_and_by_the_command(tmp_path: Path) -> None:
    async with one_machine(tmp_path) as platform:
        await two_ended(platform)
        assert (await platform.client.post("/api/v1/slos", json={**FORM, "target": 0.9})).status_code == 201
        stored_one = await platform.client.put("/api/v1/admission-policies/spent", json={"action": "HOLD"})
        assert stored_one.status_code == 201
        answer = await platform.client.post(DOOR, json={"policy": {"action": "REFUSE"}, "days": 1})
        told = answer.json()
        assert (answer.status_code, told["policy"], told["flows"], told["refused"]) == (200, "what-if", 2, 1)
        assert [one["saved_at_most"] for one in told["slos"]] == [500]  # 1 of 2, where 1 of 10 may be
        assert [one["name"] for one in (await platform.client.get("/api/v1/admission-policies")).json()["items"]] == [
            "spent"
        ]
        named = await flowc(platform, "slo", "what-if", "spent", "--days", "1")
        assert (named.exit_code, "     1  held\n" in named.output) == (0, True), named.output
        assert "500 %" in named.output
        file = tmp_path / "freeze.json"
        file.write_text(json.dumps({"name": "\u001b[2Jstands", "scope": "SERVICE", "target": "shop"}))
        refused = await flowc(platform, "slo", "what-if", "--file", str(file))
        assert refused.exit_code != 0  # a name has no control characters
        file.write_text(json.dumps({"name": "stands", "scope": "SERVICE", "target": "shop"}))
        frozen = await flowc(platform, "slo", "what-if", "--file", str(file))
        assert (frozen.exit_code, "frozen for" in frozen.output) == (0, True), frozen.output
        told = json.loads((await flowc(platform, "slo", "what-if", "-f", str(file), "--json")).output)
        assert (len(told["freezes"]), told["tickets"]) == (1, 0)
        file.write_text("[" * 100_000)
        for words in ((), ("spent", "-f", "x"), ("spent", "--days", "91"), ("-f", "nowhere"), ("-f", str(file))):
            assert (await flowc(platform, "slo", "what-if", *words)).exit_code == 2, words
        assert (await flowc(platform, "slo", "what-if", "nobody")).exit_code == 1
        assert (await flowc(platform, "slo", "what-if", "--freeze-policy", "nobody")).exit_code == 1


async def full_history(target: Target, number: int) -> None:
    """Let so many flows have ended within a month, one in ten of them FAILED."""
    stores = target.at.running.ports
    now = stores.clock.now()
    for one in range(number):
        outcome = "COMPLETED" if one % 10 else "FAILED"
        await ended_flow(stores, one, now - seconds(1 + 1200 * one), outcome, labels={"service": "shop"})
        if one % 50 == 0:
            await asyncio.sleep(0)


HOSTILE: dict[str, bytes] = {
    **BODIES,
    "huge days": b'{"policy":{"action":"HOLD"},"days":1e308}',
    "many days": b'{"policy":{"action":"HOLD"},"days":91}',
    "no days": b'{"policy":{"action":"HOLD"},"days":0}',
    "none": b"{}",
    "two": b'{"policy":{"action":"HOLD"},"policy_name":"p"}',
    "a huge policy": b'{"policy":{"action":"HOLD","description":"' + b"x" * 40_000 + b'"}}',
    "many labels": b'{"policy":{"action":"HOLD","flows":{"labels":{'
    + b",".join(b'"l%d":"v"' % one for one in range(2_000))
    + b"}}}}",
    "half a pair": b'{"policy_name":"\\ud800"}',
    "no name": b'{"policy_name":"a\\u0000b"}',
    "no id": b'{"freeze_policy_id":"../../etc"}',
}


async def test_attacks_are_refused_bounded_and_keep_no_loop(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        for name, body in HOSTILE.items():
            answer = await target.send(name, "POST", DOOR, content=body)
            assert 400 <= answer.status_code < 500, (name, answer.text)
            assert len(answer.content) < 64 * 1024, name
        trial: dict[str, Any] = {"policy": {"action": "HOLD"}}
        for role, status in (("worker", 403), ("viewer", 200)):
            made = await target.send("key", "POST", "/api/v1/keys", json={"name": role, "roles": [role]})
            answer = await target.send("role", "POST", DOOR, key=made.json()["key"], json=trial)
            assert answer.status_code == status, role
        assert (await target.send("nobody", "POST", DOOR, key=None, content=b"{}")).status_code == 401
        await full_history(target, 1_000)
        for number in range(40):
            assert (await target.send("slo", "POST", "/api/v1/slos", json={**FORM, "name": str(number)})).is_success
        for action in ("HOLD", "REFUSE"):
            trial = {"policy": {"action": action, "statuses": ["EXHAUSTED", "CRITICAL"]}, "days": 90}
            told = (await target.send(f"try {action}", "POST", DOOR, json=trial, key=KEY)).json()
            assert (told["flows"], len(told["items"]), len(told["slos"])) == (1_000, 100, 40)
        thresholds = {"trigger_threshold_percent": 90, "unfreeze_threshold_percent": 91}
        frozen = {"freeze_policy": {"name": "f", "scope": "GLOBAL", **thresholds}, "days": 90}
        assert (await target.send("try freeze", "POST", DOOR, json=frozen)).json()["freezes"]


def test_one_policy_is_tried_at_a_time() -> None:
    turn = OneAtATime()
    with turn.one(), pytest.raises(Rejected, match="another calculation") as busy, turn.one():
        raise AssertionError
    assert busy.value.status == 429
    with turn.one():
        pass
