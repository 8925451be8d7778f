"""`POST /api/v1/webhooks/pipeline-completed`: whom it believes, how often, and what a ticket makes of it."""

import hmac
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from functions._core.events.signatures import SECRET_PREFIX, signature_headers
from functions._engine.settings import Settings, SettingsError
from functions.api.app import create_app
from tests.support.http_api import WEBHOOK_SECRET, Api, problem_of, running_api
from tests.support.world import decision, task

PATH = "/api/v1/webhooks/pipeline-completed"
JSON = {"content-type": "application/json"}
ADMIN = {"x-api-key": "a-key-of-the-platform"}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, api_key="a-key-of-the-platform") as running:
        yield running


async def assigned(api: Api) -> dict[str, Any]:
    """Return the ticket of a new flow that a worker has taken and says nothing of."""
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    flow_id = await api.world.submit(decision(task("a", task_type="BUILD")))
    ticket = await api.world.ticket(flow_id, lambda found: found.acknowledged_at is not None, "a worker has it")
    return {"ticket_id": ticket.ticket_id, "flow_id": flow_id}


def message(ticket: dict[str, Any], status: str = "COMPLETED", **more: Any) -> bytes:
    return json.dumps({"pipeline_id": "p1", "ticket_id": ticket["ticket_id"], "status": status, **more}).encode()


def signed(body: bytes, secret: str = WEBHOOK_SECRET, stamp: str | None = None) -> dict[str, str]:
    text = body if stamp is None else stamp.encode() + b"." + body
    digest = hmac.new(secret.encode(), text, sha256).hexdigest()
    return {"x-webhook-signature": f"sha256={digest}"} | ({} if stamp is None else {"x-webhook-timestamp": stamp})


async def send(api: Api, body: bytes, headers: Mapping[str, str | bytes]) -> httpx.Response:
    lines = [(name.encode(), value.encode() if isinstance(value, str) else value) for name, value in headers.items()]
    return await api.client.post(PATH, content=body, headers=[*lines, (b"content-type", b"application/json")])


async def test_a_completed_pipeline_completes_its_ticket(api: Api) -> None:
    ticket = await assigned(api)
    body = message(ticket, artifacts=[{"artifact_id": "a1", "location": "s3://x"}], duration_ms=5)
    answer = await send(api, body, signed(body))
    assert (answer.status_code, answer.json()) == (202, {"ticket_id": ticket["ticket_id"], "result": "recorded"})
    assert (await api.world.ended(ticket["flow_id"])).status == "COMPLETED"
    output = (await api.world.tickets(ticket["flow_id"]))["a"].output
    assert (output["pipeline_id"], output["artifacts"][0]["artifact_id"]) == ("p1", "a1")


@pytest.mark.parametrize(("status", "code"), [("REJECTED", "pipeline_rejected"), ("rejected", "pipeline_rejected")])
async def test_a_rejected_pipeline_fails_its_ticket(api: Api, status: str, code: str) -> None:
    ticket = await assigned(api)
    body = message(ticket, status, error="the gate said no")
    assert (await send(api, body, signed(body))).status_code == 202
    flow = await api.world.ended(ticket["flow_id"])
    assert flow.status == "FAILED"
    failed = (await api.world.tickets(ticket["flow_id"]))["a"]
    assert failed.reason is not None
    assert (failed.reason.code, failed.reason.message) == (code, "the gate said no")


async def test_a_pipeline_that_waits_for_approval_ends_nothing(api: Api) -> None:
    ticket = await assigned(api)
    body = message(ticket, "REQUIRES_APPROVAL")
    assert (await send(api, body, signed(body))).status_code == 202
    assert (await api.world.tickets(ticket["flow_id"]))["a"].status == "RUNNING"


async def test_a_message_is_taken_once(api: Api) -> None:
    ticket = await assigned(api)
    body = message(ticket, "REQUIRES_APPROVAL")
    assert (await send(api, body, signed(body))).status_code == 202
    problem_of(await send(api, body, signed(body)), 409, "replayed")
    stamp = str(int(api.world.platform.ports.clock.now().timestamp()))
    assert (await send(api, body, signed(body, stamp=stamp))).status_code == 202
    problem_of(await send(api, body, signed(body, stamp=stamp)), 409, "replayed")


