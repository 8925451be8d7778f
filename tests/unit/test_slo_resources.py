"""Documents in the store: what they make follows them, also over crashes, drift and what nobody can read."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from functions._adapters.memory.key_values import MemoryKeyValues
from functions._adapters.memory.state import State
from functions._core.errors import Rejected, Unavailable
from functions._core.ports import Entry
from functions._core.records.record import decode, encode
from functions._core.slo import definition, freezing, resources, stored
from functions._core.slo.budget import Indicator, budget_of
from functions._core.slo.definition import Slo, SloForm
from functions._core.slo.documents import made_id
from functions._core.slo.freezing import FreezePolicy
from functions._core.slo.reading import read_document
from functions._core.slo.resources import Reconciled, StoredResource, reconcile, reconcile_when_due
from tests.unit.test_slo_budget import NOW
from tests.unit.test_slo_documents import policy, slo

LATER = NOW + timedelta(minutes=6)


class Still:
    """A clock that stands."""

    def now(self) -> datetime:
        return NOW


class Crash(Exception):
    """The process ends here."""


class Crashing(MemoryKeyValues):
    """A store whose process crashes before a write of this number, or whose answers do not come."""

    left = -1
    away = False
    writes = 0

    async def put(
        self, space: str, key: str, value: bytes, *, version: int, expires_at: datetime | None = None
    ) -> Entry:
        self._write()
        return await super().put(space, key, value, version=version, expires_at=expires_at)

    async def remove(self, space: str, key: str, version: int) -> bool:
        self._write()
        return await super().remove(space, key, version)

    def _write(self) -> None:
        self.writes += 1
        if self.away:
            raise Unavailable
        if self.left == 0:
            raise Crash
        self.left -= 1


@pytest.fixture
def entries() -> Crashing:
    return Crashing(State(), Still())


async def apply(entries: Crashing, document: dict[str, Any], now: datetime = NOW) -> StoredResource:
    resource = read_document(document)
    await resources.plan_resource(entries, resource)
    return await resources.apply_resource(entries, resource, now, "ada")


async def the_slo(entries: Crashing) -> Slo:
    found = await stored.slo(entries, made_id("SLODefinition", "latency"))
    assert found is not None
    return found


async def the_policy(entries: Crashing) -> FreezePolicy:
    found = await stored.policy(entries, made_id("SLAPolicy", "gate"))
    assert found is not None
    return found


async def test_a_document_makes_changes_and_disables_its_slo(entries: Crashing) -> None:
    one = await apply(entries, slo())
    assert (one.synced, one.message, one.applied_by) == (True, "", "ada")
    made = await the_slo(entries)
    assert (made.managed_by, made.created_at, made.enabled) == ("SLODefinition/latency", NOW, True)
    await apply(entries, slo(windowDays=7), LATER)
    changed = await the_slo(entries)
    assert (changed.window_days, changed.created_at, changed.updated_at) == (7, NOW, LATER)
    await apply(entries, slo(windowDays=7), LATER + timedelta(days=1))
    assert await the_slo(entries) == changed
    assert await resources.delete_resource(entries, "SLODefinition", "latency", LATER)
    gone = await the_slo(entries)
    assert (gone.enabled, gone.managed_by, gone.slo_id) == (False, None, made.slo_id)
    assert not await resources.delete_resource(entries, "SLODefinition", "latency", LATER)
    await apply(entries, slo(), LATER)
    assert (await the_slo(entries)).enabled


async def test_a_document_makes_changes_and_disables_its_policy(entries: Crashing) -> None:
    await apply(entries, policy(triggerThreshold=10))
    assert (await the_policy(entries)).trigger_threshold_percent == 10
    await apply(entries, policy(triggerThreshold=15), LATER)
    assert (await the_policy(entries)).trigger_threshold_percent == 15
    await resources.delete_resource(entries, "SLAPolicy", "gate", LATER)
    assert ((await the_policy(entries)).enabled, (await the_policy(entries)).managed_by) == (False, None)


async def test_drift_is_repaired_and_what_is_right_is_not_written(entries: Crashing) -> None:
    await apply(entries, slo())
    await apply(entries, policy())
    key = (await the_slo(entries)).slo_id
    await stored.changed_slo(entries, key, lambda one: one.but(enabled=False, target=0.5, managed_by=None))
    assert await reconcile(entries, LATER) == Reconciled(2, 1, 0)
    repaired = await the_slo(entries)
    assert (repaired.enabled, repaired.target, repaired.managed_by) == (True, 0.99, "SLODefinition/latency")
    entry = await entries.get(freezing.SPACE, (await the_policy(entries)).policy_id)
    assert entry is not None
    await entries.remove(freezing.SPACE, entry.key, entry.version)
    assert await reconcile(entries, LATER) == Reconciled(2, 1, 0)
    before = entries.writes
    assert await reconcile(entries, LATER) == Reconciled(2, 0, 0)
    assert entries.writes == before


@pytest.mark.parametrize("broken", [b"{}", b'{"nonsense": true}', b"[1]"])
async def test_one_that_cannot_be_read_keeps_no_other_from_being_repaired(entries: Crashing, broken: bytes) -> None:
    await apply(entries, slo())
    await apply(entries, policy())
    document = await entries.get(resources.SPACE, "SLAPolicy/gate")
    assert document is not None
    await entries.put(resources.SPACE, "SLAPolicy/gate", broken, version=document.version)
    made = await entries.get(definition.SPACE, (await the_slo(entries)).slo_id)
    assert made is not None
    await entries.put(definition.SPACE, made.key, broken, version=made.version)
    assert await reconcile(entries, LATER) == Reconciled(2, 1, 1)
    assert (await the_slo(entries)).managed_by == "SLODefinition/latency"
    assert (await the_policy(entries)).enabled  # its document is there, whatever it says


async def test_a_stored_document_that_is_not_taken_any_more_says_why_once(entries: Crashing) -> None:
    one = await apply(entries, slo())
    entry = await entries.get(resources.SPACE, one.key)
    assert entry is not None
    wrong = one.but(document=slo(windowDays=100))
    await entries.put(resources.SPACE, one.key, encode(wrong), version=entry.version)
    assert (await reconcile(entries, LATER)).failed == 1
    state = await resources.resource_state(entries, "SLODefinition", "latency")
    assert state is not None
    assert (state.resource.synced, state.synced_at) == (False, LATER)
    assert "spec.windowDays" in state.resource.message
    before = entries.writes
    assert (await reconcile(entries, LATER + timedelta(minutes=5))).failed == 1
    assert entries.writes == before


Step = Callable[[Crashing], Any]


async def _apply(entries: Crashing) -> None:
    await apply(entries, slo(windowDays=7), LATER)


async def _delete(entries: Crashing) -> None:
    await resources.delete_resource(entries, "SLODefinition", "latency", LATER)


@pytest.mark.parametrize("step", [_apply, _delete])
@pytest.mark.parametrize("known", [False, True])
@pytest.mark.parametrize("crash", range(4))
async def test_the_next_look_finishes_what_a_crash_has_cut_off(
    entries: Crashing, step: Step, crash: int, *, known: bool
) -> None:
    if known:
        await apply(entries, slo())
    entries.left = crash
    with suppress(Crash):
        await step(entries)
    entries.left = -1
    await reconcile(entries, LATER)
    document = await entries.get(resources.SPACE, "SLODefinition/latency")
    made = await stored.slo(entries, made_id("SLODefinition", "latency"))
    assert (document is not None) == (made is not None and made.enabled)
    if document is not None and made is not None:
        form = read_document(decode(StoredResource, document.value).document).form
        assert isinstance(form, SloForm)
        assert made.window_days == form.window_days
        assert made.managed_by == "SLODefinition/latency"
    elif made is not None:
        assert made.managed_by is None


async def test_a_store_that_is_away_is_no_fault_of_a_document(entries: Crashing) -> None:
    await apply(entries, slo())
    await stored.changed_slo(entries, made_id("SLODefinition", "latency"), lambda one: one.but(target=0.5))
    entries.away = True
    with pytest.raises(Unavailable):
        await reconcile(entries, LATER)
    entries.away = False
    assert await reconcile(entries, LATER) == Reconciled(1, 1, 0)


async def test_two_processes_look_once_in_five_minutes(entries: Crashing) -> None:
    await apply(entries, slo())
    looks = [await reconcile_when_due(entries, now) for now in (LATER, LATER, LATER + timedelta(seconds=299))]
    assert looks == [Reconciled(1, 0, 0), None, None]
    state = await resources.resource_state(entries, "SLODefinition", "latency")
    assert state is not None
    assert state.synced_at == LATER  # found as it should be, without a write to the document
    assert await reconcile_when_due(entries, LATER + timedelta(seconds=300)) == Reconciled(1, 0, 0)


async def test_the_state_has_the_budget_that_is_left(entries: Crashing) -> None:
    await apply(entries, slo())
    await apply(entries, policy())
    budget = budget_of(await the_slo(entries), NOW, "b", Indicator(0.996), {})
    await stored.put_budget(entries, stored.BudgetState(budget=budget), 0)
    states, following = await resources.resource_states(entries, None, 10)
    left: Sequence[tuple[str, float | None]] = [(one.resource.key, one.remaining) for one in states]
    assert left == [("SLAPolicy/gate", None), ("SLODefinition/latency", 60.0)]
    assert following is None


async def test_a_document_that_cannot_be_read_hides_none_behind_it(entries: Crashing) -> None:
    await entries.put(resources.SPACE, "SLAPolicy/broken", b"no record", version=0)
    await apply(entries, slo())
    none, following = await resources.resource_states(entries, None, 1)
    assert (none, following) == ([], "SLAPolicy/broken")
    [state], _ = await resources.resource_states(entries, following, 1)
    assert state.resource.key == "SLODefinition/latency"


async def test_names_are_taken_and_there_is_a_bound(entries: Crashing, monkeypatch: pytest.MonkeyPatch) -> None:
    await apply(entries, slo())
    await apply(entries, policy())
    for other in (slo({"name": "other"}, name="latency"), policy({"name": "other"}, name="gate")):
        with pytest.raises(Rejected, match="already") as refused:
            await apply(entries, other)
        assert refused.value.code in {"slo_exists", "policy_exists"}
    monkeypatch.setattr(resources, "MAX_SLOS", 1)
    with pytest.raises(Rejected, match="1 SLOs, which is as many"):
        await apply(entries, slo({"name": "third"}))
    await apply(entries, slo({"name": "third"}, enabled=False))
    monkeypatch.setattr(resources, "MAX_RESOURCES", 3)
    with pytest.raises(Rejected, match="as many as there may be"):
        await apply(entries, slo({"name": "fourth"}, enabled=False))
    await apply(entries, slo(windowDays=3))
    with pytest.raises(Rejected, match="bytes"):
        await apply(entries, slo({"annotations": {"a": "x" * resources.MAX_DOCUMENT}}))
