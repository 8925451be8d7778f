"""The examples: every event of the catalogue, taken from the courses that the sample decision can take."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import cache

from functions._core.events.catalogue import CATALOGUE
from functions._core.events.envelope import CloudEvent
from infra.generate.contract.scenarios import COURSES


@cache
def courses() -> Mapping[str, Sequence[CloudEvent]]:
    """Return everything that is sent in each course, by the course's name."""

    async def play() -> dict[str, Sequence[CloudEvent]]:
        return {course.__name__: tuple((await course()).sent) for course in COURSES}

    return asyncio.run(play())


def example(event_type: str, *, stored: bool = False) -> CloudEvent:
    """Return the example of a type; `stored` picks the form between functions where there are two."""
    for event in (event for sent in courses().values() for event in sent if event.event_type == event_type):
        if stored == ("dataref" in event.extensions) and (event_type not in CHOICES or CHOICES[event_type](event)):
            return event
    raise LookupError(f"no course of the sample sends {event_type}")


CHOICES: Mapping[str, Callable[[CloudEvent], bool]] = {
    # The worker's copies, and of several events of a type the one that tells most.
    "ticket.assigned": lambda event: event.data["token"] is not None and event.data["task_id"] == "deploy",
    "ticket.reported": lambda event: event.data["status"] == "COMPLETED",
    "ticket.cancelled": lambda event: "cause" not in event.data,
}


def examples() -> Mapping[str, CloudEvent]:
    """Return every example by the start of its file's name."""
    found: dict[str, CloudEvent] = {}
    for entry in CATALOGUE:
        found[f"{entry.event_type}.v1"] = example(entry.event_type)
        if entry.stored is not None:
            found[f"{entry.event_type}.v1.stored"] = example(entry.event_type, stored=True)
    return found