async def test_standard_webhooks_prove_a_sender_too(api: Api) -> None:
    secret = SECRET_PREFIX + "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0"
    webhooks = api.app.state.services.webhooks
    api.app.state.services = replace(
        api.app.state.services, webhooks=replace(webhooks, pipeline_secrets=(WEBHOOK_SECRET, secret))
    )
    ticket = await assigned(api)
    body = message(ticket, "REQUIRES_APPROVAL")
    headers = signature_headers(secret, "msg-1", api.world.platform.ports.clock.now(), body)
    assert (await send(api, body, headers)).status_code == 202
    problem_of(await send(api, body, headers), 409, "replayed")
    problem_of(await send(api, body + b" ", headers | {"webhook-id": "msg-2"}), 401, "bad_signature")


def _old(api: Api) -> str:
    return str(int(api.world.platform.ports.clock.now().timestamp()) - 301)


async def test_a_forged_message_is_refused_and_counted(api: Api) -> None:
    ticket = await assigned(api)
    body = message(ticket)
    good = signed(body)["x-webhook-signature"]
    old = _old(api)
    forgeries: list[tuple[Mapping[str, str | bytes], str]] = [
        ({}, "not_signed"),
        ({"x-webhook-signature": ""}, "not_signed"),
        ({"x-webhook-signature": good.removeprefix("sha256=")}, "malformed_signature"),
        ({"x-webhook-signature": good.replace("sha256", "SHA256")}, "malformed_signature"),
        ({"x-webhook-signature": good.replace("sha256", "sha1")}, "malformed_signature"),
        ({"x-webhook-signature": good[:-1] + ("0" if good[-1] != "0" else "1")}, "bad_signature"),
        ({"x-webhook-signature": ("sha256=" + "é" * 64).encode("latin-1")}, "malformed_signature"),
        (signed(body, "another secret of somebody"), "bad_signature"),
        (signed(body + b" "), "bad_signature"),
        ({"x-webhook-signature": good, "x-webhook-timestamp": "now"}, "not_signed"),
        (signed(body, stamp=old), "stale_signature"),
        ({**signed(body, stamp=old), "x-webhook-timestamp": str(int(old) + 300)}, "bad_signature"),
        ({"webhook-signature": "v1,x"}, "not_signed"),
    ]
    for headers, code in forgeries:
        problem_of(await send(api, body, headers), 401, code)
    counts = api.world.platform.metrics.totals()
    found = {labels[0]: int(n) for (name, labels), n in counts.items() if name == "signature_validation_failures_total"}
    assert found == {"not_signed": 4, "malformed_signature": 4, "bad_signature": 4, "stale_signature": 1}
    assert (await api.world.tickets(ticket["flow_id"]))["a"].status == "ASSIGNED"


async def test_hexadecimal_digits_may_be_of_either_case(api: Api) -> None:
    ticket = await assigned(api)
    body = message(ticket)
    name, _, digits = signed(body)["x-webhook-signature"].partition("=")
    assert (await send(api, body, {"x-webhook-signature": f"{name}={digits.upper()}"})).status_code == 202


async def test_nothing_is_read_before_it_is_proved(api: Api) -> None:
    body = b"[" * 100_000
    problem_of(await send(api, body, {"x-webhook-signature": "sha256=00"}), 401, "malformed_signature")
    problem_of(await send(api, b"x" * (256 * 1024 + 1), signed(b"")), 413, "too_large")
    assert (await send(api, body, signed(body))).status_code == 400


async def test_a_message_that_cannot_be_taken_may_come_again(api: Api) -> None:
    body = message({"ticket_id": "5f0c0e0a-9d2b-5f0e-8a53-1d7a5e0c6b1e"})
    for _ in range(2):
        problem_of(await send(api, body, signed(body)), 404, "unknown_ticket")
    for wrong in (b"{}", b'{"pipeline_id":"p","ticket_id":"t","status":"GREEN"}'):
        problem_of(await send(api, wrong, signed(wrong)), 422, "invalid_data")


