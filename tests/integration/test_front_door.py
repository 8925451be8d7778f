"""The ingress as strangers meet it, over real HTTP: ten times the same, garbage, too much, too deep."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from functions._core.records.values import flow_id_of
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import decision, task

TYPE = "io.neuralhive.decision.consolidated.v1"
BINARY = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/tests", "ce-type": TYPE}
STRUCTURED = {"content-type": "application/cloudevents+json"}
BATCH = {"content-type": "application/cloudevents-batch+json"}
JSON = {"content-type": "application/json"}


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[OneMachine]:
    """Run a platform without workers, with a short patience for them."""
    async with one_machine(tmp_path / "data", no_worker_seconds=0.2, max_body_bytes=1_000_000) as at:
        yield at


def envelope(data: object, number: int = 1) -> dict[str, Any]:
    """Return a structured CloudEvent with a decision."""
    return {"specversion": "1.0", "id": str(number), "source": "/tests", "type": TYPE, "data": data}


async def test_the_same_decision_ten_times_at_once_in_all_three_modes_is_one_flow(door: OneMachine) -> None:
    data = decision(task("a"))
    flow_id = flow_id_of(data["decision_id"])
    answers = await asyncio.gather(
        *(door.client.post("/", json=data, headers={**BINARY, **JSON}) for _ in range(10)),
        *(door.client.post("/", content=json.dumps(envelope(data)), headers=STRUCTURED) for _ in range(10)),
        *(door.client.post("/", content=json.dumps([envelope(data)]), headers=BATCH) for _ in range(10)),
    )
    assert {answer.status_code for answer in answers} == {202}
    assert {answer.json().get("flow_id") or answer.json()["flows"][0] for answer in answers} == {flow_id}
    # Visible at once, not only in the end.
    assert (await door.client.get(f"/api/v1/flows/{flow_id}")).status_code == 200
    await door.ended(flow_id)
    history = (await door.client.get(f"/api/v1/flows/{flow_id}/history")).json()["items"]
    assert [entry["type"] for entry in history].count("decision.consolidated") == 1
    assert [entry["type"] for entry in history].count("tickets.generated") == 1
    assert len((await door.client.get("/api/v1/flows")).json()["items"]) == 1


def broken(change: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision of tasks a and b with `change`: paths such as `tasks.0.task_id` within its plan.

    None removes a field; the path `plan` is the plan itself.
    """
    data = decision(task("a"), task("b", "a"))
    for path, value in change.items():
        if path == "plan":
            data["cognitive_plan"] = value
            continue
        *way, name = path.split(".")
        place: Any = data["cognitive_plan"]
        for step in way:
            place = place[int(step)] if step.isdigit() else place[step]
        if value is None:
            del place[name]
        else:
            place[name] = value
    return data


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"tasks.0.task_id": None}, "missing_field", "task_id"),
        ({"tasks.0.estimated_duration_ms": "soon"}, "invalid_field", "estimated_duration_ms"),
        ({"tasks.0.dependencies": ["b"]}, "cyclic_dependencies", "a → b → a"),
        ({"tasks.1.dependencies": ["nowhere"]}, "unknown_dependency", "nowhere"),
        ({"tasks.1.task_id": "a"}, "duplicate_task_id", "a"),
        ({"valid_until": "2020-01-01T00:00:00Z"}, "plan_expired", "2020-01-01"),
        ({"version": "7.0.0"}, "unsupported_version", "7.0.0"),
        ({"tasks": []}, "empty_plan", "task"),
        ({"tasks.0.task_type": "SCAFFOLD_SERVICE"}, "unknown_task_type", "SCAFFOLD_SERVICE"),
        ({"plan": "[" * 20_000 + "]" * 20_000}, "too_deep", "deep"),
    ],
)
async def test_a_bad_decision_is_a_rejected_flow_with_its_reason_and_an_audit_record(
    door: OneMachine, change: dict[str, Any], code: str, words: str
) -> None:
    answer = await door.client.post("/", json=broken(change), headers={**BINARY, **JSON})
    assert answer.status_code == 202, answer.text
    flow = await door.ended(answer.json()["flow_id"])
    assert flow["status"] == "REJECTED"
    named = [reason for reason in flow["reasons"] if reason["code"] == code]
    assert named, flow["reasons"]
    assert any(words in f"{reason['message']} {reason['where']}" for reason in named), named
    audits = (await door.client.get("/api/v1/audits", params={"flow_id": flow["flow_id"]})).json()["items"]
    assert [(audit["valid"], code in [e["code"] for e in audit["errors"]]) for audit in audits] == [(False, True)]
    await door.get("/ready")


@pytest.mark.parametrize(
    ("headers", "body", "status", "words"),
    [
        (JSON, b"\x00\xff garbage", 400, "missing attributes: id, source, type, specversion"),
        ({**BINARY, **JSON}, b"\x00\xff garbage", 400, "UTF-8"),
        ({**BINARY, **JSON}, b'{"a": ', 400, "JSON"),
        ({**BINARY, **JSON}, b"[1]", 400, "object"),
        ({**BINARY, **JSON}, b"{}", 400, "decision_id"),
        ({**BINARY, **JSON}, b'{"decision_id": 7}', 400, "decision_id"),
        ({**BINARY, **JSON}, b"[" * 20_000 + b"]" * 20_000, 400, "deep"),
        (STRUCTURED, b"[" * 20_000, 400, "deep"),
        (STRUCTURED, b'{"specversion": "1.0"}', 400, "id"),
        (STRUCTURED, b'{"specversion": "0.3", "id": "1", "source": "/", "type": "t"}', 400, "specversion"),
        ({"content-type": "text/html"}, b"<p>", 415, "text/html"),
        ({**BINARY, **JSON}, b'{"decision_id": "' + b"x" * 1_100_000 + b'"}', 413, "1000000"),
        ({**BINARY, **JSON, "ce-type": "io.neuralhive.plan.validated.v1"}, b"{}", 403, "plan.validated"),
        ({**BINARY, **JSON, "ce-type": "io.neuralhive.never.heard.v1"}, b"{}", 422, "never.heard"),
    ],
)
async def test_garbage_gets_a_clear_answer_and_stops_nothing(
    door: OneMachine, headers: dict[str, str], body: bytes, status: int, words: str
) -> None:
    answer = await door.client.post("/", content=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert words in answer.text
    assert (await door.client.get("/api/v1/flows")).json()["items"] == []
    await door.get("/ready")
