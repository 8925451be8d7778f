"""Webhooks that tickets name, over the platform of one machine: the owner is told, claims its ticket, and reports."""

import hmac
from collections.abc import AsyncIterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.webhooks import delivery as deliveries
from functions._core.webhooks.owners import owner_of
from tests.support.http_workers import HttpWorkers
from tests.support.loopback import Answer, Request, until
from tests.support.one_machine import OneMachine, one_machine
from tests.support.webhook_receiver import WebhookReceiver, answers, verified
from tests.support.world import decision, task
from tests.support.world import until as eventually

SUBSCRIPTIONS, TICKETS = "/api/v1/subscriptions", "/api/v1/tickets"


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path) as running:
        yield running


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    async with WebhookReceiver() as running:
        yield running


def types(receiver: WebhookReceiver, name: str) -> list[str]:
    return [body["type"].removeprefix("io.neuralhive.").removesuffix(".v1") for body in receiver.bodies(name)]


def files_in(folder: Path) -> list[Path]:
    return [file for file in folder.rglob("*") if file.is_file()]


async def created(platform: OneMachine, url: object, **more: Any) -> dict[str, Any]:
    body = {"plan_id": "p", "task_type": "BUILD", "metadata": {"webhook_url": url}, **more}
    ticket: dict[str, Any] = await platform.send(TICKETS, body)
    return ticket


async def patched(platform: OneMachine, token: str, ready: dict[str, Any], **change: Any) -> httpx.Response:
    """Change the status of a ticket by what its owner was sent."""
    url = ready["data"]["callback"]["status_url"]
    return await platform.client.patch(url, json=change, headers={"authorization": f"Bearer {token}"})


async def ready_of(receiver: WebhookReceiver, name: str) -> dict[str, Any]:
    await until(lambda: bool(receiver.received[name]), "the ticket is ready")
    event: dict[str, Any] = receiver.bodies(name)[0]
    return event


