"""Who may call the platform: whoever has a key; anybody on its machine where access is off."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._engine.settings import Settings, SettingsError
from functions.api.access import OPEN, SESSION
from tests.support.http_api import Api, bearer, problem_of, running_api
from tests.support.one_machine import one_machine
from tests.support.world import PATIENCE_S, decision, decision_event, report_event, task, until

KEY = "a-key-that-nobody-guesses"
ELSEWHERE = "203.0.113.9"
IN_HEADERS = {
    "ce-specversion": "1.0",
    "ce-id": "1",
    "ce-source": "/tests",
    "ce-type": "io.neuralhive.decision.consolidated.v1",
}


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path, api_key=KEY) as running_one:
        yield running_one


def client_at(api: Api, client_host: str | None, **headers: str) -> httpx.AsyncClient:
    """Return a client whose connection comes from `client_host`."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await api.app({**scope, "client": (client_host, 50_000) if client_host else None}, receive, send)

    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api", headers=headers)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", ELSEWHERE, "10.0.0.1", "::2", "localhost", "", None])
async def test_every_client_is_asked_for_the_key(api: Api, host: str | None) -> None:
    async with client_at(api, host) as client:
        answer = await client.get("/api/v1/flows")
        problem_of(answer, 401, "missing_key")
        assert answer.headers["www-authenticate"] == "Bearer"


async def test_every_route_but_health_and_reports_asks_for_the_key(api: Api) -> None:
    checked = 0
    async with client_at(api, ELSEWHERE) as client:
        paths: Mapping[str, Mapping[str, Any]] = api.app.openapi()["paths"]
        for path, operations in paths.items():
            for method in operations:
                answer = await client.request(method, re.sub(r"\{\w+\}", "x", path))
                if path == SESSION and method == "post":
                    problem_of(answer, 404, "unknown_identity_provider")  # there is none at which people sign in
                elif path in OPEN:
                    assert answer.status_code == 200
                elif path == "/api/v1/flows/{flow_id}/reports":
                    problem_of(answer, 401, "missing_token")
                elif path in {"/api/v1/webhooks/pipeline-completed", "/webhooks/alertmanager"}:
                    problem_of(answer, 401, "not_signed")
                else:
                    problem_of(answer, 401, "missing_key")
                checked += 1
        for path in ("/openapi.json", "/nowhere", "/health/", "/consoles", "/api/v1/flows/a/b/reports", "/reports"):
            problem_of(await client.get(path), 401, "missing_key")
            problem_of(await client.post(path), 401, "missing_key")
        problem_of(await client.get("/api/v1/flows/x/reports"), 401, "missing_key")
    assert checked > 20


@pytest.mark.parametrize(
    "headers", [{"x-api-key": KEY}, {"authorization": f"Bearer {KEY}"}, {"Authorization": f"bearer {KEY}"}]
)
async def test_the_key_opens_every_door_in_either_header(api: Api, headers: dict[str, str]) -> None:
    async with client_at(api, ELSEWHERE, **headers) as client:
        assert (await client.get("/api/v1/flows")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"x-api-key": KEY[:-1]},
        {"x-api-key": KEY + "x"},
        {"x-api-key": ""},
        {"x-api-key": KEY.upper()},
        {"authorization": KEY},
        {"authorization": f"Basic {KEY}"},
        {"authorization": "Bearer "},
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"host": "127.0.0.1"},
    ],
    ids=str,
)
async def test_nothing_else_opens_any(api: Api, headers: dict[str, str]) -> None:
    async with client_at(api, ELSEWHERE, **headers) as client:
        problem_of(await client.get("/api/v1/flows"), 401, "missing_key")


async def test_a_key_of_bytes_beyond_ascii_is_wrong_and_no_error(api: Api) -> None:
    async with client_at(api, ELSEWHERE) as client:
        answer = await client.get("/api/v1/flows", headers=[(b"x-api-key", b"\xff\xfe")])
        problem_of(answer, 401, "missing_key")


