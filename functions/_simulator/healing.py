"""Healing in a simulated world: a playbook is there, much fails for good, and the invariants about what it does."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

from functions._adapters.memory.state import State
from functions._core.events.healing import OPEN_RUNS, HealingAct
from functions._core.healing.healing import SET_GOING
from functions._core.healing.playbooks import PER_HOUR, Playbook, PlaybookForm
from functions._core.healing.runs import HEALED_BY, HealingRun, HealingState
from functions._core.healing.stored import PLAYBOOKS, RUNS
from functions._core.ports import KeyValues
from functions._core.records.audits import ActionRecord
from functions._core.records.record import decode
from functions._simulator.faults import Faults
from functions._simulator.ledger import CommittedChange, Ledger
from functions._simulator.plans import Scenario

HEALING = "healing"
"""The fault with which there is a playbook."""

NAME = "simulated"

ACTS = tuple(act for act in HealingAct if act not in {HealingAct.SCALE, HealingAct.ESCALATE})
"""What the playbook may do; restarts are not configured here."""

NEARLY_AN_HOUR = timedelta(minutes=55)
"""Actions so close to each other are within an hour also where the clock was set."""


def with_failures(scenario: Scenario, seed: int) -> Scenario:
    """Return a drawn scenario whose workers fail so often that incidents come."""
    draw = Random(f"{seed}/failures")
    share = draw.choice((0.5, 0.9))
    return replace(scenario, failing={one.worker_id: share for one in scenario.fleet})


async def playbook_put(entries: KeyValues, ledger: Ledger, faults: Faults) -> None:
    """Put a playbook, drawn from the seed, before anything happens, where there is to be one."""
    if HEALING not in faults.active:
        return
    draw, now = faults.chance(HEALING), ledger.now()
    retries = [HealingAct.RETRY_TICKET] * draw.randint(0, 3)
    acts = [*retries, *draw.sample(ACTS, draw.randint(1, 3))]
    form: dict[str, Any] = {
        "steps": [_step(act, draw) for act in acts],
        "limits": {"per_incident": draw.randint(1, 3), "per_hour": draw.choice((2, 5, PER_HOUR))},
        "verify_after_seconds": draw.choice((5, 20, 60)),
    }
    read = PlaybookForm.model_validate(form)
    playbook = Playbook(**dict(read), name=NAME, created_at=now, updated_at=now)
    await PLAYBOOKS.put(entries, NAME, playbook)
    ledger.playbook = playbook
    faults.struck[HEALING] += 1


def _step(act: HealingAct, draw: Random) -> Mapping[str, Any]:
    more = {"at_most": draw.randint(1, 3)} if act is HealingAct.REPLAY_DEAD_LETTERS else {}
    return {"action": act, **more}


def healing_keeps_its_limits(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """Healing does no more for an incident, and in an hour, than its limits say."""
    if ledger.playbook is None:
        return
    for audit in change.step.audit:
        if not isinstance(audit, ActionRecord) or not audit.who.startswith(HEALED_BY):
            continue
        limits = ledger.playbook.limits
        incident = audit.why.split(" ")[2].rstrip(":")
        acted = ledger.healed.setdefault(incident, {})
        key = audit.action if audit.action == HealingAct.REPLAY_DEAD_LETTERS else audit.audit_id
        acted.setdefault(key, audit.at)
        if len(acted) > limits.per_incident:
            yield f"incident {incident} has had {len(acted)} actions, {limits.per_incident} are allowed"
        since = audit.at - NEARLY_AN_HOUR
        lately = sum(since < at <= audit.at for acts in ledger.healed.values() for at in acts.values())
        if lately > min(limits.per_hour, PER_HOUR):
            yield f"{lately} actions were done within an hour, {limits.per_hour} are allowed"


def healing_does_not_loop(change: CommittedChange, ledger: Ledger) -> Iterator[str]:
    """Healing sets no ticket going more often than its limit says, unless a person has come in between."""
    if ledger.playbook is None:
        return
    for audit in change.step.audit:
        if not isinstance(audit, ActionRecord) or audit.action not in SET_GOING:
            continue
        if not audit.who.startswith(HEALED_BY):
            ledger.retried = {one: ids for one, ids in ledger.retried.items() if one[0] != audit.flow_id}
            continue
        again = ledger.retried.setdefault((audit.flow_id, audit.target), set())
        again.add(audit.audit_id)
        most = ledger.playbook.limits.per_incident
        if len(again) > most:
            yield f"ticket {audit.target} was set going {len(again)} times, {most} are allowed for one trouble"


def incidents_end(state: State, _ledger: Ledger) -> Iterator[str]:
    """Each incident that healing has taken up ends resolved or escalated."""
    for (space, key), entry in state.entries.items():
        if space == RUNS and (run := decode(HealingRun, entry.value)).state is HealingState.ACTIVE:
            yield f"the healing of {key} is {run.state}, to be looked at at {run.look_at:%H:%M:%S}"


def under_way(state: State) -> bool:
    """Whether healing is at work."""
    return any(space == OPEN_RUNS for space, _ in state.entries)
