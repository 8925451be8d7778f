"""Attributes beyond ASCII that SDKs send raw in headers, at every door that takes events over HTTP."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import httpx
import pytest

from functions._core.events.signatures import signature_headers
from functions._core.records.values import flow_id_of
from functions._engine.settings import Settings
from functions._hosts.one_machine.process import running
from tests.support.knative import SharedStore, served
from tests.support.stand_in_platform import SECRET, Gate, StandIn, working
from tests.support.world import decision, task

DECISION = decision(task("a"), decision_id="d-raw")
RAW = [b"M\xfcller", "Müller".encode(), b"M%C3%BCller"]
Door = Callable[[Path], AbstractAsyncContextManager[tuple[str, str]]]


@asynccontextmanager
async def of_the_api(folder: Path) -> AsyncIterator[tuple[str, str]]:
    async with running(Settings(port=0, data=folder)) as platform:
        yield platform.url, "decision.consolidated"


@asynccontextmanager
async def of_a_function(_folder: Path) -> AsyncIterator[tuple[str, str]]:
    async with served("validate", SharedStore()) as function:
        yield function.url, "decision.consolidated"


@asynccontextmanager
async def of_a_worker(_folder: Path) -> AsyncIterator[tuple[str, str]]:
    async with StandIn() as platform, working(platform, Gate()) as desk:
        yield desk.worker.endpoint, "ticket.cancelled"


@pytest.mark.parametrize("door", [of_the_api, of_a_function, of_a_worker])
async def test_raw_bytes_are_as_good_as_encoded_ones_and_what_cannot_be_read_is_named(
    door: Door, tmp_path: Path
) -> None:
    async with door(tmp_path) as (url, event_type), httpx.AsyncClient(trust_env=False) as client:
        message = count()

        async def sent(value: bytes) -> httpx.Response:
            headers = {
                b"ce-specversion": b"1.0",
                b"ce-id": b"1",
                b"ce-source": b"/tests",
                b"ce-type": f"io.neuralhive.{event_type}.v1".encode(),
                b"ce-correlationid": value,
            }
            body = json.dumps({**DECISION, "ticket_id": "t-1"}).encode()
            # Only a worker asks for a signature, and takes none twice.
            at = datetime.now(UTC) + timedelta(seconds=next(message))
            signed = signature_headers(SECRET, f"{event_type.replace('.', '-')}_1", at, body)
            headers |= {name.encode(): text.encode() for name, text in signed.items()}
            return await client.post(
                url, content=body, headers=[*headers.items(), (b"content-type", b"application/json")]
            )

        usual = (await sent(b"Mueller")).status_code
        assert [(await sent(value)).status_code for value in RAW] == [usual] * 3
        refused = await sent(b"M%FCller")
        assert refused.status_code == 400
        assert "attribute 'correlationid'" in refused.json()["detail"]


@pytest.mark.parametrize("value", RAW)
async def test_a_flow_has_the_text_that_was_meant(tmp_path: Path, value: bytes) -> None:
    async with of_the_api(tmp_path) as (url, event_type), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        headers = [
            (b"ce-specversion", b"1.0"),
            (b"ce-id", b"1"),
            (b"ce-source", b"/tests"),
            (b"ce-type", f"io.neuralhive.{event_type}.v1".encode()),
            (b"ce-correlationid", value),
        ]
        assert (await client.post("/", json=DECISION, headers=headers)).status_code == 202
        flow = (await client.get(f"/api/v1/flows/{flow_id_of('d-raw')}")).json()
        assert flow["correlation_id"] == "Müller"
