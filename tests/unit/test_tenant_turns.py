"""Weights of tenants: each gets its share of slots that are short, and nobody starves."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from datetime import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._adapters.memory.key_values import MemoryKeyValues
from functions._adapters.memory.state import State
from functions._adapters.memory.store import MemoryStore
from functions._core.machine.context import Context
from functions._core.placement.turns import SPACE, turns_of
from functions._core.placement.weights import read_weights
from functions._core.ports import Ports
from functions._core.records.change_set import ChangeSet
from functions._core.records.models import Flow, Ticket
from functions._core.records.values import FlowStatus, TicketStatus, Waiting
from functions._core.rules import TICKETS_PER_TURN, Rules
from functions._engine.settings import Settings, SettingsError
from tests.support.builders import T0, later, make_flow, make_ticket, seconds

FAR = T0 + seconds(3600)


class AtT0:
    """A clock that stands still."""

    def now(self) -> datetime:
        return T0


class Line:
    """Tenants whose tickets wait for slots of one kind, over the memory store."""

    def __init__(self, weights: Mapping[str, int]) -> None:
        stores = MemoryStore().stores
        others = dict.fromkeys(("telemetry_sink", "gateway", "tokens"))
        given = {name: getattr(stores, name) for name in Ports.__slots__ if hasattr(stores, name)}
        given["key_values"] = MemoryKeyValues(State(), AtT0())
        self.ports = Ports(**given, **others, clock=AtT0())  # type: ignore[arg-type]
        self.rules = Rules(tenant_weights=weights)
        self.flows: dict[str, Flow] = {}
        self.made = 0

    async def add(self, tenant: str, number: int, latest_start: datetime = FAR) -> list[Ticket]:
        """Let so many tickets of a tenant begin to wait, as those of one event do."""
        flow = self.flows.setdefault(
            tenant, make_flow(len(self.flows) + 1, tenant_id=tenant or None, status=FlowStatus.EXECUTING)
        )
        new = [make_ticket(flow, self.made + place, latest_start=latest_start) for place in range(1, number + 1)]
        self.made += number
        by_id = {ticket.ticket_id: ticket for ticket in new}
        context = Context(flow=flow, tickets=by_id, now=T0, function="test", cause="cause", rules=self.rules)
        turns = await turns_of(new, context, self.ports)
        waiting = [one.but(waiting=Waiting.SLOT, turn=turns[one.ticket_id]) for one in new]
        await self.ports.store.commit(ChangeSet(flow_id=flow.flow_id, tickets=tuple(waiting)))
        return waiting

    async def serve(self, number: int) -> Counter[str]:
        """Give so many free slots away; return how many each tenant got."""
        claimed = await self.ports.wakeups.claim_waiting(None, T0, number, seconds(3600))
        for ticket in claimed:
            taken = later(ticket, status=TicketStatus.ASSIGNED, waiting=None, turn=None, worker_id="w")
            await self.ports.store.commit(ChangeSet(flow_id=ticket.flow_id, tickets=(taken,)))
        by_flow = {flow.flow_id: tenant for tenant, flow in self.flows.items()}
        return Counter(by_flow[ticket.flow_id] for ticket in claimed)


@settings(max_examples=10, deadline=None)
@given(
    st.dictionaries(st.sampled_from("abcd"), st.integers(1, 20), min_size=2, max_size=4),
    st.lists(st.integers(1, 25), min_size=1, max_size=5),
)
def test_the_shares_of_tenants_that_always_wait_converge_to_their_weights(
    weights: dict[str, int], sizes: list[int]
) -> None:
    """However large the events are in which the tickets come."""

    async def run() -> Counter[str]:
        line, served, waiting = Line(weights), Counter[str](), Counter[str]()
        for round_ in range(80):
            for tenant in weights:
                while waiting[tenant] < TICKETS_PER_TURN:
                    size = sizes[(round_ + waiting[tenant]) % len(sizes)]
                    await line.add(tenant, size)
                    waiting[tenant] += size
            got = await line.serve(10)
            served += got
            waiting -= got
        return served

    served = asyncio.run(run())
    total, sum_of = served.total(), sum(weights.values())
    for tenant, weight in weights.items():
        assert abs(served[tenant] - total * weight / sum_of) <= 2 * TICKETS_PER_TURN, (weights, served)


async def test_a_light_tenant_waits_behind_no_more_than_its_share_of_a_heavy_one() -> None:
    line = Line({"heavy": 1000})
    for _ in range(8):
        await line.add("heavy", 25)
    (late,) = await line.add("light", 1)
    assert late.turn == 1
    served = Counter[str]()
    while not served["light"]:
        served += await line.serve(1)
    assert served["heavy"] <= TICKETS_PER_TURN


async def test_who_has_been_away_has_saved_nothing() -> None:
    line = Line({"a": 1, "b": 1})
    for _ in range(8):
        await line.add("a", 25)
    await line.serve(150)
    for _ in range(4):
        await line.add("b", 25)
    assert await line.serve(50) == {"a": 25, "b": 25}


async def test_when_nobody_waits_all_begin_again_as_equals() -> None:
    line = Line({"a": 5})
    for _ in range(4):
        await line.add("b", 25)
    await line.serve(100)
    assert [ticket.turn for ticket in (*await line.add("b", 1), *await line.add("a", 1))] == [1, 1]


async def test_within_a_turn_the_more_urgent_ticket_is_first() -> None:
    line = Line({"a": 1, "b": 1})
    await line.add("a", 5)
    await line.add("b", 1, T0 + seconds(1))
    assert await line.serve(1) == {"b": 1}


async def test_without_weights_nothing_is_kept_about_tenants() -> None:
    line = Line({})
    assert {ticket.turn for ticket in await line.add("a", 25)} == {0}
    assert await line.ports.key_values.page(SPACE, None, 1) == []


async def test_a_record_stays_small_however_many_tenants_wait() -> None:
    line = Line({"a": 2})
    await line.add("first", 1)
    for number in range(600):
        await line.add(f"{number:0255d}", 1)
    (entry,) = await line.ports.key_values.page(SPACE, None, 9)
    assert len(entry.value) < 64 * 1024


def test_weights_are_read_from_the_setting() -> None:
    assert read_weights("") == {}
    assert read_weights(" a=3, b=1 ,team/x=1000") == {"a": 3, "b": 1, "team/x": 1000}
    assert Settings.from_mapping({"FLOWC_TENANT_WEIGHTS": "a=3"}).rules.tenant_weights == {"a": 3}


@pytest.mark.parametrize("text", ["a", "a=", "a=0", "a=1001", "a=-1", "a=1.5", "a=1,a=2", "=1", "a=1,,b=1", "a b=1"])
def test_weights_that_mean_nothing_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="FLOWC_TENANT_WEIGHTS"):
        Settings.from_mapping({"FLOWC_TENANT_WEIGHTS": text})
