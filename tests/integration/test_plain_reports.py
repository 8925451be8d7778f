"""Reports as plain JSON are heard like CloudEvents, and every report that is refused is seen, within bounds."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from functions._core.records.audits import ActionRecord, AuditKind
from functions._core.records.values import TicketStatus
from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.world import decision, report_event, task, until


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as opened:
        opened.world.workers.behave = lambda _assignment: None
        yield opened


async def assignment_of(api: Api) -> dict[str, Any]:
    """Return what a worker was assigned."""
    await api.world.register()
    await api.world.submit(decision(task("a")))

    async def assigned() -> dict[str, Any] | None:
        assignments = api.world.workers.assignments
        return dict(assignments[0]) if assignments else None

    return await until(assigned, "an assignment")


async def report(api: Api, assignment: dict[str, Any], body: object, **headers: str) -> httpx.Response:
    """POST plain JSON where the assignment says."""
    path = assignment["callback_url"].removeprefix("http://127.0.0.1:1")
    return await api.client.post(path, json=body, headers=bearer(assignment["token"]) | headers)


async def refusals(api: Api, flow_id: str) -> list[ActionRecord]:
    """Return what is kept of reports that were refused, the oldest first."""
    audits = await api.world.ports.views.audits(flow_id, 500, kind=AuditKind.ACTION)
    found = [audit for audit in audits if isinstance(audit, ActionRecord) and audit.action == "report_refused"]
    return found[::-1]


def said(assignment: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return a report on an assignment."""
    return {"ticket_id": assignment["ticket_id"], "attempt": assignment["attempt"], **more}


async def test_a_plain_report_is_heard_like_an_event(api: Api) -> None:
    assignment = await assignment_of(api)
    for _ in range(2):
        running = await report(api, assignment, said(assignment, status="RUNNING", progress=10))
        assert (running.status_code, running.json()) == (200, {"result": "recorded", "cancel": False})
    done = said(assignment, status="completed", output={"any": "json"}, token=assignment["token"])
    assert (await report(api, assignment, done)).json()["result"] == "recorded"
    assert (await report(api, assignment, done)).json()["result"] == "duplicate"
    assert (await api.world.ended(assignment["flow_id"])).status == "COMPLETED"
    ticket = (await api.world.tickets(assignment["flow_id"]))["a"]
    assert (ticket.output, ticket.status) == ({"any": "json"}, TicketStatus.COMPLETED)


@pytest.mark.parametrize("media", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_has_more_than_one_spelling(api: Api, media: str) -> None:
    assignment = await assignment_of(api)
    done = said(assignment, status="FAILED", error="no disk")
    assert (await report(api, assignment, done, **{"content-type": media})).json()["result"] == "recorded"


async def test_what_is_half_an_event_is_told_what_is_missing(api: Api) -> None:
    assignment = await assignment_of(api)
    answer = await report(api, assignment, said(assignment, status="RUNNING"), **{"ce-id": "1"})
    assert "missing attributes: source, type, specversion" in problem_of(answer, 400, "malformed_event")["detail"]


async def test_a_refused_report_is_seen_in_why_audits_log_and_metrics(api: Api) -> None:
    assignment = await assignment_of(api)
    with capture_logs() as lines:
        answer = await report(api, assignment, said(assignment, status="DONE", output=assignment["token"]))
    problem_of(answer, 422, "invalid_data")
    [line] = [line for line in lines if line["event"] == "report.refused"]
    about = {name: assignment[name] for name in ("flow_id", "ticket_id", "attempt", "worker_id")}
    assert {**line, **about, "code": "invalid_data"} == line
    [kept] = await refusals(api, assignment["flow_id"])
    assert (kept.target, kept.who, kept.action) == (assignment["ticket_id"], "w1", "report_refused")
    assert kept.why.startswith("422 invalid_data: data.status: ")
    why = await api.get(f"/api/v1/why/{assignment['ticket_id']}")
    [sentence] = [line for line in why["details"] if "refused" in line]
    assert sentence.startswith("A report by worker w1 was refused at ")
    assert "422 invalid_data: data.status" in sentence
    metrics = (await api.client.get("/metrics")).text
    assert 'flowc_reports_refused_total{code="invalid_data"} 1.0' in metrics
    assert "jwt" not in sentence
    assert assignment["token"] not in metrics + str(why) + str(line)
    assert (await api.world.tickets(assignment["flow_id"]))["a"].status is TicketStatus.ASSIGNED


@pytest.mark.parametrize(
    ("content", "media", "code"),
    [
        (b"{", "application/json", "malformed_json"),
        (b"[]", "application/json", "invalid_data"),
        (b'{"specversion": "1.0"}', "application/cloudevents+json", "malformed_event"),
    ],
)
async def test_what_cannot_even_be_read_is_about_the_ticket_of_its_token(
    api: Api, content: bytes, media: str, code: str
) -> None:
    assignment = await assignment_of(api)
    path = assignment["callback_url"].removeprefix("http://127.0.0.1:1")
    headers = bearer(assignment["token"]) | {"content-type": media}
    answer = await api.client.post(path, content=content, headers=headers)
    assert answer.json()["code"] == code
    [kept] = await refusals(api, assignment["flow_id"])
    assert (kept.target, kept.who) == (assignment["ticket_id"], "w1")


async def test_each_reason_is_kept_once_for_each_attempt(api: Api) -> None:
    assignment = await assignment_of(api)
    for _ in range(5):
        await report(api, assignment, said(assignment, status="DONE"))
        await report(api, assignment, said(assignment, status="COMPLETED", output="x" * 300_000))
    kept = [audit.why.split(":")[0] for audit in await refusals(api, assignment["flow_id"])]
    assert kept == ["422 invalid_data", "413 output_too_large"]
    last = (await api.get(f"/api/v1/why/{assignment['ticket_id']}"))["details"]
    assert any("output_too_large" in line for line in last)


async def test_reports_without_a_valid_token_are_seen_and_cannot_fill_the_store(api: Api) -> None:
    assignment = await assignment_of(api)
    flow_id = assignment["flow_id"]
    about = said(assignment, status="COMPLETED")
    expired = api.world.ports.tokens.mint(
        ticket_id=assignment["ticket_id"],
        attempt=assignment["attempt"],
        worker_id="w1",
        expires_at=datetime.now(UTC) - timedelta(seconds=5),
    )
    problem_of(await api.client.post(f"/api/v1/flows/{flow_id}/reports", json=about), 401, "missing_token")
    problem_of(await report(api, assignment, about, **bearer(expired)), 401, "expired_token")
    for number in range(50):
        path = f"/api/v1/flows/{flow_id if number % 2 else f'f{number}'}/reports"
        await api.client.post(path, json={**about, "attempt": number + 1}, headers=bearer(f"bogus-{number}"))
    kept = await refusals(api, flow_id)
    assert 2 <= len(kept) <= 4
    assert {audit.who for audit in kept} == {"nobody who proved it"}
    assert kept[0].target == flow_id
    assert "401 missing_token" in kept[0].why
    why = (await api.get(f"/api/v1/why/{flow_id}"))["details"]
    assert any("by nobody with a valid token was refused" in line for line in why)


async def test_at_the_ingress_it_is_the_same(api: Api) -> None:
    assignment = await assignment_of(api)
    wrong = report_event(assignment, status="DONE")
    problem_of(await api.post(wrong, token=assignment["token"]), 422, "invalid_data")
    [kept] = await refusals(api, assignment["flow_id"])
    assert (kept.target, kept.who) == (assignment["ticket_id"], "w1")
