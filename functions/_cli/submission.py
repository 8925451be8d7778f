"""From a file with a decision to an accepted event: read, wrapped, sent until the platform has it."""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from functions._adapters.http.cloudevents import STRUCTURED, read_events, write_structured
from functions._cli.client import NoPlatform, PlatformClient, PlatformUnavailable
from functions._cli.console import WRONG_USE, CommandFailed, say
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent, type_of
from functions._core.records.json_text import parse_json

DECISION = type_of("decision.consolidated")
PAUSES = (0.2, 0.4, 0.8, 1.6)
"""Seconds before each further try: three in all, which outlasts a restart on one machine."""


def read_decision_file(name: str) -> CloudEvent:
    """Return the event of the decision in file `name`, `-` being stdin: a plain decision or a structured CloudEvent.

    Raises `CommandFailed`, exit status 2, when there is no JSON object in it or the event is no decision.
    """
    if name == "-" and sys.stdin is None:
        raise CommandFailed("-: standard input is closed", exit_status=WRONG_USE)
    try:
        text = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    except OSError as error:
        raise CommandFailed(f"{name}: cannot be read: {error.strerror}", exit_status=WRONG_USE) from error
    try:
        return _event(text)
    except Rejected as error:
        raise CommandFailed(f"{name}: {error}", exit_status=WRONG_USE) from error


def _event(text: bytes) -> CloudEvent:
    document = parse_json(text)
    if not isinstance(document, dict):
        raise Rejected("a decision is a JSON object")
    now = datetime.now(UTC)
    if "specversion" not in document:
        return CloudEvent(id=str(uuid4()), source="/flowc/cli", type=DECISION, time=now, data=document)
    (event,), _ = read_events({"content-type": STRUCTURED}, text, received_at=now)
    if event.type != DECISION:
        raise Rejected(f"an event of type {event.type} is no decision, that would be {DECISION}")
    return event


async def submit_decision(client: PlatformClient, event: CloudEvent) -> str:
    """Send `event` and return the flow id; tries again, with the same event id, while the platform is away.

    Raises `Refused` when the platform does not take it.
    """
    headers, body = write_structured(event)
    for attempt, pause in enumerate((*PAUSES, None)):
        try:
            answer = await client.send(headers, body)
        except (NoPlatform, PlatformUnavailable) as error:
            if pause is None:
                raise
            if attempt == 0:
                say(f"flowc: {error}; trying again for {sum(PAUSES):g} s")
            await asyncio.sleep(pause)
        else:
            return str(answer["flow_id"])
    raise AssertionError("the last try returns or raises")