async def test_a_worker_elsewhere_reports_with_its_token_and_submits_with_the_key(api: Api) -> None:
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    async with client_at(api, ELSEWHERE) as client:
        api.client, local = client, api.client
        sent = decision_event(decision(task("a")))
        problem_of(await api.post(sent), 401, "missing_key")
        client.headers["x-api-key"] = KEY
        assert (await api.post(sent)).status_code == 202
        del client.headers["x-api-key"]

        async def assigned() -> Any:
            return next(iter(api.world.workers.assignments), None)

        assignment = await until(assigned, "an assignment")
        problem_of(await api.report(assignment, report_event(assignment, status="RUNNING"), KEY), 401, "bad_token")
        assert (await api.report(assignment, report_event(assignment, status="RUNNING"))).json()["result"] == "recorded"
        # Over the ingress the token brings reports in, and nothing else.
        problem_of(await api.post(sent, token=assignment["token"]), 403, "foreign_token")
        done = report_event(assignment, status="COMPLETED")
        assert (await api.post(done, token=assignment["token"])).json()["result"] == "recorded"
        api.client = local


async def test_without_a_key_nobody_is_asked(tmp_path: Path) -> None:
    async with running_api(tmp_path) as api, client_at(api, ELSEWHERE) as client:
        assert (await client.get("/api/v1/flows")).status_code == 200


async def test_over_a_real_connection_no_header_makes_a_client_local(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    async with local_client(tmp_path, FLOWC_API_KEY=KEY) as client:
        for claimed in ("127.0.0.1", ELSEWHERE):
            answer = await client.get("/api/v1/flows", headers={"x-forwarded-for": claimed})
            problem_of(answer, 401, "missing_key")
        answer = await client.get("/api/v1/flows", headers={"x-forwarded-for": ELSEWHERE, **bearer(KEY)})
        assert answer.status_code == 200


# --- The name that a request calls the platform by ------------------------------------------------------------

OURS = ["127.0.0.1", "127.0.0.1:1", "127.8.9.10:80", "localhost", "LocalHost:8080", "[::1]", "[::1]:8080"]
FOREIGN = [
    "rebound.example",
    "rebound.example:8080",
    "127.0.0.1.rebound.example",
    "localhost.rebound.example",
    "[::1].rebound.example",
    "rebound.example:127.0.0.1",
    "10.0.0.1",
    "[::2]",
    "0.0.0.0",  # noqa: S104 nothing is bound
    "127.0.0.1, rebound.example",
    "",
]
NAMES = {"ours": "localhost", "other": "rebound.example"}


@asynccontextmanager
async def local_client(tmp_path: Path, **settings: str) -> AsyncIterator[httpx.AsyncClient]:
    """Run a platform on loopback, and a client of it over a real connection."""
    async with one_machine(tmp_path, settings) as at:
        yield at.client


async def test_without_a_key_a_name_that_was_made_to_lead_here_gets_nothing_but_health(tmp_path: Path) -> None:
    async with local_client(tmp_path) as client:
        for host in OURS:
            assert (await client.get("/api/v1/flows", headers={"host": host})).status_code == 200, host
        for host in FOREIGN:
            for path in ("/api/v1/flows", "/ready", "/metrics", "/openapi.json", "/nowhere"):
                document = problem_of(await client.get(path, headers={"host": host}), 421, "misdirected_request")
                assert "FLOWC_PUBLIC_URL" in document["detail"]
            assert (await client.get("/health", headers={"host": host})).status_code == 200
        sent = decision(task("a"))
        refused = await client.post("/", json=sent, headers={"host": "rebound.example", **IN_HEADERS})
        problem_of(refused, 421, "misdirected_request")
        assert (await client.get("/api/v1/flows")).json()["items"] == []
        assert (await client.post("/", json=sent, headers=IN_HEADERS)).status_code == 202


async def test_every_host_that_a_request_names_has_to_be_ours(tmp_path: Path) -> None:
    async with local_client(tmp_path) as client:
        url = client.base_url
        for hosts, status in (("ours", 200), ("ours other", 421), ("other ours", 421), ("", 421)):
            reader, writer = await asyncio.open_connection(url.host, url.port)
            lines = "".join(f"host: {NAMES[name]}\r\n" for name in hosts.split())
            writer.write(f"GET /api/v1/flows HTTP/1.1\r\n{lines}connection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            assert answer.startswith(f"HTTP/1.1 {status} ".encode()), hosts


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Flows.Example/base", "flows.example:8443"),
        ("https://flows.example:8443", "FLOWS.example"),
        ("http://[2001:db8::1]:80", "[2001:db8::1]"),
        ("http://192.0.2.1", "192.0.2.1:8080"),
    ],
)
async def test_the_public_name_is_the_platforms_own(tmp_path: Path, url: str, host: str) -> None:
    async with local_client(tmp_path, FLOWC_PUBLIC_URL=url) as client:
        assert (await client.get("/api/v1/flows", headers={"host": host})).status_code == 200
        assert (await client.get("/api/v1/flows")).status_code == 200
        problem_of(await client.get("/ready", headers={"host": "rebound.example"}), 421, "misdirected_request")


