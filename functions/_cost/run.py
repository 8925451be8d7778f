"""Runs a plan many times at a steady pace, and counts what that takes."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from functions._core.records.values import Outcome, flow_id_of
from functions._cost.deployment import Deployment
from functions._cost.ledger import CostLedger
from functions._simulator.clock import START, SimulatedClock
from functions._simulator.loop import VirtualLoop
from functions._simulator.plans import scenario_of
from functions._simulator.silent_log import listening

MONTH = 30 * 24 * 3600.0

QUIET = 600.0
"""Seconds before the first flow, in which is counted what is done when nothing is to be done."""

REST = 120.0
"""Seconds after the last flow, in which the timers that were set for it come."""


FLOWS, FEWEST, TICKETS = 30, 2, 1000
"""Flows that are run, so many that what several share is shared; fewer where they are large."""


class Broken(Exception):
    """A flow did not end as it should; the message says which and how."""


@dataclass(frozen=True, slots=True)
class CountedRun:
    """What was counted: while nothing happened, and in all; `seconds` is how long the flows took together."""

    flows: int
    tasks: int
    seconds: float
    quiet: CostLedger
    whole: CostLedger

    def of(self, account: str, what: str, detail: str = "") -> float:
        """Return what one flow takes, without what is taken at all times."""
        always = self.quiet.total(account, what, detail) / QUIET
        return max(0.0, self.whole.total(account, what, detail) - always * (QUIET + self.seconds)) / self.flows

    def idle(self, account: str, what: str) -> float:
        """Return what a month takes in which nothing happens."""
        return self.quiet.total(account, what) / QUIET * MONTH


def flows_of(decision: Mapping[str, Any]) -> int:
    """Return how many flows of a decision are run; what is wrong with it is found out later."""
    plan = decision.get("cognitive_plan")
    tasks = plan.get("tasks") if isinstance(plan, dict) else None
    return max(FEWEST, min(FLOWS, TICKETS // max(1, len(tasks) if isinstance(tasks, list) else TICKETS)))


def counted(decision: Mapping[str, Any], flows: int, a_month: int, subscribed: str = "none") -> CountedRun:
    """Run `flows` flows of a decision as they come when `a_month` of them come in a month; raise `Broken`.

    `subscribed` are the transitions that are told to subscribers.
    """
    loop = VirtualLoop(Random("cost"))  # noqa: S311 the same order each time
    ledger = CostLedger()

    async def whole() -> CountedRun:
        deployment = Deployment(SimulatedClock(loop.time, START), ledger, subscribed)
        await deployment.open(scenario_of(decision, 1, 1).fleet[0].capabilities)
        await asyncio.sleep(QUIET)
        quiet, begun = ledger.copy(), loop.time()
        ids = [f"{decision.get('decision_id')}-{number}" for number in range(flows)]
        for decision_id in ids:
            await deployment.admit({**decision, "decision_id": decision_id})
            await asyncio.sleep(MONTH / a_month)
        tasks = await _ended(deployment, ids)
        await asyncio.sleep(REST)
        seconds = loop.time() - begun
        await deployment.forget()
        return CountedRun(flows, tasks, seconds, quiet, ledger)

    with listening(loop.broken):
        run = loop.run(whole())
    if loop.broken:
        raise Broken(loop.broken[0])
    return run


async def _ended(deployment: Deployment, ids: Sequence[str]) -> int:
    """Wait for the ends of flows; return how many tickets one of them had."""
    tickets = 0
    for decision_id in ids:
        flow = await deployment.ended(flow_id_of(decision_id))
        if flow.outcome is not Outcome.COMPLETED:
            why = "; ".join(reason.message for reason in flow.reasons)
            raise Broken(f"the flow has ended {flow.outcome}: {why}")
        tickets = flow.tickets_generated
    return tickets
