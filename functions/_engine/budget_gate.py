"""What a process knows of freezes, and of spent budgets: read when it is asked for, and kept for a moment."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from functions._core.ports import Clock, KeyValues
from functions._core.slo import stored
from functions._core.slo.admission import AdmissionPolicy, AdmissionState
from functions._core.slo.freeze_status import namespaces_of
from functions._core.slo.freezing import FreezeEvent
from functions._core.slo.gate import Namespaces

FRESH = timedelta(seconds=1)
"""A list of freezes may be so old when a ticket is held back by it, or is not."""

KNOWN = timedelta(seconds=10)
"""Admission policies, with the budgets that they look at, may be so old when a flow comes."""


class RememberedGate:
    """The freezes as one process knows them; implements `BudgetGate`."""

    def __init__(self, entries: KeyValues, clock: Clock) -> None:
        """Know nothing yet: the first question reads."""
        self._entries = entries
        self._clock = clock
        self._freezes: tuple[datetime, Sequence[FreezeEvent]] | None = None
        self._admission: tuple[datetime, AdmissionState | None] | None = None
        self._namespaces: tuple[datetime, Namespaces] | None = None

    async def freezes(self) -> Sequence[FreezeEvent]:
        """See `BudgetGate.freezes`."""
        now = self._clock.now()
        if self._freezes is None or not timedelta() <= now - self._freezes[0] < FRESH:
            # Its age counts from before the read: what was stored by then is in it.
            self._freezes = now, await stored.active_freezes(self._entries)
        return self._freezes[1]

    async def namespaces(self) -> Namespaces:
        """See `BudgetGate.namespaces`."""
        now = self._clock.now()
        if self._namespaces is None or not timedelta() <= now - self._namespaces[0] < KNOWN:
            slos = await stored.slos(self._entries)
            self._namespaces = now, namespaces_of(one for one in slos if one.enabled)
        return self._namespaces[1]

    async def admission(self) -> AdmissionState | None:
        """See `BudgetGate.admission`."""
        now = self._clock.now()
        if self._admission is None or not timedelta() <= now - self._admission[0] < KNOWN:
            policies = [one for one in await stored.admission_policies(self._entries) if one.enabled]
            state = await self._looked_at(policies) if policies else None
            self._admission = now, state
        return self._admission[1]

    async def _looked_at(self, policies: Sequence[AdmissionPolicy]) -> AdmissionState:
        entries = self._entries
        by_budget = any(not policy.freeze_policies for policy in policies)
        slos = [one for one in await stored.slos(entries) if one.enabled] if by_budget else []
        budgets = {one.slo_id: one for one in await stored.budgets(entries)} if slos else {}
        by_freeze = any(policy.freeze_policies for policy in policies)
        freezes = await stored.active_freezes(entries) if by_freeze else ()
        return AdmissionState(policies=policies, slos=slos, budgets=budgets, freezes=freezes)

    def forget(self) -> None:
        """Read again when asked for: something has changed here."""
        self._freezes = self._admission = self._namespaces = None