async def test_whoever_sends_the_key_is_no_page_and_may_use_any_name(tmp_path: Path) -> None:
    async with local_client(tmp_path, FLOWC_API_KEY=KEY) as client:
        for headers in ({"x-api-key": KEY}, bearer(KEY), {"x-forwarded-for": ELSEWHERE, "x-api-key": KEY}):
            answer = await client.get("/api/v1/flows", headers={"host": "platform.example", **headers})
            assert answer.status_code == 200
        wrong = {"host": "platform.example", "x-api-key": "wrong"}
        problem_of(await client.get("/api/v1/flows", headers=wrong), 401, "missing_key")


async def test_the_hosts_of_an_ingress_or_a_gateway_are_not_asked_for(tmp_path: Path) -> None:
    front = {"host": "api.flowc.svc.cluster.local", "x-forwarded-for": ELSEWHERE}
    async with local_client(tmp_path, FLOWC_API_KEY=KEY) as client:
        problem_of(await client.get("/api/v1/flows", headers=front), 401, "missing_key")
        assert (await client.get("/ready", headers=front)).status_code == 200
        answer = await client.post("/api/v1/flows/x/reports", headers=front, json={})
        problem_of(answer, 401, "missing_token")


# --- Settings -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "203.0.113.1"])  # noqa: S104 nothing is bound
def test_beyond_this_machine_there_is_no_start_without_a_key(host: str) -> None:
    with pytest.raises(SettingsError, match=rf"FLOWC_API_KEY: .*required to listen on {re.escape(host)}"):
        Settings.from_mapping({"FLOWC_HOST": host})
    assert str(Settings.from_mapping({"FLOWC_HOST": host, "FLOWC_API_KEY": KEY}).host) == host


@pytest.mark.parametrize(("said", "host"), [("127.0.0.1", "127.0.0.1"), ("localhost", "127.0.0.1"), ("::1", "::1")])
def test_on_this_machine_no_key_is_needed(said: str, host: str) -> None:
    settings = Settings.from_mapping({"FLOWC_HOST": said})
    assert (str(settings.host), settings.api_key) == (host, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FLOWC_API_KEY", "fifteen-letters"),
        ("FLOWC_API_KEY", "sixteen letters and spaces"),
        ("FLOWC_API_KEY", "schlüssel-aus-umlauten-ü"),
        ("FLOWC_HOST", "example.org"),
        ("FLOWC_HOST", "127.0.0.1:80"),
    ],
)
def test_a_wrong_setting_is_named_and_a_wrong_key_not_shown(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as error:
        Settings.from_mapping({name: value})
    assert name in str(error.value)
    assert name == "FLOWC_HOST" or value not in str(error.value)
    assert KEY not in repr(Settings.from_mapping({"FLOWC_API_KEY": KEY}))


@pytest.mark.parametrize(
    ("environment", "status", "words"),
    [
        ({"FLOWC_HOST": "203.0.113.1"}, 2, "FLOWC_API_KEY: .*required to listen on 203.0.113.1"),
        ({"FLOWC_HOST": "203.0.113.1", "FLOWC_API_KEY": KEY}, 1, "203.0.113.1 is no address of this machine"),
    ],
)
def test_a_platform_that_may_not_or_cannot_listen_says_so(
    tmp_path: Path, environment: dict[str, str], status: int, words: str
) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "functions", "up", "--port", "0", "--data", str(tmp_path)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert run.returncode == status
    assert re.search(words, run.stderr)
    assert KEY not in run.stderr
