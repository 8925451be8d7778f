"""Flow SLA policies in a simulated world: what is done when a flow comes late, and the invariants about it."""

from collections import Counter
from collections.abc import Iterator
from random import Random
from typing import TYPE_CHECKING, Any

from functions._core.events.policies import ANNOUNCEMENTS, DUE, PAUSING, PolicyAct
from functions._core.records.change_set import ChangeSet
from functions._core.records.history import HistoryEntry
from functions._core.records.models import Flow
from functions._core.records.values import FlowStatus, Priority, SlackState
from functions._core.slo.flow_policies import FlowSlaPolicy, SlaSubject
from functions._core.slo.stored_policies import FLOW_POLICIES
from functions._engine.flow_policies import LOOK_SECONDS
from functions._simulator.ledger import Ledger
from functions._simulator.rivals import POLICY

if TYPE_CHECKING:
    from functions._simulator.world import World

BY = "policy "
"""How the name begins under which a policy gives commands."""

IN_FAVOUR = "and matters more: "
"""What stands before the id of the flow for which a policy pauses another one, in the reason."""

ENDS = (PolicyAct.ASK, PolicyAct.CANCEL, PolicyAct.CANCEL_AND_COMPENSATE)


async def make_policies(world: "World") -> None:
    """Let there be one to three policies before any flow comes, where there are any."""
    if POLICY not in world.faults.active:
        return

    def asked(step: ChangeSet) -> None:
        world.faults.struck[POLICY] += sum(event.event_type == DUE for event in step.events)

    world.observers.append(asked)
    draw = world.faults.chance(POLICY)
    for number in range(draw.randint(1, 3)):
        policy = _drawn(draw, f"policy-{number}", world)
        await FLOW_POLICIES.put(world.entries, policy.name, policy)


def _drawn(draw: Random, name: str, world: "World") -> FlowSlaPolicy:
    on = draw.choice((SlackState.AT_RISK, SlackState.AT_RISK, SlackState.BREACHED))
    of = draw.choice([*SlaSubject])
    actions: list[dict[str, Any]] = [{"action": PolicyAct.PAUSE_OTHERS, "at_most": draw.randint(1, 2)}]
    over = on is SlackState.BREACHED and of is SlaSubject.FLOW  # it is being undone
    if draw.random() < 0.5 and not over:
        actions.append({"action": PolicyAct.RAISE_PRIORITY, "to": draw.choice((Priority.HIGH, Priority.CRITICAL))})
    if draw.random() < 0.4 and not over:
        actions.append({"action": draw.choice(ENDS[1:] if on is SlackState.BREACHED else ENDS)})
    if draw.random() < 0.3:
        actions[0] = {"action": PolicyAct.NOTIFY}
    now = world.clock.now()
    form = {"name": name, "on": on, "of": of, "actions": actions}
    return FlowSlaPolicy.model_validate({**form, "created_at": now, "updated_at": now})


def paused_too_long(world: "World", flow: Flow) -> bool:
    """Whether a flow is paused in favour of one that has ended."""
    if flow.status is not FlowStatus.PAUSED:
        return False
    last = next((one for one in reversed(world.ledger.history) if _pauses(one, flow)), None)
    favoured = _favoured(last) if last is not None else None
    other = world.store.state.flows.get(favoured) if favoured else None
    return other is not None and other.ended_at is not None


def goes_on_again(flow: Flow, _ledger: Ledger) -> Iterator[str]:
    """A flow that a policy has paused for another one goes on when that has ended, but for a grace of faults."""
    yield f"flow {flow.flow_id} is still paused, {LOOK_SECONDS:.0f} s and more after the end of that one"


def acts_once(world: "World", ledger: Ledger) -> Iterator[str]:
    """A policy does each of its actions once at most for a flow and an announcement of it."""
    announced = Counter(entry.flow_id for entry in ledger.history if entry.type in ANNOUNCEMENTS)
    done: Counter[tuple[str, str, str, str]] = Counter()
    for entry in ledger.history:
        by = entry.detail.get("requested_by")
        if isinstance(by, str) and by.startswith(BY) and entry.type != "flow.resumed":
            done[by, entry.type, entry.flow_id, _favoured(entry) or entry.flow_id] += 1
    for (by, what, flow_id, about), times in done.items():
        if times > announced[about]:
            yield f"{by} did {what} {times} times to flow {flow_id}, announced were {announced[about]}"
    if left := [key for space, key in world.store.state.entries if space == PAUSING]:
        yield f"nobody has let flows go on that were paused by {left[0]}"


def _pauses(entry: HistoryEntry, flow: Flow) -> bool:
    return entry.flow_id == flow.flow_id and entry.to_status == FlowStatus.PAUSED.value


def _favoured(entry: HistoryEntry) -> str | None:
    """Return the flow in whose favour a policy has paused another one; None for every other entry."""
    reason, by = entry.detail.get("reason"), entry.detail.get("requested_by")
    given = isinstance(reason, str) and isinstance(by, str) and by.startswith(BY)
    return str(reason).partition(IN_FAVOUR)[2] or None if given else None
