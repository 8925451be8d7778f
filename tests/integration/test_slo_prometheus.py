"""SLOs over a real Prometheus that scrapes a real platform, and over one that is away, slow, or answers nonsense."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from functions._worker.executors import CallableExecutor
from tests.support.command_line import flowc
from tests.support.loopback import Answer, Loopback, Request
from tests.support.monitoring import prometheus, promtool
from tests.support.one_machine import OneMachine, one_machine
from tests.support.world import decision, task, until

SUCCESS, FAILED = "neural_hive_flow_c_success_total", 'neural_hive_flow_c_failures_total{reason="ticket_failed"}'
GOOD = f"sum(increase({SUCCESS}[{{{{window}}}}]))"
QUERY = f"{GOOD} / ({GOOD} + sum(increase({FAILED}[{{{{window}}}}])))"
FLOWS, FAILING = 60, 7


async def made(at: OneMachine, **form: Any) -> str:
    """Make an SLO over HTTP, and return its id."""
    answer = await at.send("/api/v1/slos", {"service_name": "flows", "target": 0.5, **form})
    return str(answer["slo_id"])


async def recalculated(at: OneMachine, slo_id: str) -> tuple[int, dict[str, Any]]:
    status, document = await at.call("POST", f"/api/v1/budgets/{slo_id}/recalculate", {})
    return status, document


async def number(client: httpx.AsyncClient, query: str) -> float:
    """Return the value that Prometheus has, -1 for none."""
    found = (await client.get("/api/v1/query", params={"query": query})).json()["data"]["result"]
    return float(found[0]["value"][1]) if found else -1


def seen(client: httpx.AsyncClient, query: str, value: float) -> Callable[[], Awaitable[bool | None]]:
    async def probe() -> bool | None:
        return await number(client, query) == value or None

    return probe


@pytest.mark.slow
async def test_prometheus_and_the_own_history_agree(tmp_path: Path) -> None:
    async with Loopback() as placeholder:
        port = placeholder.port  # kept free until the platform listens on it
    async with (
        prometheus(tmp_path / "metrics", f"127.0.0.1:{port}") as url,
        one_machine(tmp_path / "flowc", {"FLOWC_PROMETHEUS_URL": url}, port=port) as at,
        httpx.AsyncClient(base_url=url) as client,
    ):
        await until(seen(client, f"sum({SUCCESS})", 0), "the first scrape")
        await until(seen(client, f"sum({FAILED})", 0), "the first scrape of failures")

        async def work(assignment: Any) -> Any:
            if assignment["parameters"]["fails"]:
                raise RuntimeError("it fails")
            return {}

        async with at.worker("w1", CallableExecutor(work)):
            tasks = [
                task("a", parameters={"fails": n < FAILING}, estimated_duration_ms=1, retry={"max_retries": 0})
                for n in range(FLOWS)
            ]
            for flow_id in [await at.submit(decision(one)) for one in tasks]:
                await at.ended(flow_id)
        await until(seen(client, f"sum({SUCCESS}) + sum({FAILED})", FLOWS), "all flows to be scraped")
        by_query = await made(at, name="by query", sli_query={"query": QUERY, "aggregation": "ratio"})
        by_history = await made(at, name="by history", sli_query={"history": {"measure": "flow_success"}})
        (_, asked), (_, counted) = await recalculated(at, by_query), await recalculated(at, by_history)
        assert counted["sli_value"] == round(1 - FAILING / FLOWS, 6)
        assert abs(asked["sli_value"] - counted["sli_value"]) < 0.01
        assert [burn["rate"] for burn in asked["burn_rates"] if burn["window_hours"] in {1, 6, 24}] == [
            burn["rate"] for burn in counted["burn_rates"] if burn["window_hours"] in {1, 6, 24}
        ]
        await rules_are_read(at, tmp_path, by_query)


async def rules_are_read(at: OneMachine, folder: Path, slo_id: str) -> None:
    """Fetch the alert rules of the SLOs as people do, and let Prometheus read them."""
    file = folder / "slos.yaml"
    printed = await asyncio.to_thread(flowc, "slo", "rules", "--url", at.url)
    assert (await asyncio.to_thread(flowc, "slo", "rules", "-o", str(file), "--url", at.url)).exit_code == 0
    assert printed.stdout == file.read_text()
    (group,) = yaml.safe_load(printed.stdout)["groups"]
    assert group["name"] == f"flowc-slo-{slo_id}"
    assert [rule["alert"] for rule in group["rules"] if "alert" in rule] == ["SloBurnsFast", "SloBurnsSlowly"]
    assert "9 rules found" in await asyncio.to_thread(promtool, folder, "check", "rules", "slos.yaml")
    nobody = await asyncio.to_thread(flowc, "slo", "rules", "--service", "nobody's & co", "--url", at.url)
    assert yaml.safe_load(nobody.stdout) == {"groups": []}


def vector(value: str) -> bytes:
    data = {"resultType": "vector", "result": [{"metric": {}, "value": [1, value]}]}
    return json.dumps({"status": "success", "data": data}).encode()


async def test_the_last_budget_stays_while_prometheus_gives_none(tmp_path: Path) -> None:
    async def hang(_request: Request) -> Answer:
        await asyncio.Event().wait()
        return Answer()

    def saying(status: int, body: bytes) -> Callable[[Request], Awaitable[Answer]]:
        async def say(_request: Request) -> Answer:
            return Answer(status, body)

        return say

    async with Loopback() as server:
        environment = {"FLOWC_PROMETHEUS_URL": server.url, "FLOWC_PROMETHEUS_TIMEOUT_SECONDS": "0.5"}
        async with one_machine(tmp_path, environment) as at:
            slo_id = await made(at, name="s", sli_query={"query": "x", "aggregation": "ratio"})
            server.answer = saying(200, vector("0.9"))
            status, budget = await recalculated(at, slo_id)
            assert (status, budget["sli_value"], budget["error_budget_remaining"]) == (200, 0.9, 80)
            for answer, expected, code in [
                (hang, 504, "metrics_away"),
                (saying(503, b"starting"), 504, "metrics_away"),
                (saying(200, b"<html>"), 502, "metrics_query_failed"),
                (saying(400, b'{"status":"error","error":"parse error"}'), 502, "metrics_query_failed"),
                (saying(200, vector("17")), 502, "metrics_query_failed"),
                (saying(200, vector("-0.1")), 502, "metrics_query_failed"),
                (saying(200, vector("NaN")), 409, "no_data"),
            ]:
                server.answer = answer
                status, document = await recalculated(at, slo_id)
                assert (status, document["code"]) == (expected, code), document
                assert await at.get(f"/api/v1/budgets/{slo_id}") == budget
            await server.stop()
            status, document = await recalculated(at, slo_id)
            assert (status, document["code"]) == (504, "metrics_away")
            assert "cannot be reached" in document["detail"]
            assert await at.get(f"/api/v1/budgets/{slo_id}") == budget


async def test_a_ratio_a_hair_above_one_is_one(tmp_path: Path) -> None:
    async def say(_request: Request) -> Answer:
        return Answer(200, vector("1.0000000000000002"))

    async with Loopback() as server, one_machine(tmp_path, {"FLOWC_PROMETHEUS_URL": server.url}) as at:
        server.answer = say
        slo_id = await made(at, name="s", sli_query={"query": "x", "aggregation": "ratio"})
        status, budget = await recalculated(at, slo_id)
        assert (status, budget["sli_value"], budget["error_budget_consumed"]) == (200, 1, 0)


async def test_budgets_are_calculated_as_often_as_the_setting_says(tmp_path: Path) -> None:
    async def say(_request: Request) -> Answer:
        return Answer(200, vector("0.9"))

    async with Loopback() as server:
        environment = {"FLOWC_PROMETHEUS_URL": server.url, "FLOWC_BUDGET_INTERVAL_SECONDS": "1"}
        async with one_machine(tmp_path, environment) as at:
            assert at.running.engine.budgets.interval == timedelta(seconds=1)
            server.answer = say
            slo_id = await made(at, name="s", sli_query={"query": "x", "aggregation": "ratio"})

            async def calculated() -> bool | None:
                status, _ = await at.call("GET", f"/api/v1/budgets/{slo_id}")
                return status == 200 or None

            await until(calculated, "a budget that nobody asked for")
