"""From a file with a decision to an accepted event: read, wrapped, sent until the platform has it."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from functions._adapters.http.cloudevents import write_structured
from functions._cli.client import NoPlatform, PlatformClient, PlatformUnavailable
from functions._cli.console import WRONG_USE, CommandFailed, say
from functions._cli.decision_file import event_of, read_file, text_of
from functions._core.decision.named_plans import plan_reference
from functions._core.errors import Rejected
from functions._core.events.envelope import CloudEvent
from functions._core.records.json_text import parse_json

PAUSES = (0.2, 0.4, 0.8, 1.6)
"""Seconds before each further try: three in all, which outlasts a restart on one machine."""


def read_decision_file(name: str, run: str = "") -> CloudEvent:
    """Return the event of the decision in file `name`, `-` being stdin; see `decision_file.read_file`.

    Raises `CommandFailed`, exit status 2, when there is none in it.
    """
    text = text_of(name)
    try:
        return read_file(name, text, run).event
    except Rejected as error:
        raise CommandFailed(f"{name}: {error}", exit_status=WRONG_USE) from error


def decision_of_stored(named: str, run: str) -> CloudEvent:
    """Return the event of a decision about a stored plan; raise `CommandFailed`, exit status 2, for no name of one."""
    try:
        name = plan_reference(named).name
    except Rejected as error:
        raise CommandFailed(str(error), exit_status=WRONG_USE) from error
    made = {"decision_id": f"{name}-{run}", "intent_id": name, "final_decision": "approve"}
    return event_of({**made, "cognitive_plan": {"plan": named}})


def with_fields(event: CloudEvent, fields: Sequence[str]) -> CloudEvent:
    """Return the event with fields of its decision, `name=value`, set: values are JSON, or else text."""
    found: dict[str, object] = {}
    for field in fields:
        name, sign, value = field.partition("=")
        if not name or not sign:
            raise CommandFailed(f"--set {field!r} is not FIELD=VALUE", exit_status=WRONG_USE)
        try:
            found[name] = parse_json(value.encode())
        except Rejected:
            found[name] = value
    return replace(event, data={**event.data, **found}) if found else event


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
