"""The functions, as the engine calls them: the one place where the two meet."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from functions._core.machine.context import Context
from functions._core.machine.outcomes import AnyOutcome
from functions._core.ports import Ports
from functions.assign.function import answered, assign
from functions.dead_letter.function import dead_letter
from functions.discover.function import discover
from functions.enforce_sla.function import enforce_sla
from functions.generate_tickets.function import generate_tickets
from functions.monitor.function import left_out, monitor, reported
from functions.publish_telemetry.function import flush_telemetry, publish_telemetry, replay_telemetry
from functions.track_workers.function import Tracked, handed_on, release, track_workers
from functions.validate.function import validate

__all__ = [
    "FUNCTIONS",
    "Tracked",
    "answered",
    "dead_letter",
    "enforce_sla",
    "flush_telemetry",
    "handed_on",
    "left_out",
    "release",
    "replay_telemetry",
    "reported",
    "track_workers",
]

FUNCTIONS: Mapping[str, Callable[[Any, Context, Ports], Awaitable[AnyOutcome]]] = {
    "validate": validate,
    "generate_tickets": generate_tickets,
    "discover": discover,
    "assign": assign,
    "monitor": monitor,
    "publish_telemetry": publish_telemetry,
}
