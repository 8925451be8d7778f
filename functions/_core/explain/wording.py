"""How `explain` writes moments, durations and names: the words that every sentence shares."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache

from functions._core.decision.vocabulary import UNPRINTABLE, shown
from functions._core.explain.spans import counted, span
from functions._core.records.models import Reason, Ticket
from functions._core.records.values import SecurityLevel, to_utc

__all__ = [
    "SAID",
    "ago",
    "ahead",
    "asked_of_worker",
    "clock_time",
    "counted",
    "listed",
    "name_of",
    "plain",
    "said",
    "shown",
    "span",
    "undone_task",
]

SAID = 1_000
"""Characters of a reason that are shown."""


def clock_time(moment: datetime, now: datetime) -> str:
    """Return the time of day in UTC, with the date when it is not today's."""
    moment = to_utc(moment)
    today = moment.date() == to_utc(now).date()
    return f"{moment:%H:%M:%S} UTC" if today else f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def ago(moment: datetime, now: datetime) -> str:
    """Return a past moment and how long ago it was, e.g. `10:02:11 UTC (43 s)`."""
    return f"{clock_time(moment, now)} ({span(now - moment)})"


def ahead(moment: datetime, now: datetime) -> str:
    """Return a coming moment and how far away it is; one that is past is due."""
    distance = f"in {span(moment - now)}" if moment > now else "due now"
    return f"{clock_time(moment, now)} ({distance})"


def listed(things: Sequence[str], most: int = 5) -> str:
    """Return `a, b and c`; of a long list the first `most` and how many more there are."""
    if len(things) > most:
        return f"{', '.join(things[:most])} and {len(things) - most} more"
    return " and ".join(filter(None, (", ".join(things[:-1]), *things[-1:])))


def plain(text: str) -> str:
    """Return foreign text as one short line."""
    return shown(text)[1:-1]


def said(reason: Reason) -> str:
    """Return a reason and its code on one line; long enough for the critical path of a plan."""
    return f"{UNPRINTABLE.sub('?', reason.message)[:SAID]} ({plain(reason.code)})"


def undone_task(ticket: Ticket) -> str:
    """Return the task whose work a compensation undoes."""
    undone = ticket.parameters.get("compensates")
    return plain(str(undone.get("task_id"))) if isinstance(undone, Mapping) else plain(ticket.task_id)


def name_of(ticket: Ticket) -> str:
    """Return the name of a ticket for people: its task id and its description."""
    description = plain(ticket.description.strip())
    return f"{plain(ticket.task_id)} ({description})" if description else plain(ticket.task_id)


def asked_of_worker(ticket: Ticket) -> str:
    """Return which worker the ticket needs."""
    return _asked(ticket.required_capabilities, ticket.security_level)


@lru_cache(maxsize=128)  # of thousands of tickets that wait most need the same
def _asked(capabilities: tuple[str, ...], security_level: SecurityLevel) -> str:
    wanted = [f"offers {listed([shown(name) for name in capabilities])}"] if capabilities else []
    if not SecurityLevel.INTERNAL.covers(security_level):
        wanted = [*wanted, f"is cleared for {security_level}"]
    return f"a worker that {' and '.join(wanted)}" if wanted else "a worker"
