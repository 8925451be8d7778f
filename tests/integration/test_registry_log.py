"""The log of the registry: whoever follows it ends with what the registry holds, whatever crashes in between."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from functions._adapters.memory.sink import MemorySink
from functions._adapters.memory.store import MemoryStore
from functions._adapters.stores import Stores
from functions._core.errors import Conflict, Rejected, Unavailable
from functions._core.placement.agent_log import BOOKMARK, BOOKMARKS, KEPT, append, newest, read_after
from functions._core.placement.agents import AgentChange, ChangeKind, mark_of
from functions._core.placement.breaker import WorkerVerdict
from functions._core.placement.workers import Deregistration, Heartbeat, Registration
from functions._core.ports import KeyValues, Ports
from functions._core.records.values import Health
from functions._core.records.worker import AgentType
from functions._core.rules import Rules
from functions._engine.platform import Platform
from functions._engine.settings import Settings
from functions._engine.tokens import JwtTokens
from tests.support.builders import T0
from tests.support.world import LocalWorkers

RULES = Rules()
A_CHANGE = AgentChange(kind=ChangeKind.ADDED, agent_id="a", agent_type=AgentType.WORKER)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.time = T0

    def now(self) -> Any:
        return self.time


class Crash(BaseException):
    """The end of a process."""


class Mortal:
    """A port of a process that dies after so many calls: a call more never reaches the store, or its answer is lost."""

    def __init__(self, behind: object, life: "Life") -> None:
        self._behind = behind
        self._life = life

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._behind, name)
        if not callable(method) or not asyncio.iscoroutinefunction(method):
            return method

        async def called(*args: Any, **named: Any) -> Any:
            await self._life.spend()
            result = await method(*args, **named)
            await self._life.spend()
            return result

        return called


class Life:
    """How many steps a process has left; None: any number. With `chance` others come in between."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.chance: random.Random | None = None

    async def spend(self) -> None:
        for _ in range(self.chance.randrange(4) if self.chance else 0):
            await asyncio.sleep(0)
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise Crash


class World:
    """Processes over one store, and somebody who follows the registry and often begins again where he was."""

    def __init__(self, processes: int = 2) -> None:
        self.clock, self.stores, self.life = HandClock(), MemoryStore().stores, Life()
        self.plain = self._ports(self.stores)
        self.processes = [self._process() for _ in range(processes)]
        self.revision = 0
        self.seen: dict[str, str] = {}

    def _ports(self, stores: Stores) -> Ports:
        return stores.ports(
            telemetry_sink=MemorySink(),
            gateway=LocalWorkers(),
            clock=self.clock,
            tokens=JwtTokens(b"k" * 32, self.clock),
        )

    def _process(self) -> Platform:
        mortal: Mapping[str, Any] = {
            name: Mortal(getattr(self.plain, name), self.life) for name in ("registry", "key_values")
        }
        ports = replace(self.plain, **mortal)
        return Platform(Settings(data=Path("unused")), ports, self.stores.queue, "http://127.0.0.1:1")

    async def do(self, number: int, act: Callable[[Platform], Any], crash_after: int | None) -> None:
        """Let a process do something, and die on the way if it is to."""
        self.life.left = crash_after
        try:
            await act(self.processes[number % len(self.processes)])
        except Crash:
            self.processes[number % len(self.processes)] = self._process()
        except (Rejected, Conflict):
            pass
        finally:
            self.life.left = None

    async def follow(self, limit: int) -> None:
        """Read some of the log as the api does: the change first, then the agent as it is."""
        entries = await read_after(self.plain.key_values, self.revision, limit)
        assert entries is not None
        for entry in entries:
            assert entry.revision == self.revision + 1
            for change in entry.changes:
                worker = await self.plain.registry.worker(change.agent_id)
                if worker is None:
                    self.seen.pop(change.agent_id, None)
                else:
                    self.seen[change.agent_id] = mark_of(worker, self.clock.now(), RULES)
            self.revision = entry.revision

    async def registry(self) -> dict[str, str]:
        workers = await self.plain.registry.workers()
        return {worker.worker_id: mark_of(worker, self.clock.now(), RULES) for worker in workers}

    async def go_round(self) -> None:
        for platform in self.processes:
            await platform.look_around()
            await platform._worker_tracker.release_waiting()  # noqa: SLF001 a round, without the rest of it


