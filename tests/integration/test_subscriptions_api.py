"""Subscriptions over HTTP: what is taken, what is refused, and what is kept of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from functions._core.webhooks import subscription as subscriptions
from functions._core.webhooks.stored import changed
from functions.api.actions import record
from tests.support.http_api import Api, problem_of, running_api

PATH = "/api/v1/subscriptions"
JSON = {"content-type": "application/json"}
SINK = "http://127.0.0.1:9/hook"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def created(api: Api, **form: Any) -> dict[str, Any]:
    answer = await api.client.post(PATH, json={"sink": SINK, **form})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    subscription: dict[str, Any] = answer.json()
    return subscription


async def test_a_subscription_is_made_shown_replaced_and_removed(api: Api) -> None:
    form = {
        "source": "/flowc",
        "types": ["flow.completed", "io.neuralhive.flow.failed.v1"],
        "filters": [{"any": [{"prefix": {"subject": "a"}}, {"not": {"suffix": {"subject": "b"}}}]}],
        "config": {"concurrency": 2},
        "protocol": "HTTP",
        "protocolsettings": {"method": "POST"},
    }
    subscription = await created(api, **form)
    assert subscription.pop("secret").startswith("whsec_")
    assert subscription["types"] == ["io.neuralhive.flow.completed.v1", "io.neuralhive.flow.failed.v1"]
    assert (await api.client.get(f"{PATH}/{subscription['id']}")).json() == subscription
    assert (await api.client.get(PATH)).json() == {"items": [subscription]}
    replaced = await api.client.put(f"{PATH}/{subscription['id']}", json={"sink": f"{SINK}/2"})
    assert (replaced.status_code, replaced.json()["types"], replaced.json()["filters"]) == (200, [], [])
    assert (await api.client.delete(f"{PATH}/{subscription['id']}")).status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        headers = JSON if method == "POST" else {}
        answer = await api.client.request(method, f"{PATH}/{subscription['id']}{path}", headers=headers)
        problem_of(answer, 404, "unknown_subscription")


async def test_what_people_do_is_kept(api: Api) -> None:
    subscription = await created(api)
    await api.client.post(f"{PATH}/{subscription['id']}/rotate-secret?requested_by=ada", json={})
    actions = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert [(action["action"], action["target"], action["who"]) for action in actions] == [
        ("rotate_secret", subscription["id"], "ada"),
        ("create_subscription", subscription["id"], "unnamed"),
    ]
    assert "whsec_" not in json.dumps(actions)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sink": "ftp://example.com/"},
        {"sink": "http://"},
        {"sink": "http://user:secret@example.com/"},
        {"sink": "http://example.com/\r\nx: y"},
        {"sink": "http://example.com/" + "a" * 3000},
        {"types": ["plan.validated"]},
        {"types": ["no.such"]},
        {"types": ["flow.completed"] * 101},
        {"filters": [{"sql": "true"}]},
        {"filters": [{"exact": {"id": "x"}}] * 65},
        {"config": {"concurrency": 0}},
        {"config": {"concurrency": 99}},
        {"config": {"unknown": 1}},
        {"protocol": "MQTT"},
        {"protocolsettings": {"method": "GET"}},
        {"sinkcredential": {"credentialtype": "ACCESSTOKEN"}},
        {"sinks": "x"},
    ],
)
async def test_a_wrong_subscription_is_refused(api: Api, wrong: dict[str, Any]) -> None:
    answer = await api.client.post(PATH, json={"sink": SINK, **wrong})
    problem_of(answer, 422, "invalid_data")
    assert (await api.client.get(PATH)).json() == {"items": []}


@pytest.mark.parametrize(
    "sink",
    [
        "http://169.254.169.254/latest",
        "http://[::ffff:169.254.169.254]/",
        "http://0xa9fea9fe/",
        "http://2852039166/",
        "http://metadata.google.internal/",
        "http://[fe80::1]/",
    ],
)
async def test_a_sink_that_is_never_called_is_refused(api: Api, sink: str) -> None:
    answer = await api.client.post(PATH, json={"sink": sink})
    problem_of(answer, 403, "forbidden_address")


async def test_a_sink_that_is_no_address_is_a_fault_of_the_body(api: Api) -> None:
    problem = problem_of(await api.client.post(PATH, json={"sink": f"https://{'0' * 64}"}), 422, "bad_address")
    assert problem["detail"].startswith("sink: ")


async def test_a_large_or_deep_body_is_refused_before_it_is_looked_at(api: Api) -> None:
    answer = await api.client.post(PATH, content=b"[" * 10_000, headers=JSON)
    problem_of(answer, 413, "too_large")
    answer = await api.client.post(PATH, content=b"[" * 8_000, headers=JSON)
    assert answer.status_code in {400, 422}
    deep = '{"sink":"http://x/","filters":[' + '{"not":' * 900 + '{"exact":{"id":"x"}}' + "}" * 900 + "]}"
    answer = await api.client.post(PATH, content=deep.encode(), headers=JSON)
    assert answer.status_code in {400, 422}


async def test_there_is_a_bound_on_subscriptions(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("functions.api.subscriptions.MAX_SUBSCRIPTIONS", 2)
    for _ in range(2):
        await created(api)
    problem_of(await api.client.post(PATH, json={"sink": SINK}), 409, "too_many_subscriptions")


async def test_of_many_that_subscribe_at_once_none_is_taken_and_then_left_out(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def recorded(*given: Any, **more: Any) -> None:
        await asyncio.sleep(0)  # as every store but the memory does: others get their turn
        await record(*given, **more)

    monkeypatch.setattr("functions.api.subscriptions.record", recorded)
    monkeypatch.setattr("functions.api.subscriptions.MAX_SUBSCRIPTIONS", 3)
    answers = await asyncio.gather(*(api.client.post(PATH, json={"sink": SINK}) for _ in range(20)))
    assert {answer.status_code for answer in answers} <= {201, 409}
    listed = [one["id"] for one in (await api.client.get(PATH)).json()["items"]]
    assert sorted(answer.json()["id"] for answer in answers if answer.status_code == 201) == sorted(listed)
    assert len(listed) <= 3


async def test_every_subscription_and_every_rotation_has_another_secret(api: Api) -> None:
    one, other = await created(api), await created(api)
    rotated = (await api.client.post(f"{PATH}/{one['id']}/rotate-secret", json={})).json()
    assert len({one["secret"], other["secret"], rotated["secret"]}) == 3
    answer = await api.client.post(f"{PATH}/{one['id']}/rotate-secret", json={"overlap_seconds": -1})
    problem_of(answer, 422, "invalid_data")


async def test_what_is_stored_holds_no_secret(api: Api) -> None:
    subscription = await created(api)
    entries = await api.world.platform.ports.key_values.page(subscriptions.SPACE, None, 10)
    assert subscription["secret"].removeprefix("whsec_").encode() not in b"".join(entry.value for entry in entries)


async def test_a_delivery_that_waits_is_not_sent_again_by_hand(api: Api) -> None:
    subscription = await created(api)
    path = f"{PATH}/{subscription['id']}"
    delivery = (await api.client.post(f"{path}/test", headers=JSON)).json()
    answer = await api.client.post(f"{path}/deliveries/{delivery['delivery_id']}/resend", headers=JSON)
    problem_of(answer, 409, "delivery_pending")
    answer = await api.client.post(f"{path}/deliveries/x/resend", headers=JSON)
    problem_of(answer, 404, "unknown_delivery")


async def test_a_subscription_that_cannot_be_read_is_left_out(api: Api) -> None:
    subscription = await created(api)
    await created(api)
    entries = api.world.platform.ports.key_values
    entry = await entries.get(subscriptions.SPACE, subscription["id"])
    assert entry is not None
    await entries.put(subscriptions.SPACE, entry.key, b'{"id": 1}', version=entry.version)
    assert len((await api.client.get(PATH)).json()["items"]) == 1
    assert await changed(entries, subscription["id"], lambda one: one) is None
    assert (await api.client.delete(f"{PATH}/{subscription['id']}")).status_code == 204
