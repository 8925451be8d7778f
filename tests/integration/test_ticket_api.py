"""Tickets over HTTP: created alone, claimed, reported on, cancelled, tried again; each answer is as documented."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.records.values import flow_id_of
from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.ordering import assert_history_tells_all, breaks_at, done, silent, taken
from tests.support.world import decision, task, until

TICKETS = "/api/v1/tickets"

MINIMAL: Mapping[str, Any] = {
    "plan_id": "plan-1",
    "task_type": "code_generation",
    "required_capabilities": ["python"],
    "payload": {"template_id": "microservice", "parameters": {"language": "python"}},
}
"""The body that the client library of the sources sends."""


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def created(api: Api, **more: Any) -> dict[str, Any]:
    answer = await api.client.post(TICKETS, json={**MINIMAL, **more})
    assert answer.status_code == 201, answer.text
    ticket: dict[str, Any] = answer.json()
    return ticket


async def change(api: Api, ticket: Mapping[str, Any], status: str, **more: Any) -> httpx.Response:
    headers = more.pop("headers", {})
    path = f"{TICKETS}/{ticket['ticket_id']}/status"
    return await api.client.patch(path, json={"status": status, **more}, headers=headers)


async def claimed(api: Api, ticket: Mapping[str, Any], worker_id: str = "w1") -> dict[str, Any]:
    answer = await change(api, ticket, "RUNNING", worker_id=worker_id)
    assert answer.status_code == 200, answer.text
    running: dict[str, Any] = answer.json()
    return running


async def failed(api: Api, ticket: Mapping[str, Any], worker_id: str = "w1") -> dict[str, Any]:
    """Let a ticket fail for good."""
    running = await claimed(api, ticket, worker_id)
    answer = await change(
        api, ticket, "FAILED", attempt=running["attempt"], metadata={"failure_class": "permanent"}, error_message="no"
    )
    assert answer.json()["status"] == "FAILED", answer.text
    ended: dict[str, Any] = answer.json()
    return ended


class TestCreate:
    async def test_the_minimal_body_gets_defaults_and_a_flow_of_one_ticket(self, api: Api) -> None:
        answer = await api.client.post(TICKETS, json=MINIMAL)
        ticket = answer.json()
        assert answer.status_code == 201
        assert answer.headers["location"] == f"{TICKETS}/{ticket['ticket_id']}"
        assert answer.headers["etag"] == f'"{ticket["version"]}"'
        expected = {
            "task_id": ticket["ticket_id"],
            "task_type": "BUILD",
            "status": "PENDING",
            "intent_id": "plan-1",
            "priority": "NORMAL",
            "risk_band": "medium",
            "security_level": "INTERNAL",
            "template_id": "microservice",
            "parameters": {"language": "python"},
            "flow_id": flow_id_of(f"flowc-ticket:{ticket['ticket_id']}"),
        }
        assert {name: ticket[name] for name in expected} == expected
        assert ticket["sla"]["max_retries"] == 2
        flow = await api.get(f"/api/v1/flows/{ticket['flow_id']}")
        assert (flow["status"], flow["tickets_generated"]) == ("EXECUTING", 1)

    async def test_the_same_again_is_the_same_ticket(self, api: Api) -> None:
        first = await created(api)
        for body, headers in ((MINIMAL, {}), ({**MINIMAL, "priority": None}, {"x-any": "1"})):
            again = await api.client.post(TICKETS, json=body, headers=headers)
            assert (again.status_code, again.json()["ticket_id"]) == (200, first["ticket_id"])

    async def test_a_key_tells_tickets_of_the_same_content_apart(self, api: Api) -> None:
        key = {"idempotency-key": "order 17"}
        answers = [await api.client.post(TICKETS, json=MINIMAL, headers=headers) for headers in ({}, key, key)]
        assert [answer.status_code for answer in answers] == [201, 201, 200]
        ids = [answer.json()["ticket_id"] for answer in answers]
        assert ids[0] != ids[1] == ids[2]
        other = await api.client.post(TICKETS, json={**MINIMAL, "plan_id": "plan-2"}, headers=key)
        problem_of(other, 409, "ticket_conflict")

    async def test_a_client_may_choose_the_id_and_other_content_is_a_conflict(self, api: Api) -> None:
        mine = "8c0c2b1e-6d0a-4c44-9f2f-0f5f7b1c2a11"
        assert (await created(api, ticket_id=mine))["ticket_id"] == mine
        assert (await api.client.post(TICKETS, json={**MINIMAL, "ticket_id": mine})).status_code == 200
        other = {**MINIMAL, "ticket_id": mine, "task_type": "TEST"}
        problem_of(await api.client.post(TICKETS, json=other), 409, "ticket_conflict")
        assert (await api.get(f"{TICKETS}/{mine}"))["task_type"] == "BUILD"
        assert (await api.get("/api/v1/dead-letters"))["items"] == []

    async def test_of_many_at_once_one_creates_the_ticket(self, api: Api) -> None:
        answers = await asyncio.gather(*(api.client.post(TICKETS, json=MINIMAL) for _ in range(10)))
        assert {answer.status_code for answer in answers} <= {200, 201}
        assert len({answer.json()["ticket_id"] for answer in answers}) == 1
        assert (await api.get(TICKETS))["total"] == 1

    async def test_every_field_of_a_ticket_is_taken(self, api: Api) -> None:
        ticket = await created(
            api,
            ticket_id="t-1",
            task_id="build",
            intent_id="intent-1",
            decision_id="theirs",
            correlation_id="c-1",
            trace_id="4bf92f3577b34da6a3ce929d0e0e4736",
            span_id="00f067aa0ba902b7",
            description="generate service",
            dependencies=[],
            status="pending",
            priority="MEDIUM",
            risk_band="HIGH",
            sla={"deadline": "2100-01-01T00:00:00Z", "timeout_ms": 1_800_000, "max_retries": 4},
            qos={"delivery_mode": "AT_LEAST_ONCE"},
            parameters={"deep": {"list": [1, None, "x"]}},
            security_level="CONFIDENTIAL",
            created_at="2030-01-01T00:00:00Z",
            estimated_duration_ms=600_000,
            retry_count=3,
            metadata={"a": 1},
            schema_version=1,
            hash="0" * 64,
            compensation=True,
        )
        assert ticket["sla"] == {
            "deadline": "2100-01-01T00:00:00.000Z",
            "timeout_ms": 1_800_000,
            "max_retries": 4,
        }
        assert ticket["metadata"] == {"a": 1, "decision_id": "theirs"}
        assert (ticket["trace_id"], ticket["correlation_id"]) == ("4bf92f3577b34da6a3ce929d0e0e4736", "c-1")
        assert (ticket["retry_count"], ticket["security_level"]) == (0, "CONFIDENTIAL")
        assert ticket["qos"]["delivery_mode"] == "EXACTLY_ONCE"
        assert ticket["parameters"] == {"deep": {"list": [1, None, "x"]}}
        assert ticket["undo"] is not None

    @pytest.mark.parametrize(
        "wrong",
        [
            {"plan_id": None},
            {"plan_id": ""},
            {"task_type": "FROBNICATE"},
            {"task_type": "COMPENSATE"},
            {"dependencies": ["other"]},
            {"status": "RUNNING"},
            {"status": 5},
            {"ticket_id": "../../etc"},
            {"ticket_id": "a\r\nb: c"},
            {"ticket_id": "x" * 37},
            {"ticket_id": "8c0c2b1e-6d0a-5c44-9f2f-0f5f7b1c2a11"},
            {"ticket_id": 7},
            {"parameters": [1]},
            {"payload": "x"},
            {"sla": {"max_retries": -1}},
            {"sla": {"deadline": "1970-01-01T00:00:00Z"}},
            {"sla": {"timeout_ms": 0}},
            {"required_capabilities": "python"},
            {"parameters": {"$output": "another"}},
        ],
    )
    async def test_what_no_ticket_can_be_made_of_makes_no_flow(self, api: Api, wrong: dict[str, Any]) -> None:
        problem_of(await api.client.post(TICKETS, json={**MINIMAL, **wrong}), 422, "invalid_data")
        assert (await api.get("/api/v1/flows"))["items"] == []

    async def test_a_worker_that_is_registered_gets_it_like_any_other_ticket(self, api: Api) -> None:
        await api.world.register()
        ticket = await created(api)
        flow = await api.world.ended(ticket["flow_id"])
        assert flow.status == "COMPLETED"
        assert [a["ticket_id"] for a in api.world.workers.assignments] == [ticket["ticket_id"]]


class TestClaim:
    async def test_of_two_at_once_one_gets_the_ticket_and_the_other_what_is_allowed(self, api: Api) -> None:
        ticket = await created(api)
        answers = await asyncio.gather(
            *(change(api, ticket, "RUNNING", metadata={"worker_id": f"w{number}"}) for number in range(5))
        )
        statuses = sorted(answer.status_code for answer in answers)
        assert statuses == [200, 409, 409, 409, 409]
        winner = next(answer.json() for answer in answers if answer.status_code == 200)
        assert (winner["status"], winner["attempt"]) == ("RUNNING", 1)
        assert winner["started_at"] == winner["assigned_at"] == winner["acknowledged_at"]
        for answer in answers:
            if answer.status_code == 409:
                problem = problem_of(answer, 409, "invalid_transition")
                assert problem["allowed"] == ["COMPLETED", "FAILED", "CANCELLED"]

    async def test_the_same_worker_may_ask_twice(self, api: Api) -> None:
        ticket = await created(api)
        first, second = await claimed(api, ticket), await claimed(api, ticket)
        assert (second["attempt"], second["version"]) == (first["attempt"], first["version"])

    async def test_a_registered_worker_needs_what_the_ticket_requires(self, api: Api) -> None:
        await api.world.register("w-java", "java")
        ticket = await created(api, security_level="CONFIDENTIAL")
        refused = problem_of(await change(api, ticket, "RUNNING", worker_id="w-java"), 403, "unsuitable_worker")
        assert "python" in refused["detail"]
        assert "confidential" in refused["detail"]
        # One that is not registered says itself what it can do, but has no clearance.
        stranger = problem_of(await change(api, ticket, "RUNNING", worker_id="stranger"), 403, "unsuitable_worker")
        assert "python" not in stranger["detail"]

    async def test_a_ticket_that_a_worker_was_given_is_begun_by_that_worker_alone(self, api: Api) -> None:
        api.world.workers.behave = silent
        await api.world.register("w1")
        ticket = await created(api)
        await taken(api.world, ticket["task_id"])
        problem_of(await change(api, ticket, "RUNNING", worker_id="w2"), 409, "invalid_transition")
        running = await claimed(api, ticket, "w1")
        assert (running["status"], running["attempt"]) == ("RUNNING", 1)

    async def test_a_ticket_that_is_not_ready_cannot_be_claimed(self, api: Api) -> None:
        flow_id = await api.world.submit(decision(task("a"), task("b", "a"), requires_human_review=False))
        tickets = {t["task_id"]: t for t in (await api.get(f"/api/v1/flows/{flow_id}/tickets"))["items"]}
        problem = problem_of(await change(api, tickets["b"], "RUNNING", worker_id="w"), 409, "invalid_transition")
        assert problem["allowed"] == ["CANCELLED"]
        assert (await api.client.post(f"/api/v1/flows/{flow_id}/pause")).status_code == 202
        problem = problem_of(await change(api, tickets["a"], "RUNNING", worker_id="w"), 409, "invalid_transition")
        assert "PAUSED" in problem["detail"]

    async def test_a_claim_needs_a_worker(self, api: Api) -> None:
        ticket = await created(api)
        for said in ({}, {"metadata": {"worker_id": 7}}, {"metadata": {"worker_id": "x" * 300}}):
            problem_of(await change(api, ticket, "RUNNING", **said), 422, "invalid_data")

    async def test_a_claim_that_lasts_too_long_is_tried_again_by_the_clock(self, api: Api) -> None:
        ticket = await created(api, sla={"timeout_ms": 50})
        await claimed(api, ticket)

        async def retried() -> Any:
            now = await api.get(f"{TICKETS}/{ticket['ticket_id']}")
            return now if now["retry_count"] == 1 else None

        again = await until(retried, "the ticket to be tried again")
        assert (again["status"], again["worker_id"]) == ("PENDING", None)


class TestReports:
    async def test_an_attempt_is_ended_by_its_number(self, api: Api) -> None:
        ticket = await created(api)
        running = await claimed(api, ticket)
        answer = await change(
            api,
            ticket,
            "COMPLETED",
            attempt=running["attempt"],
            result={"artifacts": [], "outputs": {}},
            actual_duration_ms=90_500,
        )
        assert answer.status_code == 200
        assert (answer.json()["status"], answer.json()["output"]) == ("COMPLETED", {"artifacts": [], "outputs": {}})
        flow = await api.world.ended(ticket["flow_id"])
        assert flow.status == "COMPLETED"
        again = await change(api, ticket, "COMPLETED", attempt=running["attempt"], result="other")
        assert (again.status_code, again.json()["output"]) == (200, {"artifacts": [], "outputs": {}})
        problem = problem_of(await change(api, ticket, "FAILED", attempt=1), 409, "invalid_transition")
        assert problem["allowed"] == []
        await assert_history_tells_all(api.world, ticket["flow_id"])

    async def test_an_attempt_is_ended_by_the_version_of_the_ticket(self, api: Api) -> None:
        ticket = await created(api)
        answer = await change(api, ticket, "RUNNING", worker_id="w1")
        stale, fresh = {"headers": {"if-match": '"1"'}}, {"headers": {"if-match": f'W/"7", {answer.headers["etag"]}'}}
        problem_of(await change(api, ticket, "COMPLETED", **stale), 412, "version_moved")
        problem_of(await change(api, ticket, "COMPLETED"), 428, "attempt_needed")
        problem_of(await change(api, ticket, "COMPLETED", headers={"if-match": "*"}), 428, "attempt_needed")
        for tags in ("17", "", " "):
            problem_of(await change(api, ticket, "COMPLETED", headers={"if-match": tags}), 400, "malformed_etag")
        assert (await change(api, ticket, "COMPLETED", **fresh)).json()["status"] == "COMPLETED"

    async def test_a_worker_that_lost_its_attempt_ends_nothing(self, api: Api) -> None:
        ticket = await created(api)
        await claimed(api, ticket, "w1")
        answer = await change(api, ticket, "FAILED", attempt=1, error={"type": "flaky", "message": "again"})
        assert (answer.json()["status"], answer.json()["retry_count"]) == ("PENDING", 1)
        assert (await api.client.post(f"{TICKETS}/{ticket['ticket_id']}/retry")).status_code == 202
        assert (await claimed(api, ticket, "w2"))["attempt"] == 2
        problem_of(await change(api, ticket, "COMPLETED", attempt=1), 409, "invalid_transition")
        problem_of(await change(api, ticket, "COMPLETED", attempt=2, worker_id="w1"), 403, "foreign_ticket")
        assert (await change(api, ticket, "COMPLETED", attempt=2, worker_id="w2")).status_code == 200

    async def test_the_token_of_an_assignment_stands_for_its_attempt_and_for_no_other_ticket(self, api: Api) -> None:
        api.world.workers.behave = silent
        await api.world.register("w1")
        one, other = await created(api), await created(api, plan_id="plan-2")
        token = (await taken(api.world, one["task_id"]))["token"]
        await taken(api.world, other["task_id"])
        forged = token[:-3] + ("abc" if not token.endswith("abc") else "xyz")
        for status in ("RUNNING", "COMPLETED", "FAILED", "CANCELLED"):
            problem_of(await change(api, other, status, headers=bearer(token)), 403, "foreign_token")
            assert (await change(api, one, status, headers=bearer(forged))).status_code == 401
        problem_of(await change(api, one, "COMPLETED", attempt=2, headers=bearer(token)), 403, "foreign_token")
        answer = await change(api, one, "COMPLETED", output={"mine": token}, headers=bearer(token))
        assert (answer.json()["status"], answer.json()["output"]) == ("COMPLETED", {"mine": "[token]"})

    async def test_the_platform_s_own_statuses_cannot_be_asked_for(self, api: Api) -> None:
        ticket = await created(api)
        assert (await change(api, ticket, "PENDING")).status_code == 200
        for status in ("ASSIGNED", "COMPENSATING", "COMPENSATED", "TIMED_OUT", "dead_letter", "COMPLETED", "FAILED"):
            problem = problem_of(await change(api, ticket, status), 409, "invalid_transition")
            assert problem["allowed"] == ["RUNNING", "CANCELLED"]
        problem_of(await change(api, ticket, "REJECTED"), 422, "invalid_data")
        problem_of(await change(api, ticket, "RUNNING", worker="w1"), 422, "invalid_data")


class TestCancel:
    async def test_a_cancelled_ticket_cancels_its_flow(self, api: Api) -> None:
        ticket = await created(api)
        await claimed(api, ticket)
        answer = await change(api, ticket, "CANCELLED", requested_by="ada", reason="not needed")
        assert answer.json()["status"] == "CANCELLED"
        assert "ada: not needed" in answer.json()["error_message"]
        flow = await api.world.ended(ticket["flow_id"])
        assert (flow.status, flow.reasons[0].code) == ("CANCELLED", "ticket_cancelled")
        assert (await change(api, ticket, "CANCELLED")).status_code == 200
        problem_of(await change(api, ticket, "COMPLETED", attempt=1), 409, "invalid_transition")

    async def test_what_depends_on_a_cancelled_ticket_is_cancelled_and_the_rest_goes_on(self, api: Api) -> None:
        api.world.workers.behave = silent
        await api.world.register("w1")
        flow_id = await api.world.submit(decision(task("a"), task("b", "a"), task("c")))
        held = await taken(api.world, "a")
        other = await taken(api.world, "c")
        assert (await change(api, held, "CANCELLED", headers={"if-match": "*"})).status_code == 200
        tickets = {t["task_id"]: t for t in (await api.get(f"/api/v1/flows/{flow_id}/tickets"))["items"]}
        assert {t: tickets[t]["status"] for t in "abc"} == {"a": "CANCELLED", "b": "CANCELLED", "c": "ASSIGNED"}
        assert tickets["b"]["reason"]["code"] == "dependency_cancelled"

        async def told() -> Any:
            return [c["ticket_id"] for c in api.world.workers.cancellations] or None

        assert await until(told, "the worker to be told") == [held["ticket_id"]]
        assert (await change(api, other, "COMPLETED", attempt=1)).status_code == 200
        assert (await api.world.ended(flow_id)).status == "CANCELLED"
        await assert_history_tells_all(api.world, flow_id)


class TestRetry:
    async def test_a_failed_ticket_is_tried_again_and_its_flow_goes_on(self, api: Api) -> None:
        ticket = await created(api)
        await failed(api, ticket)
        await api.world.ended(ticket["flow_id"])
        path, key = f"{TICKETS}/{ticket['ticket_id']}/retry", {"idempotency-key": "k-1"}
        answers = [await api.client.post(path, json={"requested_by": "ada"}, headers=key) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 202]
        assert [bool(answer.json()["changes"]) for answer in answers] == [True, False, False]
        again = await api.get(f"{TICKETS}/{ticket['ticket_id']}")
        assert (again["status"], again["retry_count"], again["attempt"]) == ("PENDING", 1, 1)
        running = await claimed(api, ticket)
        assert running["attempt"] == 2
        problem_of(await api.client.post(path), 409, "not_possible_now")
        assert (await change(api, ticket, "COMPLETED", attempt=2)).status_code == 200
        assert (await api.world.ended(ticket["flow_id"])).status == "COMPLETED"
        problem_of(await api.client.post(path), 409, "not_possible_now")
        await assert_history_tells_all(api.world, ticket["flow_id"])

    async def test_force_is_needed_where_no_retry_is_left(self, api: Api) -> None:
        ticket = await created(api, sla={"max_retries": 0})
        await failed(api, ticket)
        await api.world.ended(ticket["flow_id"])
        path = f"{TICKETS}/{ticket['ticket_id']}/retry"
        problem_of(await api.client.post(path), 409, "no_retry_left")
        assert (await api.client.post(path, json={"force": True, "dry_run": True})).status_code == 200
        assert (await api.client.post(path, json={"force": True})).status_code == 202
        assert (await api.get(f"{TICKETS}/{ticket['ticket_id']}"))["retry_count"] == 1

    async def test_a_ticket_that_must_not_be_repeated_needs_force(self, api: Api) -> None:
        ticket = await created(api, idempotent=False)
        await failed(api, ticket)
        await api.world.ended(ticket["flow_id"])
        problem_of(await api.client.post(f"{TICKETS}/{ticket['ticket_id']}/retry"), 409, "no_retry_left")

    async def test_while_its_flow_goes_on_it_takes_along_what_was_cancelled_for_it_alone(self, api: Api) -> None:
        api.world.workers.behave = lambda a: silent(a) if a["task_id"] == "slow" else breaks_at("a", "x")(a)
        await api.world.register("w1")
        plan = (task("a"), task("x"), task("slow"), task("b", "a", "slow"), task("both", "a", "x"))
        flow_id = await api.world.submit(decision(*plan))
        slow = await taken(api.world, "slow")

        async def all_settled() -> Any:
            tickets = {t["task_id"]: t for t in (await api.get(f"/api/v1/flows/{flow_id}/tickets"))["items"]}
            return tickets if tickets["a"]["status"] == tickets["x"]["status"] == "FAILED" else None

        tickets = await until(all_settled, "two tickets to fail")
        api.world.workers.behave = done
        assert (await api.client.post(f"{TICKETS}/{tickets['a']['ticket_id']}/retry")).status_code == 202

        async def redone() -> Any:
            tickets = {t["task_id"]: t for t in (await api.get(f"/api/v1/flows/{flow_id}/tickets"))["items"]}
            return tickets if tickets["a"]["status"] == "COMPLETED" else None

        tickets = await until(redone, "the ticket to be done")
        assert (tickets["b"]["status"], tickets["b"]["open_dependencies"]) == ("PENDING", 1)
        assert tickets["both"]["status"] == "CANCELLED"
        assert (await change(api, slow, "COMPLETED", attempt=1)).status_code == 200
        assert (await api.world.ended(flow_id)).status == "FAILED"
        tickets = {t["task_id"]: t for t in (await api.get(f"/api/v1/flows/{flow_id}/tickets"))["items"]}
        assert tickets["b"]["status"] == "COMPLETED"
        await assert_history_tells_all(api.world, flow_id)


class TestReading:
    async def test_each_filter_and_their_and_give_the_right_tickets(self, api: Api) -> None:
        bodies = [
            {"plan_id": f"p{n % 2}", "intent_id": f"i{n % 3}", "priority": ("LOW", "HIGH")[n // 6]} for n in range(12)
        ]
        tickets = [await created(api, task_id=f"t{n}", **body) for n, body in enumerate(bodies)]
        for n in (0, 5):
            await claimed(api, tickets[n], f"w{n}")
        stored = [await api.get(f"{TICKETS}/{ticket['ticket_id']}") for ticket in tickets]
        queries: list[dict[str, str]] = [
            {},
            {"plan_id": "p1"},
            {"intent_id": "i2"},
            {"status": "running"},
            {"priority": "high"},
            {"worker_id": "w5"},
            {"flow_id": tickets[3]["flow_id"]},
            {"plan_id": "p0", "intent_id": "i0", "status": "PENDING", "priority": "LOW"},
            {"plan_id": "none"},
        ]
        for query in queries:
            fitting = [
                t["ticket_id"]
                for t in stored
                if all(t[name].casefold() == value.casefold() if t[name] else False for name, value in query.items())
            ]
            page = await api.get(TICKETS, **query)
            assert ([t["ticket_id"] for t in page["items"]], page["total"]) == (fitting, len(fitting)), query
            found: list[str] = []
            cursor: str | None = ""
            while cursor is not None:
                page = await api.get(TICKETS, limit="2", **query, **({"cursor": cursor} if cursor else {}))
                assert page["total"] == (None if cursor else len(fitting))
                found += [t["ticket_id"] for t in page["items"]]
                cursor = page["cursor"]
            assert found == fitting
        by_plan = await api.get(f"{TICKETS}/by-plan/p0")
        assert by_plan["total"] == 6

    async def test_a_reader_is_told_when_nothing_has_changed(self, api: Api) -> None:
        ticket = await created(api)
        path = f"{TICKETS}/{ticket['ticket_id']}"
        etag = (await api.client.get(path)).headers["etag"]
        same = await api.client.get(path, headers={"if-none-match": f'"x", {etag}'})
        assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
        await claimed(api, ticket)
        moved = await api.client.get(path, headers={"if-none-match": etag})
        assert (moved.status_code, moved.headers["etag"] == etag) == (200, False)
        problem_of(await api.client.get(f"{TICKETS}/nobody-knows"), 404, "unknown_ticket")

    async def test_three_changes_are_three_lines_in_order(self, api: Api) -> None:
        ticket, _ = await created(api), await created(api, plan_id="other")
        await failed(api, ticket)
        await api.client.post(f"{TICKETS}/{ticket['ticket_id']}/retry", json={"requested_by": "ada", "reason": "now"})
        path = f"{TICKETS}/{ticket['ticket_id']}/history"
        history = await api.get(path)
        assert [(line["type"], line["from_status"], line["to_status"]) for line in history["items"]] == [
            ("ticket.started", "PENDING", "RUNNING"),
            ("ticket.failed", "RUNNING", "FAILED"),
            ("ticket.redriven", "FAILED", "PENDING"),
        ]
        assert history["complete"]
        seqs = [line["seq"] for line in history["items"]]
        assert seqs == sorted(seqs)
        first = await api.get(path, limit="1")
        assert (len(first["items"]), first["after"], first["complete"]) == (1, seqs[0], False)
        rest = await api.get(path, since_seq=str(seqs[0]))
        assert [line["seq"] for line in rest["items"]] == seqs[1:]
        problem_of(await api.client.get(f"{TICKETS}/nobody/history"), 404, "unknown_ticket")
