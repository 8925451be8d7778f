"""What the commands of SLOs, budgets and freezes share: SLOs by name, spans, bars."""

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from functions._cli.console import CommandFailed
from functions._cli.one_record import path_of

if TYPE_CHECKING:
    from functions._cli.client import PlatformClient
    from functions._cli.wire import JsonObject

SLOS, BUDGETS, POLICIES, FREEZES = "/api/v1/slos", "/api/v1/budgets", "/api/v1/policies", "/api/v1/policies/freezes"
GATE = "/api/v1/freeze-status"
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
BAR = 20

SloName = Annotated[str, typer.Argument(metavar="SLO", help="The SLO: its id, its name, or SERVICE/NAME.")]
Service = Annotated[str | None, typer.Option("--service", help="Only of this service.")]


def span(value: str | None) -> str | None:
    """Return a span of time as it was written; raise `BadParameter` for what is none."""
    if value is not None and not re.fullmatch(r"[1-9]\d{0,8}(ms|[smhd])", value, re.ASCII):
        raise typer.BadParameter(f"{value!r} is no span of time such as 500ms, 90s, 15m or 12h")
    return value


def milliseconds(value: str) -> int:
    """Return the milliseconds of a span."""
    return int(value[:-2]) if value.endswith("ms") else int(value[:-1]) * SECONDS[value[-1]] * 1000


def pairs(words: Sequence[str]) -> Mapping[str, str]:
    """Return the labels that are written as `name:value`."""
    found = {}
    for word in words:
        name, colon, value = word.partition(":")
        if not (name and colon):
            raise typer.BadParameter(f"{word!r} is no label: write name:value")
        found[name] = value
    return found


async def slo_named(client: "PlatformClient", name: str) -> "JsonObject":
    """Return the SLO of an id, a name, or SERVICE/NAME; one that is enabled before one that is not."""
    from functions._cli.client import CommandRefused
    from functions._cli.wire import UUID_TEXT

    if UUID_TEXT.fullmatch(name):
        return await client.get(path_of(SLOS, name))
    found: list[JsonObject] = [
        one async for one in client.items(SLOS) if name in {one["name"], f"{one['service_name']}/{one['name']}"}
    ]
    enabled = [one for one in found if one["enabled"]] or found
    if len(enabled) > 1:
        ids = ", ".join(one["slo_id"] for one in enabled[:5])
        raise CommandFailed(f"several SLOs have the name {name!r}: {ids}", hint="name its id, or SERVICE/NAME")
    if not enabled:
        raise CommandRefused(f"there is no SLO {name!r} (unknown_slo)", 404, "unknown_slo")
    return enabled[0]


def percent(value: float) -> str:
    """Return a number of percent, without zeros at its end."""
    return f"{value:.4f}".rstrip("0").rstrip(".") + " %"


def bar(value: float, width: int = BAR) -> str:
    """Return a bar for a number of percent, 0 to 100."""
    full = round(max(0.0, min(value, 100.0)) / 100 * width)
    return "█" * full + "░" * (width - full)


def source_of(slo: Mapping[str, Any]) -> str:
    """Return how an SLO is measured, in a few words."""
    query = slo["sli_query"]
    history = query["history"]
    if history is None:
        return str(query["query"])
    within = f" within {history['within_ms']} ms" if history["within_ms"] is not None else ""
    fields = ("plan_id", "tenant_id", "task_type", "capability", "worker_id")
    only = [f"{name}={history[name]}" for name in fields if history[name] is not None]
    only += [f"{name}:{value}" for name, value in history["labels"].items()]
    return f"{history['measure']}{within} of {', '.join(only) or 'everything'}"
