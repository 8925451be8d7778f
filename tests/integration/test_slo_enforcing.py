"""Freezes begin and end once, in their order, whatever crashes and whoever else enforces."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._adapters.memory.store import MemoryStore
from functions._core.errors import Rejected, Unavailable
from functions._core.slo import stored
from functions._core.slo.budget import Indicator, budget_of
from functions._core.slo.enforcing import enforce, resolve
from functions._core.slo.events import freeze_event
from functions._core.slo.freezing import MAX_POLICIES, FreezeAction, FreezeEvent, FreezeScope, ended
from functions._core.slo.listing import newest_freezes
from functions._core.slo.stored import BudgetState
from tests.support.slo_history import NOW, policy, ports_of, slo
from tests.support.slo_history import stored as put

DAYS = timedelta(days=1)


class Cluster:
    """A target that keeps what it was told last of each freeze, and is away at times."""

    def __init__(self) -> None:
        self.frozen: set[str] = set()
        self.away = False

    async def apply(self, event: FreezeEvent) -> None:
        self._there()
        self.frozen.add(event.event_id)

    async def lift(self, event: FreezeEvent) -> None:
        self._there()
        self.frozen.discard(event.event_id)

    def _there(self) -> None:
        if self.away:
            raise Unavailable("the cluster is away")


class World:
    """Ports with a target, and whoever is told of freezes."""

    def __init__(self) -> None:
        ports, self.clock = ports_of(MemoryStore().stores)
        self.cluster = Cluster()
        self.ports = replace(ports, freeze_target=self.cluster)
        self.told: list[tuple[str, str]] = []

    async def tell(self, event: FreezeEvent) -> None:
        made = freeze_event(event)
        self.told.append((made.event_type.rpartition(".")[2], made.id))

    async def left(self, remaining: float, slo_id: str = "s") -> None:
        """Store a budget of which so many percent are left."""
        which = slo(slo_id)
        budget = budget_of(which, self.clock.now(), "b", Indicator(1 - 0.1 * (100 - remaining) / 100), {})
        _, version = await stored.budget_state(self.ports.key_values, slo_id)
        await stored.put_budget(self.ports.key_values, BudgetState(budget=budget, told=True), version)

    async def enforce(self, slo_id: str | None = None) -> list[tuple[str, bool]]:
        """Enforce; return what has changed: who ended it, or that it began."""
        found = await enforce(self.ports, slo_id, self.tell)
        return [(one.resolved_by or "begun", one.applied) for one in found]

    async def active(self) -> list[FreezeEvent]:
        return list(await stored.active_freezes(self.ports.key_values))

    async def history(self) -> list[FreezeEvent]:
        last = NOW + 90 * DAYS
        found, following = await newest_freezes(self.ports, NOW - DAYS, last, 999, fits=lambda _freeze: True)
        assert following is None
        return [*reversed(found)]


@pytest.fixture
def world() -> World:
    return World()


@pytest.mark.parametrize("slo_id", ["s", None], ids=["by its budget", "by a tick"])
async def test_a_freeze_begins_at_the_trigger_and_ends_at_the_higher_threshold(
    world: World, slo_id: str | None
) -> None:
    await put(world.ports, slo(), policy())
    found = []
    for remaining in (60, 15, 40, 15, 50, 40):
        await world.left(remaining)
        found.append(await world.enforce(slo_id))
    assert found == [[], [("begun", True)], [], [], [("budget", True)], []]
    assert [kind for kind, _ in world.told] == ["activated", "resolved"]
    assert world.cluster.frozen == set()
    [freeze] = await world.history()
    assert (freeze.active, freeze.applied, freeze.resolve_reason) == (
        False,
        True,
        "at least 50 % of each budget is left",
    )


async def test_all_budgets_of_a_policy_have_to_recover_and_other_slos_change_nothing(world: World) -> None:
    await put(world.ports, slo("a"), slo("b"), slo("c", service_name="other"), policy())
    for slo_id, remaining in (("a", 10), ("b", 90), ("c", 0)):
        await world.left(remaining, slo_id)
    assert await world.enforce("c") == []
    assert await world.enforce("b") == []
    assert await world.enforce("a") == [("begun", True)]
    await world.left(30, "b")
    await world.left(90, "a")
    assert await world.enforce("a") == []
    await world.left(55, "b")
    assert await world.enforce("b") == [("budget", True)]


async def test_each_scope_has_one_freeze_of_its_own(world: World) -> None:
    everything = policy("all", scope="GLOBAL", target="*")
    space = policy("ns", scope="NAMESPACE", target="prod")
    await put(
        world.ports, slo(labels={"namespace": "prod"}), everything, space, policy("svc"), policy("no", target="x")
    )
    await world.left(1)
    assert len(await world.enforce("s")) == 3
    assert {one.policy_id for one in await world.active()} == {"all", "ns", "svc"}
    assert await world.enforce() == []


async def test_a_freeze_lasts_at_least_its_minimum_and_a_person_may_end_it_sooner(world: World) -> None:
    await put(world.ports, slo(), policy(min_duration_seconds=600))
    await world.left(10)
    assert await world.enforce("s") == [("begun", True)]
    await world.left(90)
    assert await world.enforce("s") == []
    world.clock.move(601)
    assert await world.enforce() == [("budget", True)]
    await world.left(10)
    assert await world.enforce("s") == [("begun", True)]
    [freeze] = await world.active()
    over = await resolve(world.ports, freeze.event_id, "ann", "the cause is fixed", world.tell)
    assert (over.resolved_by, over.applied, over.quiet) == ("ann", True, True)
    # It does not freeze again before the budget has recovered; then it does.
    world.clock.move(60)
    assert await world.enforce() == []
    await world.left(90)
    assert await world.enforce() == []
    await world.left(10)
    assert await world.enforce("s") == [("begun", True)]
    with pytest.raises(Rejected) as refused:
        await resolve(world.ports, "nobody's", "ann", "again", world.tell)
    assert refused.value.status == 404


async def test_who_frees_by_hand_only_is_not_freed_and_an_ended_freeze_cannot_end_again(world: World) -> None:
    await put(world.ports, slo(), policy(auto_unfreeze=False))
    await world.left(10)
    await world.enforce()
    await world.left(100)
    assert await world.enforce() == []
    [freeze] = await world.active()
    await resolve(world.ports, freeze.event_id, "ann", "done")
    with pytest.raises(Rejected) as refused:
        await resolve(world.ports, freeze.event_id, "ann", "again")
    assert refused.value.status == 409


@pytest.mark.parametrize("how", ["disabled", "another target", "gone", "no SLO"])
async def test_a_freeze_ends_with_its_policy_or_its_last_slo(world: World, how: str) -> None:
    entries = world.ports.key_values
    await put(world.ports, slo(), policy())
    await world.left(10)
    await world.enforce()
    if how == "no SLO":
        await stored.changed_slo(entries, "s", lambda one: one.but(enabled=False))
    elif how == "gone":
        [entry] = await entries.page("freeze-policies", None, 9)
        await entries.remove("freeze-policies", entry.key, entry.version)
    else:
        change = {"enabled": False} if how == "disabled" else {"target": "elsewhere"}
        await stored.changed_policy(entries, "p", lambda one: one.but(**change))
    assert await world.enforce() == [("policy", True)]
    assert await world.active() == []
    assert [kind for kind, _ in world.told] == ["activated", "resolved"]


async def test_a_target_that_is_away_is_told_later_in_order_and_stops_no_other_policy(world: World) -> None:
    await put(world.ports, slo(), policy(), policy("q"))
    await world.left(10)
    world.cluster.away = True
    assert await world.enforce("s") == [("begun", False), ("begun", False)]
    assert len(await world.active()) == 2, "what asks the platform sees them"
    assert world.told == []
    world.cluster.away = False
    assert await world.enforce() == []
    await world.left(90)
    assert await world.enforce() == [("budget", True), ("budget", True)]
    assert [kind for kind, _ in world.told] == ["activated", "activated", "resolved", "resolved"]
    assert world.cluster.frozen == set()


async def test_freezes_end_and_begin_though_their_target_never_answers(world: World) -> None:
    await put(world.ports, slo(), policy())
    world.cluster.away = True
    for remaining, changed, lasting in ((10, "begun", 1), (90, "budget", 0), (10, "begun", 1)):
        await world.left(remaining)
        assert await world.enforce() == [(changed, False)]
        assert len(await world.active()) == lasting
        world.clock.move(60)
    assert [kind for kind, _ in world.told] == ["activated", "resolved"]
    await stored.changed_policy(world.ports.key_values, "p", lambda one: one.but(enabled=False))
    assert await world.enforce() == [("policy", False)]
    world.cluster.away = False
    assert await world.enforce() == []
    assert [kind for kind, _ in world.told] == ["activated", "resolved"] * 2
    assert len(set(world.told)) == 4
    assert world.cluster.frozen == set()


async def test_a_freeze_that_nobody_could_show_is_resolved_by_hand_after_it_was_told(world: World) -> None:
    await put(world.ports, slo(), policy())
    world.cluster.away = True
    await world.left(10)
    await world.enforce()
    [freeze] = await world.active()
    over = await resolve(world.ports, freeze.event_id, "ann", "the cluster is gone", world.tell)
    assert (over.active, over.applied) == (False, False)
    assert [kind for kind, _ in world.told] == ["activated"]
    world.cluster.away = False
    await world.enforce()
    assert [kind for kind, _ in world.told] == ["activated", "resolved"]


async def test_a_freeze_follows_what_its_policy_freezes_and_forbids(world: World) -> None:
    entries = world.ports.key_values
    await put(world.ports, slo(labels={"namespace": "orchestrator"}), policy())
    await world.left(10)
    await world.enforce()
    [before] = await world.active()
    await world.left(40)
    await stored.changed_policy(entries, "p", lambda one: one.but(actions=(FreezeAction.ALERT_ONLY,)))
    assert await world.enforce() == []
    [after] = await world.active()
    assert (after.event_id, after.actions, after.applied) == (before.event_id, (FreezeAction.ALERT_ONLY,), True)
    assert len(set(world.told)) == 1
    await stored.changed_policy(entries, "p", lambda one: one.but(scope=FreezeScope.NAMESPACE))
    assert await world.enforce() == [("policy", True)]
    await world.left(10)
    assert await world.enforce() == [("begun", True)]
    [other] = await world.active()
    assert other.scope is FreezeScope.NAMESPACE


async def test_a_freeze_that_is_over_is_forgotten_in_time_and_has_an_id_of_its_own(world: World) -> None:
    await put(world.ports, slo(), policy())
    ids = set()
    for _ in range(2):
        await world.left(10)
        await world.enforce()
        [freeze] = await world.active()
        ids.add(freeze.event_id)
        await world.left(90)
        await world.enforce()
        world.clock.move(92 * 86_400)
        assert await stored.freezes(world.ports.key_values) == []
    assert len(ids) == 2


async def test_no_freeze_that_lasts_is_missed_among_many_that_are_over(world: World) -> None:
    await put(world.ports, slo(), policy("zz"))
    await world.left(10)
    await world.enforce()
    [freeze] = await world.active()
    for number in range(4 * MAX_POLICIES):
        over = ended(freeze, world.clock.now(), "policy", "gone").but(policy_id=f"a{number}", applied=True)
        await stored.put_freeze(world.ports.key_values, over, 0)
    assert await world.active() == [freeze]


async def test_two_who_enforce_at_once_begin_one_freeze(world: World) -> None:
    await put(world.ports, slo(), policy())
    await world.left(10)
    entries = world.ports.key_values

    class OtherFirst:
        """Lets another process enforce just before this one stores its freeze."""

        def __getattr__(self, name: str) -> Any:
            return getattr(entries, name)

        async def put(self, *arguments: Any, **more: Any) -> Any:
            await enforce(world.ports, None, world.tell)
            return await entries.put(*arguments, **more)

    assert await enforce(replace(world.ports, key_values=OtherFirst()), "s", world.tell) == []
    assert len(set(world.told)) == len(world.told) == 1
    assert len(await world.history()) == 1


async def test_a_target_that_hears_of_a_beginning_after_its_end_is_told_the_end_again(world: World) -> None:
    await put(world.ports, slo(), policy())
    await world.left(10)

    class Late(Cluster):
        """Applies a freeze only after another process has ended it."""

        async def apply(self, event: FreezeEvent) -> None:
            await world.enforce()
            await world.left(90)
            world.clock.move(60)
            assert await world.enforce() == [("budget", True)]
            await world.cluster.apply(event)

    await enforce(replace(world.ports, freeze_target=Late()), None, world.tell)
    assert len(world.cluster.frozen) == 1
    await world.enforce()
    assert world.cluster.frozen == set()
    [freeze] = await stored.freezes(world.ports.key_values)
    assert freeze[0].applied
    assert len(set(world.told)) == 2


class Dies(Exception):
    """The process."""


class Crashing:
    """Key values, a target and subscribers of a process that dies at its n-th write or call."""

    def __init__(self, world: World, at: int | None) -> None:
        self.world, self.left = world, at
        self.ports = replace(world.ports, key_values=self, freeze_target=self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.world.ports.key_values, name)

    def step(self) -> None:
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Dies

    async def put(self, *arguments: Any, **more: Any) -> Any:
        self.step()
        found = await self.world.ports.key_values.put(*arguments, **more)
        self.step()
        return found

    async def apply(self, event: FreezeEvent) -> None:
        self.step()
        await self.world.cluster.apply(event)

    async def lift(self, event: FreezeEvent) -> None:
        self.step()
        await self.world.cluster.lift(event)

    async def tell(self, event: FreezeEvent) -> None:
        self.step()
        await self.world.tell(event)
        self.step()


MINIMUM_S = 300

Steps = st.lists(
    st.tuples(
        st.sampled_from((0.0, 10.0, 20.0, 35.0, 50.0, 80.0)),  # what is left of the budget
        st.integers(1, 400),  # seconds that pass
        st.one_of(st.none(), st.integers(0, 9)),  # where the process dies
        st.booleans(),  # by a tick, or by the event of the budget
    ),
    min_size=1,
    max_size=25,
)


async def _no_flapping(steps: list[tuple[float, int, int | None, bool]]) -> None:
    world = World()
    await put(world.ports, slo(), policy(min_duration_seconds=MINIMUM_S))
    for remaining, pause, dies_at, ticks in steps:
        world.clock.move(pause)
        await world.left(remaining)
        process = Crashing(world, dies_at)
        with suppress(Dies):
            await enforce(process.ports, None if ticks else "s", process.tell)
        assert len(await world.active()) <= 1
    await world.left(35)  # nothing begins or ends any more
    await world.enforce()
    history = await world.history()
    for freeze in history:
        assert freeze.applied
        assert freeze.resolved_at is None or freeze.resolved_at - freeze.triggered_at >= timedelta(seconds=MINIMUM_S)
    for before, after in pairwise(history):
        assert before.resolved_at is not None
        assert before.resolved_at <= after.triggered_at
    wanted = [freeze_event(one.but(resolved_at=None)).id for one in history]
    ends = [freeze_event(one).id for one in history if one.resolved_at is not None]
    kinds = dict.fromkeys(world.told)
    assert [event_id for kind, event_id in kinds if kind == "activated"] == wanted
    assert [event_id for kind, event_id in kinds if kind == "resolved"] == ends
    assert [kind for kind, _ in kinds] == (["activated", "resolved"] * len(history))[: len(kinds)]
    assert world.cluster.frozen == {one.event_id for one in await world.active()}


@given(steps=Steps)
@settings(max_examples=150, deadline=None)
def test_freezes_never_flap_inside_their_minimum_over_crashes_at_any_write(
    steps: list[tuple[float, int, int | None, bool]],
) -> None:
    asyncio.run(_no_flapping(steps))
