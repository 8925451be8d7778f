"""Telemetry that the sink has not taken yet: how much waits, and sending it now."""

from fastapi import Request
from pydantic import Field

from functions._core.records.values import Model, Timestamp
from functions.api.bodies import read_json
from functions.api.documents import json_body, problems
from functions.api.forms import Flush
from functions.api.routes import Routes
from functions.api.services import Services

router = Routes(prefix="/api/v1/telemetry", tags=["telemetry"])


class Flushed(Model):
    """How many events the sink has taken now, how many became dead letters, and how many still wait, of any intent."""

    flushed: int
    dead_letters: int = Field(description="Refused by the sink, or not taken for an hour")
    left: int
    sink: str | None = Field(description="Why the sink takes no more; null while it takes everything")


class Buffered(Model):
    """How many events wait for the sink, and since when the oldest does."""

    size: int
    oldest_at: Timestamp | None = Field(description="Null when none waits")


@router.get("/buffer")
async def get_telemetry_buffer(services: Services) -> Buffered:
    """Return how much telemetry waits for the sink."""
    buffer = services.ports.telemetry_buffer
    oldest = await buffer.oldest(1)
    return Buffered(size=await buffer.size(), oldest_at=oldest[0][1] if oldest else None)


@router.post("/flush", responses=problems(400, 413, 415, 422), openapi_extra=json_body(Flush, required=False))
async def flush_telemetry(services: Services, request: Request) -> Flushed:
    """Send what waits, in order: all of it, or what belongs to one intent.

    What the sink refuses becomes a dead letter; while the sink is away everything keeps waiting.
    """
    asked = await read_json(request, Flush)
    flushed = await services.engine.flush_telemetry(asked.intent_id)
    left = await services.ports.telemetry_buffer.size()
    return Flushed(flushed=flushed.sent, dead_letters=flushed.lost, left=left, sink=flushed.away)
