"""What a page in a browser on the platform's machine may do to it: nothing, by whichever route."""

import re
from collections.abc import AsyncIterator, Iterator, Mapping
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._core.records.values import flow_id_of
from functions._engine.settings import Settings
from functions.api.access import split_host
from tests.support.http_api import problem_of
from tests.support.one_machine import one_machine
from tests.support.world import decision, task, until

KEY = "a-key-that-nobody-guesses"
SAFE = {"get", "head", "options"}
EVENT = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/tests",
    "ce-type": "io.neuralhive.decision.consolidated.v1",
}

FROM_ELSEWHERE = [
    {"origin": "http://evil.example"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "http://localhost:1"},
    {"origin": "https://127.0.0.1"},
    {"origin": "file://"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "Cross-Site"},
    {"sec-fetch-site": "same-origin", "origin": "http://evil.example"},
    {"origin": "http://evil.example", "x-requested-with": "page", "authorization": "Basic eDp5"},
]
BY_A_FORM = [
    {"content-type": "text/plain"},
    {"content-type": "text/plain;charset=UTF-8"},
    {"content-type": "TEXT/PLAIN; application/json"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "multipart/form-data; boundary=x"},
    {"content-type": "text/ping"},
    {"content-type": "application/json, text/plain"},
    {"content-type": "text/plain", "x-requested-with": "page"},
    {"content-type": ""},
]


