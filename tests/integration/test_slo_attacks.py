"""Attacks on the doors of SLOs, budgets and freezes: each is refused or bounded, and none keeps the loop."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from functions._core import small_records
from functions._core.records.record import encode
from functions._core.slo import stored
from functions._core.slo.admission import MAX_POLICIES, AdmissionPolicy
from functions._core.slo.budget import BudgetStatus, Indicator, budget_of
from functions._core.slo.calculating import VIOLATIONS
from functions._core.slo.definition import MAX_SLOS
from functions._core.slo.stored import BudgetHour, BudgetPoint, BudgetState, hour_key
from functions._engine.budget_gate import RememberedGate
from tests.integration.test_attacks import BODIES, KEY, Target, attacked
from tests.support.slo_history import slo
from tests.support.slos import FORM, POLICY, freeze_of, put_freeze

SLOS, BUDGETS, POLICIES, GATE = "/api/v1/slos", "/api/v1/budgets", "/api/v1/policies", "/api/v1/freeze-status"

BEGUN = b'{"name":"n","service_name":"s","target":0.9,"labels":{'
LABELS = b",".join(b'"l%d":"v"' % number for number in range(1_000_000))
HOSTILE: Mapping[str, bytes] = {
    **BODIES,
    "a million labels": BEGUN + LABELS + b"}}",
    "as many as fit": b'{"name":"n","service_name":"s","target":0.9,"labels":{'
    + LABELS[:30_000].rpartition(b",")[0]
    + b"}}",
    "a list of targets": b'{"name":"n","service_name":"s","target":[' + b"1," * 15_000 + b"1]}",
    "half a pair": b'{"name":"\\ud800","service_name":"s","target":0.9,"sli_query":{"query":"up"}}',
    "not finite": b'{"name":"n","service_name":"s","target":1e999,"sli_query":{"query":"up"}}',
    "brackets": b'{"name":"n","service_name":"s","target":0.9,"sli_query":{"query":"' + b"(" * 3_900 + b'"}}',
}


async def an_slo(target: Target, **form: Any) -> str:
    answer = await target.send("create", "POST", SLOS, json={**FORM, **form})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["slo_id"])


async def test_no_body_is_worth_more_than_a_refusal(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        slo_id = await an_slo(target)
        policy = (await target.send("create", "POST", POLICIES, json=POLICY)).json()["policy_id"]
        doors = [
            ("POST", SLOS),
            ("PUT", f"{SLOS}/{slo_id}"),
            ("POST", f"{SLOS}/import/alerts"),
            ("POST", POLICIES),
            ("PUT", f"{POLICIES}/{policy}"),
            ("POST", f"{POLICIES}/freezes/x/resolve"),
        ]
        for name, body in HOSTILE.items():
            for method, door in doors:
                answer = await target.send(name, method, door, content=body)
                assert 400 <= answer.status_code < 500, (name, door, answer.text)
                assert len(answer.content) < 64 * 1024, (name, door)
        assert len((await target.send("look", "GET", SLOS)).json()["items"]) == 1


@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "{{7*7}}", "'; DROP TABLE slos; --", "\u202eevil", "😀" * 200]
)
async def test_a_hostile_name_is_text_and_nothing_else(tmp_path: Path, name: str) -> None:
    async with attacked(tmp_path) as target:
        slo_id = await an_slo(target, name=name, service_name=name)
        answer = await target.send("look", "GET", f"{SLOS}/{slo_id}")
        assert (answer.json()["name"], answer.headers["content-type"]) == (name, "application/json")
        listed = (await target.send("look", "GET", SLOS, params={"service_name": name})).json()["items"]
        assert [one["slo_id"] for one in listed] == [slo_id]
        gate = await target.send("gate", "GET", f"{GATE}/{quote(name, safe='')}")
        assert (gate.status_code, gate.headers["content-type"]) == (200, "application/json")
        taken = await target.send("again", "POST", SLOS, json={**FORM, "name": name, "service_name": name})
        assert (taken.status_code, taken.headers["content-type"]) == (409, "application/problem+json")


async def test_paths_and_questions_that_are_none_are_refused(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        slo_id = await an_slo(target)
        long = "9" * 5_000
        for wrong in ("%00", "a%0Ab", "..%2f..%2fetc", long, "%ff"):
            for door in (f"{SLOS}/{wrong}", f"{BUDGETS}/{wrong}", f"{BUDGETS}/{wrong}/history", f"{POLICIES}/{wrong}"):
                answer = await target.send("path", "GET", door)
                assert answer.status_code in {400, 404, 422}, (door[:50], answer.text)
            answer = await target.send("path", "GET", f"{GATE}/{wrong}")
            assert answer.status_code in {200, 404, 422}, answer.text
        for question in (
            f"{SLOS}?cursor={long}",
            f"{SLOS}?service_name=%00",
            f"{SLOS}?limit={long}",
            f"{BUDGETS}?status={long}",
            f"{BUDGETS}/{slo_id}/burn-rate?window_hours=169",
            f"{BUDGETS}/{slo_id}/burn-rate?window_hours=0",
            f"{BUDGETS}/{slo_id}/burn-rate?window_hours={long}",
            f"{BUDGETS}/{slo_id}/history?from={long}",
            f"{BUDGETS}/{slo_id}/history?from=0001-01-01T00:00:00Z",
            f"{POLICIES}/freezes/history?cursor=9999-99-99T99:99:99.999Z0",
            f"{POLICIES}/freezes/history?days=-1",
            f"{GATE}/shop?namespace=%00",
            f"{GATE}/shop?action=EXPLODE",
            f"{GATE}/shop?use_cache=perhaps",
        ):
            answer = await target.send("question", "GET", question)
            assert answer.status_code in {400, 422}, (question[:80], answer.text)


async def full_course(target: Target, slo_id: str, days: int) -> int:
    """Store a course that is as dense as one can be; return the number of its calculations."""
    entries, now = target.at.running.ports.key_values, target.at.running.ports.clock.now()
    begin = (now - timedelta(days=days)).replace(minute=0, second=0, microsecond=0)
    for hour in range(24 * days):
        start = begin + timedelta(hours=hour)
        points = tuple(
            BudgetPoint(
                at=start + number * timedelta(seconds=18),
                sli_value=0.999,
                remaining=90,
                consumed=10,
                status=BudgetStatus.HEALTHY,
                burn_rate=0.1,
            )
            for number in range(stored.POINTS)
        )
        await entries.put("slo-budget-history", hour_key(slo_id, start), _hour(points), version=0)
        if hour % 20 == 0:
            await asyncio.sleep(0)
    return 24 * days * stored.POINTS


def _hour(points: tuple[BudgetPoint, ...]) -> bytes:
    return encode(BudgetHour(points=points))


async def test_a_course_of_half_a_million_calculations_is_read_in_short_turns(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        slo_id = await an_slo(target)
        expected = await full_course(target, slo_id, 30)
        for grouping, points in (("daily", 31), ("hourly", 720), ("none", 2500)):
            path = f"{BUDGETS}/{slo_id}/history?days=90&aggregation={grouping}"
            found = (await target.send(f"course {grouping}", "GET", path)).json()
            assert len(found["items"]) in {points, points - 1}
            if grouping != "none":
                assert sum(one["calculations"] for one in found["items"]) == expected


async def test_very_many_freezes_are_looked_through_in_short_turns(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        entries, now = target.at.running.ports.key_values, target.at.running.ports.clock.now()
        for number in range(3_000):
            event = freeze_of("shop", _ago(now, number), event_id=f"e-{number}", lasted=timedelta(seconds=1))
            await stored._remember(entries, event)  # noqa: SLF001 as a flapping policy would have left them
        await put_freeze(entries, freeze_of("bank", now - timedelta(days=1), policy_id="b"))
        path = f"{POLICIES}/freezes/history?days=90"
        assert len((await target.send("history", "GET", path)).json()["items"]) == 100
        rare = (await target.send("rare", "GET", f"{path}&service_name=bank")).json()
        assert [one["target"] for one in rare["items"]] == ["bank"]


def _ago(now: datetime, number: int) -> datetime:
    return now - timedelta(seconds=2 * number + 10)


LABELS_OF_ALL = {f"label-{number:02d}": "v" * 100 for number in range(16)}


async def full_admission(target: Target) -> None:
    """Store as many SLOs, budgets and admission policies as there may be, each of them large."""
    entries, now = target.at.running.ports.key_values, target.at.running.ports.clock.now()
    moments = tuple(now - timedelta(minutes=number) for number in reversed(range(VIOLATIONS)))
    windows = {hours: Indicator(0.9) for hours in (0.083333, 0.5, 1.0, 2.0, 6.0, 24.0, 72.0)}
    large = slo(
        labels=LABELS_OF_ALL,
        description="d" * 2000,
        metadata={"text": "m" * 8000},
        sli_query={"query": "up" + " " * 3990},
    )
    for number in range(MAX_SLOS):
        one = large.but(slo_id=f"slo-{number:04d}", name=f"slo {number}", service_name=f"service-{number % 9}")
        await stored.put_new(entries, one)
        budget = budget_of(one, now, f"b-{number}", Indicator(1 - number / 10 / MAX_SLOS), windows)
        await stored.put_budget(entries, BudgetState(budget=budget, violations=moments, told=True), 0)
    ids = tuple(f"slo-{number:04d}" for number in range(200))
    for number in range(MAX_POLICIES):
        selector = {"slo_ids": ids} if number % 3 == 0 else {"labels": LABELS_OF_ALL} if number % 3 == 1 else {}
        form = {"name": f"p-{number:03d}", "action": "HOLD", "slo_selector": selector, "statuses": ["EXHAUSTED"]}
        policy = AdmissionPolicy.model_validate({**form, "created_at": now, "updated_at": now})
        await stored.ADMISSION_POLICIES.put(entries, policy.name, policy)


async def test_as_much_admission_as_there_may_be_is_looked_at_in_short_turns(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        await full_admission(target)
        gate = target.at.running.ports.budget_gate
        for turn in range(3):
            gate.forget()
            answers = [target.ticket(f"t-{turn}-{number}") for number in range(8)]
            await asyncio.gather(*answers)
            state = await gate.admission()
            assert state is not None
            assert (len(state.policies), len(state.slos), len(state.budgets)) == (MAX_POLICIES, MAX_SLOS, MAX_SLOS)


async def test_those_who_ask_at_once_wait_for_one_look(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        await full_admission(target)
        entries, clock = target.at.running.ports.key_values, target.at.running.ports.clock
        pages: list[str] = []

        class Watched:
            """Key values that tell which spaces are read."""

            def __getattr__(self, name: str) -> Any:
                return getattr(entries, name)

            async def page(self, space: str, after: str | None, limit: int) -> Any:
                pages.append(space)
                return await entries.page(space, after, limit)

        gate = RememberedGate(Watched(), clock)
        first, *others = await asyncio.gather(*(gate.admission() for _ in range(16)))
        assert all(one is first for one in others)
        assert pages.count("slos") == MAX_SLOS // small_records.PAGE + 1


async def test_wrong_roles_change_nothing(tmp_path: Path) -> None:
    async with attacked(tmp_path) as target:
        slo_id = await an_slo(target)
        policy = (await target.send("create", "POST", POLICIES, json=POLICY)).json()["policy_id"]
        changes = [
            ("POST", SLOS),
            ("PUT", f"{SLOS}/{slo_id}"),
            ("DELETE", f"{SLOS}/{slo_id}"),
            ("POST", f"{SLOS}/{slo_id}/test"),
            ("POST", f"{SLOS}/import/alerts"),
            ("POST", f"{BUDGETS}/{slo_id}/recalculate"),
            ("POST", POLICIES),
            ("PUT", f"{POLICIES}/{policy}"),
            ("DELETE", f"{POLICIES}/{policy}"),
            ("POST", f"{POLICIES}/freezes/x/resolve"),
        ]
        reads = [("GET", path) for path in (SLOS, f"{SLOS}/{slo_id}", BUDGETS, f"{BUDGETS}/summary", POLICIES)]
        reads += [("GET", f"{POLICIES}/freezes/active"), ("GET", f"{POLICIES}/freezes/history"), ("GET", f"{GATE}/s")]
        for role, forbidden in (("viewer", changes), ("worker", changes + reads)):
            made = await target.send("key", "POST", "/api/v1/keys", json={"name": role, "roles": [role]})
            for method, door in forbidden:
                answer = await target.send("role", method, door, key=made.json()["key"], content=b"{}")
                assert (answer.status_code, answer.json()["code"]) == (403, "insufficient_role"), (role, door)
        for method, door in changes + reads:
            answer = await target.send("nobody", method, door, key=None, content=b"{}")
            assert answer.status_code == 401, door
        scoped = {"name": "gate", "roles": ["viewer"], "scopes": ["freeze-status"]}
        pipeline = (await target.send("key", "POST", "/api/v1/keys", json=scoped)).json()["key"]
        assert (await target.send("gate", "GET", f"{GATE}/shop", key=pipeline)).status_code == 200
        assert (await target.send("gate", "GET", SLOS, key=pipeline)).json()["code"] == "insufficient_scope"
        assert (await target.send("look", "GET", f"{SLOS}/{slo_id}", key=KEY)).json()["enabled"] is True
