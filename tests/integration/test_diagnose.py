"""The questions of troubleshooting: each case is seen without a fault and with it, on a platform that runs."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from functions._cli import doctor_command
from functions._core.errors import Unavailable
from functions._core.learning import registry
from functions._core.learning.model_record import ModelRecord, ModelState
from functions._core.learning.state import LearningState, keep_state
from functions._core.placement.limits import OVER_LIMIT
from functions._core.placement.workers import Heartbeat
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Reason
from functions._core.records.values import Health
from functions._core.records.worker import Answer
from functions.api.app import create_app
from functions.api.diagnose import CASES
from tests.integration.test_incoming_webhooks import PATH, signed
from tests.support.builders import T0
from tests.support.command_line import Api as StandIn
from tests.support.http_api import WEBHOOK_SECRET, Api, problem_of, running_api
from tests.support.loopback import Loopback
from tests.support.world import decision, task

OTHER_SECRET = "another-secret-than-that"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def ask(api: Api, case: str) -> tuple[str, str, list[str]]:
    """Return the status, all findings as one text, and the remedies."""
    found = await api.get(f"/api/v1/diagnose/{case}")
    assert (found["case"], found["checked_at"][-1]) == (case, "Z")
    return found["status"], " ".join(found["findings"]), found["remedy"]


@pytest.mark.parametrize("case", sorted(CASES.keys() - {"empty-discovery"}))
async def test_a_platform_to_which_nothing_has_happened_has_no_problem(api: Api, case: str) -> None:
    status, findings, remedy = await ask(api, case)
    assert (status, remedy) == ("ok", [])
    assert findings


async def test_an_unknown_case_is_not_found_and_the_known_ones_are_named(api: Api) -> None:
    answer = await api.client.get("/api/v1/diagnose/weather")
    assert "empty-discovery" in problem_of(answer, 404, "unknown_case")["detail"]


async def test_discovery_finds_nobody_while_nobody_is_registered_healthy_or_capable(api: Api) -> None:
    assert "No worker is registered" in (await ask(api, "empty-discovery"))[1]
    await api.world.register("w1", "go")
    assert (await ask(api, "empty-discovery"))[0] == "ok"
    flow_id = await api.world.submit(decision(task("a")))
    await api.world.ticket(flow_id, lambda ticket: ticket.waiting == "WORKER", "waits for a worker")
    status, findings, remedy = await ask(api, "empty-discovery")
    assert status == "problem"
    assert "No worker offers python" in findings
    assert any("discover" in one for one in remedy)
    await api.world.platform.heartbeat("w1", Heartbeat(worker_id="w1", status=Health.UNHEALTHY))
    assert "All of them are UNHEALTHY" in (await ask(api, "empty-discovery"))[1]


async def test_telemetry_that_is_not_taken_is_counted_by_intent_with_the_reason(api: Api) -> None:
    await api.world.register()
    api.world.sink.down = True
    await api.world.run(task("a"))
    await api.world.platform.flush_telemetry()
    for case in ("telemetry", "buffer"):
        status, findings, remedy = await ask(api, case)
        assert status == "problem"
        assert "7 events wait in the buffer" in findings
        assert any("FLOWC_TELEMETRY_URL" in one for one in remedy)
    assert "Intent intent-1: 7" in (await ask(api, "buffer"))[1]
    api.world.sink.down = False
    await api.world.platform.flush_telemetry()
    assert (await ask(api, "telemetry"))[0] == (await ask(api, "buffer"))[0] == "ok"


async def test_a_flow_without_tickets_is_named_with_the_reason(api: Api) -> None:
    flow = await api.world.run(task("a", "a"))
    status, findings, remedy = await ask(api, "no-tickets")
    assert status == "problem"
    assert flow.flow_id in findings
    assert "self_dependency" in findings
    assert "flowc validate" in remedy[0]


async def test_a_flow_that_does_not_start_is_seen_with_the_consumer_and_the_last_decision(api: Api) -> None:
    flow_id = await api.world.submit(decision(task("a"), requires_human_review=True))
    flow = await api.world.reached(flow_id, "AWAITING_APPROVAL")
    status, findings, _ = await ask(api, "not-starting")
    assert status == "ok"  # half a minute is no problem
    assert "Consumer: running, 0 events queued" in findings
    assert "Last decision: none" not in findings
    long_ago = flow.phase.but(entered_at=T0)
    waits = flow.but(phases=(*flow.phases[:-1], long_ago), version=flow.version + 1)
    await api.world.ports.store.commit(ChangeSet(flow_id=flow_id, flow=waits))
    status, findings, remedy = await ask(api, "not-starting")
    assert (status, remedy) == ("ok", [])  # to wait for a person is no fault
    assert f"Flow {flow_id} is AWAITING_APPROVAL" in findings
    stuck = waits.but(phases=(*flow.phases[:-1], long_ago.but(status="GENERATING")), version=waits.version + 1)
    stuck = stuck.but(status="GENERATING")
    await api.world.ports.store.commit(ChangeSet(flow_id=flow_id, flow=stuck))
    status, findings, remedy = await ask(api, "not-starting")
    assert (status, "flowc why" in remedy[0]) == ("problem", True)
    assert f"Flow {flow_id} is GENERATING" in findings
    held = stuck.but(reasons=(Reason(code=OVER_LIMIT, message="too many"),), version=stuck.version + 1)
    await api.world.ports.store.commit(ChangeSet(flow_id=flow_id, flow=held))
    assert (await ask(api, "not-starting"))[0] == "ok"
    await api.world.platform.outbox.close()
    assert "handles no events" in (await ask(api, "not-starting"))[1]
    assert (await api.get("/health"))["consumer"]["status"] == "stopped"


async def test_a_store_that_is_away_is_said(api: Api) -> None:
    async def away() -> dict[str, object]:
        raise Unavailable("the store does not answer")

    app = create_app(replace(api.app.state.services, ready=away))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        found = (await client.get("/api/v1/diagnose/not-starting")).json()
    assert (found["status"], "the store does not answer" in found["findings"][0]) == ("problem", True)


async def test_a_missing_prefix_is_told_from_a_wrong_secret_and_none_is_revealed(api: Api) -> None:
    body = json.dumps({"pipeline_id": "p", "ticket_id": "t", "status": "COMPLETED"}).encode()
    right = signed(body)["x-webhook-signature"]
    wrong = signed(body, OTHER_SECRET)["x-webhook-signature"]
    for signature, code in (
        (right.removeprefix("sha256="), "malformed_signature"),
        (wrong, "bad_signature"),
        ("", "not_signed"),
    ):
        headers = {"x-webhook-signature": signature, "content-type": "application/json"}
        problem_of(await api.client.post(PATH, content=body, headers=headers), 401, code)
    answer = await api.client.get("/api/v1/diagnose/hmac")
    found = answer.json()
    assert found["status"] == "problem"
    assert any("is not `sha256=` and 64 hexadecimal digits" in one for one in found["findings"])
    assert any("another secret or another body" in one for one in found["findings"])
    assert any("the bare digits are refused" in one for one in found["remedy"])
    secret_parts = (WEBHOOK_SECRET, OTHER_SECRET, right[7:], wrong[7:])
    assert not any(part in answer.text for part in secret_parts)


async def test_reports_with_bad_tokens_are_counted_and_a_flood_of_codes_is_not_possible(api: Api) -> None:
    for token in ("x", "y", None):
        headers = {"authorization": f"Bearer {token}"} if token else {}
        assert (await api.client.post("/api/v1/flows/f/reports", json={}, headers=headers)).status_code == 401
    status, findings, _ = await ask(api, "hmac")
    assert status == "problem"
    assert "2 times" in findings
    assert set(api.app.state.services.refused_proofs.seen) <= {"bad_token", "missing_token"}


async def test_tickets_whose_worker_cannot_be_reached_are_unpublished(api: Api) -> None:
    api.world.workers.answer = lambda _worker, _event: Answer(400, "wrong address")
    await api.world.register()
    flow_id = await api.world.submit(decision(task("a")))
    refused = await api.world.ticket(flow_id, lambda ticket: ticket.reason is not None, "was refused")
    status, findings, remedy = await ask(api, "unpublished")
    assert status == "problem"
    assert refused.ticket_id in findings
    assert "wrong address" in findings
    assert remedy


async def test_slow_flows_name_their_slowest_phase_and_the_setting_for_timeouts(tmp_path: Path) -> None:
    async with running_api(tmp_path, limits={"least_timeout_ms": 1000}) as api:
        api.world.workers.behave = lambda _assignment: None
        await api.world.register()
        once = {"retry": {"max_retries": 0}, "estimated_duration_ms": 1}
        await api.world.run(task("a", **once))
        status, findings, remedy = await ask(api, "sla")
        assert status == "problem"
        assert "EXECUTING" in findings.partition("on average")[0]
        assert "failed by their timeout: EXECUTE (1)" in findings
        assert any("SLA_DEFAULT_TIMEOUT_MS" in one for one in remedy)


async def test_a_case_changes_nothing_and_reads_a_bounded_number(api: Api) -> None:
    flow = await api.world.run(task("a", "a"))
    before = await api.world.history(flow.flow_id)
    for case in CASES:
        await ask(api, case)
    assert await api.world.history(flow.flow_id) == before


def test_the_command_line_knows_the_cases_of_the_platform() -> None:
    assert sorted(doctor_command.CASES) == sorted(CASES)


async def test_the_command_line_prints_what_helps_and_its_status_says_whether_there_is_a_problem(api: Api) -> None:
    answers = {f"GET /api/v1/diagnose/{case}": await api.get(f"/api/v1/diagnose/{case}") for case in CASES}
    async with Loopback() as server:
        stand_in = StandIn(server, answers)
        server.answer = stand_in.answer
        everything = await stand_in.flowc("doctor")
        one = await stand_in.flowc("doctor", "sla")
        as_json = await stand_in.flowc("doctor", "buffer", "--json")
        wrong = await stand_in.flowc("doctor", "weather")
    assert (everything.exit_code, one.exit_code, as_json.exit_code, wrong.exit_code) == (1, 0, 0, 2)
    assert "empty-discovery: problem" in everything.stdout
    assert "-> start a worker" in everything.stdout
    assert one.stdout.startswith("sla: ok")
    assert json.loads(as_json.stdout)["items"][0]["case"] == "buffer"


async def learning(api: Api, **on: bool) -> tuple[str, str, list[str]]:
    """Ask about learning, of a platform of which some is on."""
    app = create_app(replace(api.app.state.services, learns=on))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api") as client:
        found = (await client.get("/api/v1/diagnose/learning")).json()
    return found["status"], " ".join(found["findings"]), found["remedy"]


async def test_learning_that_is_off_is_no_problem_and_what_switches_it_on_is_named(api: Api) -> None:
    status, findings, remedy = await learning(api)
    assert (status, remedy) == ("ok", [])
    assert "learn is off (FLOWC_LEARNING)" in findings
    assert "analyze is off (FLOWC_INSIGHTS)" in findings


async def test_learning_that_is_on_has_to_go_rounds_and_its_faults_are_told(api: Api) -> None:
    entries, now = api.world.platform.ports.key_values, api.world.platform.ports.clock.now()
    status, findings, remedy = await learning(api, learn=True)
    assert status == "problem"
    assert "learn is on, and has never ended a round." in findings
    assert "`learn` is deployed" in remedy[0]
    assert "No model serves" in findings
    assert "None was trained yet" in findings
    await keep_state(entries, LearningState(function="learn", at=now))
    status, findings, _ = await learning(api, learn=True)
    assert status == "ok"
    assert "its last rounds went well" in findings
    assert "scikit-learn is not installed" in findings
    hostile = "no\nmemory \x1b[31m" + "x" * 1000
    await keep_state(entries, LearningState(function="learn", at=now, error=hostile, library=True))
    status, findings, _ = await learning(api, learn=True)
    assert status == "problem"
    assert "The last round of learn failed" in findings
    assert not {"\n", "\x1b"} & {*findings}
    assert len(findings) < 1000
    await keep_state(entries, LearningState(function="analyze", at=now - timedelta(hours=4)))
    status, findings, _ = await learning(api, analyze=True)
    assert (status, "analyze has not ended a round since" in findings) == ("problem", True)


async def test_the_model_that_serves_is_named_and_the_one_that_waits(api: Api) -> None:
    entries, now = api.world.platform.ports.key_values, api.world.platform.ports.clock.now()
    record = ModelRecord(
        name="duration",
        number=0,
        kind="table",
        state=ModelState.SHADOW,
        state_at=now,
        trained_at=now,
        created_by="ann",
        rows=500,
        held_out_rows=100,
    )
    await keep_state(entries, LearningState(function="learn", at=now, library=True))
    made = await registry.added(entries, record, [b"{}"])
    assert "The newest one, duration:1: TRAINED" in (await learning(api, learn=True))[1]
    await registry.changed(entries, made.number, lambda known: known.but(state=ModelState.SHADOW))
    assert "duration:1 waits for its verdict" in (await learning(api, learn=True))[1]
    await registry.promoted(entries, made.number, now, "it is better")
    assert "duration:1 serves, trained at" in (await learning(api, learn=True))[1]
