"""Models that say how long work takes: looked at, trained, promoted and rolled back by hand."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request, Response

from functions._core.errors import Conflict, Rejected
from functions._core.learning import registry
from functions._core.learning.model_record import FEWEST_ROWS, ModelRecord
from functions._core.learning.model_view import ModelView, model_view
from functions._core.learning.progress import LEARNING, PROGRESS, ask, asked_for, progress_of
from functions._core.records.record import Record
from functions._core.records.values import Timestamp
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.documents import problems
from functions.api.problems import not_found
from functions.api.questions import sound
from functions.api.routes import Routes
from functions.api.services import ApiServices, Services

router = Routes(prefix="/api/v1/models", tags=["models"])

KIND = "model"


class TrainingRequest(Record):
    """A training that is due."""

    requested_by: str
    """Who has asked for it."""
    requested_at: Timestamp
    """When; `learn` begins it within a minute."""


class ModelList(Record):
    """All models that are kept, and how much history there is to learn from."""

    items: tuple[ModelView, ...]
    """The models, the newest first."""
    serving: str | None
    """Id of the model that serves; null: the estimates count."""
    training: TrainingRequest | None
    """The training that somebody has asked for; null without one."""
    rows: int
    """Tickets of flows that have ended and were taken in so far."""
    usable: int
    """Tickets of these that say how long work takes, of the last 60 days with any."""
    needed: int
    """So many of them a training needs: with fewer it makes no model."""
    learned_at: Timestamp | None
    """When history was taken in last; null: never, as `learn` has not run yet."""


@router.get("")
async def list_models(services: Services) -> ModelList:
    """Return the models that are kept, which serves, and how much history was taken in."""
    entries = services.ports.key_values
    number, _ = await registry.serving(entries)
    known = await registry.models(entries)
    progress = progress_of(await entries.get(LEARNING, PROGRESS))
    request = await asked_for(entries)
    return ModelList(
        items=tuple(model_view(one) for one in known),
        serving=next((one.model_id for one in known if one.number == number), None),
        training=TrainingRequest(requested_by=request.by, requested_at=request.at) if request else None,
        rows=progress.rows,
        usable=sum(progress.days.values()),
        needed=FEWEST_ROWS,
        learned_at=progress.at,
    )


@router.post(
    "/train",
    status_code=202,
    responses={**problems(400, 409, 422), 200: {"model": TrainingRequest, "description": "Asked for before"}},
)
async def train_model(
    services: Services,
    request: Request,
    response: Response,
    requested_by: RequestedBy = NOBODY,
    why: Why = NO_REASON,
) -> TrainingRequest:
    """Ask for a training; `learn` begins it within a minute, and its model begins as a shadow.

    While one is asked for already that stands, and is returned: 200.
    """
    entries = services.ports.key_values
    who, now = acting(request, requested_by), services.ports.clock.now()
    known = await asked_for(entries)
    if known is None:
        await record(services, "ask_for_training", "duration", who=who, why=why)
        with _alone():
            known = await ask(entries, who, now)
    else:
        response.status_code = 200
    return TrainingRequest(requested_by=known.by, requested_at=known.at)


@router.get("/{model_id}", responses=problems(404))
async def get_model(services: Services, model_id: str) -> ModelView:
    """Return a model: its measures on held-out tickets and on those since then, its state and why."""
    return model_view(await _model(services, model_id))


@router.post("/{model_id}/promote", responses=problems(400, 404, 409, 422))
async def promote_model(
    services: Services, request: Request, model_id: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> ModelView:
    """Let a model serve now, without waiting for its verdict; the one that serves is retired.

    Only a SHADOW or a RETIRED one: both have passed the bars on held-out tickets (409 `not_promotable`).
    """
    known = await _model(services, model_id)
    who = acting(request, requested_by)
    await record(services, "promote_model", known.model_id, who=who, why=why)
    with _alone():
        now = services.ports.clock.now()
        return model_view(
            await registry.promoted(services.ports.key_values, known.number, now, f"promoted by {who}: {why}")
        )


@router.post("/{model_id}/rollback", responses=problems(400, 404, 409, 422))
async def roll_back_model(
    services: Services, request: Request, model_id: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> ModelView:
    """Take the model that serves out of service; its predecessor serves again, or the estimates count.

    409 `not_serving` for a model that does not serve.
    """
    known = await _model(services, model_id)
    who = acting(request, requested_by)
    await record(services, "roll_back_model", known.model_id, who=who, why=why)
    with _alone():
        now = services.ports.clock.now()
        await registry.rolled_back(services.ports.key_values, known.number, now, f"rolled back by {who}: {why}")
    return model_view(await _model(services, model_id))


async def _model(services: ApiServices, model_id: str) -> ModelRecord:
    number = registry.number_of(sound(KIND, model_id))
    found = await registry.model(services.ports.key_values, number) if number else None
    if found is None:
        raise not_found(KIND, model_id)
    return found


@contextmanager
def _alone() -> Iterator[None]:
    """Say of a change that another one came before it."""
    try:
        yield
    except Conflict as conflict:
        text = "the models were changed by somebody else at this moment: look again"
        raise Rejected(text, code="models_moved", status=409) from conflict
