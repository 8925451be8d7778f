"""The trails that this process knows: learned from what it commits, shared with other processes through the store.

Nothing is read or written for a single event. A deposit counts in this process at once; once a second the trails that
have changed visibly are put into the store, each added to what other processes have put there. What they have put is
read when somebody ranks workers and the last reading is old. A process that is killed loses the deposits of its last
second, and those that have not changed a score by `VISIBLE` yet: a worker that does well all the time costs no puts.

A put whose answer is lost is not repeated blindly: an entry names its last writes, so the process finds out whether
its own was one of them. Where that cannot be known any more, the deposits are dropped: none is ever counted twice.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from random import Random

import msgspec

from functions._core.errors import Conflict, FlowcError, Rejected
from functions._core.placement.pheromones import CAP, EXPIRY, NO_TRAILS, Trail, Trails, added
from functions._core.placement.signals import signals_of
from functions._core.ports import Clock, Entry, KeyValues
from functions._core.records.change_set import ChangeSet
from functions._core.records.record import decode, encode
from functions._core.records.values import add_time
from functions._engine.clock import CHANCE, fresh_id
from functions._observability.logs import log
from functions._observability.metrics import Metrics

SPACE = "pheromones"

PAUSE_SECONDS = 1.0
"""Between two rounds of puts; so a trail is put once a second at most."""

VISIBLE = 0.01
"""The change of a score, or of the trust in a worker, that is worth a put: a tenth of the least that a ranking sees."""

AT_ONCE = 100
"""Trails that one round puts; those with the oldest deposits first, the others wait for the next round."""

FRESH_SECONDS = 30.0
"""The deposits of other processes may be so old when workers are ranked, which is little beside the half-life."""

TRAILS = 10_000
"""Trails that a process knows at most; then a tenth is forgotten, those without a new signal for longest."""

PAGE = 500
"""Trails that are read in one go."""

WRITES_KEPT = 8
"""Writes that an entry names."""

TRIES = 5
"""How often a trail is put in one round while other processes put it, too."""

Key = tuple[str, str]
"""Domain and worker."""


class StoredTrail(Trail):
    """A trail as the store keeps it."""

    writes: tuple[str, ...] = ()
    """The last puts of it, by process and number."""


@dataclass(slots=True)
class _Row:
    """What is known of one trail: as stored, and the deposits that are not stored yet."""

    stored: Trail | None = None
    version: int | None = None
    """Version of the entry in the store: 0 for none, None while that is not known."""
    writes: tuple[str, ...] = ()
    sent: Trail | None = None
    """Deposits in the put that is under way, or whose effect is not known."""
    write: str = ""
    """The name of that put."""
    new: Trail | None = None
    """Deposits since then."""

    @property
    def trail(self) -> Trail | None:
        """All of it."""
        whole = self.stored
        for more in filter(None, (self.sent, self.new)):
            whole = added(whole, more)
        return whole

    def changed(self, *, trust_alone: bool) -> bool:
        """Whether the deposits that are not stored yet change how the worker is seen."""
        whole = self.trail
        if whole is None or (self.new is None and self.sent is None):
            return False
        known = self.stored.at(whole.updated_at) if self.stored is not None else UNKNOWN
        change = abs(whole.trust - known.trust)
        return change >= VISIBLE or (not trust_alone and abs(whole.score - known.score) >= VISIBLE)


class LearnedPheromones:
    """The trails of one process; implements `Pheromones`. It belongs to one event loop."""

    def __init__(self, key_values: KeyValues, clock: Clock, metrics: Metrics, chance: Random = CHANCE) -> None:
        """Know nothing yet: the first question reads.

        A `thrifty` process puts nothing by itself, and a trail only when it changes the order of workers: for a store
        that charges for each put, and a process that does not run all the time.
        """
        self.thrifty = False
        self._key_values = key_values
        self._clock = clock
        self._metrics = metrics
        self._chance = chance
        self._rows: dict[Key, _Row] = {}
        self._by_domain: dict[str, dict[str, Trail]] = {}
        self._unsaved: dict[Key, None] = {}
        self._name = ""
        self._puts = 0
        self._saved_at: float | None = None
        self._read_at: float | None = None
        self._save_turn, self._read_turn = asyncio.Lock(), asyncio.Lock()
        self._saver: asyncio.Task[None] | None = None
        self._reader: asyncio.Task[None] | None = None

    @property
    def busy(self) -> bool:
        """Whether trails are being read."""
        return self._reader is not None and not self._reader.done()

    def learn(self, step: ChangeSet) -> None:
        """Deposit the signals of a step that was committed."""
        for signal in signals_of(step):
            key = signal.domain, signal.worker_id
            row = self._rows.get(key) or self._new_row(key)
            row.new = added(row.new, signal.trail)
            self._show(key, row)
            if key not in self._unsaved and row.changed(trust_alone=self.thrifty):
                self._unsaved[key] = None
            self._metrics.count("pheromone_deposits_total", signal.kind.value)
        if self._unsaved and not self.thrifty and (self._saver is None or self._saver.done()):
            self._saver = asyncio.create_task(self._save_now_and_then())

    async def trails(self, domain: str) -> Trails:
        """See `Pheromones.trails`; the first question waits for the store, no later one does."""
        if self._read_at is None:
            async with self._read_turn:
                if self._read_at is None:
                    await self.read()
        elif _monotonic() >= self._read_at + FRESH_SECONDS and not self.busy:
            self._reader = asyncio.create_task(self.read())
        return self._by_domain.get(domain, NO_TRAILS)

    async def read(self) -> None:
        """Read what all processes have put, and forget what has expired; never raises for a store that is away."""
        after: str | None = None
        try:
            for _ in range(TRAILS // PAGE):
                page = await self._key_values.page(SPACE, after, PAGE)
                for entry in page:
                    self._take(entry)
                if len(page) < PAGE:
                    break
                after = page[-1].key
        except FlowcError as error:
            log.warning("pheromones.not_read", error=str(error))
        finally:
            self._read_at = _monotonic()
        self._forget(len(self._rows) - TRAILS)

    async def save(self) -> None:
        """Put the trails that have changed, unless that was done less than `PAUSE_SECONDS` ago; never raises."""
        async with self._save_turn:
            now = _monotonic()
            if self._unsaved and (self._saved_at is None or now >= self._saved_at + PAUSE_SECONDS):
                self._saved_at = now
                await self._save(list(self._unsaved)[:AT_ONCE])

    async def close(self) -> None:
        """Put what is left, and stop."""
        tasks = [task for task in (self._saver, self._reader) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._save(list(self._unsaved))

    async def _save_now_and_then(self) -> None:
        """Put trails about once a second, until none has changed."""
        while self._unsaved:
            await asyncio.sleep(PAUSE_SECONDS)
            await self.save()

    async def _save(self, keys: Sequence[Key]) -> None:
        saved = await asyncio.gather(*(self._put(key) for key in keys), return_exceptions=True)
        failed = [error for error in saved if error is not None]
        for key, error in zip(keys, saved, strict=True):
            del self._unsaved[key]
            again = error is not None and not isinstance(error, Rejected)
            if again or self._rows[key].changed(trust_alone=self.thrifty):
                self._unsaved[key] = None  # behind the others
        if failed:
            log.warning("pheromones.not_saved", trails=len(failed), error=repr(failed[0]))

    async def _put(self, key: Key) -> None:
        """Put a trail; raise what kept it from being put."""
        row = self._rows[key]
        for _ in range(TRIES):
            if row.version is None or row.write:
                await self._look(key, row)
            if row.sent is None:
                row.sent, row.new = row.new, None
            if row.sent is None:
                return
            version, row.write = row.version or 0, self._next_write()
            whole = added(row.stored, row.sent)
            writes = (*row.writes, row.write)[-WRITES_KEPT:]
            value = encode(StoredTrail(pos=whole.pos, neg=whole.neg, updated_at=whole.updated_at, writes=writes))
            expires_at = add_time(whole.updated_at, EXPIRY)
            try:
                put = await self._key_values.put(SPACE, "/".join(key), value, version=version, expires_at=expires_at)
            except Conflict:
                continue
            except Rejected:  # a name that no store can keep: it stays with this process
                row.sent, row.write = None, ""
                raise
            row.stored, row.version, row.writes, row.sent, row.write = whole, put.version, writes, None, ""
            return
        raise Conflict("other processes put the trail all the time")

    async def _look(self, key: Key, row: _Row) -> None:
        """Read what is stored of a trail, and find out what became of the last put."""
        base, entry = row.version, await self._key_values.get(SPACE, "/".join(key))
        row.stored, row.writes = _read(entry) if entry is not None else (None, ())
        row.version = entry.version if entry is not None else 0
        if row.write and (row.write in row.writes or _lost_track(base or 0, row)):
            row.sent = None
        row.write = ""
        self._show(key, row)

    def _next_write(self) -> str:
        self._name = self._name or fresh_id(self._chance)[:13]
        self._puts += 1
        return f"{self._name}.{self._puts}"

    def _take(self, entry: Entry) -> None:
        """Take note of an entry, unless this process knows a newer one, or is about to find out."""
        domain, _, worker_id = entry.key.partition("/")
        key = domain, worker_id
        row = self._rows.get(key) or self._new_row(key)
        if row.sent is None and (row.version is None or entry.version > row.version):
            row.version = entry.version
            row.stored, row.writes = _read(entry)
            self._show(key, row)

    def _new_row(self, key: Key) -> _Row:
        if len(self._rows) >= TRAILS:
            self._forget(TRAILS // 10)
        row = self._rows[key] = _Row()
        return row

    def _show(self, key: Key, row: _Row) -> None:
        """Let rankings see a trail as it is now."""
        domain, worker_id = key
        whole = row.trail
        if whole is not None:
            self._by_domain.setdefault(domain, {})[worker_id] = whole
        elif domain in self._by_domain:
            self._by_domain[domain].pop(worker_id, None)

    def _forget(self, too_many: int) -> None:
        """Forget expired trails, and as many of the oldest as are too many, but none with new deposits."""
        expired = self._clock.now() - EXPIRY
        stored = {key: row.trail for key, row in self._rows.items() if key not in self._unsaved and row.sent is None}
        ages = sorted((trail.updated_at if trail else expired, key) for key, trail in stored.items())
        for number, (at, key) in enumerate(ages):
            if number >= too_many and at > expired:
                break
            del self._rows[key]
            self._by_domain.get(key[0], {}).pop(key[1], None)


UNKNOWN = Trail(pos=0.0, neg=0.0, updated_at=datetime.min.replace(tzinfo=UTC))
"""The trail of a worker without signals."""


def _lost_track(base: int, row: _Row) -> bool:
    """Whether a trail was put so often since version `base` that its last writes are not all of those."""
    return len(row.writes) == WRITES_KEPT and not (base and (row.version or 0) - base <= WRITES_KEPT)


def _monotonic() -> float:
    return asyncio.get_running_loop().time()


def _read(entry: Entry) -> tuple[Trail | None, tuple[str, ...]]:
    """Return a stored trail and its last writes; none where somebody has put something else."""
    try:
        found = decode(StoredTrail, entry.value)
    except (msgspec.ValidationError, msgspec.DecodeError):
        return None, ()
    pos, neg = (min(CAP, max(0.0, side)) for side in (found.pos, found.neg))
    return Trail(pos=pos, neg=neg, updated_at=found.updated_at), found.writes[-WRITES_KEPT:]
