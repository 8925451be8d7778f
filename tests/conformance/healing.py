"""What healing needs of every store: limits and runs that no two processes pass at the same time."""

import asyncio
from collections import Counter
from dataclasses import dataclass, field

import pytest

from functions._adapters.memory.sink import MemorySink
from functions._adapters.stores import Stores
from functions._core.errors import Conflict
from functions._core.events.healing import HealingDue
from functions._core.healing import stored
from functions._core.healing.healing import Healing
from functions._core.healing.playbooks import PER_HOUR, PlaybookStep
from functions._core.healing.runs import HealingAction, HealingRun, HealingState
from functions._core.ports import Ports
from functions._engine.tokens import JwtTokens
from tests.conformance.suite import StoresSuite
from tests.support.builders import T0, seconds
from tests.support.clocks import HandClock
from tests.support.healing import put
from tests.support.world import LocalWorkers

FLOW = "0b5d9c5e-5f0c-5d1c-9a3b-7c1f0e2d3a05"


@dataclass
class NotingHands:
    """Notes what it is asked to do; implements `Hands`."""

    asked: Counter[tuple[str, int]] = field(default_factory=Counter)

    async def letters(self, _run: HealingRun, _step: PlaybookStep) -> tuple[str, ...]:
        return ()

    async def carry_out(self, run: HealingRun, _step: PlaybookStep, action: HealingAction) -> tuple[bool, str]:
        self.asked[run.key, action.number] += 1
        await asyncio.sleep(0)
        return True, "it was noted"

    async def rehearse(self, _run: HealingRun, _step: PlaybookStep) -> tuple[bool, str]:
        return True, "it would be noted"


def incident(number: int) -> HealingDue:
    return HealingDue.model_validate(
        {
            "incident_id": f"incident-{number}",
            "flow_id": FLOW[:-2] + f"{number:02d}",
            "incident_type": "INCONSISTENCY",
            "severity": "WARNING",
            "raised_at": T0,
        }
    )


class HealingSuite(StoresSuite):
    @pytest.fixture
    def clock(self) -> HandClock:
        return HandClock()

    @pytest.fixture
    def ports(self, stores: Stores, clock: HandClock) -> Ports:
        tokens = JwtTokens(b"k" * 32, clock)
        return stores.ports(telemetry_sink=MemorySink(), gateway=LocalWorkers(), clock=clock, tokens=tokens)

    @pytest.fixture
    def hands(self) -> NotingHands:
        return NotingHands()

    @staticmethod
    async def taken(healing: Healing, due: HealingDue) -> None:
        """Take an incident up as a broker lets it be: again, where records have moved."""
        for _ in range(50):
            try:
                await healing.incident(due)
            except Conflict:
                await asyncio.sleep(0)
            else:
                return
        pytest.fail("the records move all the time")

    async def test_two_processes_that_take_an_incident_act_once(self, ports: Ports, hands: NotingHands) -> None:
        await put(ports, "p", "retry_ticket", "retry_ticket")
        ended = list[HealingRun]()

        async def tell(run: HealingRun) -> None:
            ended.append(run)

        processes = [Healing(ports, hands, tell) for _ in range(2)]
        await asyncio.gather(*(self.taken(processes[number % 2], incident(1)) for number in range(6)))
        [run] = await stored.runs_of(ports.key_values, incident(1).flow_id)
        assert (len(run.actions), run.state, {number for _, number in hands.asked}) == (1, HealingState.ACTIVE, {1})
        assert len(await ports.key_values.page(stored.HOURS, None, 10)) == 1
        assert [one.incident.incident_id for one in (await stored.newest_runs(ports.key_values, None, 10))[0]] == [
            "incident-1"
        ]

    async def test_no_more_than_ten_actions_fit_into_an_hour_however_many_come_at_once(self, ports: Ports) -> None:
        async def asked(number: int) -> bool:
            slot = stored.HealingSlot(run=f"run-{number}", number=1, playbook=f"p{number % 2}", at=T0)
            for _ in range(50):
                try:
                    return await stored.take_slot(ports.key_values, slot, PER_HOUR)
                except Conflict:
                    await asyncio.sleep(0)
            return False

        assert sum(await asyncio.gather(*map(asked, range(14)))) == PER_HOUR
        first = [await asked(number) for number in range(14)]
        assert sum(first) == PER_HOUR, "the same action again counts once"
        later = stored.HealingSlot(run="later", number=1, playbook="p0", at=T0 + seconds(3600))
        assert await stored.take_slot(ports.key_values, later, PER_HOUR)
        own = stored.HealingSlot(run="own", number=1, playbook="p0", at=T0 + seconds(3601))
        assert not await stored.take_slot(ports.key_values, own, 1)

    async def test_a_run_ends_and_is_looked_at_no_more(
        self, ports: Ports, hands: NotingHands, clock: HandClock
    ) -> None:
        await put(ports, "p", "retry_ticket")
        ended = list[HealingRun]()

        async def tell(run: HealingRun) -> None:
            ended.append(run)

        healing = Healing(ports, hands, tell)
        await healing.incident(incident(2))
        [key] = await stored.open_runs(ports.key_values, None, 10)
        assert (await healing.look(key)) is not None
        assert ended == []
        clock.time += seconds(2)
        run = await healing.look(key)
        assert run is not None
        assert (run.state, [one.key for one in ended]) == (HealingState.ESCALATED, [key])
        assert await stored.open_runs(ports.key_values, None, 10) == []
        assert await healing.look("gone/gone") is None