@pytest.fixture
async def platform(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    """Run a platform on loopback without a key, and give a client of it."""
    async with one_machine(
        tmp_path,
        {
            "FLOWC_PUBLIC_URL": "https://flows.example/base",
            "FLOWC_WEBHOOK_SECRET": "s" * 32,
            "FLOWC_ALERT_WEBHOOK_SECRET": "a" * 32,
        },
    ) as at:
        yield at.client


async def routes(client: httpx.AsyncClient) -> Mapping[str, Mapping[str, Any]]:
    paths: Mapping[str, Mapping[str, Any]] = (await client.get("/openapi.json")).json()["paths"]
    return paths


def changing(paths: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    """Yield method and path of every operation that may change something."""
    for path, operations in paths.items():
        for method in operations.keys() - SAFE:
            yield method, re.sub(r"\{\w+\}", "x", path)


async def test_no_route_takes_an_order_from_a_page_of_elsewhere(platform: httpx.AsyncClient) -> None:
    operations = [*changing(await routes(platform)), ("put", "/"), ("patch", "/nowhere"), ("post", "/nowhere")]
    assert len(operations) > 25
    said = cycle(({}, {"content-type": "application/json", **EVENT}))
    assert len(FROM_ELSEWHERE) % 2, "so that each of them comes with and without a content type"
    for method, path in operations:
        for headers, more in zip(FROM_ELSEWHERE, said, strict=False):
            problem_of(await platform.request(method, path, headers={**headers, **more}), 403, "cross_site")


async def test_no_route_takes_what_a_form_can_send(platform: httpx.AsyncClient) -> None:
    for method, path in changing(await routes(platform)):
        code = "unsupported_media_type" if path in {"/", "/api/v1/flows/x/reports"} else "not_json"
        for headers in BY_A_FORM:
            problem_of(await platform.request(method, path, headers=headers), 415, code)
        # As a page sends a blob without a type.
        problem_of(await platform.request(method, path, content=b"{}"), 415, code)
        problem_of(await platform.request(method, path, content=one(b"{}")), 415, code)


async def one(part: bytes) -> AsyncIterator[bytes]:
    """Yield a body of unknown length."""
    yield part


async def test_programs_get_through_on_every_route(platform: httpx.AsyncClient) -> None:
    url = platform.base_url
    own = f"http://{url.host}:{url.port}"
    for method, path in changing(await routes(platform)):
        for headers in (
            {},  # as curl -X POST sends it
            {"content-type": "application/json"},
            {"content-type": "application/cloudevents+json; charset=utf-8"},
            {"content-type": "application/merge-patch+json"},
            {"x-requested-with": "program"},
            {"origin": own, "sec-fetch-site": "same-origin"},
            {"origin": f"http://localhost:{url.port}"},
            {"origin": "https://flows.example"},
            {"sec-fetch-site": "none"},
        ):
            answer = await platform.request(method, path, headers=headers)
            code = answer.json().get("code") if answer.content else None
            assert code not in {"cross_site", "not_json"}, (method, path, headers)
            assert answer.status_code < 500, answer.text


async def test_reading_is_left_to_the_rules_of_browsers(platform: httpx.AsyncClient) -> None:
    for path in ("/health", "/api/v1/flows", "/metrics"):
        answer = await platform.get(path, headers={"origin": "http://evil.example", "sec-fetch-site": "cross-site"})
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("access-control-")]
    preflight = {"origin": "http://evil.example", "access-control-request-method": "POST"}
    answer = await platform.request("OPTIONS", "/", headers=preflight)
    assert not [name for name in answer.headers if name.startswith("access-control-")]


async def test_a_page_neither_submits_nor_approves(platform: httpx.AsyncClient) -> None:
    data = decision(task("a"), requires_human_review=True)
    page = {"origin": "http://evil.example", "content-type": "text/plain"}
    problem_of(await platform.post("/", json=data, headers={**page, **EVENT}), 403, "cross_site")
    assert (await platform.get("/api/v1/flows")).json()["items"] == []
    assert (await platform.post("/", json=data, headers=EVENT)).status_code == 202
    path = f"/api/v1/flows/{flow_id_of(data['decision_id'])}"

    async def waits() -> bool | None:
        return (await platform.get(path)).json()["status"] == "AWAITING_APPROVAL" or None

    await until(waits, "the flow to wait for a person")
    problem_of(await platform.post(f"{path}/approve", headers=page), 403, "cross_site")
    problem_of(await platform.post(f"{path}/approve", headers={"content-type": "text/plain"}), 415, "not_json")
    assert await waits()
    assert (await platform.post(f"{path}/approve")).status_code == 202
    assert await waits() is None


async def test_a_page_is_refused_where_a_key_is_set_as_well(tmp_path: Path) -> None:
    async with one_machine(tmp_path, {"FLOWC_API_KEY": KEY}) as at:
        client = at.client
        for headers in ({}, {"x-api-key": KEY}):
            page = {"origin": "http://evil.example", **headers}
            problem_of(await client.post("/api/v1/telemetry/flush", headers=page), 403, "cross_site")
        problem_of(await client.post("/api/v1/telemetry/flush"), 401, "missing_key")
        assert (await client.post("/api/v1/telemetry/flush", headers={"x-api-key": KEY})).status_code == 200


@pytest.mark.parametrize(
    ("value", "parts"),
    [
        ("LocalHost", ("localhost", "80")),
        ("localhost:8080", ("localhost", "8080")),
        ("[::1]:8080", ("::1", "8080")),
        ("flows.example:", ("flows.example", "80")),
        ("::1", ("", "")),
        ("user@flows.example:80:80", ("", "")),
        ("", ("", "")),
    ],
)
def test_a_host_header_is_taken_apart(value: str, parts: tuple[str, str]) -> None:
    assert split_host(value) == parts


@pytest.mark.parametrize(
    ("url", "origins"),
    [
        ("https://Flows.Example/base", {"https://flows.example"}),
        ("https://flows.example:443", {"https://flows.example"}),
        ("http://flows.example:443", {"http://flows.example:443"}),
        ("http://[2001:db8::1]:8080/", {"http://[2001:db8::1]:8080"}),
        (None, set()),
    ],
)
def test_the_public_address_is_an_origin(url: str | None, origins: set[str]) -> None:
    assert Settings.from_mapping({"FLOWC_PUBLIC_URL": url or ""}).origins == origins
