"""Applies flow SLA policies: the commit that announces a risk or a breach asks for them, `enforce_sla` acts.

    1  the step that announces gets an event `sla.policy.due`, in the same commit, if a policy wants it
    2  what a policy is about to do is stored, with the other flows that it has chosen to pause
    3  its commands are given, each under an id that follows from policy and announcement, so that each counts once
    4  subscribers are told, by an event with such an id
    5  what was done is stored; whoever gets the event again finds it and does nothing

A process that dies in between leaves the event to be delivered again. While there are no policies a process reads that
at most every few seconds, and only when something is announced.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from functions._core.errors import Conflict, FlowcError, Unreadable
from functions._core.events.envelope import CloudEvent
from functions._core.events.policies import ANNOUNCEMENTS, APPLIED, DUE, PAUSING, POLICIES, PolicyDue
from functions._core.ports import Entry, Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow
from functions._engine.dispatch import Dispatcher, read
from functions._observability.logs import log
from functions._observability.metrics import Metrics

if TYPE_CHECKING:  # imported when there are policies
    from functions._core.slo.flow_policies import FlowSlaPolicy, PolicyApplication
    from functions._engine.given_commands import GiveCommand
    from functions._engine.policy_actions import BegunApplication, PolicyActions

FRESH_SECONDS = 10.0
"""How old the known policies may be."""

LOOK_SECONDS = 10.0
"""How often flows are looked for that wait for the end of another one."""

PAUSING_PAGE = 20
"""Applications that have paused other flows, in one round; the next one goes on behind them."""

REMEMBERED = 10_000
"""Announcements that this process has asked for."""

Send = Callable[[tuple[CloudEvent, ...]], Awaitable[None]]


class FlowPolicies:
    """The policies as one process knows and applies them."""

    busy = False
    """What is applied is counted by whoever delivers the event."""

    def __init__(
        self, ports: Ports, metrics: Metrics, send: Send, order: "GiveCommand", dispatcher: Dispatcher
    ) -> None:
        """Read nothing yet; `send` queues events that subscribers of the `dispatcher` want, `order` gives commands."""
        self._ports, self._metrics = ports, metrics
        self._send, self._order, self._dispatcher = send, order, dispatcher
        self._known: Sequence[FlowSlaPolicy] = ()
        self._fresh_until = self._look_at = 0.0
        self._asked: dict[tuple[str, str], None] = {}
        self._behind: str | None = None
        self._turn = asyncio.Lock()

    def begin(self) -> Self:
        """Be asked by the commits of the dispatcher, and handle what its broker delivers."""
        self._dispatcher.asks, self._dispatcher.beside = self.asking, self.apply
        return self

    def _tells(self, event_type: str) -> bool:
        return self._dispatcher.subscribed is not None and self._dispatcher.subscribed(event_type)

    def forget(self) -> None:
        """Take note that policies were changed here."""
        self._fresh_until = 0.0

    async def asking(self, step: ChangeSet, flow: Flow, function: str) -> ChangeSet:
        """Return a step of `function` with the events by which it asks for the policies of what it announces."""
        if asyncio.get_running_loop().time() >= self._fresh_until:
            await self._read()
        if not self._known:
            return step
        from functions._core.slo.flow_policies import announcements, due_event

        found: dict[str, CloudEvent] = {}
        for entry in step.history:
            for about in announcements(entry, flow):
                wanted = any(one.is_about(about) and one.wants(about.on, about.of, flow) for one in self._known)
                if wanted and (flow.flow_id, about.key) not in self._asked:
                    found.setdefault(about.key, due_event(about, flow, f"/flowc/{function}"))
        return replace(step, events=(*step.events, *found.values())) if found else step

    def observe(self, step: ChangeSet) -> None:
        """Take note of a commit: what it has asked for is not asked for again by this process."""
        if not self._known or not any(entry.type in ANNOUNCEMENTS for entry in step.history):
            return
        asked = {(step.flow_id, event.data["key"]): None for event in step.events if event.event_type == DUE}
        self._asked.update(asked)
        while len(self._asked) > REMEMBERED:
            del self._asked[next(iter(self._asked))]

    async def applied(self, flow_id: str) -> Sequence["PolicyApplication"]:
        """See `Engine.policies_applied`."""
        if self._dispatcher.asks is None:
            return ()
        from functions._core.slo.stored_policies import applications_of

        return await applications_of(self._ports.key_values, flow_id)

    async def close(self) -> None:
        """Do nothing: nothing runs by itself."""

    async def _read(self) -> Sequence["FlowSlaPolicy"]:
        """Return the policies as they are now."""
        found: Sequence[FlowSlaPolicy] = ()
        if await self._ports.key_values.page(POLICIES, None, 1):
            from functions._core.slo.stored_policies import FLOW_POLICIES

            found = await FLOW_POLICIES.all(self._ports.key_values)
        if found != self._known:
            self._known = found
            self._asked.clear()  # a new one may want what was announced before
        self._fresh_until = asyncio.get_running_loop().time() + FRESH_SECONDS
        return found

    async def apply(self, event: CloudEvent) -> None:
        """Apply the policies that want an announcement; what was done before is not done again."""
        from functions._core.slo.flow_policies import read_due

        about = read_due(read(PolicyDue, event))
        flow, policies = await self._ports.store.flow(about.flow_id), await self._read()
        if flow is None or not policies:
            return  # both may be gone by now
        async with self._turn:  # so that no two choose the same flows to pause
            for begun in await self._actions().begun(policies, about, flow):
                await self._carry_out(begun)

    async def _carry_out(self, begun: "BegunApplication") -> None:
        """Do what a policy says, tell it, and store that it is done."""
        from functions._core.slo.flow_policies import applied_event
        from functions._core.slo.stored_policies import put_application

        policy, application, version = begun
        told, actions = self._tells(APPLIED), self._actions()
        results = tuple([await actions.result(application, action, told=told) for action in policy.actions])
        now, flow_id = self._ports.clock.now(), application.announced.flow_id
        done = application.but(results=results, done_at=now)
        flow = await self._ports.store.flow(flow_id)
        if told and flow is not None:
            await self._send((applied_event(done, flow, now),))
        with suppress(Conflict):  # another process has done the same
            await put_application(self._ports.key_values, done, version, now)
        for one in results:
            self._metrics.count("flowc_sla_policies_applied_total", one.action, "done" if one.done else "not_done")
        words = [f"{one.action}: {one.text}" for one in results]
        log.info("sla_policy.applied", policy=policy.name, flow_id=flow_id, results=words)

    def _actions(self) -> "PolicyActions":
        from functions._engine.policy_actions import PolicyActions

        return PolicyActions(self._ports, self._order)

    async def round(self) -> None:
        """Let flows go on that were paused for one that has ended."""
        now = asyncio.get_running_loop().time()
        if now < self._look_at:
            return
        self._look_at = now + LOOK_SECONDS
        page = await self._ports.key_values.page(PAUSING, self._behind, PAUSING_PAGE)
        self._behind = page[-1].key if len(page) == PAUSING_PAGE else None
        for entry in page:
            try:
                await self._look(entry)
            except FlowcError as error:
                log.warning("sla_policy.not_resumed", key=entry.key, error=str(error))  # the next round tries again

    async def _look(self, entry: Entry) -> None:
        from functions._core.slo.stored_policies import read_application

        application = read_application(entry)
        if application is not None:
            try:
                flow = await self._ports.store.flow(application.announced.flow_id)
            except Unreadable:
                return  # nobody can tell whether it has ended
            if flow is not None and flow.ended_at is None:
                return
            await self._actions().resume(application)
        await self._ports.key_values.remove(PAUSING, entry.key, entry.version)
