"""Trainings: weekly and by hand. Rows are read newest first, as many as the time allows, and fitted beside the loop."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple, Protocol

from functions._core.errors import Conflict, Unavailable
from functions._core.learning import registry
from functions._core.learning.history import TicketRow
from functions._core.learning.history_reader import rows_of_flow
from functions._core.learning.model_record import DURATION, FEWEST_ROWS, ModelRecord, ModelState
from functions._core.learning.payload import packed
from functions._core.learning.progress import LEARNING, TRAINING, Asked
from functions._core.learning.table_training import usable
from functions._core.learning.training import MOST_ROWS, Serves, Trained
from functions._core.ports import Entry, Ports
from functions._core.records.models import Flow
from functions._core.records.record import encode
from functions._core.small_records import removed_entry
from functions.learn.judging import Bench

DAYS = timedelta(days=60)
"""How far back a training looks at most."""

PAGE = 100
"""Flows that are read at once."""

AT_ONCE = 8
"""Flows whose tickets are read at the same time."""

READ_SECONDS = 60.0
"""For how long a training reads; it takes what it has by then, the newest."""

CLAIM = timedelta(minutes=3)
"""How long others leave a training to whoever has claimed it; one whose process died is begun again after that."""

RENEWS = 45.0
"""Seconds after which a claim is renewed while the training is under way: it outlives three that did not arrive."""

BY_SCHEDULE = "schedule"
"""Who has a weekly training done."""

SUNDAY, HOUR = 6, 2
"""When the weekly training is due: Sunday 02:00 UTC."""


class Trains(Protocol):
    """A training: pure, but for the time it takes; it is called beside the event loop."""

    def __call__(
        self, rows: Sequence[TicketRow], *, now: datetime, by: str, serves: Serves | None = None
    ) -> Trained | None:
        """Return the model of rows, None where they are too few; see `train` of the core."""


class TrainingDone(NamedTuple):
    """What a training came to."""

    record: ModelRecord | None
    """The new model; None where too few tickets tell how long work takes."""
    rows: int
    """Tickets that were read."""
    seconds: float
    """How long all of it took."""


def week_of(now: datetime) -> str:
    """Return the date of the last Sunday whose 02:00 UTC is over."""
    back = timedelta(days=(now.weekday() - SUNDAY) % 7)
    sunday = (now - back).replace(hour=HOUR, minute=0, second=0, microsecond=0)
    return (sunday if sunday <= now else sunday - timedelta(days=7)).date().isoformat()


async def train_now(
    ports: Ports, trains: Trains, bench: Bench, now: datetime, by: str, seconds: float = READ_SECONDS
) -> TrainingDone | None:
    """Train a model, and store it as a shadow or as refused; None where another process is at it.

    Raises what `trains` raises; the claim is given back then, so that the next round tries again.
    """
    claim = await _claimed(ports, now, by)
    if claim is None:
        return None
    time = asyncio.get_running_loop().time
    begun = time()
    renewals = asyncio.create_task(claim.renewed())
    try:
        rows = await newest_rows(ports, now, seconds)
        serves = None
        if bench.serving is not None and bench.serving.record.until is not None:
            serves = Serves(bench.serving.predictor, bench.serving.record.until)
        done = await ports.beside(partial(trains, rows, now=now, by=by, serves=serves))
        record = None if done is None else await _stored(ports, done, now)
        if record is None:
            await _too_few(ports, rows, by, now)
        return TrainingDone(record, len(rows), time() - begun)
    finally:
        renewals.cancel()
        await asyncio.gather(renewals, return_exceptions=True)
        with suppress(Conflict):  # it was not renewed for so long that another process has its own by now
            await removed_entry(ports.key_values, LEARNING, TRAINING, claim.check)


async def _too_few(ports: Ports, rows: Sequence[TicketRow], by: str, now: datetime) -> None:
    """Leave an audit of a training without a model: whoever has asked for it would look for one in vain."""
    known = sum(map(usable, rows))
    why = f"no model: {known} tickets say how long work takes, and {FEWEST_ROWS} are needed"
    await ports.store.commit(registry.audit_of("train_model", DURATION, by, why, now))


async def newest_rows(ports: Ports, now: datetime, seconds: float, at_most: int = MOST_ROWS) -> Sequence[TicketRow]:
    """Return the rows of the flows that ended last, rehearsals left out, as many as can be read in so many seconds."""
    time = asyncio.get_running_loop().time
    until, end = time() + seconds, now
    found: list[TicketRow] = []
    seen: set[str] = set()
    while len(found) < at_most and time() < until:
        page = await ports.statistics.ended(now - DAYS, end, PAGE)
        new = [flow for flow in page if flow.flow_id not in seen]
        seen |= {flow.flow_id for flow in new}
        for place in range(0, len(new), AT_ONCE):
            for rows in await asyncio.gather(*(_rows(ports, flow) for flow in new[place : place + AT_ONCE])):
                found += rows
        last = page[-1].ended_at if page else None
        if last is None or len(page) < PAGE:
            break
        # The next page begins with the flows that ended in the same millisecond, unless all of this one did.
        end = last + timedelta(milliseconds=1) if new and last + timedelta(milliseconds=1) < end else last
    return found[:at_most]


async def _rows(ports: Ports, flow: Flow) -> Sequence[TicketRow]:
    (row, rows), _ = await rows_of_flow(ports, flow)
    return () if row.simulated else rows


async def _stored(ports: Ports, done: Trained, now: datetime) -> ModelRecord:
    """Store a model under its number; a shadow that still waits gives way to it."""
    checksum, parts = await ports.beside(partial(packed, done.payload))
    entries = ports.key_values
    record = await registry.added(entries, done.record.but(checksum=checksum), parts)
    state, reasons = done.record.state, "; ".join(done.record.reasons)
    why = f"{state}: {reasons}"
    await ports.store.commit(registry.audit_of("train_model", record.model_id, record.created_by, why, now))
    if state is ModelState.SHADOW:
        for older in await registry.models(entries):
            if older.state is ModelState.SHADOW:
                text = f"model {record.model_id} was trained before this one was judged"
                await registry.changed(entries, older.number, partial(_given_up, now, text))
    stored = await registry.changed(entries, record.number, lambda known: known.but(state=state))
    await registry.forgotten(entries)
    return stored or record


def _given_up(now: datetime, why: str, known: ModelRecord) -> ModelRecord:
    return known.moved(ModelState.REFUSED, now, why)


async def _claimed(ports: Ports, now: datetime, by: str) -> "_Claim | None":
    """Claim the training; return the claim, None where another process has it."""
    try:
        value = encode(Asked(by=by, at=now))
        return _Claim(ports, await ports.key_values.put(LEARNING, TRAINING, value, version=0, expires_at=now + CLAIM))
    except Conflict:
        return None


class _Claim:
    """The claim of a training, as long as its process lives."""

    def __init__(self, ports: Ports, entry: Entry) -> None:
        self._ports, self._entry = ports, entry

    async def renewed(self) -> None:
        """Renew it again and again, until another process has one: the training goes on all the same."""
        with suppress(Conflict):
            while True:
                await asyncio.sleep(RENEWS)
                until = self._ports.clock.now() + CLAIM
                with suppress(Unavailable):
                    self._entry = await self._ports.key_values.put(
                        LEARNING, TRAINING, self._entry.value, version=self._entry.version, expires_at=until
                    )

    def check(self, entry: Entry) -> None:
        """Refuse the claim of another process."""
        if entry.version != self._entry.version:
            raise Conflict("another process has the training by now")
