"""Take in the history of flows, judge the models by it, and train new ones.

Consumes clock.ticked: each hour is enough, more often does no harm. Emits nothing; what becomes of a model is an audit.
Gives up on what takes longer than a round may: history that is left over, and a training whose claim another process
has, are left to the next tick. A model that cannot be read is taken out of service; a training that fails is told of in
`Learned`, and is begun again by the next tick. No flow waits for anything of this.
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import NamedTuple

from functions._core.errors import Conflict, Rejected
from functions._core.learning import registry
from functions._core.learning.drift import DAYS, Drift, Sampled, drift_of, sampled
from functions._core.learning.features import Profile
from functions._core.learning.history import TicketRow
from functions._core.learning.history_reader import HistoryCursor, ended_between, read_cursor
from functions._core.learning.model_record import (
    ModelRecord,
    ModelState,
    ModelVerdict,
    serving_verdict,
    shadow_verdict,
)
from functions._core.learning.payload import ModelPayload, Unusable, unpacked
from functions._core.learning.predictions import Predictor
from functions._core.learning.progress import ASKED, LEARNING, PROGRESS, LearningProgress, asked_for, progress_of
from functions._core.learning.table_training import usable
from functions._core.ports import Ports
from functions._core.records.record import encode
from functions._core.small_records import removed_entry
from functions.learn.judging import Bench, bench_of, judged
from functions.learn.trainings import BY_SCHEDULE, TrainingDone, Trains, train_now, week_of

FIRST = timedelta(days=30)
"""How far back the first increment begins."""

AHEAD = timedelta(hours=1)
"""By how much a cursor may be in the future: two clocks of one platform differ by less."""

FLOWS = 200
"""Flows of one increment: each is stored as a whole, so a round that is broken off loses at most one."""

ROUND_SECONDS = 20.0
"""For how long a round takes in history; the next one goes on."""

DAYS_COUNTED = 60
"""Days whose tickets are counted."""

LEARN = "learn"
"""Who has done what a person has not."""


class Learned(NamedTuple):
    """What one round did, and what there is after it."""

    flows: int
    """Flows that were taken in."""
    rows: int
    """Tickets of them."""
    complete: bool
    """Whether all of history is taken in."""
    serving: ModelRecord | None = None
    """The model that serves after it."""
    trained: TrainingDone | None = None
    """The training of this round."""
    failed: str | None = None
    """Why a training failed."""
    promoted: str | None = None
    """Id of the model that began to serve."""
    refused: str | None = None
    """Id of the model that was refused."""
    rolled_back: str | None = None
    """Id of the model that was taken out of service."""
    drift: Drift | None = None
    """How far the last seven days are from the training of the model that serves; None without one."""


async def learn(ports: Ports, *, trains: Trains, now: datetime | None = None) -> Learned:
    """Do one round; safe when other processes do one at the same time. Raises `Unavailable` where the store is away."""
    now = ports.clock.now() if now is None else now
    entry = await ports.key_values.get(LEARNING, PROGRESS)
    progress = progress_of(entry)
    profile: Profile = await ports.beside(lambda: progress.profile)
    await registry.settled(ports.key_values, now)
    bench = await bench_of(ports, profile)
    rolled_back = await _without_broken(ports, bench, now)
    if rolled_back:
        bench = await bench_of(ports, profile)
    intake = _Intake(ports, now, progress, entry.version if entry is not None else 0, profile)
    await intake.take(bench)
    verdicts = await _verdicts(ports, bench, now)
    trained, failed = await _training(ports, trains, intake, now)
    number, _ = await registry.serving(ports.key_values)
    serving = await registry.model(ports.key_values, number) if number else None
    return Learned(
        flows=intake.flows,
        rows=intake.rows,
        complete=intake.complete,
        serving=serving,
        trained=trained,
        failed=failed,
        promoted=verdicts.get(ModelState.SERVING),
        refused=verdicts.get(ModelState.REFUSED),
        rolled_back=verdicts.get(ModelState.ROLLED_BACK) or rolled_back,
        drift=await _drift(ports, serving, intake.progress),
    )


class _Intake:
    """The increments of one round."""

    def __init__(self, ports: Ports, now: datetime, progress: LearningProgress, version: int, profile: Profile) -> None:
        self._ports, self._now, self._profile = ports, now, profile
        self.progress, self.version = progress, version
        self.flows = self.rows = 0
        self.complete = False

    async def take(self, bench: Bench) -> None:
        """Take in what has ended, until nothing is left, the time is over, or another process does the same."""
        time = asyncio.get_running_loop().time
        until = time() + ROUND_SECONDS
        goes_on = True
        while goes_on:
            place = self._place()
            batch = await ended_between(self._ports, place, self._now, FLOWS, now=self._now)
            rows = [row for flow, rows in batch.flows if not flow.simulated for row in rows]
            new = await self._ports.beside(partial(self._with, rows, bench))
            new = new.but(cursor=batch.cursor.text)
            if not await self.keep(new):
                return
            self.flows, self.rows, self.complete = self.flows + len(batch.flows), self.rows + len(rows), batch.complete
            if rows:
                await judged(self._ports, bench, rows)
            goes_on = not self.complete and time() < until  # at least one increment: no round is without success

    def _place(self) -> HistoryCursor | datetime:
        """Return where to go on; a cursor that a wrong clock has left in the future would end all learning until then.

        What ended since the clock was set right, and before now, is not learnt: it cannot be told from what was.
        """
        if not self.progress.cursor:
            return self._now - FIRST
        place = read_cursor(self.progress.cursor)
        return self._now if place.at > self._now + AHEAD else place

    async def keep(self, new: LearningProgress) -> bool:
        """Store the progress; tell whether no other process has moved it meanwhile."""
        try:
            entry = await self._ports.key_values.put(LEARNING, PROGRESS, encode(new), version=self.version)
        except Conflict:
            return False
        self.progress, self.version = new, entry.version
        return True

    def _with(self, rows: Sequence[TicketRow], bench: Bench) -> LearningProgress:
        """Return the progress with rows taken in."""
        known, number = self.progress, bench.number
        serving: Predictor | None = bench.serving.predictor if bench.serving is not None else None
        sample: tuple[Sampled, ...] = known.sample if known.sample_of == number else ()
        since = known.since or (min(row.completed_at for row in rows) if rows else None)
        if rows:
            self._profile = self._profile.with_rows(rows)
        return known.but(
            since=since,
            rows=known.rows + len(rows),
            days=_counted(known.days, rows),
            sample=sampled(sample, rows, serving, self._now - DAYS),
            sample_of=number,
            at=self._now,
        ).with_profile(self._profile)


def _counted(days: Mapping[str, int], rows: Sequence[TicketRow]) -> Mapping[str, int]:
    found = dict(days)
    for row in rows:
        if usable(row):
            day = row.completed_at.date().isoformat()
            found[day] = found.get(day, 0) + 1
    return {day: found[day] for day in sorted(found)[-DAYS_COUNTED:]}


async def _without_broken(ports: Ports, bench: Bench, now: datetime) -> str | None:
    """Take models out whose payload cannot be used; return the id of the one that served."""
    served = None
    for record, fault in bench.broken:
        reason = f"its payload cannot be used: {fault}"
        if record.state is ModelState.SHADOW:
            await _act(ports, record, ModelVerdict(ModelState.REFUSED, reason), now)
        elif await _act(ports, record, ModelVerdict(ModelState.ROLLED_BACK, reason), now):
            served = record.model_id
    return served


async def _verdicts(ports: Ports, bench: Bench, now: datetime) -> Mapping[ModelState, str]:
    """Act on what the models have shown; return the id of the model by what has become of it."""
    found: dict[ModelState, str] = {}
    entries = ports.key_values
    if bench.serving is not None:
        record = await registry.model(entries, bench.serving.record.number)
        if record is not None and record.state is ModelState.SERVING:
            verdict = serving_verdict(record)
            if verdict.state is not record.state and await _act(ports, record, verdict, now):
                found[verdict.state] = record.model_id
    if bench.shadow is not None:
        record = await registry.model(entries, bench.shadow.record.number)
        if record is not None and record.state is ModelState.SHADOW:
            number, _ = await registry.serving(entries)
            verdict = shadow_verdict(record, number)
            if verdict.state is not record.state and await _act(ports, record, verdict, now):
                found[verdict.state] = record.model_id
    return found


async def _act(ports: Ports, record: ModelRecord, verdict: ModelVerdict, now: datetime) -> bool:
    """Do what a verdict says, after an audit of it; tell whether no other process was at it."""
    actions = {
        ModelState.SERVING: "promote_model",
        ModelState.REFUSED: "refuse_model",
        ModelState.ROLLED_BACK: "roll_back_model",
    }
    audit = registry.audit_of(actions[verdict.state], record.model_id, LEARN, verdict.reason, now)
    await ports.store.commit(audit)
    entries = ports.key_values
    try:
        if verdict.state is ModelState.SERVING:
            await registry.promoted(entries, record.number, now, verdict.reason)
        elif verdict.state is ModelState.ROLLED_BACK:
            await registry.rolled_back(entries, record.number, now, verdict.reason)
        else:
            await registry.changed(
                entries, record.number, lambda known: known.moved(verdict.state, now, verdict.reason)
            )
    except (Conflict, Rejected):  # somebody has changed it at this moment: the next round looks again
        return False
    return True


async def _training(
    ports: Ports, trains: Trains, intake: _Intake, now: datetime
) -> tuple[TrainingDone | None, str | None]:
    """Train what is due; return what came of it, and why it failed.

    A request of a person goes before the week. The first round of a platform only notes the week: there is no history
    yet, and whoever does not want to wait asks. While a shadow waits for its verdict the week has no training.
    """
    request = await asked_for(ports.key_values)
    week = week_of(now)
    if request is None:
        if intake.progress.trained_week == week:
            return None, None
        first = not intake.progress.trained_week
        waits = any(one.state is ModelState.SHADOW for one in await registry.models(ports.key_values))
        if first or waits:
            await intake.keep(intake.progress.but(trained_week=week))
            return None, None
    bench = await bench_of(ports, intake.progress.profile)
    try:
        done = await train_now(ports, trains, bench, now, request.by if request is not None else BY_SCHEDULE)
    except Exception as error:  # noqa: BLE001 whatever a library says: it is told, and tried again
        return None, repr(error)[:300]
    if done is not None and request is not None:
        await removed_entry(ports.key_values, LEARNING, ASKED, lambda _entry: None)
    elif done is not None:
        await intake.keep(intake.progress.but(trained_week=week))
    return done, None


async def _drift(ports: Ports, serving: ModelRecord | None, progress: LearningProgress) -> Drift | None:
    if serving is None or progress.sample_of != serving.number:
        return None
    parts = await registry.parts_of(ports.key_values, serving)
    try:
        payload: ModelPayload = await ports.beside(partial(unpacked, parts, serving.checksum))
    except Unusable:
        return None
    return drift_of(payload.sample, progress.sample, serving.metrics.get("mae_ms", 0.0))
