"""`POST /webhooks/alertmanager`: whom it believes, which SLOs it evaluates, and what a stranger can make it do."""

import asyncio
import hmac
import json
import time
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.errors import Rejected, Unavailable
from functions._core.slo import stored as records
from functions._core.slo.budget import BudgetStatus, ErrorBudget
from functions.api import alerts as alerts_module
from tests.support.http_api import ALERT_SECRET, Api, problem_of, running_api
from tests.support.monitoring import alertmanager, prometheus
from tests.support.one_machine import one_machine
from tests.support.slo_history import policy, slo
from tests.support.slo_history import stored as put_records
from tests.support.world import decision, task, until

PATH = "/webhooks/alertmanager"
BEARER = {"authorization": f"Bearer {ALERT_SECRET}"}
KEY = "a-key-of-the-platform"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, api_key=KEY) as running:
        yield running


def alert(slo_name: str | None = "s", number: int = 1, status: str = "firing", **labels: str) -> dict[str, Any]:
    """Return an alert as an Alertmanager sends it."""
    named = {} if slo_name is None else {"slo": slo_name}
    return {
        "status": status,
        "labels": {"alertname": "SloBurnsFast", **named, **labels},
        "annotations": {"summary": "s"},
        "startsAt": "2026-11-30T05:00:00.000Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": f"f{number}",
    }


def message(*alerts: dict[str, Any]) -> bytes:
    """Return the body of version 4."""
    about = {"version": "4", "groupKey": "{}", "truncatedAlerts": 0, "status": "firing", "receiver": "flowc"}
    more = {"groupLabels": {}, "commonLabels": {}, "commonAnnotations": {}, "externalURL": "http://alertmanager"}
    return json.dumps({**about, **more, "alerts": alerts}).encode()


async def send(api: Api, body: bytes, headers: Mapping[str, str] = BEARER) -> httpx.Response:
    return await api.client.post(PATH, content=body, headers={"content-type": "application/json", **headers})


async def told(api: Api, *alerts: dict[str, Any]) -> dict[str, Any]:
    answer = await send(api, message(*alerts))
    assert answer.status_code == 200, answer.text
    document: dict[str, Any] = answer.json()
    return document


async def fail_flows(api: Api, count: int) -> None:
    api.world.workers.behave = lambda _assignment: {
        "status": "FAILED",
        "error": {"type": "boom", "message": "b", "retryable": False},
    }
    await api.world.register()
    for flow_id in [await api.world.submit(decision(task("a"))) for _ in range(count)]:
        assert (await api.world.ended(flow_id)).status == "FAILED"


class Calls:
    """Stands in front of the engine, and notes what it is asked."""

    def __init__(self, api: Api) -> None:
        self.asked: list[tuple[str, str]] = []
        self.engine = api.world.platform
        self.failing: Mapping[str, Exception] = {}

    async def recalculate(self, slo_id: str) -> ErrorBudget:
        self.asked.append(("recalculate", slo_id))
        if slo_id in self.failing:
            raise self.failing[slo_id]
        return ErrorBudget(
            budget_id="b",
            slo_id=slo_id,
            service_name="s",
            calculated_at=records_now(),
            window_start=records_now() - timedelta(days=30),
            sli_value=1,
            slo_target=0.9,
            error_budget_total=10,
            error_budget_consumed=0,
            error_budget_remaining=100,
            status=BudgetStatus.HEALTHY,
        )

    async def enforce_policies(self, slo_id: str | None = None) -> list[Any]:
        self.asked.append(("enforce", str(slo_id)))
        return []


def records_now() -> datetime:
    return datetime.fromisoformat("2026-11-30T05:00:00Z")


@pytest.fixture
def calls(api: Api) -> Calls:
    made = Calls(api)
    object.__setattr__(api.app.state.services, "engine", made)
    return made


