"""The ticket routes against strangers: garbage, depth, size, wrong types, odd headers; and Avro at both doors."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.http.avro import LIMIT, write_avro
from functions._core.events.execution_ticket import execution_ticket_of, to_avro_dict
from functions._core.records.values import flow_id_of
from tests.support.builders import make_flow, make_ticket
from tests.support.http_api import Api, problem_of, running_api
from tests.unit.test_avro import DECISION

TICKETS = "/api/v1/tickets"
JSON = {"content-type": "application/json"}
AVRO = {"content-type": "application/avro"}
MINIMAL = {"plan_id": "p", "task_type": "BUILD"}
DEEP = b'{"plan_id":"p","task_type":"BUILD","parameters":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}"


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def a_ticket(api: Api) -> str:
    answer = await api.client.post(TICKETS, json={**MINIMAL, "ticket_id": "t-1"})
    assert answer.status_code == 201, answer.text
    return f"{TICKETS}/t-1"


async def assert_untouched(api: Api, path: str) -> None:
    ticket = await api.get(path)
    assert (ticket["status"], ticket["attempt"], ticket["retry_count"]) == ("PENDING", 0, 0)
    assert (await api.get(f"{path}/history"))["items"] == []


BODIES: Mapping[str, tuple[bytes, int]] = {
    "garbage": (b"\x00\xff\xfe{", 400),
    "half a document": (b'{"plan_id": "p"', 400),
    "deep": (DEEP, 400),
    "no object": (b"[1, 2]", 422),
    "a number": (b"17", 422),
    "null": (b"null", 422),
    "NaN": (b'{"plan_id":"p","task_type":"BUILD","parameters":{"a":NaN}}', 400),
    "half a surrogate pair": (b'{"plan_id":"\\ud800","task_type":"BUILD"}', 400),
    "many values": (b"[" + b"[]," * 400_000 + b"[]]", 413),
    "large": (b'{"a":"' + b"x" * 1_100_000 + b'"}', 413),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("door", ["create", "change", "retry"])
async def test_a_malformed_body_is_refused_and_changes_nothing(api: Api, name: str, door: str) -> None:
    path, (body, status) = await a_ticket(api), BODIES[name]
    method, url = {"create": ("POST", TICKETS), "change": ("PATCH", f"{path}/status")}.get(
        door, ("POST", f"{path}/retry")
    )
    answer = await api.client.request(method, url, content=body, headers=JSON)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status_code in {status, 422 if door != "create" else status}
    await assert_untouched(api, path)
    assert (await api.get(TICKETS))["total"] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"status": None},
        {"status": 7},
        {"status": ["RUNNING"]},
        {"status": "RUNNING", "worker_id": 7},
        {"status": "RUNNING", "worker_id": "a\r\nx: y"},
        {"status": "RUNNING", "worker_id": "x" * 256},
        {"status": "RUNNING", "metadata": []},
        {"status": "COMPLETED", "attempt": 0},
        {"status": "COMPLETED", "attempt": "one"},
        {"status": "COMPLETED", "attempt": 1.5},
        {"status": "RUNNING", "progress": 101},
        {"status": "FAILED", "attempt": 1, "error": 3},
        {"status": "CANCELLED", "requested_by": "x" * 256},
        {"status": "CANCELLED", "force": True},
    ],
)
async def test_wrong_types_are_named_and_change_nothing(api: Api, wrong: dict[str, Any]) -> None:
    path = await a_ticket(api)
    problem_of(await api.client.patch(f"{path}/status", json=wrong), 422, "invalid_data")
    await assert_untouched(api, path)


@pytest.mark.parametrize("key", ["x" * 10_240, "", " ", "a\tb", "naïve", "a\x7f"])
@pytest.mark.parametrize("door", ["create", "retry"])
async def test_a_key_is_short_and_printable(api: Api, key: str, door: str) -> None:
    path = await a_ticket(api)
    url = TICKETS if door == "create" else f"{path}/retry"
    answer = await api.client.post(
        url, json=MINIMAL if door == "create" else {}, headers=[(b"idempotency-key", key.encode())]
    )
    problem_of(answer, 422, "invalid_data")
    assert (await api.get(TICKETS))["total"] == 1


@pytest.mark.parametrize("tags", ["x" * 5_000, "1", '"1', '"1" "1"', ",,", '"a\x7f"', "W/1"])
async def test_etags_that_are_none_are_refused(api: Api, tags: str) -> None:
    path = await a_ticket(api)
    answer = await api.client.patch(f"{path}/status", json={"status": "CANCELLED"}, headers={"if-match": tags})
    assert answer.status_code in {400, 422}
    assert (await api.client.get(path, headers={"if-none-match": tags})).status_code in {400, 422}
    await assert_untouched(api, path)


@pytest.mark.parametrize("ticket_id", ["..", "%00", "a%0d%0ab", "x" * 4_000, "%2e%2e%2f", "t-1%20", "é"])
async def test_an_id_that_no_ticket_has_is_not_found(api: Api, ticket_id: str) -> None:
    await a_ticket(api)
    for method, suffix in (("GET", ""), ("GET", "/history"), ("PATCH", "/status"), ("POST", "/retry")):
        body = {"status": "CANCELLED"} if method == "PATCH" else {} if method == "POST" else None
        answer = await api.client.request(method, f"{TICKETS}/{ticket_id}{suffix}", json=body)
        assert answer.status_code in {404, 405}, answer.text


async def test_a_page_of_elsewhere_changes_no_ticket(api: Api) -> None:
    path = await a_ticket(api)
    for headers in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
        for method, url in (("POST", TICKETS), ("PATCH", f"{path}/status")):
            problem_of(await api.client.request(method, url, json=MINIMAL, headers=headers), 403, "cross_site")
    for media in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = await api.client.post(TICKETS, content=json.dumps(MINIMAL), headers={"content-type": media})
        problem_of(answer, 415, "not_json")


async def test_without_the_key_of_the_platform_nothing_is_done(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key="k" * 32) as api:
        for method, url in (("POST", TICKETS), ("PATCH", f"{TICKETS}/t/status"), ("GET", f"{TICKETS}/t/history")):
            remote = {"x-forwarded-for": "203.0.113.9"}
            answer = await api.client.request(method, url, content=DEEP, headers={**JSON, **remote})
            problem_of(answer, 401, "missing_key")
        key = {"authorization": f"Bearer {'k' * 32}", "x-forwarded-for": "203.0.113.9"}
        created = await api.client.post(TICKETS, json={**MINIMAL, "ticket_id": "t"}, headers=key)
        assert created.status_code == 201
        changed = await api.client.patch(f"{TICKETS}/t/status", json={"status": "CANCELLED"}, headers=key)
        assert changed.status_code == 200


def a_body(**changes: Any) -> bytes:
    made = execution_ticket_of(make_ticket(make_flow(1), parameters={"n": [1]}))
    ticket = made.but(ticket_id="t-1", sla=made.sla.but(deadline=datetime(2100, 1, 1, tzinfo=UTC)))
    return write_avro({**to_avro_dict(ticket), **changes}, "execution_ticket")


async def test_a_ticket_in_avro_is_the_ticket(api: Api) -> None:
    for number, media in enumerate(("application/avro", "avro/binary; charset=utf-8")):
        answer = await api.client.post(TICKETS, content=a_body(), headers={"content-type": media})
        assert (answer.status_code, answer.json()["parameters"]) == (200 if number else 201, {"n": [1]})


async def test_avro_that_is_none_makes_no_ticket(api: Api) -> None:
    for body, status in ((b"", 422), (b"Obj\x01", 422), (a_body()[:50], 400), (b"x" * (LIMIT + 1), 413)):
        assert (await api.client.post(TICKETS, content=body, headers=AVRO)).status_code == status
    running = await api.client.post(TICKETS, content=a_body(status="RUNNING"), headers=AVRO)
    problem_of(running, 422, "invalid_data")
    deep = await api.client.post(TICKETS, content=a_body(parameters={"a": "[" * 100_000}), headers=AVRO)
    assert deep.status_code == 201  # it is a text, as no JSON nests so deep
    problem_of(await api.client.patch(f"{TICKETS}/t-1/status", content=a_body(), headers=AVRO), 415, "not_json")


async def test_a_decision_in_avro_is_the_decision(api: Api) -> None:
    attributes = {"ce-id": "1", "ce-source": "/tests", "ce-specversion": "1.0"}
    typed = {**attributes, "ce-type": "io.neuralhive.decision.consolidated.v1"}
    body = write_avro(DECISION, "decision.consolidated")
    answer = await api.client.post("/", content=body, headers={**AVRO, **typed})
    assert (answer.status_code, answer.json()) == (202, {"flow_id": flow_id_of("d-1")})
    tickets = await api.get(f"/api/v1/flows/{flow_id_of('d-1')}/tickets")
    assert [ticket["task_id"] for ticket in tickets["items"]] == ["a"]
    other = {**attributes, "ce-type": "io.neuralhive.worker.heartbeat.v1"}
    answer = await api.client.post("/", content=body, headers={**AVRO, **other})
    problem_of(answer, 415, "unsupported_media_type")
    answer = await api.client.post("/", content=body[:-1], headers={**AVRO, **typed})
    problem_of(answer, 400, "malformed_avro")
    answer = await api.client.post("/", content=body, headers={**AVRO, **attributes})
    problem_of(answer, 400, "malformed_event")
