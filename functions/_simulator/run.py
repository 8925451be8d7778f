"""Runs: one seed, one world, one result; and many of them, side by side."""

import hashlib
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from random import Random

from functions._core.records.models import Flow
from functions._core.records.record import encode
from functions._core.records.values import Outcome
from functions._simulator.clock import START
from functions._simulator.faults import Faults
from functions._simulator.ledger import Violation
from functions._simulator.life import live
from functions._simulator.loop import VirtualLoop
from functions._simulator.plans import Scenario, drawn_scenario
from functions._simulator.process import adopting
from functions._simulator.silent_log import listening
from functions._simulator.world import World


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How one world went. `seconds` is from the decision to the flow's end, None when it did not end.

    `rejected_because` are the reasons of C1, or of nobody who approved, for a flow that was REJECTED.
    `in_time`: the flow ended COMPLETED within its deadline. `fingerprint` is of the whole history. `critical_path` are
    the tasks that the end waited for, the last first: before each, the one of its dependencies that was done last.
    """

    seed: int
    outcome: str
    seconds: float | None
    in_time: bool
    tickets: int
    steps: int
    struck: Mapping[str, int]
    violations: Sequence[Violation]
    fingerprint: str
    rejected_because: Sequence[str] = ()
    critical_path: Sequence[str] = ()
    history: Sequence[str] = field(default=(), repr=False)


def simulate(
    seed: int,
    faults: Collection[str],
    scenario: Scenario | None = None,
    start: datetime = START,
    *,
    joins: bool | None = None,
    keep_history: bool = False,
) -> Result:
    """Run one world; without a scenario it is drawn from the seed.

    `joins`: steps that follow from each other are one commit; where it is not said, they are in every other world.
    """
    chosen = Faults(seed, faults)
    loop = VirtualLoop(Random(f"{seed}/order"))
    loop.set_task_factory(adopting)

    async def whole() -> World:
        joined = seed % 2 == 1 if joins is None else joins
        world = World(scenario or drawn_scenario(seed), seed, chosen, start, joins=joined)
        world.broken = broken
        await live(world)
        return world

    broken = loop.broken
    with listening(broken):
        world = loop.run(whole())
    return _result(seed, world, keep_history=keep_history)


def simulate_many(
    seeds: Sequence[int],
    faults: Collection[str],
    scenario: Scenario | None = None,
    start: datetime = START,
    jobs: int = 1,
    *,
    joins: bool | None = None,
) -> Iterator[Result]:
    """Yield the result of each seed, in order; `jobs` processes share the work."""
    one = partial(simulate, faults=faults, scenario=scenario, start=start, joins=joins)
    if jobs == 1 or len(seeds) == 1:
        yield from map(one, seeds)
        return
    with ProcessPoolExecutor(max_workers=min(jobs, len(seeds))) as pool:
        yield from pool.map(one, seeds, chunksize=4)


def _result(seed: int, world: World, *, keep_history: bool) -> Result:
    flow = world.flow
    lines = [encode(entry).decode() for entry in world.ledger.history]
    ended = flow.ended_at if flow is not None else None
    return Result(
        seed=seed,
        outcome=str(flow.outcome or flow.status) if flow is not None else "not admitted",
        seconds=(ended - flow.received_at).total_seconds() if flow is not None and ended is not None else None,
        in_time=flow is not None
        and flow.outcome is Outcome.COMPLETED
        and ended is not None
        and ended <= flow.sla_deadline,
        tickets=flow.tickets_generated if flow is not None else 0,
        steps=world.ledger.steps,
        struck=dict(Counter({name: number for name, number in world.faults.struck.items() if number})),
        violations=tuple(world.ledger.violations),
        rejected_because=_reasons(flow) if flow is not None and flow.outcome is Outcome.REJECTED else (),
        critical_path=_critical_path(world),
        fingerprint=hashlib.sha256("\n".join(lines).encode()).hexdigest(),
        history=lines if keep_history else (),
    )


def _critical_path(world: World) -> Sequence[str]:
    tickets = {
        one.ticket_id: one
        for one in world.store.state.tickets
        if one.flow_id == world.flow_id and one.completed_at is not None and one.parent is None and not one.compensates
    }
    ends = {ticket_id: one.completed_at for ticket_id, one in tickets.items() if one.completed_at is not None}
    found: list[str] = []
    before = list(tickets)
    while before:
        last = tickets[max(before, key=ends.__getitem__)]
        found.append(last.task_id)
        before = [one for one in last.dependencies if one in tickets]
    return tuple(found)


def _reasons(flow: Flow) -> Sequence[str]:
    return tuple(f"{reason.message} ({reason.code})" for reason in flow.reasons)