async def test_a_spent_budget_freezes_at_the_first_alert(api: Api) -> None:
    await fail_flows(api, 3)
    ports = api.world.platform.ports
    await put_records(ports, slo("s"), policy())
    await put_records(ports, slo("other", service_name="elsewhere"))
    mixed = [alert("s", 1), alert("s", 2, severity="ticket"), alert(None, 3), alert("unknown", 4)]
    assert await told(api, *mixed) == {"received": 4, "processed": 2, "ignored": 2, "errors": []}
    state, _ = await records.budget_state(ports.key_values, "s")
    assert state is not None
    assert (state.budget.status, state.budget.sample_count) == (BudgetStatus.EXHAUSTED, 3)
    (freeze,) = await records.active_freezes(ports.key_values)
    assert (freeze.policy_id, freeze.slo_id) == ("p", "s")
    assert (await records.budget_state(ports.key_values, "other"))[0] is None
    assert await told(api, *mixed) == {"received": 4, "processed": 0, "ignored": 4, "errors": []}
    again = await told(api, alert("s", 1, "resolved"))
    assert again == {"received": 1, "processed": 1, "ignored": 0, "errors": []}


async def test_the_id_counts_before_the_name_and_the_service_tells_names_apart(api: Api, calls: Calls) -> None:
    ports = api.world.platform.ports
    await put_records(ports, slo("id-1", name="availability"), slo("id-2", name="id-1", service_name="b"))
    await put_records(ports, slo("id-3", name="availability", service_name="b"), slo("id-4", enabled=False))
    cases: list[tuple[dict[str, str], str | None]] = [
        ({"slo": "id-1"}, "id-1"),
        ({"slo": "availability", "service": "b"}, "id-3"),
        ({"slo": "availability", "service": "orchestrator"}, "id-1"),
        ({"slo": "id-4"}, None),
        ({"slo": "Availability"}, None),
        ({"slo": "availability", "service": "nobody's"}, None),
        ({"slo": "availability"}, None),  # of two it may be any
    ]
    for number, (labels, expected) in enumerate(cases):
        calls.asked.clear()
        one = {**alert(None, number), "labels": labels}
        assert (await told(api, one))["processed"] == (expected is not None), labels
        assert calls.asked == ([("recalculate", expected), ("enforce", expected)] if expected else [])


async def test_an_slo_is_calculated_once_for_all_of_its_alerts(api: Api, calls: Calls) -> None:
    await put_records(api.world.platform.ports, slo("s"))
    answer = await told(api, *(alert("s", number) for number in range(200)), alert("s", 1))
    assert answer == {"received": 201, "processed": 200, "ignored": 1, "errors": []}
    assert calls.asked == [("recalculate", "s"), ("enforce", "s")]


async def test_one_that_fails_stops_no_other_and_is_told_again(api: Api, calls: Calls) -> None:
    await put_records(api.world.platform.ports, slo("a"), slo("b"), slo("c"))
    calls.failing = {
        "a": Rejected("metrics server: " + "x" * 5000, code="metrics_query_failed", status=502),
        "b": Unavailable("away"),
    }
    sent = [alert("a", 1), alert("b", 2), alert("c", 3)]
    answer = await told(api, *sent)
    assert (answer["processed"], answer["ignored"]) == (1, 0)
    assert [(one["slo"], one["code"]) for one in answer["errors"]] == [
        ("a", "metrics_query_failed"),
        ("b", "unavailable"),
    ]
    assert max(len(one["message"]) for one in answer["errors"]) == 500
    calls.failing = {}
    assert await told(api, *sent) == {"received": 3, "processed": 2, "ignored": 1, "errors": []}


async def test_what_takes_too_long_is_cut_off_and_told(api: Api, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts_module, "SECONDS", 0.2)
    await put_records(api.world.platform.ports, slo("s"))

    async def hang(slo_id: str) -> ErrorBudget:
        await asyncio.Event().wait()
        raise AssertionError(slo_id)

    monkeypatch.setattr(calls, "recalculate", hang)
    answer = await told(api, alert("s"))
    assert (answer["processed"], [one["code"] for one in answer["errors"]]) == (0, ["timeout"])


