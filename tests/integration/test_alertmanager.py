"""Alerts and silences of a real Alertmanager, and what becomes of one that is away or answers nonsense."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from functions._adapters.http.alertmanager import ANSWER_BYTES, AlertmanagerClient, AlertsFailed
from functions._adapters.http.client import HttpClient
from functions._core.errors import Unavailable
from tests.support.loopback import Answer, Loopback, Request
from tests.support.monitoring import alertmanager
from tests.support.world import until

QUIET = {"route": {"receiver": "nobody"}, "receivers": [{"name": "nobody"}]}
ODD = 'a "quoted\\" name\n} or {'


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    async with Loopback() as running:
        yield running


@asynccontextmanager
async def asking(url: str, seconds: float = 5) -> AsyncIterator[AlertmanagerClient]:
    client = HttpClient()
    try:
        yield AlertmanagerClient(client, url, timeout_seconds=seconds)
    finally:
        await client.aclose()


async def fire(url: str, *alerts: dict[str, str]) -> None:
    async with httpx.AsyncClient(base_url=url) as client:
        posted = [{"labels": labels, "annotations": {"summary": "s"}} for labels in alerts]
        assert (await client.post("/api/v2/alerts", json=posted)).status_code == 200


@pytest.mark.slow
async def test_alerts_are_found_and_silenced_at_a_real_alertmanager(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    async with alertmanager(tmp_path, QUIET) as url, asking(url) as alerts:
        assert await alerts.alerts() == []
        await fire(
            url,
            {"alertname": "HighBurn", "slo": "slo-1", "severity": "page"},
            {"alertname": "HighBurn", "slo": ODD, "severity": "ticket"},
            {"alertname": "DiskFull", "severity": "page"},
        )
        assert len(await alerts.alerts()) == 3
        assert {alert.labels["slo"] for alert in await alerts.slo_alerts()} == {"slo-1", ODD}
        assert [alert.labels["severity"] for alert in await alerts.slo_alerts(ODD)] == ["ticket"]
        assert [alert.labels["slo"] for alert in await alerts.alerts('severity="page"', 'slo=~"slo-.*"')] == ["slo-1"]
        assert abs((await alerts.slo_alerts("slo-1"))[0].starts_at - now) < timedelta(minutes=5)
        with pytest.raises(AlertsFailed, match=r"answered 400: .*bad matcher"):
            await alerts.alerts("no matcher")

        silence_id = await alerts.silence({"slo": ODD}, now, now + timedelta(hours=1), by="ada", comment="we know")

        async def silenced() -> bool | None:
            return (await alerts.slo_alerts(ODD))[0].state == "suppressed" or None

        await until(silenced, "the silence to be seen")
        assert (await alerts.slo_alerts(ODD))[0].silenced_by == [silence_id]
        assert [alert.labels["slo"] for alert in await alerts.slo_alerts(silenced=False)] == ["slo-1"]
        await alerts.delete_silence(silence_id)

        async def heard_again() -> bool | None:
            return (await alerts.slo_alerts(ODD))[0].state == "active" or None

        await until(heard_again, "the silence to have ended")
        with pytest.raises(AlertsFailed):
            await alerts.delete_silence("../silences?x=00000000")
        with pytest.raises(AlertsFailed, match="400"):
            await alerts.silence({"slo": "x"}, now, now - timedelta(hours=1), by="ada", comment="over before it begins")


async def test_nothing_silences_everything(server: Loopback) -> None:
    async with asking(server.url) as alerts:
        for labels in ({}, {"slo": ""}):
            with pytest.raises(AlertsFailed, match="every alert"):
                await alerts.silence(labels, datetime.now(UTC), datetime.now(UTC), by="a", comment="b")
    assert server.requests == []


async def test_a_silence_is_not_asked_for_twice_where_it_may_have_been_heard(server: Loopback) -> None:
    async def refuse(_request: Request) -> Answer:
        return Answer(503)

    server.answer = refuse
    now = datetime.now(UTC)
    async with asking(server.url) as alerts:
        with pytest.raises(Unavailable, match="503"):
            await alerts.silence({"slo": "x"}, now, now, by="a", comment="b")
        assert len(server.requests) == 1
        with pytest.raises(Unavailable, match="503"):
            await alerts.alerts()
        assert len(server.requests) > 2


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{}x", b"1", b"[1]", b'[{"labels": 1}]', b"x" * (ANSWER_BYTES + 1), b"[" * 1000]
)
async def test_an_answer_that_is_none_is_an_error_of_the_server(server: Loopback, body: bytes) -> None:
    async def give(_request: Request) -> Answer:
        return Answer(200, body)

    server.answer = give
    now = datetime.now(UTC)
    async with asking(server.url) as alerts:
        with pytest.raises(AlertsFailed):
            await alerts.alerts()
        with pytest.raises(AlertsFailed):
            await alerts.silence({"slo": "x"}, now, now, by="a", comment="b")
