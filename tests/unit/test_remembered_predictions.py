"""The model that a process remembers: flows never wait for it, and never fail for it."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter

import pytest

from functions._adapters.http.client import HttpClient
from functions._adapters.memory import MemorySink, MemoryStore
from functions._core.errors import Unavailable
from functions._core.learning import registry
from functions._core.learning.duration_table import TableNumbers
from functions._core.learning.model_record import DURATION, ModelRecord, ModelState
from functions._core.learning.payload import ModelPayload, packed
from functions._core.learning.progress import LEARNING, PROGRESS, LearningProgress
from functions._core.ports import Entry, KeyValues
from functions._core.records.record import encode
from functions._engine.compose import Host, compose, ports_of
from functions._engine.predictions import FRESH_SECONDS, RememberedPredictions
from functions._engine.settings import Settings
from tests.conftest import ROOT
from tests.support.clocks import HandClock

NOW = datetime(2026, 11, 29, 2, tzinfo=UTC)


class Store:
    """Small records that can be slow or away, which are counted when they are read."""

    def __init__(self) -> None:
        self._entries = MemoryStore().stores.key_values(HandClock())
        self.put, self.remove = self._entries.put, self._entries.remove
        self.reads, self.hangs, self.away = 0, False, False

    async def get(self, space: str, key: str) -> Entry | None:
        await self._asked()
        return await self._entries.get(space, key)

    async def page(self, space: str, after: str | None, limit: int) -> Sequence[Entry]:
        return await self._entries.page(space, after, limit)

    async def _asked(self) -> None:
        self.reads += 1
        if self.away:
            raise Unavailable("the store is away")
        if self.hangs:
            await asyncio.Event().wait()


class Time:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> Store:
    return Store()


async def serve(entries: KeyValues, added: float) -> ModelRecord:
    """Let a model serve that adds so much to each estimate, as a logarithm."""
    payload = ModelPayload(table=TableNumbers(groups={"BUILD": (added, 0.0, 0.4, 0.0, 0.3)}))
    checksum, parts = packed(payload)
    record = ModelRecord(
        name=DURATION,
        number=0,
        kind="table",
        state=ModelState.TRAINED,
        state_at=NOW,
        trained_at=NOW,
        created_by="ada",
        rows=1000,
        held_out_rows=200,
        checksum=checksum,
    )
    made = await registry.added(entries, record, parts)
    await registry.changed(entries, made.number, lambda known: known.but(state=ModelState.SHADOW))
    return await registry.promoted(entries, made.number, NOW, "good")


async def settled(predictions: RememberedPredictions) -> None:
    while predictions.busy:
        await asyncio.sleep(0)
        await asyncio.sleep(0.001)


async def test_the_first_question_has_the_model_already(store: Store) -> None:
    await serve(store, 1.0)
    found = await RememberedPredictions(store, acts=True).serving()
    assert found is not None
    assert (found.predictor.version, found.acts, found.waits_ms) == ("duration:1", True, {})


async def test_without_a_model_there_is_none_and_advice_does_not_act(store: Store) -> None:
    assert await RememberedPredictions(store, acts=True).serving() is None
    await serve(store, 1.0)
    found = await RememberedPredictions(store, acts=False).serving()
    assert found is not None
    assert not found.acts


async def test_the_store_is_asked_once_a_minute_and_in_the_background(store: Store) -> None:
    await serve(store, 1.0)
    time = Time()
    predictions = RememberedPredictions(store, acts=True, time=time)
    await predictions.serving()
    reads = store.reads
    for _ in range(100):
        await predictions.serving()
    assert store.reads == reads
    await serve(store, 2.0)
    time.now += FRESH_SECONDS
    before = await predictions.serving()
    assert before is not None
    assert before.predictor.version == "duration:1", "whoever asks does not wait"
    await settled(predictions)
    after = await predictions.serving()
    assert after is not None
    assert after.predictor.version == "duration:2"


async def test_a_store_that_hangs_holds_nobody_up(store: Store) -> None:
    store.hangs = True
    predictions = RememberedPredictions(store, acts=True)
    begun = perf_counter()
    assert await predictions.serving() is None
    assert await predictions.serving() is None
    assert perf_counter() - begun < 1, "a tenth of a second once, with room for a busy machine"
    await predictions.aclose()


async def test_a_store_that_is_away_leaves_what_is_known(store: Store) -> None:
    await serve(store, 1.0)
    time = Time()
    predictions = RememberedPredictions(store, acts=True, time=time)
    known = await predictions.serving()
    store.away = True
    time.now += FRESH_SECONDS
    await predictions.serving()
    await settled(predictions)
    assert await predictions.serving() == known


@pytest.mark.parametrize("spoilt", [b'"AAAA"', b"[]", b"no json", b'""', None])
async def test_a_payload_that_is_not_what_was_stored_is_not_used(store: Store, spoilt: bytes | None) -> None:
    await serve(store, 1.0)
    entry = await store.get(registry.PARTS, "duration:1:0")
    assert entry is not None
    if spoilt is None:
        await store.remove(registry.PARTS, "duration:1:0", entry.version)
    else:
        await store.put(registry.PARTS, "duration:1:0", spoilt, version=entry.version)
    assert await RememberedPredictions(store, acts=True).serving() is None


@pytest.mark.parametrize(
    ("space", "key"), [(registry.SERVING, DURATION), (registry.MODELS, "duration:1"), (LEARNING, PROGRESS)]
)
async def test_records_of_nonsense_raise_nothing(store: Store, space: str, key: str) -> None:
    await serve(store, 1.0)
    entry = await store.get(space, key)
    await store.put(space, key, b'{"packed": "x", "number": "y"}', version=entry.version if entry else 0)
    found = await RememberedPredictions(store, acts=True).serving()
    assert (found is None) is (space != LEARNING), "without a profile the table is as good"


async def test_a_model_that_was_rolled_back_is_gone_a_minute_later(store: Store) -> None:
    made = await serve(store, 1.0)
    time = Time()
    predictions = RememberedPredictions(store, acts=True, time=time)
    assert await predictions.serving() is not None
    await registry.rolled_back(store, made.number, NOW, "worse")
    time.now += FRESH_SECONDS
    await predictions.serving()
    await settled(predictions)
    assert await predictions.serving() is None


async def test_waits_come_from_the_profile(store: Store) -> None:
    from tests.support.histories import history

    await serve(store, 1.0)
    rows = [row for _, rows in history(7, 10) for row in rows]
    progress = LearningProgress()
    progress = progress.with_profile(progress.profile.with_rows(rows))
    await store.put(LEARNING, PROGRESS, encode(progress), version=0)
    found = await RememberedPredictions(store, acts=True).serving()
    assert found is not None
    assert "" in found.waits_ms


async def test_a_process_that_ends_reads_no_further(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings.model_validate({"learning": "on", "data": tmp_path})
    made = compose(settings, Host(stores=MemoryStore().stores, base_url="http://127.0.0.1:1"))
    predictions = made.platform.ports.predictions
    assert isinstance(predictions, RememberedPredictions)
    monkeypatch.setattr(predictions, "_refresh", asyncio.Event().wait)
    await predictions.serving()
    assert predictions.busy
    await made.aclose()
    assert not predictions.busy


def test_the_port_is_made_without_what_it_needs_to_read_a_model() -> None:
    code = """
import sys
import functions._engine.predictions
heavy = {"functions._core.learning.payload", "functions._core.learning.registry", "numpy", "sklearn"}
print(sorted(heavy & set(sys.modules)))
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


@pytest.mark.parametrize(("word", "acts"), [("off", None), ("advise", False), ("on", True)])
async def test_the_setting_says_whether_there_are_predictions_and_whether_the_flow_acts_by_them(
    word: str, acts: bool | None, tmp_path: Path
) -> None:
    settings = Settings.model_validate({"learning": word, "data": tmp_path})
    stores, client = MemoryStore().stores, HttpClient()
    ports = ports_of(settings, stores, client, client, MemorySink(), HandClock())
    await serve(ports.key_values, 1.0)
    found = await ports.predictions.serving()
    assert (found.acts if found is not None else None) is acts
    await client.aclose()