@pytest.mark.usefixtures("calls")
async def test_more_slos_than_a_message_may_have_are_named(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts_module, "MAX_SLOS", 2)
    await put_records(api.world.platform.ports, slo("a"), slo("b"), slo("c"))
    answer = await told(api, alert("a", 1), alert("b", 2), alert("c", 3))
    assert (answer["processed"], [(one["slo"], one["code"]) for one in answer["errors"]]) == (2, [("c", "too_many")])


def hmac_of(body: bytes, secret: str = ALERT_SECRET, stamp: str | None = None) -> dict[str, str]:
    text = body if stamp is None else stamp.encode() + b"." + body
    digest = hmac.new(secret.encode(), text, sha256).hexdigest()
    return {"x-webhook-signature": f"sha256={digest}"} | ({} if stamp is None else {"x-webhook-timestamp": stamp})


async def test_a_signature_proves_a_sender_too(api: Api) -> None:
    body = message(alert())
    assert (await send(api, body, hmac_of(body))).status_code == 200
    stamp = str(int(time.time()))
    assert (await send(api, body, hmac_of(body, stamp=stamp))).status_code == 200
    problem_of(await send(api, body + b" ", hmac_of(body)), 401, "bad_signature")
    problem_of(await send(api, body, hmac_of(body, stamp=str(int(time.time()) - 900))), 401, "stale_signature")


FORGED: dict[str, tuple[dict[str, str], str]] = {
    "nothing": ({}, "not_signed"),
    "the platform's key": ({"x-api-key": KEY}, "not_signed"),
    "the platform's key as a token": ({"authorization": f"Bearer {KEY}"}, "bad_token"),
    "half the secret": ({"authorization": f"Bearer {ALERT_SECRET[:-1]}"}, "bad_token"),
    "more than the secret": ({"authorization": f"Bearer {ALERT_SECRET}{ALERT_SECRET}"}, "bad_token"),
    "no token": ({"authorization": "Bearer "}, "bad_token"),
    "another scheme": ({"authorization": f"Basic {ALERT_SECRET}"}, "not_signed"),
    "the pipelines' secret": (hmac_of(b"{}", "a-secret-of-pipelines"), "bad_signature"),
    "a signature of something else": (hmac_of(b"[]"), "bad_signature"),
    "no signature": ({"x-webhook-signature": "sha256=00"}, "malformed_signature"),
    "a huge token": ({"authorization": "Bearer " + "x" * 60_000}, "bad_token"),
    "letters that are none of ASCII": ({"authorization": "Bearer \u00fc\u00ff"}, "bad_token"),
}


@pytest.mark.parametrize("what", FORGED)
async def test_who_proves_nothing_is_refused(api: Api, calls: Calls, what: str) -> None:
    headers, code = FORGED[what]
    encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    answer = await api.client.post(PATH, content=b"{}", headers={b"content-type": b"application/json", **encoded})
    problem_of(answer, 401, code)
    assert ALERT_SECRET not in answer.text
    assert calls.asked == []


async def test_nothing_of_the_body_is_read_before_the_secret(api: Api) -> None:
    read: list[int] = []

    async def body() -> AsyncIterator[bytes]:
        for number in range(50):
            read.append(number)
            yield b"x" * 1000

    headers = {"content-type": "application/json", "authorization": "Bearer wrong"}
    problem_of(await api.client.post(PATH, content=body(), headers=headers), 401, "bad_token")
    problem_of(await send(api, b"[" * 100_000, {"authorization": "Bearer wrong"}), 401, "bad_token")


