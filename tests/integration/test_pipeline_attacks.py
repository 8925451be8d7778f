"""Attacks on the doors of pipelines and templates: each is refused, repeats no secret, and begins nothing."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.support.one_machine import OneMachine, one_machine
from tests.support.pipelines import PIPELINES

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the-key-of-the-first-administrator-0001"
TEMPLATES = "/api/v1/templates"
SHOP: dict[str, Any] = {"artifact_id": "acme/shop"}
GIT = {"git": "https://code.example/acme/templates.git", "ref": "v1", "subfolder": "service"}
FORM = {"description": "A service", "artifact_type": "service", "language": "Go", "source": GIT}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def machine(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneMachine]:
    async with one_machine(tmp_path_factory.mktemp("attacks"), api_key=KEY, rate_limits="off") as running:
        running.client.headers["x-api-key"] = KEY
        yield running


async def headers_of(machine: OneMachine, role: str) -> dict[str, str]:
    answer = await machine.client.post("/api/v1/keys", json={"name": f"the-{role}", "roles": [role]})
    return {"x-api-key": str(answer.json()["key"])}


async def nothing_begun(machine: OneMachine) -> bool:
    return bool((await machine.client.get("/api/v1/flows")).json()["items"] == [])


def refused(answer: httpx.Response, status: int, code: str | None = None) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert "secret-word" not in answer.text
    assert len(answer.content) < 64 * 1024
    document: dict[str, Any] = answer.json()
    assert code in {None, document["code"]}
    return document


async def test_the_templates_that_are_shipped_are_listed_and_stay(machine: OneMachine) -> None:
    listed = (await machine.client.get(TEMPLATES)).json()["items"]
    assert [card["template_id"] for card in listed][:4] == [
        "lambda-function",
        "python-library",
        "python-service",
        "terraform-module",
    ]
    assert (await machine.client.get(f"{TEMPLATES}/python-service")).json()["source"]["shipped"] == "python-service"
    assert (await machine.client.put(f"{TEMPLATES}/python-service", json=FORM)).status_code == 409
    assert (await machine.client.delete(f"{TEMPLATES}/python-service")).status_code == 409


async def test_a_template_is_registered_replaced_and_forgotten(machine: OneMachine) -> None:
    made = await machine.client.put(f"{TEMPLATES}/go-service?requested_by=x", json=FORM)
    assert (made.status_code, made.json()["created_by"]) == (201, "admin")
    assert (await machine.client.put(f"{TEMPLATES}/go-service", json=FORM)).status_code == 200
    card = (await machine.client.get(f"{TEMPLATES}/go-service")).json()
    assert (card["language"], card["source"]["git"]) == ("go", GIT["git"])
    assert (await machine.client.get(TEMPLATES)).json()["items"][-1] == card
    assert (await machine.client.delete(f"{TEMPLATES}/go-service")).status_code == 204
    refused(await machine.client.get(f"{TEMPLATES}/go-service"), 404, "unknown_template")
    refused(await machine.client.delete(f"{TEMPLATES}/go-service"), 404, "unknown_template")
    audits = (await machine.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert {"put_template", "delete_template"} <= {audit["action"] for audit in audits}


async def test_roles_are_asked_for_before_anything_is_read(machine: OneMachine) -> None:
    garbage: dict[str, Any] = {
        "content": b"{" * 1_000,
        "headers": {"content-type": "application/json", "x-api-key": "nobody"},
    }
    for method, path in (("POST", PIPELINES), ("PUT", f"{TEMPLATES}/x"), ("POST", f"{PIPELINES}/x/cancel")):
        refused(await machine.client.request(method, path, **garbage), 401)
    for role, path, method, status in (
        ("viewer", PIPELINES, "POST", 403),
        ("viewer", f"{PIPELINES}/x/cancel", "POST", 403),
        ("worker", PIPELINES, "POST", 403),
        ("worker", PIPELINES, "GET", 403),
        ("operator", f"{TEMPLATES}/x", "PUT", 403),
        ("operator", f"{TEMPLATES}/x", "DELETE", 403),
    ):
        given: dict[str, Any] = {"content": b"{" * 1_000} if method in {"POST", "PUT"} else {}
        headers = {**await headers_of(machine, role), "content-type": "application/json"}
        refused(await machine.client.request(method, path, headers=headers, **given), status, "insufficient_role")
    viewer = await headers_of(machine, "viewer")
    assert (await machine.client.get(PIPELINES, headers=viewer)).status_code == 200
    assert (await machine.client.get(TEMPLATES, headers=viewer)).status_code == 200


DEEP = b'{"artifact_id": "a", "parameters": {"x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}}"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (b"[]", 422),
        (b'"acme/shop"', 422),
        (b'{"artifact_id": NaN}', 400),
        (b'{"artifact_id": "a", "artifact_id": 7}', 422),
        (DEEP, 400),
        (b'{"artifact_id": "a", "parameters": {"x": "' + b"x" * 200_000 + b'"}}', 413),
        ({**SHOP, "parameters": {"port": "x" * 70_000}}, 422),
        ({**SHOP, "parameters": {f"n{number}": 1 for number in range(2_000)}}, 422),
        ({**SHOP, "parameters": {"capabilities": [{}] * 10_000}}, 422),
        ({**SHOP, "parameters": []}, 422),
        ({**SHOP, "parameters": {"inputs": [1]}}, 422),
        ({**SHOP, "parameters": {"a\u0000b": 1}}, 422),
        ({**SHOP, "parameters": {"min_coverage": "much"}}, 422),
        ({**SHOP, "parameters": {"review_seconds": 1e300}}, 422),
        ({**SHOP, "parameters": {"version": "1; rm -rf /"}}, 422),
        ({**SHOP, "parameters": {"instructions": "x" * 9_000}}, 422),
        ({**SHOP, "parameters": {"template_id": "no-such-template"}}, 422),
        ({**SHOP, "parameters": {"language": "cobol"}}, 422),
        ({**SHOP, "parameters": {"password": {"$secret": "secret-word"}}}, 422),
        ({**SHOP, "parameters": {"inputs": {"a": [{"b": {"$output": "package"}}]}}}, 422),
        ({**SHOP, "parameters": {"plan_id": "a\nb"}}, 422),
        ({**SHOP, "ticket_id": "a\u0007b"}, 422),
        ({**SHOP, "ticket_id": "x" * 256}, 422),
        ({**SHOP, "attempt": True}, 422),
        ({**SHOP, "attempt": -1}, 422),
        ({**SHOP, "provider": "command"}, 422),
        ({"artifact_id": "../../etc/passwd"}, 422),
        ({"artifact_id": "a/../b"}, 422),
        ({"artifact_id": "a\r\nx-evil: 1"}, 422),
        ({"artifact_id": "a" * 201}, 422),
        ({"artifact_id": {"$secret": "secret-word"}}, 422),
    ],
)
async def test_what_is_no_request_begins_nothing(
    machine: OneMachine, body: bytes | dict[str, Any], status: int
) -> None:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = await machine.client.post(PIPELINES, content=content, headers={"content-type": "application/json"})
    refused(answer, status)
    assert await nothing_begun(machine)


async def test_other_media_keys_and_questions_are_refused(machine: OneMachine) -> None:
    client = machine.client
    refused(await client.post(PIPELINES, content=b"{}", headers={"content-type": "text/plain"}), 415)
    refused(await client.post(PIPELINES, json=SHOP, headers={"idempotency-key": "k" * 256}), 422)
    refused(await client.post(f"{PIPELINES}?dry_run=true", json=SHOP), 400, "unknown_parameter")
    for asked in ("limit=101", "limit=0", "status=GREAT", "cursor=x'--"):
        assert (await client.get(f"{PIPELINES}?{asked}")).status_code in {400, 422}
    for path in ("", "/artifacts"):
        refused(await client.get(f"{PIPELINES}/%00{path}"), 404, "unknown_pipeline")
        refused(await client.get(f"{PIPELINES}/..%2f..%2fkeys{path}"), 404)
    assert await nothing_begun(machine)


@pytest.mark.parametrize(
    "change",
    [
        {"source": {"git": "https://me:secret-word@code.example/a"}},
        {"source": {"git": "https://code.example/a?token=secret-word"}},
        {"source": {"git": "ext::sh -c secret-word"}},
        {"source": {"git": "--upload-pack=secret-word"}},
        {"source": {"folder": "../secret-word"}},
        {"source": {"shipped": "python-service"}},
        {"source": {**GIT, "ref": "--secret-word"}},
        {"source": "https://code.example/a"},
        {"quality": 2},
        {"quality": "NaN"},
        {"description": "x" * 1_001},
        {"description": "a\u001b[31mb"},
        {"capabilities": ["x"] * 33},
        {"language": "py thon"},
        {"command": "rm -rf /"},
    ],
)
async def test_templates_that_are_refused(machine: OneMachine, change: dict[str, Any]) -> None:
    refused(await machine.client.put(f"{TEMPLATES}/other", json={**FORM, **change}), 422, "invalid_data")
    refused(await machine.client.get(f"{TEMPLATES}/other"), 404)


@pytest.mark.parametrize("name", ["A", "-x", "a.b", "x" * 65, "%00", "a%20b"])
async def test_names_of_templates_that_are_refused(machine: OneMachine, name: str) -> None:
    refused(await machine.client.put(f"{TEMPLATES}/{name}", json=FORM), 422, "bad_name")


async def test_there_are_only_so_many_templates(machine: OneMachine) -> None:
    for number in range(96):
        assert (await machine.client.put(f"{TEMPLATES}/many-{number}", json=FORM)).status_code == 201
    refused(await machine.client.put(f"{TEMPLATES}/one-more", json=FORM), 409, "too_many")
    for number in range(96):
        assert (await machine.client.delete(f"{TEMPLATES}/many-{number}")).status_code == 204
