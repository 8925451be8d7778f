"""Dead letters: events that could not be handled, for people to read, replay or drop."""

from contextlib import suppress

from fastapi import Request

from functions._core.errors import Unreadable
from functions._core.records.dead_letters import OUTSIDE, DeadLetter, event_of
from functions.api.access import acting
from functions.api.actions import NO_REASON, NOBODY, RequestedBy, Why, record
from functions.api.documents import problems
from functions.api.ingress import take
from functions.api.problems import not_found
from functions.api.questions import DEFAULT_LIMIT, Cursor, Limit, found
from functions.api.routes import Routes
from functions.api.services import Services
from functions.api.subscriptions import resend
from functions.api.views import LetterPage

router = Routes(prefix="/api/v1/dead-letters", tags=["dead letters"])

NEVER_AGAIN = frozenset({"decision_conflict", "unreadable"})
"""Reasons for which the same event would only make another letter, or is none."""

NOTIFY = "notify"
"""The function whose letters are deliveries to webhooks: they are replayed for their subscriber alone."""

# A letter has the id of its event, and those may hold slashes: hence `:path`.


@router.get("", responses=problems(400, 422))
async def list_dead_letters(services: Services, cursor: Cursor = None, limit: Limit = DEFAULT_LIMIT) -> LetterPage:
    """Return dead letters, the newest first."""
    letters, following = await services.ports.dead_letters.letters(cursor, limit)
    return LetterPage(items=tuple(letters), cursor=following)


@router.post("/{letter_id:path}/replay", status_code=202, responses=problems(404, 422))
async def replay_dead_letter(
    services: Services, request: Request, letter_id: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> DeadLetter:
    """Queue the event of a dead letter again and drop the letter. Who wants it and why is kept.

    What came from outside is taken in as if it came now: what was refused for what it is, is refused again.
    """
    letter = await found("dead letter", letter_id, services.ports.dead_letters.letter)
    about = letter.flow_id or ""
    await record(
        services, "replay_dead_letter", letter.letter_id, who=acting(request, requested_by), why=why, flow_id=about
    )
    if letter.function == NOTIFY and letter.reason.where is not None:
        await resend(services, letter.reason.where, letter.letter_id)
        await services.ports.dead_letters.drop(letter.letter_id)
        return letter
    if letter.function != OUTSIDE or letter.reason.code in NEVER_AGAIN:
        return await services.engine.replay(letter.letter_id)
    await take(services, await services.fetched(event_of(letter)), None)
    await services.ports.dead_letters.drop(letter.letter_id)
    return letter


@router.get("/{letter_id:path}", responses=problems(404))
async def get_dead_letter(services: Services, letter_id: str) -> DeadLetter:
    """Return a dead letter with its event."""
    return await found("dead letter", letter_id, services.ports.dead_letters.letter)


@router.delete("/{letter_id:path}", status_code=204, responses=problems(404, 422))
async def drop_dead_letter(
    services: Services, request: Request, letter_id: str, requested_by: RequestedBy = NOBODY, why: Why = NO_REASON
) -> None:
    """Drop a dead letter; its event is gone then. Who wants it and why is kept."""
    flow_id = ""
    with suppress(Unreadable):  # what cannot be read can be dropped all the same
        flow_id = (await found("dead letter", letter_id, services.ports.dead_letters.letter)).flow_id or ""
    await record(services, "drop_dead_letter", letter_id, who=acting(request, requested_by), why=why, flow_id=flow_id)
    if not await services.ports.dead_letters.drop(letter_id):
        raise not_found("dead letter", letter_id)
