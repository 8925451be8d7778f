"""How models do on tickets that ended after they were trained: replayed from history, at no cost for any flow."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

from msgspec import DecodeError

from functions._core.learning import registry
from functions._core.learning.evaluation import Errors, EstimateAlone, errors_of, halved, plus
from functions._core.learning.features import Profile
from functions._core.learning.history import TicketRow
from functions._core.learning.model_record import JUDGED_MOST, Judged, ModelRecord, ModelState
from functions._core.learning.payload import ModelPayload, Unusable, unpacked
from functions._core.learning.predictions import Predictor
from functions._core.ports import Ports

ESTIMATE = EstimateAlone()


class ModelAtWork(NamedTuple):
    """A model with its record."""

    record: ModelRecord
    predictor: Predictor


class Bench(NamedTuple):
    """The models that are judged, or judged against."""

    serving: ModelAtWork | None = None
    """The model that serves."""
    shadow: ModelAtWork | None = None
    """The newest one that waits for its verdict."""
    previous: ModelAtWork | None = None
    """The one that served before, while it is there."""
    broken: tuple[tuple[ModelRecord, str], ...] = ()
    """Of serving and shadow those whose payload cannot be used, and why."""

    @property
    def number(self) -> int:
        """The number of the model that serves, 0 without one."""
        return self.serving.record.number if self.serving is not None else 0


async def bench_of(ports: Ports, profile: Profile) -> Bench:
    """Return the models that are to be judged now."""
    entries = ports.key_values
    number, _ = await registry.serving(entries)
    known = {one.number: one for one in await registry.models(entries)}
    serving = known.get(number)
    shadow = next((one for one in known.values() if one.state is ModelState.SHADOW and one.number != number), None)
    previous = known.get(serving.previous) if serving is not None and serving.previous else None
    broken: list[tuple[ModelRecord, str]] = []
    found: list[ModelAtWork | None] = []
    for record in (serving, shadow, previous):
        try:
            found.append(None if record is None else await loaded(ports, record, profile))
        except Unusable as error:
            found.append(None)
            if record is not None and record is not previous:
                broken.append((record, str(error)))
    return Bench(found[0], found[1], found[2], tuple(broken))


async def loaded(ports: Ports, record: ModelRecord, profile: Profile) -> ModelAtWork:
    """Return a stored model at work; raise `Unusable` for one that is not as it was stored."""
    parts = await registry.parts_of(ports.key_values, record)
    try:
        payload: ModelPayload = await ports.beside(partial(unpacked, parts, record.checksum))
    except DecodeError as error:
        raise Unusable(str(error)) from error
    return ModelAtWork(record, payload.predictor(record.model_id, profile))


async def judged(ports: Ports, bench: Bench, rows: Sequence[TicketRow]) -> None:
    """Add rows to what models are judged by: of those that ended after a model was trained, or has begun to serve."""
    for own, other in ((bench.shadow, bench.serving), (bench.serving, bench.previous)):
        if own is None:
            continue
        newer = [row for row in rows if row.completed_at > max(own.record.trained_at, _since(own.record))]
        if newer:
            new = await ports.beside(partial(_compared, own, other, newer))
            await registry.changed(ports.key_values, own.record.number, partial(_with, new))


def _since(record: ModelRecord) -> datetime:
    return record.state_at if record.state is ModelState.SERVING else record.trained_at


def _compared(own: ModelAtWork, other: ModelAtWork | None, rows: Sequence[TicketRow]) -> Judged:
    return Judged(
        own=errors_of(own.predictor, rows),
        estimate=errors_of(ESTIMATE, rows),
        other=Errors() if other is None else errors_of(other.predictor, rows),
        other_number=0 if other is None else other.record.number,
    )


def _with(new: Judged, record: ModelRecord) -> ModelRecord:
    """Return a record that is judged by more; it begins again where it is compared with another model than before."""
    known = record.judged
    if known.own.rows and known.other_number != new.other_number:
        known = Judged()
    if known.own.rows > JUDGED_MOST:
        known = Judged(own=halved(known.own), estimate=halved(known.estimate), other=halved(known.other))
    return record.but(
        judged=Judged(
            own=plus(known.own, new.own),
            estimate=plus(known.estimate, new.estimate),
            other=plus(known.other, new.other),
            other_number=new.other_number,
        )
    )
