"""Freezes as budgets ask for them: begun, ended and repaired, in an order that no crash can break.

Of each policy and target there is one record, the newest freeze; it is replaced on the version that was read, so of two
who enforce at once one is first. A change goes in three steps, and whoever finds it half done does the rest:

    1  the record is stored, `applied` false
    2  the target, such as a cluster, and subscribers are told; telling them twice is safe
    3  the record is stored, `applied` true

What is told comes in the order in which it was decided, and subscribers are told all of it. A target that does not
answer keeps no freeze from ending, nor the next one from beginning: the platform itself holds back by its records. It
is not told then what has changed again, but what stands now, once it answers.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress

from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.ports import Ports
from functions._core.records.values import NAMESPACE, format_time, name_uuid
from functions._core.slo import stored
from functions._core.slo.budget import ErrorBudget
from functions._core.slo.freezing import (
    FreezeAction,
    FreezeEvent,
    FreezePolicy,
    FreezeVerdict,
    begun,
    ended,
    verdict_of,
)
from functions._core.slo.outside import FreezeTarget, NoFreezeTarget

__all__ = ["FreezeTarget", "NoFreezeTarget", "enforce", "resolve"]

BUDGET, POLICY = "budget", "policy"
"""Who ends a freeze when no person does."""

Tell = Callable[[FreezeEvent], Awaitable[None]]
"""Tells subscribers of a freeze that has begun or ended; durable on return, and safe to repeat."""


async def nobody(_event: FreezeEvent) -> None:
    """Tell nobody."""


async def enforce(ports: Ports, slo_id: str | None = None, tell: Tell = nobody) -> Sequence[FreezeEvent]:
    """Begin and end the freezes that the policies of an SLO (None: all) ask for; return those that began or ended.

    Without an SLO also freezes are finished that were left half done, and those ended whose policy is gone. A target
    that does not answer stops no other policy: the freeze is not `applied`, and the next round tells it.
    """
    return await _Enforcing(ports, tell).run(slo_id)


async def resolve(ports: Ports, event_id: str, by: str, reason: str, tell: Tell = nobody) -> FreezeEvent:
    """End a freeze by hand, and return it; its policy does not freeze again before the budgets have recovered.

    It has ended on return, though its target may not be told yet, and then is not `applied`. Raises `Rejected`: 404 for
    an unknown freeze, 409 for one that has ended.
    """
    known = {event.event_id: (event, version) for event, version in await stored.freezes(ports.key_values)}
    event, version = known.get(event_id, (None, 0))
    if event is None:
        raise Rejected(f"there is no freeze {event_id}", code="unknown_freeze", status=404)
    if not event.active:
        raise Rejected(f"freeze {event_id} has ended", code="freeze_ended", status=409)
    enforcing = _Enforcing(ports, tell)
    event, version = await enforcing.finished(event, version)
    await enforcing.tell_before(event)
    over = ended(event, ports.clock.now(), by, reason, quiet=True)
    version = await stored.put_freeze(ports.key_values, over, version)
    return (await enforcing.finish(over, version))[0]


class _Enforcing:
    """One round over policies and freezes."""

    def __init__(self, ports: Ports, tell: Tell) -> None:
        self._ports, self._entries, self._tell = ports, ports.key_values, tell
        self._changed: list[FreezeEvent] = []
        self._budgets: Mapping[str, ErrorBudget] | None = None

    async def run(self, slo_id: str | None) -> Sequence[FreezeEvent]:
        policies = {one.policy_id: one for one in await stored.policies(self._entries)}
        if slo_id is None:
            await self._repair(policies)
        if not policies:
            return self._changed
        slos = {one.slo_id: one for one in await stored.slos(self._entries) if one.enabled}
        for policy in policies.values():
            concerned = [one.slo_id for one in slos.values() if policy.concerns(one)]
            if slo_id is None or (slo_id in concerned and await self._may_change(policy, slo_id)):
                await self._judge(policy, concerned)
        return self._changed

    async def _repair(self, policies: Mapping[str, FreezePolicy]) -> None:
        """Finish what was left half done; end freezes whose policy is gone, or freezes something else now."""
        for last, last_version in await stored.freezes(self._entries):
            event, version = await self.finished(last, last_version)
            policy = policies.get(event.policy_id)
            if not event.active:
                continue
            if policy is None or (policy.scope, policy.target) != (event.scope, event.target):
                why = "the policy is gone" if policy is None else "the policy has another target now"
                await self._change(ended(event, self._ports.clock.now(), POLICY, why), version, event)
            elif {*policy.actions} != {*event.actions}:
                await self._forbid(event, policy.actions, version)

    async def _may_change(self, policy: FreezePolicy, slo_id: str) -> bool:
        """Whether the budget of one SLO can change anything: else those of the others need not be read."""
        last, _ = await stored.freeze(self._entries, policy.policy_id, policy.target)
        state, _ = await stored.budget_state(self._entries, slo_id)
        if not policy.enabled or state is None or (last is not None and not last.applied):
            return True
        if last is not None and (last.active or last.quiet):
            return policy.should_unfreeze(state.budget)
        return policy.should_trigger(state.budget)

    async def _judge(self, policy: FreezePolicy, concerned: Sequence[str]) -> None:
        """Begin or end the freeze of a policy."""
        last, version = await stored.freeze(self._entries, policy.policy_id, policy.target)
        if last is not None:
            last, version = await self.finished(last, version)
        budgets, now = await self._of(concerned), self._ports.clock.now()
        verdict = verdict_of(policy, budgets, last, now)
        if last is not None and last.active and (verdict is FreezeVerdict.UNFREEZE or not concerned):
            by, why = _why(policy, orphaned=not concerned)
            await self._change(ended(last, now, by, why), version, last)
        elif verdict is FreezeVerdict.FREEZE:
            if last is not None and not last.applied and last.scope is not policy.scope:
                return  # its target is another one, which would never be freed
            # A record that was forgotten is at version 0 again: the moment tells its freezes apart.
            name = f"freeze/{policy.policy_id}/{policy.target}/{version}/{format_time(now)}"
            await self._change(begun(policy, budgets, now, name_uuid(str(NAMESPACE), name)), version, last)
        elif last is not None and last.quiet and budgets and all(map(policy.should_unfreeze, budgets)):
            with suppress(Conflict):  # it has recovered: the next low budget freezes again
                await stored.put_freeze(self._entries, last.but(quiet=False), version)

    async def _of(self, slo_ids: Sequence[str]) -> Sequence[ErrorBudget]:
        if self._budgets is None:
            self._budgets = {one.slo_id: one for one in await stored.budgets(self._entries)}
        return [self._budgets[slo_id] for slo_id in slo_ids if slo_id in self._budgets]

    async def _change(self, event: FreezeEvent, version: int, before: FreezeEvent | None) -> None:
        """Store a freeze that begins or ends, then tell it; what stood `before` is told first."""
        if before is not None and not await self.tell_before(before):
            return
        try:
            version = await stored.put_freeze(self._entries, event, version)
        except Conflict:
            return  # another process, or a person, was first
        self._changed.append((await self.finish(event, version))[0])

    async def _forbid(self, event: FreezeEvent, actions: Sequence[FreezeAction], version: int) -> None:
        """Let a freeze that lasts forbid other actions, as its policy does now; its target is told again."""
        changed = event.but(actions=tuple(actions), applied=False)
        with suppress(Conflict):
            await self.finish(changed, await stored.put_freeze(self._entries, changed, version))

    async def finished(self, event: FreezeEvent, version: int) -> tuple[FreezeEvent, int]:
        """Return a freeze that is finished, if it was not and can be."""
        return (event, version) if event.applied else await self.finish(event, version)

    async def tell_before(self, event: FreezeEvent) -> bool:
        """Tell subscribers what their target was not told and what changes now; return whether they know it."""
        try:
            if not event.applied:
                await self._tell(event)
        except Unavailable:
            return False
        return True

    async def finish(self, event: FreezeEvent, version: int) -> tuple[FreezeEvent, int]:
        """Tell the target and the subscribers of a freeze, and return it: `applied` when that is done."""
        target = self._ports.freeze_target
        try:
            await (target.apply(event) if event.active else target.lift(event))
            await self._tell(event)
            done = event.but(applied=True)
            return done, await stored.put_freeze(self._entries, done, version)
        except Conflict:
            await self._tell_again(event)  # whoever was first has done it
        except Unavailable:
            pass  # the next round does it
        return event, version

    async def _tell_again(self, late: FreezeEvent) -> None:
        """Have the next round tell the target what stands, if it has heard of something older after that."""
        last, version = await stored.freeze(self._entries, late.policy_id, late.target)
        if last is not None and last.applied and (last.event_id, last.active) != (late.event_id, late.active):
            with suppress(Conflict):
                await stored.put_freeze(self._entries, last.but(applied=False), version)


def _why(policy: FreezePolicy, *, orphaned: bool) -> tuple[str, str]:
    """Return who ends a freeze, and why."""
    if not policy.enabled:
        return POLICY, "the policy was deleted"
    if orphaned:
        return POLICY, "no SLO is left that the policy looks at"
    return BUDGET, f"at least {policy.unfreeze_threshold_percent:g} % of each budget is left"
