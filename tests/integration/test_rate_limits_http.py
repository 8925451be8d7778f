"""Who asks too often gets a 429 before the body is read; whoever watches over the platform does not."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from functions._adapters.memory import MemoryStore
from functions._core.rate_limits import STRANGER, read_limits
from functions._core.records.principal import Principal, Role
from functions._engine.rate_limiter import CLIENTS, RateLimiter
from functions._engine.settings import Settings, SettingsError
from functions._observability.metrics import Metrics
from functions.api.app import create_app
from tests.support.clocks import HandClock
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import one_machine
from tests.support.world import decision, report_event, task, until

KEY = "a-key-that-nobody-guesses"
JSON = {"content-type": "application/json"}
FLOOD = 10_000

CALLERS = {
    "ada": Principal("ada", frozenset({Role.ADMIN}), key_id="k1"),
    "otto": Principal("otto", frozenset({Role.OPERATOR}), key_id="k2"),
    "wanda": Principal("wanda", frozenset({Role.WORKER}), key_id="k3"),
    "olga": Principal("olga", frozenset({Role.VIEWER})),
}


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
async def api(tmp_path: Path, clock: HandClock) -> AsyncIterator[Api]:
    """Serve callers whose key is their name; time stands."""

    async def identify(credential: str) -> Principal | None:
        return CALLERS.get(credential)

    async with running_api(tmp_path) as running_one:
        document = running_one.app.openapi()
        services = running_one.app.state.services
        key_values = MemoryStore().stores.key_values(clock)
        limiter = RateLimiter(read_limits("day=300"), key_values, clock, Metrics(), clock.monotonic)
        running_one.app = create_app(replace(services, identify=identify, limiter=limiter))
        running_one.app.openapi_schema = document
        running_one.client._transport = transport(running_one.app)  # noqa: SLF001
        yield running_one


def transport(app: Any, address: str | None = "192.0.2.1") -> httpx.ASGITransport:
    async def at(scope: Any, receive: Any, send: Any) -> None:
        await app({**scope, "client": (address, 50_000) if address else None}, receive, send)

    return httpx.ASGITransport(at, raise_app_exceptions=False)


async def statuses(api: Api, number: int, caller: str = "ada", method: str = "GET", path: str = "/x") -> Counter[int]:
    headers = {"x-api-key": caller} | (JSON if method != "GET" else {})
    return Counter([(await api.client.request(method, path, headers=headers)).status_code for _ in range(number)])


async def test_a_burst_passes_and_then_there_are_429s_that_say_when(api: Api, clock: HandClock) -> None:
    assert await statuses(api, 45, "ada", "POST") == {404: 40, 429: 5}
    answer = await api.client.post("/x", headers=JSON | {"x-api-key": "ada"})
    document = problem_of(answer, 429, "rate_limited")
    assert document["detail"] == "the limit 'write' allows 20 requests a second and 40 at once; try again in 1 s"
    told = {name: value for name, value in answer.headers.items() if "limit" in name or name == "retry-after"}
    assert told == {
        "retry-after": "1",
        "ratelimit-policy": '"write";q=40;w=2',
        "ratelimit": '"write";r=0;t=1',
        "x-ratelimit-limit": "40",
        "x-ratelimit-remaining": "0",
        "x-ratelimit-reset": "1",
    }
    clock.move(int(answer.headers["retry-after"]))
    assert await statuses(api, 25, "ada", "POST") == {404: 20, 429: 5}


async def test_an_answer_says_what_is_left(api: Api) -> None:
    answers = [await api.client.get("/api/v1/flows", headers={"x-api-key": "olga"}) for _ in range(3)]
    assert [answer.headers["x-ratelimit-remaining"] for answer in answers] == ["199", "198", "197"]
    assert answers[0].headers["ratelimit"] == '"read";r=199;t=1'
    assert answers[0].headers["ratelimit-policy"] == '"read";q=200;w=2'


async def test_reads_writes_and_callers_have_their_own_buckets(api: Api) -> None:
    assert await statuses(api, 45, "ada", "POST") == {404: 40, 429: 5}
    assert await statuses(api, 205, "ada") == {404: 200, 429: 5}
    assert await statuses(api, 45, "otto", "DELETE") == {404: 40, 429: 5}
    assert await statuses(api, 205, "olga") == {404: 200, 429: 5}


async def test_a_flood_is_refused_before_its_bodies_are_read(api: Api) -> None:
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(b"{}")
        yield b"{}"

    await statuses(api, 40, "otto", "POST")
    sent = {"x-api-key": "otto", **JSON}
    for path in ("/", "/api/v1/telemetry/flush", "/x"):
        problem_of(await api.client.post(path, content=body(), headers=sent), 429, "rate_limited")
    assert read == []


async def test_ten_thousand_requests_cost_little_each_and_the_watch_sees_the_platform(api: Api) -> None:
    begun = time.process_time()
    found: Counter[int] = Counter()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            found[message["status"]] += 1

    async def receive() -> Any:
        raise AssertionError("the body of a request was read")

    headers = [(b"x-api-key", b"olga"), (b"host", b"api")]
    scope = {"type": "http", "method": "GET", "path": "/x", "headers": headers, "client": ("192.0.2.1", 1)}
    scope |= {"query_string": b"", "root_path": "", "scheme": "http", "server": ("api", 80), "http_version": "1.1"}
    for _ in range(FLOOD):
        await api.app({**scope, "state": {}}, receive, send)
    assert found == {404: 200, 429: FLOOD - 200}
    assert (time.process_time() - begun) / FLOOD < 0.001
    for path in ("/health", "/ready", "/metrics"):
        assert await statuses(api, 20, "olga", path=path) == {200: 20}


async def test_a_quota_of_the_day_is_a_429_until_midnight(api: Api, clock: HandClock) -> None:
    assert await statuses(api, 200, "olga") == {404: 200}
    clock.move(2)
    assert await statuses(api, 110, "olga") == {404: 100, 429: 10}
    answer = await api.client.get("/x", headers={"x-api-key": "olga"})
    document = problem_of(answer, 429, "quota_exceeded")
    assert document["detail"].startswith("the quota of 300 requests a day is used up")
    assert answer.headers["retry-after"] == str(12 * 3600 - 2)
    assert answer.headers["ratelimit-policy"] == '"day";q=300;w=86400'
    assert await statuses(api, 1, "otto") == {404: 1}
    clock.move(12 * 3600)
    assert await statuses(api, 1, "olga") == {404: 1}


async def test_heartbeats_and_registrations_have_the_limit_of_workers(api: Api) -> None:
    for caller in ("ada", "wanda"):
        path = "/api/v1/workers/w/heartbeat"
        assert await statuses(api, 405, caller, "POST", path) == {404: 400, 429: 5}


async def test_a_worker_reports_within_a_limit_of_its_own(api: Api, clock: HandClock) -> None:
    api.world.workers.behave = lambda _assignment: None
    await api.world.register()
    await api.world.submit(decision(task("a")))

    async def assigned() -> Any:
        return next(iter(api.world.workers.assignments), None)

    assignment = await until(assigned, "an assignment")
    answers = [await api.report(assignment, report_event(assignment, status="RUNNING")) for _ in range(405)]
    assert Counter(answer.status_code for answer in answers) == {200: 400, 429: 5}
    problem_of(answers[-1], 429, "rate_limited")
    # Over the ingress it is the same bucket; and a token that is none is a stranger's.
    problem_of(
        await api.post(report_event(assignment, status="RUNNING"), token=assignment["token"]), 429, "rate_limited"
    )
    problem_of(await api.report(assignment, report_event(assignment, status="RUNNING"), "x.y.z"), 401, "bad_token")
    clock.move(1)
    assert (await api.report(assignment, report_event(assignment, status="COMPLETED"))).status_code == 200


async def test_who_has_no_key_is_limited_by_address_and_those_who_have_one_are_not(api: Api, clock: HandClock) -> None:
    assert await statuses(api, 45, "wrong") == {401: 40, 429: 5}
    assert await statuses(api, 45, "wrong", "POST") == {429: 45}
    assert await statuses(api, 5, "olga") == {404: 5}
    api.client._transport = transport(api.app, "192.0.2.2")  # noqa: SLF001
    assert await statuses(api, 45, "wrong") == {401: 40, 429: 5}
    clock.move(1)
    assert await statuses(api, 25, "wrong") == {401: 20, 429: 5}


async def test_all_addresses_of_a_network_of_ipv6_are_one_client(api: Api) -> None:
    found: Counter[int] = Counter()
    for number in range(50):
        api.client._transport = transport(api.app, f"2001:db8::{number:x}:{number:x}")  # noqa: SLF001
        found += await statuses(api, 1, "wrong")
    assert found == {401: 40, 429: 10}
    for odd in ("2001:db8:0:1::1", "::ffff:192.0.2.9", "fe80::1%eth0", "192.0.2.8", "unix", "", None):
        api.client._transport = transport(api.app, odd)  # noqa: SLF001
        assert await statuses(api, 1, "wrong") == {401: 1}


async def test_a_key_that_is_removed_is_a_stranger_s(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    assert await statuses(api, 45, "otto", "POST") == {404: 40, 429: 5}
    monkeypatch.delitem(CALLERS, "otto")
    assert await statuses(api, 45, "otto", "POST") == {401: 40, 429: 5}


async def test_where_access_is_off_nobody_is_limited(tmp_path: Path) -> None:
    async with running_api(tmp_path, rate_limits="read=1/1 write=1/1 day=1") as free:
        for _ in range(50):
            answer = await free.client.get("/api/v1/flows")
            assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)


async def test_the_limits_are_a_setting_of_the_platform(tmp_path: Path) -> None:
    sent = {"x-api-key": KEY}
    limited = {"FLOWC_API_KEY": KEY, "FLOWC_RATE_LIMITS": "read=1/1000000 write=1/7"}
    async with one_machine(tmp_path / "limited", limited) as at:
        answer = await at.client.get("/api/v1/flows", headers=sent)
        assert answer.headers["x-ratelimit-limit"] == "1000000"
        headers = {"content-type": "application/cloudevents+json"} | sent
        codes = Counter([(await at.client.post("/", content=b"{}", headers=headers)).status_code for _ in range(60)])
        assert codes.keys() == {400, 429}
        assert codes[429] > 0
        metrics = (await at.client.get("/metrics", headers=sent)).text
        assert f'api_rate_limited_total{{limit="write"}} {codes[429]}.0' in metrics
    async with one_machine(tmp_path / "off", {"FLOWC_API_KEY": KEY, "FLOWC_RATE_LIMITS": "off"}) as at:
        assert "ratelimit" not in (await at.client.get("/api/v1/flows", headers=sent)).headers


def test_what_is_no_limit_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="FLOWC_RATE_LIMITS"):
        Settings.from_mapping({"FLOWC_RATE_LIMITS": "read=many"})


@pytest.mark.parametrize(
    "path", ["/api/v1/flows/x/reports", "/api/v1/webhooks/pipeline-completed", "/webhooks/alertmanager"]
)
async def test_strangers_are_limited_at_the_doors_that_ask_for_no_key(api: Api, path: str) -> None:
    headers = JSON | {"authorization": "Bearer a.b.c", "x-webhook-signature": "sha256=00"}
    answers = [await api.client.post(path, headers=headers, content=b"{}") for _ in range(45)]
    assert Counter(answer.status_code for answer in answers) == {401: 40, 429: 5}
    assert answers[-1].headers["retry-after"] == "1"


async def test_many_strangers_take_no_tokens_from_those_who_are_known(api: Api) -> None:
    """Buckets of strangers drive out buckets of strangers alone: one network has more addresses than we have room."""
    assert await statuses(api, 1) == {404: 1}
    limiter = api.app.state.services.limiter
    for number in range(CLIENTS + 1):
        await limiter.take(f"address:{number}", STRANGER)
    assert await statuses(api, 199) == {404: 199}
