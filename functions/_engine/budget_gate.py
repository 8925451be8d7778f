"""What a process knows of freezes, and of spent budgets: read when it is asked for, and kept for a moment.

Whoever asks first reads, and those who ask meanwhile wait for that. There may be thousands of records: they are read,
and looked through, in parts, so that nobody else waits long.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Generic, TypeVar

from functions._core.ports import Clock, KeyValues
from functions._core.slo import stored
from functions._core.slo.admission import AdmissionPolicy, AdmissionState, selected_by
from functions._core.slo.definition import Slo
from functions._core.slo.freeze_status import namespaces_of
from functions._core.slo.freezing import FreezeEvent
from functions._core.slo.gate import Namespaces
from functions._engine.read_in_turns import ReadInTurns

FRESH = timedelta(seconds=1)
"""A list of freezes may be so old when a ticket is held back by it, or is not."""

KNOWN = timedelta(seconds=10)
"""Admission policies, with the budgets that they look at, may be so old when a flow comes."""

T = TypeVar("T")


class _Kept(Generic[T]):
    """Something that is read when it is asked for, and kept for a while."""

    def __init__(self, clock: Clock, fresh: timedelta, read: Callable[[], Awaitable[T]]) -> None:
        self._clock, self._fresh, self._read = clock, fresh, read
        self._reading = asyncio.Lock()
        self._known: tuple[datetime, T] | None = None
        self._last: tuple[datetime, T] | None = None
        self._read_times = self._forgotten = 0

    async def get(self) -> T:
        """Return it, as it was a moment ago at most."""
        known, read = self._if_fresh(), self._read_times
        if known is None:
            async with self._reading:
                waited = self._last if self._read_times > read else None
                known = self._if_fresh() or waited or await self._again()
        return known[1]

    def forget(self) -> None:
        """Read it again when it is asked for."""
        self._known = None
        self._forgotten += 1

    def _if_fresh(self) -> tuple[datetime, T] | None:
        now, known = self._clock.now(), self._known
        return known if known is not None and timedelta() <= now - known[0] < self._fresh else None

    async def _again(self) -> tuple[datetime, T]:
        # Its age counts from before the read: what was stored by then is in it.
        now, forgotten = self._clock.now(), self._forgotten
        self._last = known = now, await self._read()
        self._read_times += 1
        if forgotten == self._forgotten:
            self._known = known
        return known


class RememberedGate:
    """The freezes as one process knows them; implements `BudgetGate`."""

    def __init__(self, entries: KeyValues, clock: Clock) -> None:
        """Know nothing yet: the first question reads."""
        self._entries = ReadInTurns(entries)
        self._freezes = _Kept(clock, FRESH, self._read_freezes)
        self._admission = _Kept(clock, KNOWN, self._read_admission)
        self._namespaces = _Kept(clock, KNOWN, self._read_namespaces)
        self._selected: tuple[Sequence[AdmissionPolicy], Sequence[Slo], Mapping[str, Sequence[str]]] = (), (), {}

    async def freezes(self) -> Sequence[FreezeEvent]:
        """See `BudgetGate.freezes`."""
        return await self._freezes.get()

    async def namespaces(self) -> Namespaces:
        """See `BudgetGate.namespaces`."""
        return await self._namespaces.get()

    async def admission(self) -> AdmissionState | None:
        """See `BudgetGate.admission`."""
        return await self._admission.get()

    def forget(self) -> None:
        """Read again when asked for: something has changed here."""
        self._freezes.forget()
        self._admission.forget()
        self._namespaces.forget()

    async def _read_freezes(self) -> Sequence[FreezeEvent]:
        return await stored.active_freezes(self._entries)

    async def _read_namespaces(self) -> Namespaces:
        return namespaces_of(one for one in await stored.slos(self._entries) if one.enabled)

    async def _read_admission(self) -> AdmissionState | None:
        entries = self._entries
        policies = [one for one in await stored.ADMISSION_POLICIES.all(entries) if one.enabled]
        if not policies:
            return None
        by_budget = any(not policy.freeze_policies for policy in policies)
        slos = [one for one in await stored.slos(entries) if one.enabled] if by_budget else []
        budgets = {one.slo_id: one for one in await stored.budgets(entries)} if slos else {}
        by_freeze = any(policy.freeze_policies for policy in policies)
        freezes = await stored.active_freezes(entries) if by_freeze else ()
        selected = await self._selections(policies, slos)
        state = AdmissionState(policies=policies, slos=slos, budgets=budgets, freezes=freezes, selected=selected)
        for policy in policies:
            state.work_out(policy)
            await asyncio.sleep(0)  # others have their turn
        return state

    async def _selections(
        self, policies: Sequence[AdmissionPolicy], slos: Sequence[Slo]
    ) -> Mapping[str, Sequence[str]]:
        """Return the SLOs that policies select, by their names: as before while none of them has changed."""
        before, slos_before, found = self._selected
        if not (_same(policies, before) and _same(slos, slos_before)):
            found = {}
            for policy in policies:
                if policy.slo_selector.given:
                    found[policy.name] = selected_by(policy.slo_selector, slos)
                    await asyncio.sleep(0)
            self._selected = policies, slos, found
        return found


def _same(some: Sequence[object], others: Sequence[object]) -> bool:
    """Whether these are the very records; what is read again unchanged is the record as before."""
    return len(some) == len(others) and all(one is other for one, other in zip(some, others, strict=True))
