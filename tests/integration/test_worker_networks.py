"""Where workers may be: checked when they register, and again when their name has led somewhere."""

import socket
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from functions._adapters.http.addresses import EVERY_NETWORK, Networks
from functions._adapters.http.client import HttpClient
from functions._adapters.http.workers import HttpWorkerGateway
from functions._core.events.envelope import type_of
from functions._core.placement.workers import Registration
from functions._engine.clock import SystemClock
from functions._engine.settings import Settings, SettingsError
from functions._engine.tokens import JwtTokens
from tests.support.builders import make_event, make_worker
from tests.support.http_api import Api, problem_of, running_api
from tests.support.world import decision_event

LOOPBACK = ["127.0.0.1", "127.9.9.9", "[::1]", "0.0.0.0", "[::]", "localhost", "a.localhost", "2130706433", "0x7f.1",  # noqa: S104 nothing is bound
            "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::7f00:1]",
            "[::127.0.0.1]", "LOCALHOST."]  # fmt: skip
PRIVATE = ["10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "[fd12::1]", "[fec0::1]", "192.0.2.1", "167772161",
           "[64:ff9b:1::808:808]",
           "[::ffff:10.0.0.1]", "[2002:0a00:0001::1]", "255.255.255.255", "240.0.0.1"]  # fmt: skip
PUBLIC = ["8.8.8.8", "[2606:4700::1111]", "134744072"]
NEVER = ["169.254.169.254", "[fe80::1]", "metadata.google.internal", "224.0.0.1", "[ff02::1]", "100.100.100.200"]

WHERE = [
    *((host, "loopback") for host in LOOPBACK),
    *((host, "private") for host in PRIVATE),
    *((host, "public") for host in PUBLIC),
]


CLOCK = SystemClock()
TOKENS = JwtTokens(b"k" * 32, CLOCK)


def only(*networks: str) -> dict[str, Any]:
    return {"worker_networks": ",".join(networks)}


def registration(host: str) -> dict[str, Any]:
    return {"worker_id": "w", "endpoint": f"http://{host}:9/", "capabilities": ["python"]}


@pytest.fixture
async def api(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Api]:
    async with running_api(tmp_path, **getattr(request, "param", {})) as running_one:
        yield running_one


@pytest.mark.parametrize(("host", "network"), WHERE)
async def test_a_worker_is_registered_where_workers_may_be_and_nowhere_else(
    tmp_path: Path, host: str, network: str
) -> None:
    async with running_api(tmp_path, **only(network)) as api:
        assert (await api.client.post("/api/v1/workers", json=registration(host))).status_code == 201
    async with running_api(tmp_path, **only(*sorted(EVERY_NETWORK - {network}))) as api:
        answer = await api.client.post("/api/v1/workers", json=registration(host))
        document = problem_of(answer, 422, "forbidden_network")
        assert network in document["detail"]
        assert "FLOWC_WORKER_NETWORKS" in document["detail"]
        assert (await api.get("/api/v1/workers"))["items"] == []


@pytest.mark.parametrize("host", NEVER)
async def test_what_is_never_called_is_refused_at_once(api: Api, host: str) -> None:
    answer = await api.client.post("/api/v1/workers", json=registration(host))
    assert "never called" in problem_of(answer, 422, "forbidden_address")["detail"]


@pytest.mark.parametrize("host", ["a\0b", "127.0.0.1\0", "a\nb", "a\x7fb"])
async def test_what_no_address_can_hold_is_refused_and_is_no_error(api: Api, host: str) -> None:
    answer = await api.client.post("/api/v1/workers", json=registration(host))
    assert "not an HTTP address" in problem_of(answer, 422, "bad_address")["detail"]


@pytest.mark.parametrize("api", [only("public")], indirect=True)
async def test_a_registration_by_event_is_checked_alike(api: Api) -> None:
    event = decision_event(registration("127.0.0.1"))
    problem_of(await api.post(replace(event, type=type_of("worker.registered"))), 422, "forbidden_network")


@pytest.mark.parametrize("api", [only("public")], indirect=True)
async def test_a_name_is_taken_as_it_may_lead_anywhere(api: Api) -> None:
    await api.world.platform.register(Registration(**registration("workers.example")))
    assert [worker["worker_id"] for worker in (await api.get("/api/v1/workers"))["items"]] == ["w"]


@pytest.mark.parametrize(
    ("address", "networks", "status"),
    [
        ("127.0.0.1", {"private", "public"}, 403),
        ("10.0.0.1", {"loopback", "public"}, 403),
        ("::ffff:10.0.0.1", {"loopback", "public"}, 403),
        ("8.8.8.8", {"loopback", "private"}, 403),
        ("127.0.0.1", {"loopback"}, 0),  # allowed; nobody listens there
    ],
)
async def test_a_name_that_leads_elsewhere_is_not_called(
    monkeypatch: pytest.MonkeyPatch, address: str, networks: Networks, status: int
) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET

    def resolve(*_: object, **__: object) -> list[tuple[Any, ...]]:
        return [(family, socket.SOCK_STREAM, 6, "", (address, 1))]

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    client = HttpClient(timeout_seconds=2, networks=frozenset(networks))
    worker = make_worker(endpoint="http://innocent.test:1/")
    answer = await HttpWorkerGateway(client, TOKENS, CLOCK).deliver(worker, make_event())
    await client.aclose()
    assert answer.status == status
    assert status == 0 or "FLOWC_WORKER_NETWORKS" in answer.detail


async def test_a_worker_of_before_is_not_called_where_none_may_be_any_more() -> None:
    client = HttpClient(networks=frozenset({"public"}))
    answer = await HttpWorkerGateway(client, TOKENS, CLOCK).deliver(
        make_worker(endpoint="http://127.0.0.1:1/"), make_event()
    )
    await client.aclose()
    assert (answer.status, answer.refused) == (403, True)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, EVERY_NETWORK),
        ({"FLOWC_HOST": "10.0.0.1", "FLOWC_API_KEY": "k" * 16}, {"private", "public"}),
        ({"FLOWC_HOST": "10.0.0.1", "FLOWC_API_KEY": "k" * 16, "FLOWC_WORKER_NETWORKS": "loopback"}, {"loopback"}),
        ({"FLOWC_WORKER_NETWORKS": " private , public "}, {"private", "public"}),
    ],
)
def test_workers_on_a_machine_that_others_reach_have_to_be_allowed(said: dict[str, str], expected: set[str]) -> None:
    assert Settings.from_mapping(said).networks == expected


@pytest.mark.parametrize("value", ["everything", "private public", "private,", "10.0.0.0/8"])
def test_a_network_that_is_none_is_a_wrong_setting(value: str) -> None:
    with pytest.raises(SettingsError, match="FLOWC_WORKER_NETWORKS"):
        Settings.from_mapping({"FLOWC_WORKER_NETWORKS": value})