async def test_the_owner_gets_one_signed_message_and_does_the_work_by_it(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    form = {"sink": receiver.sink(""), "config": {"tickets": True, "x_webhook_signature": True}}
    secret = (await platform.send(SUBSCRIPTIONS, form))["secret"]
    ticket = await created(platform, receiver.sink("hook"))
    ready = await ready_of(receiver, "hook")
    request = receiver.received["hook"][0][1]
    assert verified(secret, request) == ready
    mac = hmac.new(secret.encode(), request.body, sha256).hexdigest()
    assert request.headers["x-webhook-signature"] == f"sha256={mac}"
    said = {name: ready["data"][name] for name in ("ticket_id", "plan_id", "task_type", "attempt", "to_status")}
    assert said == {
        "ticket_id": ticket["ticket_id"],
        "plan_id": "p",
        "task_type": "BUILD",
        "attempt": 1,
        "to_status": "PENDING",
    }
    assert ready["type"] == "io.neuralhive.ticket.ready.v1"
    token = ready["data"]["callback"]["token"]
    running = (await patched(platform, token, ready, status="RUNNING")).json()
    assert (running["status"], running["attempt"]) == ("RUNNING", 1)
    assert running["worker_id"].startswith("webhook:127.0.0.1:")
    assert (await patched(platform, token, ready, status="RUNNING")).status_code == 200
    ended = await patched(platform, token, ready, status="COMPLETED", output={"n": 1})
    assert ended.json()["status"] == "COMPLETED"
    await until(lambda: len(receiver.received["hook"]) == 3, "the ticket's changes")
    assert {*types(receiver, "hook")} == {
        "ticket.ready",
        "ticket.started",
        "ticket.completed",
    }  # repeated ones are late
    assert len(set(receiver.ids("hook"))) == 3
    assert ended.json()["flow_id"] == ready["partitionkey"]


async def test_the_first_ticket_of_a_host_makes_its_subscription(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    await created(platform, receiver.sink("a"))
    await created(platform, receiver.sink("b"), plan_id="q")
    await until(lambda: bool(receiver.received["a"] and receiver.received["b"]), "both owners are told")
    assert (types(receiver, "a"), types(receiver, "b")) == (["ticket.ready"], ["ticket.ready"])
    (made,) = (await platform.get(SUBSCRIPTIONS))["items"]
    assert (made["id"], made["sink"]) == (owner_of(receiver.sink("a")), receiver.sink(""))
    secret = (await platform.send(f"{SUBSCRIPTIONS}/{made['id']}/rotate-secret", {}))["secret"]
    await created(platform, receiver.sink("c"), plan_id="r")
    await until(lambda: bool(receiver.received["c"]), "the next owner is told")
    assert verified(secret, receiver.received["c"][0][1])["type"] == "io.neuralhive.ticket.ready.v1"


async def test_only_tickets_that_name_a_webhook_are_told_and_to_their_owner_alone(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    tasks = [task("a", metadata={"webhook_url": receiver.sink("hook")}), task("b", metadata={"webhook_url": 7})]
    await platform.send(SUBSCRIPTIONS, {"sink": receiver.sink("other"), "types": ["flow.completed"]})
    flow_id = await platform.submit(decision(*tasks))
    ready = await ready_of(receiver, "hook")
    async with HttpWorkers() as workers:
        await platform.register("w1", endpoint=f"{workers.url}/w1")
        assert (await platform.ended(flow_id))["status"] == "COMPLETED"
    await until(lambda: len(receiver.received["hook"]) == 3, "assigned and completed")
    assert types(receiver, "hook") == ["ticket.ready", "ticket.assigned", "ticket.completed"]
    assert {event["data"]["task_id"] for event in receiver.bodies("hook")} == {"a"}
    assert types(receiver, "other") == ["flow.completed"]
    assert (await patched(platform, ready["data"]["callback"]["token"], ready, status="RUNNING")).status_code != 200


async def test_the_token_of_an_owner_does_not_act_for_the_worker_that_was_faster(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    ticket = await created(platform, receiver.sink("hook"), required_capabilities=["python"])
    ready = await ready_of(receiver, "hook")
    token, path = ready["data"]["callback"]["token"], f"{TICKETS}/{ticket['ticket_id']}"
    claim = {"status": "RUNNING", "worker_id": "w9"}
    assert (await platform.client.patch(f"{path}/status", json=claim)).status_code == 200
    bearer = {"authorization": f"Bearer {token}"}
    for change in ({"status": "RUNNING"}, {"status": "COMPLETED"}, {"status": "FAILED"}):
        assert (await patched(platform, token, ready, **change)).status_code == 403
    assert (await platform.client.get(f"{path}/token", headers=bearer)).status_code == 403
    report = {"ticket_id": ticket["ticket_id"], "attempt": 1, "status": "COMPLETED"}
    reports = f"/api/v1/flows/{ticket['flow_id']}/reports"
    assert (await platform.client.post(reports, json=report, headers=bearer)).status_code == 403
    assert (await platform.client.get(path)).json()["status"] == "RUNNING"
    other = await created(platform, receiver.sink("other"), plan_id="q")
    foreign = await platform.client.patch(
        f"{TICKETS}/{other['ticket_id']}/status", json={"status": "RUNNING"}, headers=bearer
    )
    assert foreign.status_code == 403


async def test_a_retry_is_a_new_message_with_a_token_for_the_next_attempt(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    await created(platform, receiver.sink("hook"), sla={"max_retries": 1})
    first = await ready_of(receiver, "hook")
    old = first["data"]["callback"]["token"]
    assert (await patched(platform, old, first, status="RUNNING")).status_code == 200
    assert (await patched(platform, old, first, status="FAILED", error_message="no")).status_code == 200
    await until(lambda: types(receiver, "hook").count("ticket.ready") == 2, "the ticket is ready again")
    second = [event for event in receiver.bodies("hook") if event["type"].endswith("ready.v1")][1]
    assert second["data"]["attempt"] == 2
    assert (await patched(platform, old, first, status="RUNNING")).status_code != 200
    token = second["data"]["callback"]["token"]
    assert (await patched(platform, token, second, status="RUNNING")).json()["attempt"] == 2


async def test_the_token_is_in_no_log_and_in_no_store_even_if_it_is_answered(
    platform: OneMachine, receiver: WebhookReceiver, tmp_path: Path
) -> None:
    async def echo(request: Request) -> Answer:
        return Answer(500, request.body)

    receiver.behave["hook"] = echo
    await created(platform, receiver.sink("hook"))
    token = (await ready_of(receiver, "hook"))["data"]["callback"]["token"]

    async def tried() -> dict[str, Any] | None:
        page = await platform.get(f"{SUBSCRIPTIONS}/{owner_of(receiver.sink(''))}/deliveries")
        return next((one for one in page["items"] if one["attempts"]), None)

    await eventually(tried, "the try is in the log")
    assert [file for file in files_in(tmp_path) if token.encode() in file.read_bytes()] == []


async def test_a_failure_is_repeated_and_a_refusal_is_not(
    platform: OneMachine, receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "SCHEDULE", (timedelta(0),) * 10)
    receiver.behave["away"], receiver.behave["never"] = answers(503, 503, 200), answers(400)
    await created(platform, receiver.sink("away"))
    await created(platform, receiver.sink("never"), plan_id="q")
    await until(lambda: len(receiver.received["away"]) == 3, "the third try")
    assert len(set(receiver.ids("away"))) == 1

    async def given_up() -> list[dict[str, Any]] | None:
        return await platform.letters() or None

    (letter,) = await eventually(given_up, "the dead letter")
    assert len(receiver.received["never"]) == 1
    assert letter["reason"]["where"] == owner_of(receiver.sink(""))
    assert "callback" not in letter["event"]["data"]


async def test_an_owner_that_is_gone_keeps_no_other_of_its_host_from_being_told(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    receiver.behave["gone"] = answers(410)
    await created(platform, receiver.sink("gone"))
    await until(lambda: bool(receiver.received["gone"]), "the first is told")
    await created(platform, receiver.sink("there"), plan_id="q")
    await until(lambda: bool(receiver.received["there"]), "the second is told")
    (made,) = (await platform.get(SUBSCRIPTIONS))["items"]
    assert made["status"] == "ACTIVE"


async def test_an_owner_that_hangs_delays_no_ticket(platform: OneMachine, receiver: WebhookReceiver) -> None:
    receiver.behave["hook"] = receiver.hang
    tickets = [await created(platform, receiver.sink("hook"), plan_id=f"p{number}") for number in range(20)]
    await until(lambda: bool(receiver.received["hook"]), "the owner is asked")
    for ticket in tickets:
        path = f"{TICKETS}/{ticket['ticket_id']}/status"
        claimed = await platform.client.patch(path, json={"status": "RUNNING", "worker_id": "w1"})
        assert claimed.status_code == 200

    async def all_wait() -> bool | None:
        lines = (await platform.client.get("/metrics")).text.splitlines()
        return (
            sum(float(line.split()[-1]) for line in lines if line.startswith("flowc_webhooks_waiting ")) >= 20 or None
        )

    await eventually(all_wait, "all messages to wait")


@pytest.mark.parametrize("url", ["ftp://x/", "http://u:p@x/", "x", 7, "http://x/#a", "http://" + "x" * 3000])
async def test_a_ticket_with_a_webhook_that_is_none_is_refused(platform: OneMachine, url: object) -> None:
    body = {"plan_id": "p", "task_type": "BUILD", "metadata": {"webhook_url": url}}
    answer = await platform.client.post(TICKETS, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "bad_address")


async def test_an_address_that_is_never_called_is_refused_with_the_ticket_and_not_called_for_a_plan(
    tmp_path: Path, receiver: WebhookReceiver
) -> None:
    async with one_machine(tmp_path, worker_networks="public") as platform:
        body = {"plan_id": "p", "task_type": "BUILD", "metadata": {"webhook_url": receiver.sink("hook")}}
        answer = await platform.client.post(TICKETS, json=body)
        assert answer.json()["code"] == "forbidden_address"
        await platform.submit(decision(task("a", metadata={"webhook_url": receiver.sink("hook")})))

        async def given_up() -> list[dict[str, Any]] | None:
            return await platform.letters() or None

        (letter,) = await eventually(given_up, "the dead letter")
        assert letter["reason"]["code"] == "webhook_failed"
        assert receiver.received.keys() == set()


async def test_a_host_has_one_subscription_for_tickets_which_stays_with_it(
    platform: OneMachine, receiver: WebhookReceiver
) -> None:
    form = {"sink": receiver.sink("x"), "config": {"tickets": True}}
    made = await platform.send(SUBSCRIPTIONS, form)
    again = await platform.client.post(SUBSCRIPTIONS, json={**form, "sink": receiver.sink("y")})
    assert (again.status_code, again.json()["code"]) == (409, "subscription_exists")
    path = f"{SUBSCRIPTIONS}/{made['id']}"
    for other in ({**form, "sink": "http://127.0.0.1:9/"}, {"sink": form["sink"]}):
        refused = await platform.client.put(path, json=other)
        assert (refused.status_code, refused.json()["code"]) == (422, "other_host")
    only = {**form, "types": ["ticket.ready"]}
    assert (await platform.client.put(path, json=only)).status_code == 200


async def test_without_webhooks_nobody_is_told(tmp_path: Path, receiver: WebhookReceiver) -> None:
    async with one_machine(tmp_path, webhooks=False) as platform:
        ticket = await created(platform, receiver.sink("hook"))
        claim = {"status": "RUNNING", "worker_id": "w1"}
        await platform.client.patch(f"{TICKETS}/{ticket['ticket_id']}/status", json=claim)
        assert await platform.running.engine.ports.deliveries.waiting([owner_of(receiver.sink(""))]) == {}
        assert receiver.received.keys() == set()
