"""Models over HTTP and on the command line: what is shown, who may change what serves, and what is kept of it."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from functions._cli.app import app
from functions._core.learning import registry
from functions._core.learning.duration_table import TableNumbers
from functions._core.learning.evaluation import errors
from functions._core.learning.model_record import DURATION, Judged, ModelRecord, ModelState
from functions._core.learning.payload import ModelPayload, packed
from functions._core.learning.predictions import Quantiles
from functions._core.ports import KeyValues
from tests.support.http_api import Api, problem_of, running_api
from tests.support.one_machine import one_machine

PATH = "/api/v1/models"
KEY = "the-key-of-the-platform"
NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)

CHANGES = ("/train", "/duration:1/promote", "/duration:1/rollback")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    async with running_api(tmp_path) as running:
        yield running


async def shadow(entries: KeyValues, state: ModelState = ModelState.SHADOW) -> ModelRecord:
    checksum, parts = packed(ModelPayload(table=TableNumbers(groups={"BUILD": (1.0, 0.0, 0.4, 0.0, 0.3)})))
    figures = errors([(1000 * (1 + n % 9), Quantiles(900 * (1 + n % 9), 20_000)) for n in range(200)])
    record = ModelRecord(
        name=DURATION,
        number=0,
        kind="table",
        state=ModelState.TRAINED,
        state_at=NOW,
        trained_at=NOW,
        created_by="schedule",
        rows=1000,
        held_out_rows=200,
        metrics={**figures.figures(), "estimate_mae_ms": 4000.0},
        reasons=("the bars hold on 200 held-out tickets",),
        judged=Judged(own=figures, estimate=figures),
        checksum=checksum,
    )
    made = await registry.added(entries, record, parts)
    return await registry.changed(entries, made.number, lambda known: known.but(state=state)) or made


async def test_without_models_the_list_says_so(api: Api) -> None:
    found = (await api.client.get(PATH)).json()
    nothing: dict[str, Any] = {"items": [], "serving": None, "training": None, "rows": 0, "usable": 0, "needed": 200}
    assert found == nothing | {"learned_at": None}


async def test_a_model_is_shown_promoted_and_rolled_back_and_each_is_an_audit(api: Api) -> None:
    entries = api.world.ports.key_values
    await shadow(entries)
    await shadow(entries)
    listed = (await api.client.get(PATH)).json()
    assert [one["model_id"] for one in listed["items"]] == ["duration:2", "duration:1"]
    shown = (await api.client.get(f"{PATH}/duration:1")).json()
    assert shown["metrics"]["mae_ms"] == pytest.approx(shown["judged"]["metrics"]["mae_ms"])
    assert (shown["judged"]["rows"], shown["judged"]["needed"], shown["previous"]) == (200, 100, None)
    one = await api.client.post(f"{PATH}/duration:1/promote?requested_by=ada&reason=it%20is%20good")
    assert (one.status_code, one.json()["state"]) == (200, "SERVING")
    assert one.json()["reasons"][-1] == "promoted by ada: it is good"
    other = await api.client.post(f"{PATH}/duration:2/promote?requested_by=ada")
    assert (other.json()["state"], other.json()["previous"]) == ("SERVING", "duration:1")
    assert (await api.client.get(PATH)).json()["serving"] == "duration:2"
    back = await api.client.post(f"{PATH}/duration:2/rollback?requested_by=bob")
    assert (back.status_code, back.json()["state"]) == (200, "ROLLED_BACK")
    assert (await api.client.get(PATH)).json()["serving"] == "duration:1"
    actions = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert [(act["action"], act["target"], act["who"]) for act in actions] == [
        ("roll_back_model", "duration:2", "bob"),
        ("promote_model", "duration:2", "ada"),
        ("promote_model", "duration:1", "ada"),
    ]


async def test_a_training_is_asked_for_once(api: Api) -> None:
    first = await api.client.post(f"{PATH}/train?requested_by=ada")
    assert (first.status_code, first.json()["requested_by"]) == (202, "ada")
    again = await api.client.post(f"{PATH}/train?requested_by=bob")
    assert (again.status_code, again.json()) == (200, first.json())
    assert (await api.client.get(PATH)).json()["training"] == first.json()
    actions = (await api.client.get("/api/v1/audits?kind=action")).json()["items"]
    assert [(act["action"], act["who"]) for act in actions] == [("ask_for_training", "ada")]


async def test_what_may_not_serve_does_not_and_what_does_not_serve_is_not_rolled_back(api: Api) -> None:
    await shadow(api.world.ports.key_values, ModelState.REFUSED)
    problem_of(await api.client.post(f"{PATH}/duration:1/promote"), 409, "not_promotable")
    problem_of(await api.client.post(f"{PATH}/duration:1/rollback"), 409, "not_serving")
    assert (await api.client.get(PATH)).json()["serving"] is None


@pytest.mark.parametrize(
    "model_id",
    [
        "duration:9",
        "duration:0",
        "duration:-1",
        "load:1",
        "duration",
        "%00",
        "duration:1%2F..",
        "duration:" + "9" * 400,
    ],
)
async def test_a_model_that_is_not_there_is_404_whatever_it_is_called(api: Api, model_id: str) -> None:
    await shadow(api.world.ports.key_values)
    assert (await api.client.get(f"{PATH}/{model_id}")).status_code == 404
    for change in ("promote", "rollback"):
        assert (await api.client.post(f"{PATH}/{model_id}/{change}")).status_code == 404
    assert (await api.client.get("/api/v1/audits?kind=action")).json()["items"] == []


async def test_a_record_of_nonsense_is_passed_over(api: Api) -> None:
    entries = api.world.ports.key_values
    await entries.put(registry.MODELS, "duration:1", b'{"state": "HACKED"}', version=0)
    await entries.put(registry.SERVING, DURATION, b'{"number": 1, "since": "2026-11-29T02:00:00Z"}', version=0)
    found = (await api.client.get(PATH)).json()
    assert (found["items"], found["serving"]) == ([], None)


async def test_who_reads_may_not_change_and_strangers_may_not_read(tmp_path: Path) -> None:
    async with running_api(tmp_path, api_key=KEY) as api:
        await shadow(api.world.ports.key_values)
        boss = {"x-api-key": KEY}
        made = await api.client.post("/api/v1/keys", json={"name": "v", "roles": ["viewer"]}, headers=boss)
        worker = await api.client.post("/api/v1/keys", json={"name": "w", "roles": ["worker"]}, headers=boss)
        viewer = {"x-api-key": made.json()["key"]}
        for path in ("", "/duration:1"):
            problem_of(await api.client.get(f"{PATH}{path}"), 401, "missing_key")
            assert (await api.client.get(f"{PATH}{path}", headers=viewer)).status_code == 200
            refused = await api.client.get(f"{PATH}{path}", headers={"x-api-key": worker.json()["key"]})
            problem_of(refused, 403, "insufficient_role")
        for change in CHANGES:
            problem_of(await api.client.post(f"{PATH}{change}"), 401, "missing_key")
            problem_of(await api.client.post(f"{PATH}{change}", headers=viewer), 403, "insufficient_role")
        listed = (await api.client.get(PATH, headers=boss)).json()
        assert (listed["serving"], listed["training"]) == (None, None)


async def test_the_commands(tmp_path: Path) -> None:
    async with one_machine(tmp_path / "data") as platform:
        runner = CliRunner()

        async def flowc(*words: str, status: int = 0) -> str:
            given = ["models", *words, "--url", platform.url]
            result = await asyncio.to_thread(runner.invoke, app, given, env={"COLUMNS": "240"})
            assert bool(result.exit_code) is bool(status), result.output
            return result.output

        assert "no models; the estimates of plans count" in await flowc("list")
        assert "asked for by ada" in await flowc("train", "--by", "ada")
        assert "ada has asked for a training" in await flowc("list")
        await shadow(platform.running.ports.key_values)
        listed = await flowc("list")
        assert "duration:1" in listed
        assert "SHADOW" in listed
        assert "496 ms" in listed
        assert json.loads(await flowc("show", "duration:1"))["state"] == "SHADOW"
        assert await flowc("promote", "duration:1") == "duration:1 is SERVING\n"
        assert json.loads(await flowc("list", "--json"))["serving"] == "duration:1"
        assert await flowc("rollback", "duration:1", "--reason", "worse") == "duration:1 is ROLLED_BACK\n"
        assert "not_serving" in await flowc("rollback", "duration:1", status=1)
        assert "unknown_model" in await flowc("show", "duration:7", status=1)