IDS = st.sampled_from(["a", "b", "c"])
ACTS = st.one_of(
    st.tuples(st.just("register"), IDS, st.sampled_from(["WORKER", "SCOUT"])),
    st.tuples(st.just("beat"), IDS, st.sampled_from([*Health])),
    st.tuples(st.just("drain"), IDS, st.booleans()),
    st.tuples(st.just("leave"), IDS, st.none()),
    st.tuples(st.just("fail"), IDS, st.none()),
    st.tuples(st.just("wait"), IDS, st.sampled_from([1, 31, 61, 95, 301])),
    st.tuples(st.just("round"), IDS, st.none()),
)
STEPS = st.lists(
    st.tuples(ACTS, st.integers(0, 1), st.none() | st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=25
)


def act_of(world: World, name: str, agent: str, more: Any) -> Callable[[Platform], Any]:
    """Return what a process is to do."""

    async def due(platform: Platform) -> None:
        world.clock.time += timedelta(seconds=more)
        for found in await world.plain.wakeups.claim_due(world.clock.now(), 100, timedelta(seconds=30)):
            await platform._due(found)  # noqa: SLF001 as the sweeper does

    async def fail(platform: Platform) -> None:
        for number in range(RULES.breaker_failures):
            verdict = WorkerVerdict(worker_id=agent, succeeded=False, why="timed_out", attempt=f"t/{number}")
            await platform._worker_tracker.judge(verdict)  # noqa: SLF001 as after a commit

    acts: dict[str, Callable[[Platform], Any]] = {
        "register": lambda p: p.register(
            Registration(worker_id=agent, endpoint="http://127.0.0.1:1", agent_type=AgentType(more))
        ),
        "beat": lambda p: p.heartbeat(agent, Heartbeat(status=more)),
        "drain": lambda p: p.drain(agent, draining=more),
        "leave": lambda p: p.deregister(Deregistration(worker_id=agent).worker_id, "done"),
        "fail": fail,
        "wait": due,
        "round": lambda p: p._worker_tracker.release_waiting(),  # noqa: SLF001 a round, without the rest of it
    }
    return acts[name]


@settings(max_examples=150, deadline=None)
@given(STEPS)
def test_whoever_follows_the_log_ends_with_the_registry(steps: list[Any]) -> None:
    async def played() -> None:
        world = World()
        for (name, agent, more), process, crash_after, read in steps:
            await world.do(process, act_of(world, name, agent, more), crash_after)
            await world.follow(read) if read else None
        await world.go_round()
        await world.follow(100)
        assert world.seen == await world.registry()
        newest_now = await newest(world.plain.key_values)
        await world.go_round()
        assert await newest(world.plain.key_values) == newest_now, "nothing is told twice where nothing has crashed"

    asyncio.run(played())


async def test_two_processes_that_tell_at_once_lose_nothing() -> None:
    world, chance = World(3), random.Random(7)
    world.life.chance = chance
    choices = [("drain", "a", True), ("drain", "a", False), ("register", "a", "WORKER"), ("leave", "a", None)]
    for _ in range(200):
        acts = [act_of(world, *chance.choice(choices)) for _ in world.processes]
        following = asyncio.create_task(followed(world, 20))
        await asyncio.gather(*(world.do(number, act, None) for number, act in enumerate(acts)))
        await following
        await world.follow(1000)  # and no round: what was told is enough
        assert world.seen == await world.registry()


async def followed(world: World, times: int) -> None:
    for _ in range(times):
        await world.follow(1)
        await asyncio.sleep(0)


@pytest.mark.parametrize("crash_after", range(26))
async def test_an_agent_whose_process_dies_while_it_registers_leaves_no_ghost(crash_after: int) -> None:
    world = World()
    await world.do(0, act_of(world, "register", "a", "WORKER"), crash_after)
    await world.follow(10)
    await world.do(1, act_of(world, "leave", "a", None), None)
    await world.go_round()
    await world.follow(10)
    assert world.seen == await world.registry() == {}


async def test_heartbeats_that_change_telemetry_alone_write_nothing_but_the_row() -> None:
    world = World(1)
    platform = world.processes[0]
    await platform.register(Registration(worker_id="a", endpoint="http://127.0.0.1:1"))
    told = await newest(world.plain.key_values)
    assert told == 1
    world.life.left = 4  # one read and one write of the row, each there and back
    await platform.heartbeat("a", Heartbeat.model_validate({"telemetry": {"cpu": 0.5}}))
    assert world.life.left == 0
    world.life.left = None
    assert await newest(world.plain.key_values) == told


async def test_the_record_of_an_agent_is_under_its_type_and_id() -> None:
    world = World(1)
    register = Registration(worker_id="w-1", endpoint="http://127.0.0.1:1")
    await world.processes[0].register(register)
    assert await world.plain.key_values.get("agents", "/agents/worker/w-1") is not None
    await world.processes[0].deregister("w-1", "done")
    assert await world.plain.key_values.get("agents", "/agents/worker/w-1") is None


async def test_a_store_that_is_away_is_told_later() -> None:
    world = World(1)
    platform = world.processes[0]
    entries = platform.ports.key_values
    broken = Away(entries)
    platform._worker_tracker._registry_log._ports = replace(platform.ports, key_values=broken)  # type: ignore[union-attr] # noqa: SLF001 the one part that is away
    await platform.register(Registration(worker_id="a", endpoint="http://127.0.0.1:1"))
    assert await newest(world.plain.key_values) == 0
    broken.away = False
    await world.go_round()
    await world.follow(10)
    assert world.seen == await world.registry() != {}


class Away:
    """Small records that cannot be reached for a while."""

    def __init__(self, behind: KeyValues) -> None:
        self._behind = behind
        self.away = True

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise Unavailable("not now")
        return getattr(self._behind, name)


class TestLog:
    """The log by itself, on the memory store."""

    @pytest.fixture
    def entries(self) -> KeyValues:
        return MemoryStore().stores.key_values(HandClock())

    async def test_an_empty_log_has_nothing_behind_zero(self, entries: KeyValues) -> None:
        assert await newest(entries) == 0
        assert await read_after(entries, 0, 10) == ()
        assert await read_after(entries, 7, 10) is None

    async def test_what_is_too_old_is_gone_and_the_newest_is_found_by_anybody(self, entries: KeyValues) -> None:
        last = KEPT + 200
        for number in range(1, last + 1):
            assert await append(entries, [A_CHANGE], T0, number - 1) == number
        assert await newest(entries) == last
        assert await entries.get(BOOKMARKS, BOOKMARK) is not None
        assert await read_after(entries, last, 10) == ()
        assert await read_after(entries, last + 1, 10) is None
        assert await read_after(entries, 1, 10) is None
        assert await read_after(entries, 0, 10) is None
        found = await read_after(entries, last - 5, 3)
        assert found is not None
        assert [entry.revision for entry in found] == [last - 4, last - 3, last - 2]
        kept = await entries.page("registry-log", None, 2 * KEPT)
        assert KEPT <= len(kept) <= KEPT + 64

    async def test_two_that_append_at_once_get_numbers_of_their_own(self, entries: KeyValues) -> None:
        numbers = await asyncio.gather(*(append(entries, [A_CHANGE], T0) for _ in range(15)))
        assert sorted(numbers) == list(range(1, 16))
