"""Freezes over HTTP: what lasts, what was, who ends one by hand, and the gate that pipelines ask."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from functions._core.errors import Unavailable
from functions._core.slo import listing, stored
from functions._core.slo.freezing import FreezeAction, FreezeEvent, FreezeScope
from functions.api import freeze_reader
from tests.support.http_api import Api, problem_of, running_api
from tests.support.slos import FORM, POLICY, budget_at, freeze_of, put_budget, put_freeze

SLOS, POLICIES, GATE = "/api/v1/slos", "/api/v1/policies", "/api/v1/freeze-status"
JSON = {"content-type": "application/json"}
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SCALE, ALERT = FreezeAction.BLOCK_SCALE, FreezeAction.ALERT_ONLY


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


def now_of(api: Api) -> datetime:
    return api.world.ports.clock.now()


async def frozen(api: Api, target: str, ago: timedelta = HOUR, **fields: Any) -> FreezeEvent:
    event = freeze_of(target, now_of(api) - ago, **fields)
    await put_freeze(api.world.ports.key_values, event)
    return event


async def gate(api: Api, service: str, query: str = "") -> dict[str, Any]:
    answer = await api.client.get(f"{GATE}/{service}{query}")
    assert answer.status_code == 200, answer.text
    status: dict[str, Any] = answer.json()
    return status


async def spent(api: Api, good: float = 0.9, **policy: Any) -> tuple[str, str]:
    """Make an SLO with a budget, and a policy for it; return their ids."""
    slo_id = (await api.client.post(SLOS, json=FORM)).json()["slo_id"]
    slo = await stored.slo(api.world.ports.key_values, slo_id)
    assert slo is not None
    await put_budget(api.world.ports.key_values, budget_at(slo, now_of(api), good))
    return slo_id, (await api.client.post(POLICIES, json={**POLICY, **policy})).json()["policy_id"]


class TestGate:
    async def test_a_service_that_nobody_knows_is_open(self, api: Api) -> None:
        status = await gate(api, "shop")
        assert (status["frozen"], status["events"], status["actions"]) == (False, [], [])

    async def test_each_scope_freezes_the_right_services(self, api: Api) -> None:
        await frozen(api, "shop", policy_id="a")
        await frozen(api, "production", scope=FreezeScope.NAMESPACE, policy_id="b")
        form = {**FORM, "service_name": "bank", "labels": {"namespace": "production"}}
        assert (await api.client.post(SLOS, json=form)).status_code == 201
        assert [event["target"] for event in (await gate(api, "shop"))["events"]] == ["shop"]
        bank = await gate(api, "bank")
        assert (bank["namespaces"], bank["frozen"]) == (["production"], True)
        assert (await gate(api, "bank", "?namespace=staging"))["frozen"] is False
        assert (await gate(api, "mail", "?namespace=production"))["frozen"] is True
        assert (await gate(api, "mail"))["frozen"] is False
        await frozen(api, "*", scope=FreezeScope.GLOBAL, policy_id="c", ago=2 * HOUR)
        status = await gate(api, "mail", "?use_cache=false")
        assert [event["scope"] for event in status["events"]] == ["GLOBAL"]

    @pytest.mark.parametrize(
        ("actions", "anything", "deploy", "scale"),
        [
            ((FreezeAction.BLOCK_DEPLOY,), True, True, False),
            ((SCALE,), True, False, True),
            ((ALERT,), False, False, False),
            ((FreezeAction.BLOCK_DEPLOY, SCALE, ALERT), True, True, True),
        ],
    )
    async def test_the_gate_answers_by_action(
        self, api: Api, actions: tuple[FreezeAction, ...], anything: bool, deploy: bool, scale: bool
    ) -> None:
        await frozen(api, "shop", actions=actions)
        status = await gate(api, "shop")
        assert (status["frozen"], status["actions"]) == (anything, [action.value for action in actions])
        assert (await gate(api, "shop", "?action=BLOCK_DEPLOY"))["frozen"] is deploy
        assert (await gate(api, "shop", "?action=block_scale"))["frozen"] is scale

    async def test_a_pipeline_can_be_refused_while_it_is_frozen(self, api: Api) -> None:
        event = await frozen(api, "shop")
        refused = problem_of(await api.client.get(f"{GATE}/shop?fail=true"), 423, "blocked_by_freeze")
        assert event.event_id in refused["detail"]
        assert (await api.client.get(f"{GATE}/shop?fail=true&action=BLOCK_SCALE")).status_code == 200
        assert (await api.client.get(f"{GATE}/bank?fail=true")).status_code == 200

    async def test_what_was_read_serves_for_a_minute_and_not_a_moment_longer(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        first = await api.client.get(f"{GATE}/shop")
        assert first.headers["cache-control"] in {"private, max-age=60", "private, max-age=59"}
        await frozen(api, "shop")  # as another process would
        assert (await gate(api, "shop"))["frozen"] is False
        assert (await gate(api, "shop", "?use_cache=false"))["frozen"] is True
        assert (await gate(api, "shop"))["frozen"] is True, "what was read for one is for all"
        await frozen(api, "shop", lasted=timedelta(minutes=1))
        monkeypatch.setattr(freeze_reader, "FRESH", timedelta())
        assert (await gate(api, "shop"))["frozen"] is False

    async def test_a_store_that_is_away_is_needed_only_when_nothing_is_remembered(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await frozen(api, "shop")
        before = await gate(api, "shop")

        async def away(_entries: object) -> None:
            raise Unavailable("the store is away")

        monkeypatch.setattr(stored, "active_freezes", away)
        assert await gate(api, "shop") == before
        problem_of(await api.client.get(f"{GATE}/shop?use_cache=false"), 503, "unavailable")
        monkeypatch.setattr(freeze_reader, "FRESH", timedelta())
        problem_of(await api.client.get(f"{GATE}/shop"), 503, "unavailable")

    async def test_an_answer_that_is_still_right_is_not_sent_again(self, api: Api) -> None:
        first = await api.client.get(f"{GATE}/shop")
        again = await api.client.get(f"{GATE}/shop", headers={"if-none-match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        await frozen(api, "shop")
        changed = await api.client.get(f"{GATE}/shop?use_cache=false", headers={"if-none-match": first.headers["etag"]})
        assert changed.status_code == 200

    async def test_many_who_ask_at_once_ask_the_store_once(self, api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
        asked, read = [], stored.active_freezes

        async def counted(entries: Any) -> Any:
            asked.append(entries)
            return await read(entries)

        monkeypatch.setattr(stored, "active_freezes", counted)
        for service in "abcdefgh":
            await gate(api, service)
        assert len(asked) == 1


class TestFreezes:
    async def test_active_freezes_are_those_that_last_and_of_a_service_those_that_hold_for_it(self, api: Api) -> None:
        await frozen(api, "shop", 3 * HOUR, policy_id="a")
        await frozen(api, "bank", policy_id="b", lasted=timedelta(minutes=5))
        await frozen(api, "*", 2 * HOUR, scope=FreezeScope.GLOBAL, policy_id="c")
        await frozen(api, "mail", policy_id="d")

        async def targets(query: str = "") -> list[str]:
            answer = await api.client.get(f"{POLICIES}/freezes/active{query}")
            return [one["target"] for one in answer.json()["items"]]

        assert await targets() == ["shop", "*", "mail"]
        assert await targets("?service_name=mail") == ["*", "mail"]
        assert await targets("?service_name=bank") == ["*"]

    async def test_the_history_has_freezes_with_their_durations_the_newest_first(self, api: Api) -> None:
        await frozen(api, "shop", 5 * HOUR, lasted=HOUR)
        await frozen(api, "shop", 3 * HOUR, lasted=timedelta(minutes=30))
        await frozen(api, "bank", HOUR, policy_id="b")
        await frozen(api, "shop", 9 * DAY, policy_id="c", lasted=HOUR)
        found = (await api.client.get(f"{POLICIES}/freezes/history")).json()["items"]
        assert [(one["target"], one["active"]) for one in found] == [("bank", True), ("shop", False), ("shop", False)]
        assert [one["duration_seconds"] for one in found[1:]] == [1800, 3600]
        assert found[0]["duration_seconds"] == pytest.approx(3600, abs=60)

        async def number(query: str) -> int:
            return len((await api.client.get(f"{POLICIES}/freezes/history?{query}")).json()["items"])

        assert [await number(query) for query in ("days=10", "service_name=shop", "active=true", "policy_id=b")] == [
            4,
            2,
            1,
            1,
        ]
        problem_of(await api.client.get(f"{POLICIES}/freezes/history?days=91"), 422, "invalid_data")
        problem_of(await api.client.get(f"{POLICIES}/freezes/history?cursor=../.."), 422, "invalid_data")

    async def test_the_history_is_read_in_pages_however_dense_it_is(
        self, api: Api, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(listing, "MOST_AT_ONCE", 4)
        monkeypatch.setattr(listing, "LOOKED_AT", 9)
        events = [
            await frozen(api, "shop", HOUR + number * timedelta(milliseconds=1), lasted=HOUR, event_id=f"e-{number:02}")
            for number in reversed(range(17))
        ]
        same = events[0].triggered_at - DAY
        for number in range(3):
            await put_freeze(api.world.ports.key_values, freeze_of("x", same, event_id=f"same-{number}", lasted=HOUR))
        seen: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            answer = await api.client.get(f"{POLICIES}/freezes/history?limit=2{cursor and f'&cursor={cursor}'}")
            page = answer.json()
            seen += [one["event_id"] for one in page["items"]]
            cursor = page["cursor"]
        assert seen == [*(f"e-{number:02}" for number in range(17)), "same-2", "same-1", "same-0"]

    async def test_a_policy_freezes_at_once_and_a_person_ends_it_with_a_reason(self, api: Api) -> None:
        await spent(api)
        assert (await gate(api, "shop"))["frozen"] is False
        await api.world.platform.enforce_policies()
        status = await gate(api, "shop")
        assert status["frozen"] is True, "what this process changes is told at once"
        (event,) = status["events"]
        path = f"{POLICIES}/freezes/{event['event_id']}/resolve"
        ended = await api.client.post(path, json={"requested_by": "ada", "reason": "the fix is out"})
        assert (ended.status_code, ended.json()["active"], ended.json()["resolved_by"]) == (200, False, "ada")
        assert ended.json()["resolve_reason"] == "the fix is out"
        assert (await gate(api, "shop"))["frozen"] is False
        await api.world.platform.enforce_policies()
        assert (await gate(api, "shop"))["frozen"] is False, "it does not freeze again before it has recovered"
        problem_of(await api.client.post(path, headers=JSON), 409, "freeze_ended")
        problem_of(await api.client.post(f"{POLICIES}/freezes/none/resolve", headers=JSON), 404, "unknown_freeze")
        (kept, *_) = [
            one
            for one in (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
            if one["action"] == "resolve_freeze" and one["why"] != "no reason given"
        ]
        assert (kept["who"], kept["target"], kept["why"]) == ("ada", event["event_id"], "the fix is out")

    async def test_a_changed_threshold_takes_effect_and_a_deleted_policy_frees(self, api: Api) -> None:
        _, policy_id = await spent(api, 0.9965)  # 65 % is left
        await api.world.platform.enforce_policies()
        assert (await gate(api, "shop"))["frozen"] is False
        path = f"{POLICIES}/{policy_id}"
        changed = {"trigger_threshold_percent": 70, "unfreeze_threshold_percent": 80}
        assert (await api.client.put(path, json=changed)).status_code == 200
        assert (await gate(api, "shop"))["frozen"] is True
        assert (await api.client.delete(path, headers=JSON)).status_code == 200
        assert (await gate(api, "shop"))["frozen"] is False
        (one,) = (await api.client.get(f"{POLICIES}/freezes/history")).json()["items"]
        assert (one["resolved_by"], one["active"]) == ("policy", False)

    async def test_a_deleted_slo_freezes_nothing(self, api: Api) -> None:
        slo_id, _ = await spent(api)
        await api.world.platform.enforce_policies()
        assert (await gate(api, "shop"))["frozen"] is True
        await api.client.delete(f"{SLOS}/{slo_id}", headers=JSON)
        assert (await gate(api, "shop"))["frozen"] is False