async def test_the_end_of_another_attempt_changes_nothing(api: Api) -> None:
    ticket = await assigned(api)
    body = message(ticket, attempt=7)
    answer = await send(api, body, signed(body))
    assert (answer.status_code, answer.json()["result"]) == (202, "superseded")
    assert (await api.world.tickets(ticket["flow_id"]))["a"].status == "ASSIGNED"


async def test_every_secret_is_compared_in_constant_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    services, compared = api.app.state.services, list[tuple[bytes, bytes]]()

    def compare(ours: bytes, theirs: bytes) -> bool:
        compared.append((ours, theirs))
        return hmac_compare(ours, theirs)

    hmac_compare = hmac.compare_digest
    library = SimpleNamespace(compare_digest=compare, new=hmac.new)
    monkeypatch.setattr("functions.api.message_proofs.hmac", library)
    both = (WEBHOOK_SECRET, "another secret of pipelines")
    api.app.state.services = replace(services, webhooks=replace(services.webhooks, pipeline_secrets=both))
    ticket = await assigned(api)
    for secret in both:
        body = message(ticket, "REQUIRES_APPROVAL", error=secret)
        assert (await send(api, body, signed(body, secret))).status_code == 202
    assert [ours == theirs for ours, theirs in compared] == [True, False, False, True]


@pytest.mark.parametrize(
    "secret", ["short", "fifteen letters", "a-good-secret-of-pipelines and-another-of-them and-a-third"]
)
def test_a_secret_that_is_too_short_keeps_the_platform_from_starting(secret: str) -> None:
    with pytest.raises(SettingsError, match=r"FLOWC_WEBHOOK_SECRET: .*at least 16 characters"):
        Settings.from_mapping({"FLOWC_WEBHOOK_SECRET": secret})


async def test_without_a_secret_nobody_is_believed(api: Api) -> None:
    services = api.app.state.services
    app = create_app(replace(services, webhooks=replace(services.webhooks, pipeline_secrets=())))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        answer = await client.post(PATH, content=b"{}", headers=JSON | signed(b"{}", ""))
    problem_of(answer, 503, "no_webhook_secret")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-webhook-signature": "sha256=00", "x-webhook-timestamp": "1"},
        {"x-webhook-signature": "sha256=00", "x-webhook-timestamp": "soon"},
        {"webhook-signature": "v1,x", "webhook-id": "m", "webhook-timestamp": "1"},
        {"webhook-signature": "v1,x"},
    ],
    ids=str,
)
async def test_nothing_of_the_body_is_read_for_headers_that_prove_nothing(api: Api, headers: dict[str, str]) -> None:
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"{}")
        yield b"{}"

    assert (await api.client.post(PATH, content=body(), headers=JSON | headers)).status_code == 401
    assert read == []


@pytest.mark.parametrize(
    "odd",
    [
        {"attempt": 10**30},
        {"attempt": 2},
        {"pipeline_id": "\x00", "status": "FAILED"},
        {"pipeline_id": "p\r\nset-cookie: a=b", "status": "REJECTED"},
        {"status": "FAILED", "error": "\x00\ud800"},
        {"duration_ms": 10**400},
        {"artifacts": [{"a": 10**400}]},
        {"ticket_id": "\ud800"},
        {"x": float("nan")},
    ],
    ids=str,
)
async def test_a_sender_that_proves_itself_breaks_nothing_by_odd_values(api: Api, odd: dict[str, Any]) -> None:
    ticket = await assigned(api)
    body = json.dumps({"pipeline_id": "p1", "ticket_id": ticket["ticket_id"], "status": "COMPLETED", **odd}).encode()
    answer = await send(api, body, signed(body))
    assert answer.status_code in {202, 400, 404, 409, 422}, answer.text
    assert (await api.client.get(f"/api/v1/tickets/{ticket['ticket_id']}", headers=ADMIN)).status_code == 200
