"""Tells the changes of the registry: the log is made from the rows of the agents, so that no crash can lose a change.

Beside each agent's row there is a small record, `/agents/<type>/<id>`, that says what of it was told last. Whoever sees
a row that differs tells it: at once the process that has changed the row, and every few seconds whoever goes rounds,
which also finds what a process did not live to tell, and health that only the time has changed. A change may be told
twice, never not at all:

    1  a new agent gets its record, which says that nothing was told: once it is told, its end will be, too
    2  the change becomes a revision of the log, then an event for subscribers
    3  the record says so, and the row is looked at once more

A heartbeat that changes nothing but telemetry costs a comparison of two texts.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import NamedTuple

from functions._core.engine import REGISTRY
from functions._core.errors import Conflict, FlowcError, Unreadable
from functions._core.events.envelope import CloudEvent
from functions._core.placement.agent_log import append
from functions._core.placement.agents import AgentChange, ChangeKind, agent_event, mark_of
from functions._core.ports import Entry, Ports
from functions._core.records.worker import AgentType, Worker
from functions._core.rules import Rules
from functions._engine.dispatch import Dispatcher
from functions._engine.flow_waiters import FlowWaiters
from functions._observability.logs import log

SPACE = "agents"
NOTHING_TOLD = b"-"
AT_ONCE = 64
"""Changes of one revision at most: with the longest ids they still fit into one small record."""

LOOKS = 8
"""Looks at agents that change all the time; the next round goes on."""

FORGET = timedelta(minutes=5)
"""After this a process reads again what was told of all agents: another may have died that knew better."""

PAGE = 500


class Agent(NamedTuple):
    """The name of an agent."""

    agent_type: AgentType
    agent_id: str

    @property
    def key(self) -> str:
        """The key of the record about it."""
        return f"/agents/{self.agent_type.lower()}/{self.agent_id}"


class _Seen(NamedTuple):
    """An agent at one moment: its row, its mark, and the record of what was told of it."""

    agent: Agent
    worker: Worker | None
    mark: bytes | None
    told: Entry | None

    @property
    def change(self) -> AgentChange | None:
        """What is to be told, if anything."""
        was = None if self.told is None else self.told.value
        if self.mark == was:
            return None
        new = was is None or was == NOTHING_TOLD
        kind = ChangeKind.REMOVED if self.mark is None else ChangeKind.ADDED if new else ChangeKind.UPDATED
        return AgentChange(kind=kind, agent_id=self.agent.agent_id, agent_type=self.agent.agent_type)


class RegistryLog:
    """Tells the changes that a process makes, or finds."""

    def __init__(
        self,
        ports: Ports,
        rules: Rules,
        send: Callable[[tuple[CloudEvent, ...]], Awaitable[None]],
        dispatcher: Dispatcher,
        waiters: FlowWaiters,
    ) -> None:
        """Let `send` queue the events that subscribers of the `dispatcher` want, and wake `waiters` each time."""
        self._ports = ports
        self._rules = rules
        self._send = send
        self._dispatcher = dispatcher
        self._waiters = waiters
        self._newest = 0
        self._told: dict[Agent, bytes] = {}
        self._read_until: datetime | None = None
        self._pending: set[Agent] = set()
        self._turn = asyncio.Lock()

    async def changed(self, known: Worker | None, worker: Worker | None) -> None:
        """Tell of a row that was stored or removed, if that is more than a sign of life; it is told on return.

        Never raises: what cannot be told now is found by the next round.
        """
        about = worker or known
        if about is None or (known is not None and worker is not None and self._mark(known) == self._mark(worker)):
            return
        await self._look_at([_agent(about)])

    async def catch_up(self, workers: Sequence[Worker]) -> None:
        """Tell what was not told of `workers`, which are all there are, and of those that are there no more."""
        now = self._ports.clock.now()
        if self._read_until is None or now > self._read_until:
            self._told = {_agent_of(entry.key): entry.value for entry in await self._records()}
            self._read_until = now + FORGET
        marks = {_agent(worker): self._mark(worker) for worker in workers}
        await self._look_at([agent for agent in marks.keys() | self._told if marks.get(agent) != self._told.get(agent)])

    async def _look_at(self, agents: Iterable[Agent]) -> None:
        self._pending.update(agents)
        looks = LOOKS + len(self._pending) // AT_ONCE
        async with self._turn:  # whoever waits for it meanwhile is told of together
            while self._pending and looks:
                looks -= 1
                some = [self._pending.pop() for _ in range(min(AT_ONCE, len(self._pending)))]
                try:
                    self._pending.update(await self._tell(some))
                except FlowcError as error:
                    for agent in some:
                        self._told.pop(agent, None)
                    self._read_until = None
                    log.warning("registry_log.behind", error=str(error))
                    return

    async def _tell(self, agents: Sequence[Agent]) -> Sequence[Agent]:
        """Tell what is new of some agents, and return those that have to be looked at again."""
        looked = await asyncio.gather(*(self._seen(agent) for agent in agents))
        changes = [(seen, change) for seen in looked if seen is not None and (change := seen.change) is not None]
        if not changes:
            return ()
        records = await asyncio.gather(*(self._begun(seen) for seen, _ in changes))
        now = self._ports.clock.now()
        self._newest = await append(self._ports.key_values, [change for _, change in changes], now, self._newest)
        self._waiters.tell(REGISTRY)
        wanted = self._dispatcher.subscribed or _nothing
        await self._send(
            tuple(
                agent_event(change, seen.worker, self._newest, now, self._rules)
                for seen, change in changes
                if wanted(f"registry.agent.{change.kind.lower()}")
            )
        )
        kept = zip(changes, records, strict=True)
        await asyncio.gather(*(self._kept(seen, record) for (seen, _), record in kept))
        return [seen.agent for seen, _ in changes]

    async def _seen(self, agent: Agent) -> _Seen | None:
        try:
            worker = await self._ports.registry.worker(agent.agent_id)
        except Unreadable:
            return None
        told = await self._ports.key_values.get(SPACE, agent.key)
        if worker is not None and worker.agent_type is not agent.agent_type:
            worker = None
        mark = None if worker is None else self._mark(worker)
        if told is None:
            self._told.pop(agent, None)
        else:
            self._told[agent] = told.value
        return _Seen(agent, worker, mark, told)

    async def _begun(self, seen: _Seen) -> Entry | None:
        """Return the record of an agent, made now if it is new; None where another process has made it meanwhile."""
        if seen.told is not None:
            return seen.told
        with suppress(Conflict):
            return await self._ports.key_values.put(SPACE, seen.agent.key, NOTHING_TOLD, version=0)
        return None

    async def _kept(self, seen: _Seen, record: Entry | None) -> None:
        """Keep what was told; where another process has told something meanwhile, the next look finds it."""
        if record is None:
            return
        if seen.mark is None:
            await self._ports.key_values.remove(SPACE, record.key, record.version)
            return
        with suppress(Conflict):
            await self._ports.key_values.put(SPACE, record.key, seen.mark, version=record.version)

    async def _records(self) -> Sequence[Entry]:
        found: list[Entry] = []
        while page := await self._ports.key_values.page(SPACE, found[-1].key if found else None, PAGE):
            found += page
            if len(page) < PAGE:
                break
        return found

    def _mark(self, worker: Worker) -> bytes:
        return mark_of(worker, self._ports.clock.now(), self._rules).encode()


def _nothing(_event_type: str) -> bool:
    """Say of every type that nobody wants it."""
    return False


def _agent(worker: Worker) -> Agent:
    return Agent(worker.agent_type, worker.worker_id)


def _agent_of(key: str) -> Agent:
    _, _, agent_type, agent_id = key.split("/", 3)
    return Agent(AgentType(agent_type), agent_id)
