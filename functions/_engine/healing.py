"""Healing in a process: the commit that raises an incident asks for it, `heal_incident` acts, and looks again later.

The step that raises an incident gets an event `healing.due`, in the same commit, if a playbook may want it. What
follows is in `functions/_core/healing/healing.py`. While there are no playbooks a process reads that at most every few
seconds, and only when an incident is raised; while no run is under way a look costs one small read.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from functions._core.errors import FlowcError
from functions._core.events.envelope import CloudEvent
from functions._core.events.healing import HEALING_DUE, INCIDENT_RAISED, OPEN_RUNS, PLAYBOOKS, HealingDue
from functions._core.ports import Broker, Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow
from functions._engine.dispatch import Dispatcher, read
from functions._observability.logs import log
from functions._observability.metrics import Metrics

if TYPE_CHECKING:  # imported when there are playbooks
    from collections.abc import Sequence

    from functions._core.healing.healing import Healing
    from functions._core.healing.playbooks import Playbook
    from functions._core.healing.rehearsing import Rehearsal
    from functions._core.healing.runs import HealingRun
    from functions._engine.given_commands import HealingDoors
    from functions._engine.healing_steps import HealingSteps

FRESH_SECONDS = 10.0
"""How old the known playbooks may be."""

LOOK_SECONDS = 10.0
"""How often a process that is the platform's clock looks at the runs that are under way."""

PAGE = 50
"""Runs that one look takes; the next one goes on behind them."""


class Healer:
    """Heals the incidents of the store, as one process does."""

    busy = False
    """What is done is counted by whoever delivers the event."""

    def __init__(
        self, ports: Ports, metrics: Metrics, doors: "HealingDoors", dispatcher: Dispatcher, *, alone: bool
    ) -> None:
        """Read nothing yet; a process that is not `alone`, as there is a broker, leaves the looks to a function."""
        self._ports, self._metrics, self._doors = ports, metrics, doors
        self._dispatcher, self.alone = dispatcher, alone
        self.helper: Broker | None = None
        """Gets what is asked of those who restart and scale what runs beside the platform."""
        self._known: Sequence[Playbook] = ()
        self._fresh_until = self._look_at = 0.0
        self._behind: str | None = None

    def begin(self) -> Self:
        """Be asked by the commits of the dispatcher, and handle what its broker delivers, beside whoever does so."""
        asks, beside = self._dispatcher.asks, self._dispatcher.beside

        async def asking(step: ChangeSet, flow: Flow, function: str) -> ChangeSet:
            return await self.asking(step if asks is None else await asks(step, flow, function), flow, function)

        async def handled(event: CloudEvent) -> None:
            if event.event_type == HEALING_DUE:
                await self.apply(event)
            elif beside is not None:
                await beside(event)

        self._dispatcher.asks, self._dispatcher.beside = asking, handled
        return self

    def forget(self) -> None:
        """Take note that playbooks were changed here."""
        self._fresh_until = 0.0

    async def asking(self, step: ChangeSet, flow: Flow, function: str) -> ChangeSet:
        """Return a step of `function` with the events by which it asks for the healing of its incidents."""
        raised = [entry.detail for entry in step.history if entry.type == INCIDENT_RAISED]
        if not raised:
            return step
        await self._read()
        wanted = {
            told["incident_id"]
            for told in raised
            if any(
                one.enabled and one.match.may_fit(told["incident_type"], told["severity"], flow.labels)
                for one in self._known
            )
        }
        if not wanted:
            return step
        from functions._core.healing.runs import due_events

        events = [one for one in due_events(step, flow, f"/flowc/{function}") if one.data["incident_id"] in wanted]
        return replace(step, events=(*step.events, *events))

    async def close(self) -> None:
        """Do nothing: nothing runs by itself."""

    async def _read(self) -> None:
        """Take note of the playbooks as they are now, if what is known of them is old."""
        if asyncio.get_running_loop().time() < self._fresh_until:
            return
        self._known = ()
        if await self._ports.key_values.page(PLAYBOOKS, None, 1):
            from functions._core.healing import stored

            self._known = await stored.PLAYBOOKS.all(self._ports.key_values)
        self._fresh_until = asyncio.get_running_loop().time() + FRESH_SECONDS

    async def apply(self, event: CloudEvent) -> None:
        """Heal the incident of an event; what was done before is not done again."""
        from functions._engine.wiring_healing import heal_incident

        run = await heal_incident(self._healing(), read(HealingDue, event))
        if run is not None:
            self._said(run)

    async def alerted(self, key: str, labels: Mapping[str, str]) -> bool:
        """See `Engine.heal_alert`."""
        await self._read()
        if not self._known:
            return False
        from functions._core.healing.alerts import due_of_alert
        from functions._core.healing.runs import event_of

        due, flow = await due_of_alert(self._ports, key, labels)
        if due is None or not any(one.enabled and one.match.fits(due) for one in self._known):
            return False
        event = event_of(due, HEALING_DUE, due.incident_id, "/flowc/api", due.raised_at, flow)
        await self._doors.send((event,))
        return True

    async def round(self) -> None:
        """Look, if it is time, at the runs that are under way."""
        now = asyncio.get_running_loop().time()
        if self.alone and now >= self._look_at:
            self._look_at = now + LOOK_SECONDS
            await self.look()

    async def look(self) -> None:
        """Look at runs that are under way: whether the last action has helped, and what is next."""
        page = await self._ports.key_values.page(OPEN_RUNS, self._behind, PAGE)
        self._behind = page[-1].key if len(page) == PAGE else None
        if not page:
            return
        from functions._engine.wiring_healing import heal_incident

        for entry in page:
            try:
                run = await heal_incident(self._healing(), entry.key)
            except FlowcError as error:
                log.warning("healing.failed", key=entry.key, error=str(error))  # the next look tries again
            else:
                if run is not None:
                    self._said(run)

    async def rehearse(self, flow_id: str, incident_id: str | None, playbook: str | None) -> "Rehearsal":
        """See `Engine.rehearse_healing`."""
        from functions._core.healing.rehearsing import rehearse

        return await rehearse(self._ports, self._hands(), flow_id, incident_id, playbook)

    def _healing(self) -> "Healing":
        from functions._core.healing.healing import Healing

        return Healing(self._ports, self._hands(), self._tell)

    def _hands(self) -> "HealingSteps":
        from functions._engine.healing_steps import HealingSteps

        return HealingSteps(self._ports, self._metrics, self._doors, self.helper)

    async def _tell(self, run: "HealingRun") -> None:
        """Tell subscribers how a run has ended."""
        from functions._core.healing.runs import ended_event

        event = ended_event(run, await self._ports.store.flow(run.incident.flow_id))
        if self._dispatcher.wants(event.event_type):
            await self._doors.send((event,))
        self._metrics.count("flowc_healing_ended_total", run.state.lower())
        log.info("healing.ended", flow_id=run.incident.flow_id, playbook=run.playbook, state=run.state, why=run.why)

    def _said(self, run: "HealingRun") -> None:
        """Write a line about a run that was looked at."""
        about = run.incident
        log.debug("healing.looked", flow_id=about.flow_id, incident_id=about.incident_id, state=run.state)