HOSTILE: dict[str, tuple[bytes, int, str]] = {
    "too large": (b"[" + b" " * 1024 * 1024 + b"]", 413, "too_large"),
    "no JSON": (b"alerts", 400, "malformed_json"),
    "too deep": (b"[" * 500 + b"]" * 500, 400, "too_deep"),
    "another version": (json.dumps({"version": "3", "alerts": []}).encode(), 422, "invalid_data"),
    "no alerts": (b"{}", 422, "invalid_data"),
    "too many alerts": (message(*[{"status": "firing", "labels": {}}] * 501), 422, "invalid_data"),
    "an alert that is none": (json.dumps({"alerts": [1]}).encode(), 422, "invalid_data"),
    "labels that are none": (
        json.dumps({"alerts": [{"status": "firing", "labels": {"a": 1}}]}).encode(),
        422,
        "invalid_data",
    ),
    "another status": (json.dumps({"alerts": [{"status": "x", "labels": {}}]}).encode(), 422, "invalid_data"),
    "many labels": (message({"status": "firing", "labels": {str(n): "" for n in range(20_000)}}), 422, "invalid_data"),
}


@pytest.mark.parametrize("what", HOSTILE)
async def test_a_body_has_its_bounds(api: Api, calls: Calls, what: str) -> None:
    body, status, code = HOSTILE[what]
    begun = time.process_time()
    answer = await send(api, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert time.process_time() - begun < 2
    assert calls.asked == []


@pytest.mark.usefixtures("calls")
@pytest.mark.parametrize(
    "name", ["<script>alert(1)</script>", "\x00", "../../slos/s", "s\x00", "' OR 1=1 --", "x" * 100_000, "\ud83d\ude00"]
)
async def test_a_label_is_a_text_and_nothing_else(api: Api, name: str) -> None:
    await put_records(api.world.platform.ports, slo("s"))
    assert (await told(api, alert(name, alertname=name, service=name)))["ignored"] == 1
    assert (await told(api, alert("s", alertname=name)))["processed"] == 1


async def test_without_a_secret_nobody_is_believed(api: Api) -> None:
    object.__setattr__(api.app.state.services, "alerting", None)
    problem_of(await send(api, message(alert())), 503, "no_alert_secret")


@pytest.mark.slow
async def test_an_alert_of_a_real_alertmanager_freezes_by_a_real_prometheus(tmp_path: Path) -> None:
    settings = {"FLOWC_API_KEY": KEY, "FLOWC_ALERT_WEBHOOK_SECRET": ALERT_SECRET}
    quick = {"group_wait": "0s", "group_interval": "1s", "group_by": ["slo", "service"]}
    routes = [{"receiver": "flowc", "matchers": ['slo!=""'], **quick}]
    async with (
        prometheus(tmp_path / "metrics") as metrics_url,
        one_machine(tmp_path / "flowc", {**settings, "FLOWC_PROMETHEUS_URL": metrics_url}) as at,
        httpx.AsyncClient() as client,
    ):
        ports = at.running.ports
        await put_records(ports, slo("s", sli_query={"query": "vector(0.5)", "aggregation": "ratio"}), policy())
        authorization = {"type": "Bearer", "credentials": ALERT_SECRET}
        webhook = {"url": f"{at.url}{PATH}", "http_config": {"authorization": authorization}}
        receivers = [{"name": "nobody"}, {"name": "flowc", "webhook_configs": [webhook]}]
        config = {"route": {"receiver": "nobody", "routes": routes}, "receivers": receivers}
        async with alertmanager(tmp_path / "alerts", config) as url:
            posted = [{"labels": {"alertname": "A", "slo": "s"}}, {"labels": {"alertname": "B"}}]
            assert (await client.post(f"{url}/api/v2/alerts", json=posted)).status_code == 200

            async def frozen() -> bool | None:
                return bool(await records.active_freezes(ports.key_values)) or None

            await until(frozen, "the freeze")
        state, _ = await records.budget_state(ports.key_values, "s")
        assert state is not None
        assert (state.budget.sli_value, state.budget.error_budget_consumed) == (0.5, 500)
